//! Compression: real clients, each side alone and both, by every algorithm that the servers have.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Clonelove, Cluster, Config, Flavour};

use crate::support::{client, quick, table, uniform_of, value};

/// A config whose servers are spoken to in this way.
fn towards(cluster: &Cluster, compression: &str) -> Config {
    let config = quick(cluster).set("monitor", "timeout", "\"30s\"").without_servers().set(
        "limits",
        "local_infile",
        "true",
    );
    cluster.servers().fold(config, |config, server| {
        config.server(server.name(), &server.address(), &format!("compression = \"{compression}\""))
    })
}

/// The whole of what a client prints.
fn printed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The session of `compression.py`.
fn session(port: u16, compress: &str, large: usize) -> Result<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/commands/compression.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-B").arg(script).args([
        &port.to_string(),
        APP_USER,
        APP_PASSWORD,
        compress,
        &large.to_string(),
    ]);
    let text = printed(&mut command)?;
    ensure!(text.contains("the end"), "it came to no end: {text}");
    Ok(text)
}

#[test]
fn sessions_are_the_same_however_they_are_compressed() -> Result<()> {
    compressed(Flavour::MariaDbDistribution, &["none", "zlib"], "SHOW STATUS LIKE 'Compression'")
}

#[test]
fn sessions_are_the_same_however_they_are_compressed_on_mysql_sid() -> Result<()> {
    let told = "SELECT 'is', VARIABLE_VALUE FROM performance_schema.session_status \
                WHERE VARIABLE_NAME = 'Compression_algorithm'";
    let all = ["none", "zlib", "zstd"];
    if Flavour::MySqlSid.covered()? { compressed(Flavour::MySqlSid, &all, told) } else { Ok(()) }
}

fn compressed(flavour: Flavour, algorithms: &[&str], told: &str) -> Result<()> {
    let cluster = uniform_of(flavour, 1)?;
    cluster.primary.query("SET GLOBAL max_allowed_packet = 67108864")?;
    cluster.primary.query("SET GLOBAL local_infile = 1")?;
    table(&cluster, 5)?;
    // One that takes a statement of several frames, and a smaller one.
    let sizes = [17 << 20, 300_000];
    let expected = [
        session(cluster.primary.port(), "plain", sizes[0])?,
        session(cluster.primary.port(), "plain", sizes[1])?,
    ];
    for algorithm in algorithms {
        let proxy = Clonelove::start_with(towards(&cluster, algorithm))?;
        for compress in ["plain", "compress"] {
            let which = usize::from((*algorithm, compress) != ("zlib", "compress"));
            let found = session(proxy.port(), compress, sizes[which])?;
            ensure!(found == expected[which], "{algorithm}, {compress}: {found} is not {}", expected[which]);
        }
        // It is not only said.
        let rows = client(&proxy)?.query(told)?;
        let used = rows.first().and_then(|row| row.get(1).cloned()).flatten().unwrap_or_default();
        let as_wanted = match *algorithm {
            "none" => matches!(used.as_str(), "" | "OFF"),
            "zlib" => matches!(used.as_str(), "zlib" | "ON"),
            other => used == other,
        };
        ensure!(as_wanted, "the server says {used:?}, where {algorithm} was asked for");
    }
    Ok(())
}

#[test]
fn the_clients_of_both_makers_compress_towards_either_server() -> Result<()> {
    for flavour in [Flavour::MariaDbDistribution, Flavour::MySqlSid] {
        if !flavour.covered()? {
            continue;
        }
        let cluster = uniform_of(flavour, 0)?;
        table(&cluster, 5)?;
        let proxy = Clonelove::start_with(quick(&cluster))?;
        let address = [format!("--user={APP_USER}"), format!("--port={}", proxy.port())];
        let script = "SELECT COUNT(*) FROM t; SELECT LENGTH(REPEAT('a', 1000000)); SELECT REPEAT('a', 200)";
        let ask = |mut command: Command, options: &[&str], algorithm: &str| -> Result<()> {
            command.args(["--no-defaults", "--host=127.0.0.1"]).args(&address).args(options);
            let text = printed(command.env("MYSQL_PWD", APP_PASSWORD).args(["-e", script, "app"]))?;
            ensure!(text.contains(&"a".repeat(200)), "{options:?}: {text}");
            // What the proxy and the client agreed upon.
            ensure!(proxy.log().contains(algorithm), "{options:?}: {}", proxy.log());
            Ok(())
        };
        ask(Command::new("mariadb"), &["--compress", "--skip-ssl"], "algorithm=Zlib")?;
        if Flavour::MySqlSid.covered()? {
            let plain = ["--ssl-mode=DISABLED", "--get-server-public-key"];
            let zstd = ["--compression-algorithms=zstd", "--zstd-compression-level=19"];
            for (options, algorithm) in
                [(&["--compression-algorithms=zlib"][..], "algorithm=Zlib"), (&zstd, "algorithm=Zstd(19)")]
            {
                let mysql = Flavour::MySqlSid.command(Path::new("/usr/bin/mysql"))?;
                ask(mysql, &[options, &plain].concat(), algorithm)?;
            }
        }
    }
    Ok(())
}

#[test]
fn compression_that_is_switched_off_is_not_offered() -> Result<()> {
    let cluster = uniform_of(Flavour::MariaDbDistribution, 0)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("listen", "compression", "[]"))?;
    let mut command = Command::new("mariadb");
    command
        .args(["--no-defaults", "--compress", "--skip-ssl", "--host=127.0.0.1"])
        .env("MYSQL_PWD", APP_PASSWORD);
    command.arg(format!("--user={APP_USER}")).arg(format!("--port={}", proxy.port()));
    let text = printed(command.args(["-e", "status", "app"]))?;
    ensure!(!text.contains("Compressed") && !proxy.log().contains("a client compresses"), "{text}");
    ensure!(value(&mut client(&proxy)?, "SELECT COUNT(*) FROM t")? == "5");
    Ok(())
}
