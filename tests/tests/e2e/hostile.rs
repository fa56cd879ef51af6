//! Clients and servers that do not keep to the protocol: nothing panics, nobody else notices, everything is freed.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    Break, Clonelove, Cluster, Config, Connection, DEFAULT_TIMEOUT, Link, Peer, SqlError, wait_until,
};

use serde_json::Value;

use crate::support::{
    client, error_of, hasty, queries, quick, reason, retries, said_of, table, uniform, value, wait_eligible,
    wait_said,
};

/// A reproducible stream of numbers (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let count = self.below(most) + 1;
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// A packet with a right header.
fn framed(seq: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len().to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], seq];
    packet.extend_from_slice(payload);
    packet
}

/// A client that has read the greeting and no more.
fn greeted(proxy: &Clonelove) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy.addr())?;
    stream.set_read_timeout(Some(DEFAULT_TIMEOUT))?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut greeting = vec![0; usize::from(head[0]) + 256 * usize::from(head[1])];
    stream.read_exact(&mut greeting)?;
    ensure!(greeting[0] == 10, "no greeting: {greeting:?}");
    Ok(stream)
}

/// All that comes until the other side closes.
fn rest(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => Ok(said),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(said),
        Err(error) => Err(error).context("it was not closed"),
    }
}

/// What is held while nobody is connected: descriptors other than idle connections to servers and those of the monitor,
/// which is made when somebody needs to know a position.
fn held(proxy: &Clonelove) -> Result<u64> {
    let status = proxy.status()?;
    let servers = status["servers"].as_array().context("no servers")?;
    let own = |server: &Value| -> Option<u64> {
        let connections = &server["connections"];
        Some(connections["idle"].as_u64()?.saturating_add(connections["monitor"].as_u64()?))
    };
    let idle: u64 = servers.iter().filter_map(own).sum();
    Ok(u64::try_from(proxy.process().open_fds()?)?.saturating_sub(idle))
}

/// A daemon before a primary and a replica, with what is held when nobody is connected.
fn begin() -> Result<(Cluster, Clonelove, u64)> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let proxy = Clonelove::start_with(quick(&cluster))?;
    wait_eligible(&proxy, "replica1")?;
    // Makes what is made once: the connection that waits for positions is one.
    let mut session = client(&proxy)?;
    session.query("UPDATE t SET v = 1 WHERE id = 1")?;
    value(&mut session, "SELECT v FROM t WHERE id = 1")?;
    drop(session);
    wait_nobody(&proxy)?;
    let held = held(&proxy)?;
    Ok((cluster, proxy, held))
}

fn wait_nobody(proxy: &Clonelove) -> Result<()> {
    wait_until("all clients to be gone", DEFAULT_TIMEOUT, || -> Result<bool> {
        Ok(proxy.metric("clonelove_client_connections", &[])? == 0.0)
    })
}

/// Whatever happened: no panic, everything freed, and others are served.
fn unharmed(proxy: &Clonelove, held_before: u64) -> Result<()> {
    assert_eq!(value(&mut client(proxy)?, "SELECT COUNT(*) FROM t")?, "5");
    wait_nobody(proxy)?;
    wait_until("descriptors, statements and leases to be freed", DEFAULT_TIMEOUT, || -> Result<bool> {
        let now = held(proxy)?;
        ensure!(now <= held_before, "{now} descriptors, {held_before} before");
        for server in ["primary", "replica1"] {
            let said = said_of(proxy, server)?;
            let busy = &said["connections"];
            ensure!(said["in_flight"] == 0 && busy["busy"] == 0 && busy["pinned"] == 0, "{said}");
        }
        let pins: f64 = proxy.metric("clonelove_pins", &[])?;
        ensure!(pins == 0.0, "{pins} pins");
        Ok(true)
    })?;
    assert_eq!(proxy.metric("clonelove_panics_total", &[])?, 0.0);
    assert!(!proxy.log().contains("panicked"));
    Ok(())
}

#[test]
fn random_bytes_in_place_of_a_log_in_are_refused() -> Result<()> {
    let (_cluster, proxy, before) = begin()?;
    let mut dice = Dice(20_261_122);
    for round in 0..300 {
        let mut stream = greeted(&proxy)?;
        let bytes = dice.bytes(200);
        let sent = match round % 3 {
            0 => bytes,
            1 => framed(1, &bytes),
            // Begins like a log-in with all that can be announced, so that more of it is looked at.
            _ => {
                let mut payload = vec![0xff, 0xff, 0xbf, 0x00, 0, 0, 0, 1, 45];
                payload[3] = 0x1f & dice.next().to_le_bytes()[0];
                payload.extend_from_slice(&[0; 23]);
                payload.extend_from_slice(&bytes);
                framed(1, &payload)
            }
        };
        // It may have been refused before all was sent.
        let _ = stream.write_all(&sent);
        stream.shutdown(Shutdown::Write).ok();
        let said = rest(&mut stream)?;
        let refused = said.get(4) == Some(&0xff) || said.get(4) == Some(&0xfe);
        ensure!(said.is_empty() || refused, "round {round}: {sent:?} was answered {said:?}");
    }
    unharmed(&proxy, before)
}

#[test]
fn random_bytes_after_the_log_in_end_the_client_or_get_an_answer() -> Result<()> {
    let (_cluster, proxy, before) = begin()?;
    let mut dice = Dice(42);
    for round in 0..300 {
        let mut session = client(&proxy)?;
        session.set_patience(Duration::from_secs(5))?;
        let bytes = dice.bytes(60);
        if round % 4 == 0 {
            session.send_raw(&bytes)?;
        } else {
            session.send_raw(&framed(0, &bytes))?;
            // Some commands have no reply; this one has.
            session.send_raw(&framed(0, &[0x0e])).ok();
            session.receive_packet().ok();
        }
        session.vanish();
    }
    unharmed(&proxy, before)
}

#[test]
fn what_is_no_command_is_told_so_and_ends_the_client() -> Result<()> {
    let (_cluster, proxy, before) = begin()?;
    let cases: [(&str, Vec<u8>); 3] = [
        ("a command without a byte", framed(0, b"")),
        ("sequence number", framed(7, b"\x03SELECT 1")),
        ("sequence number", framed(1, b"\x0e")),
    ];
    for (words, bytes) in cases {
        let mut session = client(&proxy)?;
        session.send_raw(&bytes)?;
        let error = error_of(session.receive())?;
        assert_eq!((error.code, error.state.as_str()), (1835, "HY000"), "{error}");
        assert!(error.message.contains(words), "{error}");
        assert!(session.is_closed()?);
    }
    assert_eq!(proxy.metric("clonelove_errors_total", &["fault=\"client_protocol\""])?, 3.0);
    unharmed(&proxy, before)
}

#[test]
fn a_packet_over_the_limit_is_told_so_and_ends_the_client() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let config =
        quick(&cluster).set("limits", "max_packet", "\"1MiB\"").set("limits", "analyse_up_to", "\"64KiB\"");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    drop(client(&proxy)?);
    wait_nobody(&proxy)?;
    let before = held(&proxy)?;
    let mut session = client(&proxy)?;
    let mut sql = b"\x03SELECT '".to_vec();
    sql.resize(2 << 20, b'x');
    // It is refused before all was sent.
    session.send_raw(&framed(0, &sql)).ok();
    match session.receive() {
        Err(error) if SqlError::of(&error).is_none() => {}
        other => assert_eq!(error_of(other)?.code, 1153),
    }
    // A log-in of that size is none.
    let mut stream = greeted(&proxy)?;
    let _ = stream.write_all(&framed(1, &vec![0; 300 * 1024]));
    let said = rest(&mut stream)?;
    assert!(said.is_empty() || said.get(4) == Some(&0xff), "{said:?}");
    // One that is allowed works, also when it is too long to be understood.
    let long = format!("SELECT LENGTH('{}')", "y".repeat(500_000));
    assert_eq!(value(&mut client(&proxy)?, &long)?, "500000");
    assert_eq!(reason(&proxy, "too_large")?, 1.0);
    drop(session);
    unharmed(&proxy, before)
}

#[test]
fn clients_that_vanish_in_the_middle_of_anything_free_everything() -> Result<()> {
    let (cluster, proxy, before) = begin()?;
    cluster.primary.query("CREATE TABLE app.large (a INT PRIMARY KEY, b LONGTEXT)")?;
    for a in 0..10 {
        cluster.primary.query(&format!("INSERT INTO app.large VALUES ({a}, REPEAT('x', 4000000))"))?;
    }
    cluster.wait_caught_up()?;
    for round in 0..5 {
        // In the middle of a log-in.
        let mut stream = greeted(&proxy)?;
        stream.write_all(&framed(1, &[0x0d; 40])[..20])?;
        drop(stream);
        // In the middle of a packet, short and long.
        let mut session = client(&proxy)?;
        session.send_raw(&framed(0, b"\x03SELECT 1")[..7])?;
        session.vanish();
        let mut session = client(&proxy)?;
        session.send_raw(&[0xff, 0xff, 0xff, 0, 3])?;
        session.send_raw(b"INSERT INTO large VALUES (100, '")?;
        session.vanish();
        // In the middle of a result, of a transaction, and while a statement runs.
        let mut session = client(&proxy)?;
        session.send("SELECT b FROM large")?;
        session.receive_packet()?;
        session.vanish();
        let mut session = client(&proxy)?;
        session.query("START TRANSACTION")?;
        session.query(&format!("INSERT INTO large VALUES ({}, '')", 1000 + round))?;
        session.vanish();
        let mut session = client(&proxy)?;
        session.send("SELECT SLEEP(600)")?;
        wait_until("the statement to run", DEFAULT_TIMEOUT, || -> Result<bool> {
            Ok(said_of(&proxy, "replica1")?["in_flight"] == 1)
        })?;
        session.vanish();
        wait_nobody(&proxy)?;
    }
    unharmed(&proxy, before)?;
    wait_until("the transactions to be rolled back", DEFAULT_TIMEOUT, || -> Result<bool> {
        Ok(cluster.primary.value("SELECT COUNT(*) FROM information_schema.innodb_trx")? == "0")
    })?;
    assert_eq!(cluster.primary.value("SELECT COUNT(*) FROM app.large")?, "10");
    Ok(())
}

#[test]
fn health_checkers_that_connect_and_leave_are_not_worth_a_line() -> Result<()> {
    let (_cluster, proxy, before) = begin()?;
    let quiet = |log: &str| {
        !log.lines().any(|line| [" INFO ", " WARN ", "ERROR "].iter().any(|level| line.contains(level)))
    };
    let start = proxy.log().len();
    for _ in 0..20 {
        // Without reading, after reading, with COM_QUIT numbered as a new command and as a reply.
        drop(TcpStream::connect(proxy.addr())?);
        drop(greeted(&proxy)?);
        for seq in [0, 1] {
            let mut stream = greeted(&proxy)?;
            stream.write_all(&framed(seq, &[1]))?;
            assert_eq!(rest(&mut stream)?, b"", "COM_QUIT has no reply");
        }
        // With a reset instead of a farewell: unread bytes make one.
        drop(TcpStream::connect(proxy.addr())?);
        // And after a log-in.
        drop(client(&proxy)?);
        client(&proxy)?.vanish();
    }
    wait_nobody(&proxy)?;
    let log = proxy.log();
    let since = log.get(start..).context("the log shrank")?;
    assert!(quiet(since), "{since}");
    unharmed(&proxy, before)
}

#[test]
fn who_takes_too_long_to_log_in_is_put_out() -> Result<()> {
    let cluster = uniform(0)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("limits", "login_timeout", "\"300ms\""))?;
    let mut silent = greeted(&proxy)?;
    assert_eq!(rest(&mut silent)?, b"");
    // A byte now and then does not help.
    let mut slow = greeted(&proxy)?;
    let packet = framed(1, &[0x0d; 200]);
    let mut bytes = packet.chunks(1);
    wait_until("the slow client to be put out", DEFAULT_TIMEOUT, || {
        bytes.next().is_none_or(|byte| slow.write_all(byte).is_err())
    })?;
    assert!(bytes.next().is_some(), "it was given the time to send all");
    wait_nobody(&proxy)?;
    assert_eq!(
        proxy.metric("clonelove_client_connections_refused_total", &["fault=\"client_network\""])?,
        2.0
    );
    Ok(())
}

/// A replica behind a link, and what came of a read that met the break.
fn behind_a_link() -> Result<(Cluster, Clonelove, Link, Link)> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let (primary, replica) =
        (Link::to(&cluster.primary.address())?, Link::to(&cluster.replicas[0].address())?);
    let config = hasty(Config::for_cluster(&cluster))
        .without_servers()
        .server("primary", &primary.address(), "")
        .server("replica1", &replica.address(), "");
    let proxy = Clonelove::start_with(config)?;
    wait_eligible(&proxy, "replica1")?;
    Ok((cluster, proxy, primary, replica))
}

/// Replies that no server gives.
fn nonsense() -> Vec<Vec<u8>> {
    let mut dice = Dice(7);
    let mut all = vec![
        framed(1, b""),
        framed(9, &[0, 0, 0, 2, 0, 0, 0]),
        framed(1, &[0]),
        framed(1, &[0xff]),
        framed(1, &[0xfe; 9]),
        framed(1, &[0xfb]),
        framed(1, &[0xfc, 0xff]),
        framed(1, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        [framed(1, &[1]), framed(2, &[0xff; 50]), framed(3, &[0xfe, 0, 0, 2, 0])].concat(),
        [framed(1, &[1]), framed(5, &[3])].concat(),
        vec![0xff, 0xff, 0xff, 1, 0, 0],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ];
    all.extend((0..60).map(|_| dice.bytes(100)));
    all.extend((0..60).map(|_| framed(1, &dice.bytes(40))));
    all
}

#[test]
fn a_read_that_a_replica_answers_with_nonsense_is_answered_by_another_or_fails_alone() -> Result<()> {
    let (_cluster, proxy, _primary, replica) = behind_a_link()?;
    for answer in nonsense() {
        replica.break_at("/* break */", Break::Answer(answer.clone()));
        let mut session = client(&proxy)?;
        session.set_patience(Duration::from_secs(20))?;
        session.send("SELECT v /* break */ FROM t WHERE id = 3")?;
        // What was forwarded already cannot be taken back: then the client is parted from, or knows an error.
        match session.receive() {
            Ok(rows) => ensure!(plausible(&answer, &rows), "{answer:?} became {rows:?}"),
            Err(error) => ensure!(!format!("{error:#}").contains("timed out"), "{answer:?}: {error:#}"),
        }
    }
    replica.mend();
    assert_eq!(proxy.metric("clonelove_panics_total", &[])?, 0.0);
    wait_eligible(&proxy, "replica1")?;
    assert_eq!(value(&mut client(&proxy)?, "SELECT v FROM t WHERE id = 3")?, "3");
    Ok(())
}

/// The right answer; or nothing at all, where the nonsense happened to be a packet without rows.
fn plausible(answer: &[u8], rows: &[Vec<Option<String>>]) -> bool {
    rows == [[Some("3".to_owned())]] || (rows.is_empty() && answer.get(4) == Some(&0))
}

#[test]
fn a_read_whose_reply_breaks_off_before_it_reached_the_client_is_retried() -> Result<()> {
    let (_cluster, proxy, _primary, replica) = behind_a_link()?;
    for (times, how) in [Break::Close, Break::CutReply(0), Break::CutReply(3)].into_iter().enumerate() {
        replica.break_at("/* break */", how);
        let mut session = client(&proxy)?;
        assert_eq!(value(&mut session, "SELECT v /* break */ FROM t WHERE id = 3")?, "3");
        assert_eq!(retries(&proxy, "server_lost")?, (times + 1) as f64);
        assert_eq!(value(&mut session, "SELECT v FROM t WHERE id = 4")?, "4");
    }
    assert_eq!(reason(&proxy, "retried")?, 3.0);
    Ok(())
}

#[test]
fn a_write_whose_reply_is_lost_fails_and_is_not_repeated() -> Result<()> {
    let (cluster, proxy, primary, _replica) = behind_a_link()?;
    let mut session = client(&proxy)?;
    for (id, how) in [
        (100, Break::Close),
        (101, Break::CutReply(0)),
        (102, Break::CutReply(5)),
        (103, Break::Answer(framed(3, &[0, 0, 0]))),
        (104, Break::Answer(b"nonsense".to_vec())),
    ] {
        primary.break_at("/* break */", how.clone());
        let error = error_of(session.query(&format!("INSERT INTO t /* break */ VALUES ({id}, 0)")))?;
        assert_eq!(error.code, 1927, "{how:?}: {error}");
        assert!(error.message.contains("primary"), "{error}");
        // Nothing hung on the connection, so the session goes on with another one.
        session.query(&format!("INSERT INTO t VALUES ({}, 0)", id + 100))?;
    }
    primary.mend();
    // Where the server got the statement it was executed once, and the session reads it.
    for (id, count) in [(100, "0"), (101, "1"), (102, "1"), (103, "0"), (104, "0")] {
        assert_eq!(value(&mut session, &format!("SELECT COUNT(*) FROM t WHERE id = {id}"))?, count);
        assert_eq!(cluster.primary.value(&format!("SELECT COUNT(*) FROM app.t WHERE id = {id}"))?, count);
    }
    assert_eq!(proxy.metric("clonelove_panics_total", &[])?, 0.0);
    Ok(())
}

/// The start of a conversation as a server has it: greeting, and yes to any log-in.
fn let_in(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut greeting = b"\x0a10.11.0-MariaDB\0\x01\0\0\0abcdefgh\0".to_vec();
    greeting.extend_from_slice(&[0xfe, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
    greeting.extend_from_slice(&[0; 10]);
    greeting.extend_from_slice(b"abcdefghijkl\0mysql_native_password\0");
    stream.write_all(&framed(0, &greeting))?;
    let mut buffer = [0; 4096];
    let _whatever = stream.read(&mut buffer)?;
    stream.write_all(&framed(2, &[0, 0, 0, 2, 0, 0, 0]))
}

/// Servers as they should not be, each with its name.
fn impostors() -> Result<Vec<(&'static str, Peer)>> {
    let answers = |answer: &'static [u8]| {
        move |mut stream: TcpStream| {
            let mut buffer = [0; 4096];
            let _ = let_in(&mut stream);
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        }
    };
    Ok(vec![
        ("closes", Peer::start(drop)?),
        (
            "random",
            Peer::start(|mut stream| {
                let mut dice = Dice(99);
                while stream.write_all(&dice.bytes(5_000)).is_ok() {}
            })?,
        ),
        ("zeros", Peer::start(|mut stream| while stream.write_all(&[0; 4096]).is_ok() {})?),
        (
            "refuses",
            Peer::start(|mut stream| {
                let _ = stream.write_all(&framed(0, b"\xff\x10\x04Too many connections"));
            })?,
        ),
        (
            "silent",
            Peer::start(|mut stream| {
                let _ = stream.read(&mut [0]);
            })?,
        ),
        ("hollow", Peer::start(answers(b"\0\0\0\x01"))?),
        ("nonsense", Peer::start(answers(b"\x03\0\0\x01\x02\x03\x04garbage"))?),
        // Rows without an end.
        (
            "endless",
            Peer::start(|mut stream| {
                let _ = let_in(&mut stream);
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&framed(1, &[1]));
                let _ = stream
                    .write_all(&framed(2, b"\x03def\0\0\0\x01a\x01a\x0c\x2d\0\xff\0\0\0\xfd\0\0\0\0\0"));
                let mut row = vec![0xfd, 0, 0, 1];
                row.resize(4 + 65_536, b'x');
                for seq in (0..=255).cycle().skip(3) {
                    if stream.write_all(&framed(seq, &row)).is_err() {
                        return;
                    }
                }
            })?,
        ),
    ])
}

#[test]
fn servers_that_are_none_are_out_and_harm_nobody() -> Result<()> {
    let cluster = uniform(1)?;
    table(&cluster, 5)?;
    let impostors = impostors()?;
    let mut config = quick(&cluster);
    for (name, peer) in &impostors {
        config = config.server(name, &peer.address(), "");
    }
    let proxy = Clonelove::spawn(config)?;
    wait_eligible(&proxy, "replica1")?;
    wait_said(&proxy, "primary", "role", "primary")?;
    for (name, peer) in &impostors {
        wait_until(&format!("{name} to be probed five times"), DEFAULT_TIMEOUT, || peer.accepted() >= 5)?;
        let said = said_of(&proxy, name)?;
        assert_eq!(
            (said["state"].as_str(), said["eligible"].as_bool()),
            (Some("down"), Some(false)),
            "{said}"
        );
        assert!(said["last_error"].is_string(), "{said}");
    }
    let mut session = client(&proxy)?;
    session.query("UPDATE t SET v = 9 WHERE id = 3")?;
    assert_eq!(value(&mut session, "SELECT v FROM t WHERE id = 3")?, "9");
    assert!(queries(&proxy, "primary")? >= 1.0);
    assert_eq!(proxy.metric("clonelove_panics_total", &[])?, 0.0);
    let memory = proxy.process().memory_rss()?;
    assert!(memory < 300 << 20, "{memory} bytes");
    for (name, _) in &impostors {
        let told = proxy
            .log()
            .lines()
            .filter(|line| !line.contains("DEBUG") && line.contains(&format!("\"{name}\"")))
            .count();
        assert!(told <= 2, "{told} lines about {name}");
    }
    Ok(())
}

#[test]
fn a_connection_that_stays_open_and_says_nothing_is_put_out_when_its_time_is_over() -> Result<()> {
    let cluster = uniform(0)?;
    let proxy = Clonelove::start_with(quick(&cluster).set("limits", "client_idle_timeout", "\"300ms\""))?;
    let mut session: Connection = client(&proxy)?;
    assert!(session.is_closed()?);
    wait_nobody(&proxy)
}
