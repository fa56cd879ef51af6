//! What passes through leaves nothing behind: neither large results and statements, nor many clients.
//!
//! The bound: a relay holds a buffer of tens of kibibytes a side, whatever passes; a statement longer than a frame is
//! never held whole. 4 MiB leave room for the allocator's slack, and are a quarter of the longest statement that is
//! held (`analyse_up_to`), a sixteenth of the large value, a 256th of the large result, and 400 bytes a client.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, ClusterOptions, Config, Connection, DEFAULT_TIMEOUT, Flavour,
    wait_until,
};
use mysql_async::prelude::{Query, Queryable};
use mysql_async::{Conn, OptsBuilder};

const MIB: u64 = 1 << 20;
/// What the daemon may grow by.
const SLACK: u64 = 4 * MIB;

fn start() -> Result<(Cluster, Clonelove)> {
    // Room for a value of 64 MiB, which the sandbox's small logs would make slow.
    let extra = ["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=256M"].map(str::to_owned).to_vec();
    let options = ClusterOptions { replicas: 1, uniform: true, extra, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    let config = Config::for_cluster(&cluster)
        // Applying 64 MiB may keep a replica from answering its probe.
        .set("monitor", "timeout", "\"30s\"")
        .set("log", "level", "\"info\"");
    let proxy = Clonelove::start_with(config)?;
    Ok((cluster, proxy))
}

async fn connect(proxy: &Clonelove) -> Result<Conn> {
    let options = OptsBuilder::default()
        .user(Some(APP_USER))
        .pass(Some(APP_PASSWORD))
        .db_name(Some("app"))
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 30))
        .ip_or_hostname("127.0.0.1")
        .tcp_port(proxy.port());
    Ok(Conn::new(options).await?)
}

/// The daemon's memory from now on: what it has, and by how much its peak goes beyond.
struct Memory<'a> {
    proxy: &'a Clonelove,
    before: u64,
}

impl<'a> Memory<'a> {
    fn watch(proxy: &'a Clonelove) -> Result<Self> {
        // 5 takes the peak back to what is resident now (proc(5)).
        std::fs::write(format!("/proc/{}/clear_refs", proxy.process().pid()), "5")?;
        Ok(Self { proxy, before: proxy.process().memory_rss()? })
    }

    #[expect(clippy::print_stdout, reason = "these numbers are what the test is for")]
    fn stayed_flat(&self, through: &str) -> Result<()> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.proxy.process().pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let peak = line.split_whitespace().next().context("no number")?.parse::<u64>()? * 1024;
        let grown = peak.saturating_sub(self.before);
        let kib = |bytes: u64| bytes / 1024;
        println!(
            "{through}: {} KiB before, at most {} KiB: {} KiB more",
            kib(self.before),
            kib(peak),
            kib(grown)
        );
        ensure!(grown < SLACK, "{through}: the daemon grew by {} KiB", kib(grown));
        Ok(())
    }
}

/// A client that stops reading in the midst of 1 GiB: clonelove stops reading too, and holds nothing.
async fn read_slowly(proxy: &Clonelove, conn: &mut Conn) -> Result<()> {
    const ROWS: u64 = 1024;
    let sql = format!("SELECT seq, REPEAT(CHAR(97 + seq % 26), {MIB}) FROM seq_1_to_{ROWS}");
    let mut result = conn.query_iter(sql).await?;
    let mut rows = 0;
    while let Some(row) = result.next().await? {
        rows += 1;
        let (number, text): (u64, Vec<u8>) = mysql_async::from_row(row);
        let letter = b'a' + u8::try_from(number % 26)?;
        ensure!(number == rows && text.len() as u64 == MIB, "row {rows}: {number}, {} bytes", text.len());
        ensure!(text.iter().all(|byte| *byte == letter), "row {rows} has another's bytes");
        if rows == ROWS / 4 {
            let read = wait_stalled(proxy)?;
            ensure!(
                read < (ROWS / 2 * MIB) as f64,
                "{read} bytes were read for a client that stopped reading"
            );
        }
    }
    ensure!(rows == ROWS, "{rows} rows");
    Ok(())
}

/// Waits until nothing moves any more; answers how much was read from servers. The counter is the sum of all
/// finished exchanges, so the kernel's own count is asked.
fn wait_stalled(proxy: &Clonelove) -> Result<f64> {
    let moved = || -> Result<u64> {
        let io = std::fs::read_to_string(format!("/proc/{}/io", proxy.process().pid()))?;
        let count = io.lines().find_map(|line| line.strip_prefix("rchar: ")).context("no rchar")?;
        Ok(count.parse()?)
    };
    let begun = moved()?;
    let mut last = begun;
    let mut calm = 0;
    wait_until("the relay to stand still", DEFAULT_TIMEOUT, || -> Result<bool> {
        let now = moved()?;
        // Probes go on.
        calm = if now - last < 64 * 1024 { calm + 1 } else { 0 };
        last = now;
        Ok(calm >= 20)
    })?;
    Ok((last - begun) as f64)
}

#[test]
fn a_result_of_1_gib_with_a_slow_reader_keeps_memory_flat() -> Result<()> {
    let (_cluster, proxy) = start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut conn = connect(&proxy).await?;
        let first: Option<u64> = conn.query_first("SELECT MAX(seq) FROM seq_1_to_10").await?;
        ensure!(first == Some(10), "{first:?}");
        let memory = Memory::watch(&proxy)?;
        read_slowly(&proxy, &mut conn).await?;
        memory.stayed_flat("a result of 1 GiB")?;
        ensure!(
            proxy.metric("clonelove_queries_total", &["target=\"replica\""])? >= 2.0,
            "not from a replica"
        );
        conn.disconnect().await?;
        Ok(())
    })
}

#[test]
fn an_insert_of_64_mib_keeps_memory_flat() -> Result<()> {
    let (_cluster, proxy) = start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut conn = connect(&proxy).await?;
        "CREATE TABLE large (id INT PRIMARY KEY, value LONGBLOB)".ignore(&mut conn).await?;
        let sql = format!("INSERT INTO large VALUES (1, '{}')", "0123456789abcdef".repeat(4 << 20));
        let memory = Memory::watch(&proxy)?;
        sql.as_str().ignore(&mut conn).await?;
        memory.stayed_flat("an INSERT of 64 MiB")?;
        let back: Option<String> = conn.query_first("SELECT value FROM large WHERE id = 1").await?;
        ensure!(back.is_some_and(|value| sql.contains(&value) && value.len() == 64 << 20), "another value");
        memory.stayed_flat("and its reading")?;
        conn.disconnect().await?;
        Ok(())
    })
}

/// Clients of all manners: with and without a schema, with a read or a write, that leave before they log in.
fn come_and_go(proxy: &Clonelove, count: usize) -> Result<()> {
    const THREADS: usize = 8;
    let address = proxy.addr();
    let one = |number: usize| -> Result<()> {
        match number % 5 {
            0 => drop(Connection::open_tcp(&address, APP_USER, APP_PASSWORD, None)?),
            1 => drop(Connection::open_tcp(&address, APP_USER, APP_PASSWORD, Some("app"))?),
            2 => drop(Connection::open_tcp(&address, APP_USER, APP_PASSWORD, None)?.query("SELECT 1")?),
            3 => drop(Connection::open_tcp(&address, APP_USER, APP_PASSWORD, None)?.query("DO 1")?),
            // A greeting, and no word in return.
            _ => drop(TcpStream::connect(&address)?.read(&mut [0; 1])?),
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let all = |thread: usize| (thread..count).step_by(THREADS).try_for_each(one);
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || all(thread))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => anyhow::bail!("a thread panicked"),
        })
    })
}

/// Descriptors, less those of connections to servers, which are kept for others.
fn own_descriptors(proxy: &Clonelove) -> Result<usize> {
    let kept = proxy.metric("clonelove_server_connections", &[])?;
    let all = proxy.process().open_fds()?;
    ensure!(proxy.metric("clonelove_server_connections", &[])? == kept, "connections come and go");
    Ok(all - kept as usize)
}

#[test]
fn ten_thousand_connects_and_disconnects_leave_nothing_behind() -> Result<()> {
    let (_cluster, proxy) = start()?;
    let nobody = || -> Result<bool> {
        let now = proxy.metric("clonelove_client_connections", &[])?;
        ensure!(now == 0.0, "{now} clients");
        Ok(true)
    };
    come_and_go(&proxy, 2_000)?;
    wait_until("the first clients to be gone", DEFAULT_TIMEOUT, nobody)?;
    let before =
        wait_until("descriptors to be counted", DEFAULT_TIMEOUT, || own_descriptors(&proxy).map(Some))?;
    let memory = Memory::watch(&proxy)?;
    let counted = proxy.metric("clonelove_client_connections_total", &[])?;
    come_and_go(&proxy, 10_000)?;
    wait_until("all clients to be gone", DEFAULT_TIMEOUT, nobody)?;
    let came = proxy.metric("clonelove_client_connections_total", &[])? - counted;
    ensure!(came == 10_000.0, "{came} clients were counted");
    wait_until("descriptors to be closed", Duration::from_secs(10), || -> Result<bool> {
        let now = own_descriptors(&proxy)?;
        ensure!(now <= before, "{before} descriptors before, {now} after");
        Ok(true)
    })?;
    memory.stayed_flat("10,000 clients")?;
    ensure!(proxy.metric("clonelove_panics_total", &[])? == 0.0, "a task panicked");
    Ok(())
}

/// All that a client holds while it says nothing: its task, its buffers, its place in lists.
#[test]
fn a_client_that_waits_costs_at_most_six_kibibytes() -> Result<()> {
    const CLIENTS: u64 = 1_500;
    const MOST: u64 = 6 * 1024;
    let (_cluster, proxy) = start()?;
    let greet = || -> Result<Connection> {
        let mut client = Connection::open_tcp(
            &format!("127.0.0.1:{}", proxy.port()),
            APP_USER,
            APP_PASSWORD,
            Some("app"),
        )?;
        client.query("SET NAMES utf8mb4")?;
        client.query("SELECT 1")?;
        Ok(client)
    };
    let _first = greet()?;
    let before = proxy.process().memory_rss()?;
    let clients: Vec<Connection> = (0..CLIENTS).map(|_| greet()).collect::<Result<_>>()?;
    wait_until("what the log-ins took to be given back", Duration::from_secs(10), || -> Result<bool> {
        let each = proxy.process().memory_rss()?.saturating_sub(before) / CLIENTS;
        ensure!(each <= MOST, "{each} bytes for each of {} clients", clients.len());
        Ok(true)
    })?;
    Ok(())
}
