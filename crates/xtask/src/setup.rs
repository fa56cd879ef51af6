//! What the tests need of the machine, and its installation by apt and npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clonelove_testkit::cache_folder;

use crate::shell::{on_path, read, show, workspace};
use crate::stages::Outcome;

/// Debian packages, and what each is for. The servers come without the packages that would start a service.
const PACKAGES: &[(&str, &str)] = &[
    ("mariadb-server-core", "the servers of the sandboxes"),
    ("mariadb-client", "a client under test"),
    ("php-cli", "a client under test"),
    ("php-mysql", "a client under test"),
    ("python3-pymysql", "a client under test"),
    ("python3-cryptography", "PyMySQL's encryption of passwords"),
    ("python3-mysqldb", "a client under test"),
    ("nodejs", "a client under test"),
    ("python3-pip", "the installation of MySQL Connector/Python"),
    ("libdbd-mysql-perl", "a client under test"),
    ("golang-go", "the build of a client under test"),
    ("golang-github-go-sql-driver-mysql-dev", "a client under test"),
    ("default-jdk-headless", "the build of a client under test"),
    ("libmariadb-java", "a client under test"),
    ("debootstrap", "roots with other servers"),
    ("prometheus", "promtool, and a real scrape"),
    ("haproxy", "a load balancer before the proxy"),
    ("make", "the build of the daemon's allocator"),
    ("valgrind", "the count of instructions and allocations"),
];
/// Those of them that the demo needs.
const FOR_DEMO: &[&str] = &["mariadb-server-core", "mariadb-client", "php-cli", "php-mysql", "make"];

/// `cargo xtask setup`.
pub(crate) fn run() -> Result<bool> {
    install()?;
    println!("all there");
    Ok(true)
}

/// Installs what is missing. Says what to install where that is not possible.
pub(crate) fn install() -> Result<Outcome> {
    let mut packages = PACKAGES.to_vec();
    // Debian has it apart from Node; others have both in one package, which excludes Debian's.
    if !on_path("npm") {
        packages.push(("npm", "the installation of clients for Node"));
    }
    install_missing(&packages)?;
    install_for_node()?;
    install_for_python()?;
    Ok(Outcome::check())
}

/// The clients for Node, in the versions of the lock file, in the cache folder; nothing when they are there.
fn install_for_node() -> Result<()> {
    const LOCK: &str = "package-lock.json";
    let wanted = workspace().join("tests/tests/e2e/clients/node");
    let folder = cache_folder()?.join("clients/node");
    let lock = fs::read(wanted.join(LOCK)).with_context(|| wanted.join(LOCK).display().to_string())?;
    let same = fs::read(folder.join(LOCK)).is_ok_and(|known| known == lock);
    if same && folder.join("node_modules/mysql2").is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    fs::copy(wanted.join("package.json"), folder.join("package.json"))?;
    fs::write(folder.join(LOCK), &lock)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    let installed = show(npm.stdin(Stdio::null()));
    if installed.is_err() {
        // So that the next run tries again.
        let _ = fs::remove_file(folder.join(LOCK));
    }
    installed
}

/// The clients for the distribution's Python that it has no package of, by the hashes of the lock file, in the cache
/// folder; nothing when they are there.
fn install_for_python() -> Result<()> {
    const LOCK: &str = "requirements.txt";
    let wanted = workspace().join("tests/tests/e2e/clients/python").join(LOCK);
    let folder = cache_folder()?.join("clients/python");
    let lock = fs::read(&wanted).with_context(|| wanted.display().to_string())?;
    if fs::read(folder.join(LOCK)).is_ok_and(|known| known == lock) {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&folder);
    let mut pip = Command::new("/usr/bin/python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target"]).arg(&folder);
    show(pip.arg("--requirement").arg(&wanted).stdin(Stdio::null()))?;
    Ok(fs::write(folder.join(LOCK), lock)?)
}

/// MariaDB's own tests, for `oracle`: Debian's package, unpacked into the cache folder. It is not installed, since it
/// wants a whole server installation around it.
pub(crate) fn mariadb_test_data() -> Result<PathBuf> {
    let folder = unpacked("mariadb-test-data", Path::new("usr/share/mysql/mysql-test/main"))?;
    Ok(folder.join("usr/share/mysql/mysql-test"))
}

/// What `mtr` needs: the tests, and the client that plays them.
#[derive(Debug)]
pub(crate) struct MariadbTests {
    /// The folder that has `main`.
    pub(crate) folder: PathBuf,
    /// MariaDB's client for tests.
    pub(crate) client: PathBuf,
    /// Where the client finds libraries that are not installed.
    pub(crate) libraries: PathBuf,
}

/// The same, with the client that plays them; unpacked likewise.
pub(crate) fn mariadb_tests() -> Result<MariadbTests> {
    let folder = mariadb_test_data()?;
    let client = unpacked("mariadb-test", Path::new("usr/bin/mariadb-test"))?.join("usr/bin/mariadb-test");
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let libraries = unpacked("libpcre2-posix3", Path::new(&libraries))?.join(libraries);
    Ok(MariadbTests { folder, client, libraries })
}

/// A Debian package's files in the cache folder, fetched if `proof` is not among them.
fn unpacked(package: &str, proof: &Path) -> Result<PathBuf> {
    let folder = cache_folder()?.join(package);
    if folder.join(proof).exists() {
        return Ok(folder);
    }
    println!("fetching {package}");
    let half = folder.with_extension("half");
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half)?;
    let mut download = Command::new("apt-get");
    show(download.args(["--quiet", "download", package]).current_dir(&half).stdin(Stdio::null()))
        .with_context(|| {
            format!("{package} cannot be fetched: `apt-get update`, or a Debian mirror, may be missing")
        })?;
    let archive = fs::read_dir(&half)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get fetched no package")?;
    show(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&half))?;
    fs::remove_file(archive)?;
    let _ = fs::remove_dir_all(&folder);
    fs::rename(&half, &folder)?;
    Ok(folder)
}

/// The same, of what the demo needs.
pub(crate) fn install_for_demo() -> Result<()> {
    let packages: Vec<_> =
        PACKAGES.iter().filter(|(package, _)| FOR_DEMO.contains(package)).copied().collect();
    install_missing(&packages)
}

fn install_missing(packages: &[(&'static str, &str)]) -> Result<()> {
    if !on_path("dpkg-query") {
        bail!("not a Debian system: install what these packages have: {}", names(packages).join(", "));
    }
    let missing: Vec<_> = packages.iter().filter(|(package, _)| !installed(package)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (package, purpose) in &missing {
        println!("missing: {package} ({purpose})");
    }
    let Some(prefix) = privileges() else {
        bail!("to install them root is needed: apt-get install {}", names(&missing).join(" "));
    };
    let apt = |words: &[&str]| {
        let mut all = prefix.to_vec();
        all.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
        all.extend(words);
        let mut command = Command::new(all.remove(0));
        command.args(all).stdin(Stdio::null());
        command
    };
    show(&mut apt(&["update"]))?;
    show(apt(&["install", "--yes", "--no-install-recommends"]).args(names(&missing)))
}

fn names(packages: &[(&'static str, &str)]) -> Vec<&'static str> {
    packages.iter().map(|(package, _)| *package).collect()
}

fn installed(package: &str) -> bool {
    let status =
        read(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]));
    status.is_ok_and(|status| status == "installed")
}

/// The words that make a command run as root, if there is a way.
fn privileges() -> Option<&'static [&'static str]> {
    let is_root = read(Command::new("id").arg("--user")).is_ok_and(|id| id.trim() == "0");
    if is_root {
        return Some(&[]);
    }
    let sudo = read(Command::new("sudo").args(["--non-interactive", "true"])).is_ok();
    sudo.then_some(&["sudo", "--non-interactive"])
}
