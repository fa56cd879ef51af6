//! Real clients. Each runs its suite twice, directly on the primary and through clonelove, over TCP and over a unix
//! socket, and must print the same. The suites (`clients/`) print all that a program could see: values with their
//! types, columns, affected rows, insert ids, warnings, errors.
//!
//! The one replica differs from the primary in sql_mode, time zone and more, and may keep reads waiting until it has
//! caught up: reads do go there, and must look as if they had not.

#[path = "clients/auth.rs"]
mod auth;
#[path = "clients/cli.rs"]
mod cli;
#[path = "clients/dumps.rs"]
mod dumps;
#[path = "clients/mysql_async.rs"]
mod mysql_async;
#[path = "clients/sqlx.rs"]
mod sqlx;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Family, Flavour, cache_folder,
};

/// An account that may use all schemas, so that one that does not exist is called unknown, not forbidden.
const WIDE_USER: &str = "wide";
const WIDE_PASSWORD: &str = "wide-password";

/// A million rows, from ten.
const MILLION: &str = "SELECT a.d + 10*b.d + 100*c.d + 1000*e.d + 10000*f.d + 100000*g.d AS n \
     FROM digit a, digit b, digit c, digit e, digit f, digit g";

/// A program that runs a suite.
#[derive(Clone, Copy, Debug)]
enum Program {
    Php { script: &'static str, prepares: &'static str },
    Python { script: &'static str, module: &'static str },
    Node { script: &'static str },
    Go,
    Java,
    Perl { prepares: &'static str },
}

/// Where a suite connects to.
#[derive(Clone, Debug)]
struct Target {
    port: u16,
    socket: Option<PathBuf>,
    heavy: bool,
    family: Family,
}

/// A cluster with a proxy in front, for suites.
struct Bench {
    // Ended before the servers.
    proxy: Clonelove,
    cluster: Cluster,
}

impl Bench {
    fn start(flavour: Flavour) -> Result<Self> {
        let mut options = ClusterOptions { replicas: 1, ..ClusterOptions::default() };
        if heavy(flavour) {
            // Room for values of 64 MiB, which the sandbox's small logs would make slow.
            options.extra =
                ["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=256M"].map(str::to_owned).to_vec();
        }
        let cluster = Cluster::start(flavour, options)?;
        cluster.primary.query(&format!(
            "CREATE USER '{WIDE_USER}'@'%' IDENTIFIED BY '{WIDE_PASSWORD}'; GRANT ALL ON *.* TO '{WIDE_USER}'@'%'"
        ))?;
        cluster.wait_caught_up()?;
        if cluster.primary.flavour().family() == Family::MySql {
            // Once the server has seen the passwords, it lets clients in that show them to nobody.
            let socket = Some(cluster.primary.socket());
            let target = Target { port: 0, socket, heavy: false, family: Family::MySql };
            for (user, password) in [(APP_USER, APP_PASSWORD), (WIDE_USER, WIDE_PASSWORD)] {
                let mut client = cli::Maker::MySql.command(&target, user, password)?;
                printed(&finish(client.args(["-e", "DO 0"]), None)?)?;
            }
        }
        let config = Config::for_cluster(&cluster)
            .user(WIDE_USER, WIDE_PASSWORD)
            .set("routing", "fresh_wait", "\"30s\"")
            .set("routing", "max_lag", "\"60s\"")
            // A replica that takes in 64 MiB may keep SHOW REPLICA STATUS waiting.
            .set("monitor", "timeout", "\"30s\"");
        let proxy = Clonelove::start_with(config)?;
        Ok(Self { proxy, cluster })
    }

    /// Directly and through the proxy, over TCP (on one flavour with what is long and large) and over the unix socket.
    fn pairs(&self) -> [[Target; 2]; 2] {
        let (primary, proxy) = (&self.cluster.primary, &self.proxy);
        let family = primary.flavour().family();
        let heavy = heavy(primary.flavour());
        let tcp = |port| Target { port, socket: None, heavy, family };
        let unix = |socket| Target { port: 0, socket: Some(socket), heavy: false, family };
        [[tcp(primary.port()), tcp(proxy.port())], [unix(primary.socket()), unix(proxy.socket())]]
    }

    /// Empty schemas, so that each run of a suite finds the same.
    fn clean(&self) -> Result<()> {
        for schema in ["app", "test"] {
            let make = format!("CREATE SCHEMA {schema} CHARACTER SET utf8mb4");
            self.cluster.primary.query(&format!("DROP SCHEMA {schema}; {make}"))?;
        }
        self.cluster.wait_caught_up()
    }

    /// How many statements replicas have answered.
    fn replica_reads(&self) -> Result<f64> {
        self.proxy.metric("clonelove_queries_total", &["target=\"replica\""])
    }

    /// Runs a suite everywhere and compares. At least `reads` statements must have gone to the replica.
    fn compare(&self, reads: f64, suite: impl Fn(&Target) -> Result<String>) -> Result<()> {
        self.compare_over(&self.pairs(), reads, suite)
    }

    fn compare_over(
        &self,
        pairs: &[[Target; 2]],
        reads: f64,
        suite: impl Fn(&Target) -> Result<String>,
    ) -> Result<()> {
        for [direct, proxied] in pairs {
            self.clean()?;
            let expected = suite(direct).context("directly on the primary")?;
            self.clean()?;
            let before = self.replica_reads()?;
            let found = suite(proxied).context("through clonelove")?;
            same(&expected, &found)?;
            let on_replica = self.replica_reads()? - before;
            let status = self.proxy.status()?;
            ensure!(on_replica >= reads, "{on_replica} reads went to the replica, not {reads}: {status}");
        }
        Ok(())
    }
}

impl Program {
    fn command(self, target: &Target, folder: &Path) -> Result<Command> {
        let mut command = match self {
            Self::Php { script, prepares } => {
                let mut command = Command::new("php");
                command.arg("-n").args(php_extensions()?).arg(scripts().join(script));
                command.env("CLIENT_PREPARES", prepares);
                command
            }
            Self::Python { script, module } => {
                // The distribution's own Python has the distribution's packages.
                let mut command = Command::new("/usr/bin/python3");
                command.arg("-B").arg(scripts().join(script)).env("CLIENT_MODULE", module);
                command.env("PYTHONPATH", cache_folder()?.join("clients/python"));
                command
            }
            Self::Node { script } => {
                let mut command = Command::new("node");
                command.arg(scripts().join(script)).env("NODE_PATH", node_modules()?);
                command
            }
            Self::Go => Command::new(go_program(folder)?),
            Self::Java => {
                let mut command = Command::new("java");
                command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp"]);
                command.arg(format!("{}:{JDBC}", java_classes(folder)?.display())).arg("Suite");
                command
            }
            Self::Perl { prepares } => {
                let mut command = Command::new("/usr/bin/perl");
                command.arg(scripts().join("dbd_mysql.pl")).env("CLIENT_PREPARES", prepares);
                command
            }
        };
        let family = if target.family == Family::MariaDb { "mariadb" } else { "mysql" };
        command.env("CLIENT_FAMILY", family);
        let sql = folder.join("suite.json");
        std::fs::write(&sql, include_str!("clients/suite.json"))?;
        command.env("CLIENT_SQL", sql);
        command.env("CLIENT_HOST", "127.0.0.1").env("CLIENT_PORT", target.port.to_string());
        command.env("CLIENT_SOCKET", target.socket.as_deref().unwrap_or(Path::new("")));
        command.env("CLIENT_HEAVY", if target.heavy { "1" } else { "0" });
        command.env("CLIENT_USER", APP_USER).env("CLIENT_PASSWORD", APP_PASSWORD);
        command.env("CLIENT_WIDE_USER", WIDE_USER).env("CLIENT_WIDE_PASSWORD", WIDE_PASSWORD);
        Ok(command)
    }

    /// Those that came first run over a unix socket too; the others have no more to show by it.
    fn over_a_socket_too(self) -> bool {
        match self {
            Self::Php { .. } => true,
            Self::Python { module, .. } => module != "mysql.connector",
            Self::Node { script } => script == "node_mysql2.js",
            Self::Go | Self::Java | Self::Perl { .. } => false,
        }
    }
}

/// MariaDB's driver for Java, of Debian's package.
const JDBC: &str = "/usr/share/java/mariadb-java-client.jar";

/// The suite in Go, built with Debian's package of the driver.
fn go_program(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("go-suite");
    if !program.exists() {
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(&program).arg(scripts().join("go/main.go"));
        build.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("CGO_ENABLED", "0");
        build.env("GOCACHE", cache_folder()?.join("clients/go-build"));
        printed(&finish(&mut build, None)?)?;
    }
    Ok(program)
}

/// The suite in Java, compiled.
fn java_classes(folder: &Path) -> Result<PathBuf> {
    let classes = folder.join("java");
    if !classes.exists() {
        let mut compile = Command::new("javac");
        compile.args(["-J-XX:TieredStopAtLevel=1", "-cp", JDBC, "-d"]).arg(&classes);
        printed(&finish(compile.arg(scripts().join("java/Suite.java")), None)?)?;
    }
    Ok(classes)
}

/// Whether suites on this flavour do what is long and large too.
fn heavy(flavour: Flavour) -> bool {
    flavour == Flavour::MariaDbDistribution
}

fn suite(flavour: Flavour, program: Program, reads: f64) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    play(&Bench::start(flavour)?, program, reads)
}

/// Several clients' suites, one after the other before the same servers.
fn suites(flavour: Flavour, programs: &[(Program, f64)]) -> Result<()> {
    if !flavour.covered()? {
        return Ok(());
    }
    let bench = Bench::start(flavour)?;
    let mut played = programs.iter();
    played.try_for_each(|(program, reads)| {
        play(&bench, *program, *reads).with_context(|| format!("{program:?}"))
    })
}

fn play(bench: &Bench, program: Program, reads: f64) -> Result<()> {
    let pairs = bench.pairs();
    let pairs = if program.over_a_socket_too() { &pairs[..] } else { &pairs[..1] };
    bench.compare_over(pairs, reads, |target| {
        let output = finish(&mut program.command(target, bench.cluster.folder())?, None)?;
        let text = printed(&output)?;
        ensure!(text.ends_with("done\n"), "the suite did not come to its end:\n{text}");
        Ok(text)
    })
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients")
}

/// The settings of this machine's php.ini are left out, so its extensions must be named.
pub(crate) fn php_extensions() -> Result<Vec<String>> {
    let list = Command::new("php").args(["-n", "-m"]).output().context("php: run `cargo xtask setup`")?;
    let built_in = String::from_utf8_lossy(&list.stdout).to_lowercase();
    let wanted = ["mysqlnd", "pdo", "mysqli", "pdo_mysql"];
    let missing = wanted.iter().filter(|name| !built_in.lines().any(|line| line == **name));
    Ok(missing.map(|name| format!("-dextension={name}.so")).collect())
}

/// Where `cargo xtask setup` has put the packages of Node.
fn node_modules() -> Result<PathBuf> {
    let folder = cache_folder()?.join("clients/node/node_modules");
    ensure!(folder.join("mysql2").is_dir(), "{} lacks mysql2: run `cargo xtask setup`", folder.display());
    Ok(folder)
}

/// Runs a client to its end; `input` is a file for its standard input.
pub(crate) fn finish(command: &mut Command, input: Option<std::fs::File>) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(input.map_or_else(Stdio::null, Stdio::from));
    command.output().with_context(|| format!("{name}: is it installed? `cargo xtask setup` does it"))
}

/// What a client that went well has printed.
pub(crate) fn printed(output: &Output) -> Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// Fails with all lines in which the two differ.
fn same(expected: &str, found: &str) -> Result<()> {
    let mut differences = String::new();
    let mut lines = (expected.lines(), found.lines());
    loop {
        let (one, other) = (lines.0.next(), lines.1.next());
        if one.is_none() && other.is_none() {
            break;
        }
        if one != other {
            let (one, other) = (cut(one.unwrap_or("nothing")), cut(other.unwrap_or("nothing")));
            writeln!(differences, "directly:  {one}\nclonelove: {other}")?;
        }
    }
    ensure!(differences.is_empty(), "the client sees a difference:\n{differences}");
    Ok(())
}

/// What `suite.json` says, which is for all clients but the command-line ones.
#[derive(serde::Deserialize)]
struct Suite {
    setup: Vec<String>,
    words: Vec<String>,
    reads: std::collections::BTreeMap<String, String>,
    faults: Vec<String>,
}

impl Suite {
    fn read() -> Result<Self> {
        Ok(serde_json::from_str(include_str!("clients/suite.json"))?)
    }
}

/// 64 MiB in which no two parts are alike, so that one lost or doubled would show.
fn large_value() -> String {
    let numbers = (0..131_071_u32).map(|i| i.wrapping_mul(2_654_435_761));
    let mut piece = String::with_capacity(1 << 20);
    for number in numbers {
        // Writing to a String cannot fail.
        let _ = write!(piece, "{number:08x}");
    }
    let mut value = String::with_capacity(64 << 20);
    for part in 0..64 {
        let _ = write!(value, "{part:08}{piece}");
    }
    value
}

/// Whether these are the numbers of [`MILLION`].
fn million_is_whole<E>(numbers: impl Iterator<Item = Result<u64, E>>) -> Result<()>
where
    anyhow::Error: From<E>,
{
    let (mut count, mut sum) = (0_u64, 0_u64);
    for number in numbers {
        count += 1;
        sum += number?;
    }
    ensure!((count, sum) == (1_000_000, 499_999_500_000), "{count} rows, sum {sum}");
    Ok(())
}

fn cut(line: &str) -> String {
    line.chars().take(3000).collect()
}

#[test]
fn php_pdo_with_emulated_prepares() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Program::Php { script: "pdo.php", prepares: "emulated" }, 30.0)
}

#[test]
fn php_pdo_with_native_prepares() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Program::Php { script: "pdo.php", prepares: "native" }, 0.0)
}

#[test]
fn php_pdo_on_mariadb_sid() -> Result<()> {
    suite(Flavour::MariaDbSid, Program::Php { script: "pdo.php", prepares: "emulated" }, 30.0)
}

#[test]
fn php_pdo_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid, Program::Php { script: "pdo.php", prepares: "emulated" }, 30.0)
}

#[test]
fn php_mysqli() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Program::Php { script: "mysqli.php", prepares: "" }, 20.0)
}

#[test]
fn pymysql() -> Result<()> {
    suite(
        Flavour::MariaDbDistribution,
        Program::Python { script: "python_suite.py", module: "pymysql" },
        20.0,
    )
}

#[test]
fn pymysql_on_mariadb_sid() -> Result<()> {
    suite(Flavour::MariaDbSid, Program::Python { script: "python_suite.py", module: "pymysql" }, 20.0)
}

#[test]
fn pymysql_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid, Program::Python { script: "python_suite.py", module: "pymysql" }, 20.0)
}

#[test]
fn mysqlclient() -> Result<()> {
    suite(
        Flavour::MariaDbDistribution,
        Program::Python { script: "python_suite.py", module: "MySQLdb" },
        20.0,
    )
}

#[test]
fn node_mysql2() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Program::Node { script: "node_mysql2.js" }, 20.0)
}

const CONNECTOR: Program = Program::Python { script: "connector_suite.py", module: "mysql.connector" };
const NODE_MARIADB: Program = Program::Node { script: "node_mariadb.js" };
const PERL: [(Program, f64); 2] =
    [(Program::Perl { prepares: "client" }, 20.0), (Program::Perl { prepares: "server" }, 20.0)];

#[test]
fn go() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Program::Go, 20.0)
}

#[test]
fn go_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid, Program::Go, 20.0)
}

#[test]
fn java() -> Result<()> {
    suite(Flavour::MariaDbDistribution, Program::Java, 20.0)
}

#[test]
fn java_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid, Program::Java, 20.0)
}

#[test]
fn perl() -> Result<()> {
    suites(Flavour::MariaDbDistribution, &PERL)
}

#[test]
fn perl_on_mysql_sid() -> Result<()> {
    suites(Flavour::MySqlSid, &PERL)
}

#[test]
fn connector_python() -> Result<()> {
    suite(Flavour::MariaDbDistribution, CONNECTOR, 20.0)
}

#[test]
fn connector_python_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid, CONNECTOR, 20.0)
}

#[test]
fn node_mariadb() -> Result<()> {
    suite(Flavour::MariaDbDistribution, NODE_MARIADB, 20.0)
}

#[test]
fn node_on_mysql_sid() -> Result<()> {
    suites(Flavour::MySqlSid, &[(NODE_MARIADB, 20.0), (Program::Node { script: "node_mysql2.js" }, 20.0)])
}

#[test]
fn mysqli_and_native_prepares_on_mysql_sid() -> Result<()> {
    let native = Program::Php { script: "pdo.php", prepares: "native" };
    let mysqli = Program::Php { script: "mysqli.php", prepares: "" };
    suites(Flavour::MySqlSid, &[(native, 0.0), (mysqli, 20.0)])
}

#[test]
fn mysqlclient_on_mysql_sid() -> Result<()> {
    suite(Flavour::MySqlSid, Program::Python { script: "python_suite.py", module: "MySQLdb" }, 20.0)
}
