//! Small ways in which an application could have told clonelove from a server: found by MariaDB's own tests
//! (`cargo xtask mtr`), each pinned here by itself, beside a direct connection.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Clonelove, Cluster, Connection, DEFAULT_TIMEOUT, Row, wait_until,
};

use crate::support::{client, direct, error_of, quick, table, uniform, value, wait_eligible};

const ADMIN: &str = "warden";
const ADMIN_PASSWORD: &str = "warden-password";

/// A primary, a replica, clonelove, and an account that may set what is the server's.
fn stage() -> Result<(Cluster, Clonelove)> {
    let cluster = uniform(1)?;
    cluster.primary.query(&format!("CREATE USER {ADMIN} IDENTIFIED BY '{ADMIN_PASSWORD}'"))?;
    cluster.primary.query(&format!("GRANT ALL ON *.* TO {ADMIN}"))?;
    table(&cluster, 3)?;
    let proxy = Clonelove::start_with(quick(&cluster).user(ADMIN, ADMIN_PASSWORD))?;
    wait_eligible(&proxy, "replica1")?;
    Ok((cluster, proxy))
}

fn admin(address: &str) -> Result<Connection> {
    Connection::open_tcp(address, ADMIN, ADMIN_PASSWORD, Some("app"))
}

/// The rows of several statements' results.
fn told(connection: &mut Connection, statements: &[&str]) -> Result<Vec<Vec<Row>>> {
    statements.iter().map(|sql| connection.query(sql).with_context(|| (*sql).to_owned())).collect()
}

/// MariaDB's clients ask for extended types, which make definitions of columns longer; values that were read back
/// were then taken for numbers.
#[test]
fn settings_by_default_hold_for_clients_with_extended_types() -> Result<()> {
    let (_cluster, proxy) = stage()?;
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--skip-ssl", "--batch", "--skip-column-names", "--protocol=tcp"])
        .args(["--host=127.0.0.1", &format!("--port={}", proxy.port()), &format!("--user={APP_USER}"), "app"])
        .args([
            "-e",
            "SET sql_mode = DEFAULT; SET @a = 5; SELECT @a, COUNT(*) FROM t; SELECT @@sql_mode <> ''",
        ])
        .env("MYSQL_PWD", APP_PASSWORD)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said == "5\t3\n1\n", "{said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// `optimizer_switch` is set part by part.
#[test]
fn what_is_set_in_parts_is_the_same_everywhere() -> Result<()> {
    let (cluster, proxy) = stage()?;
    let script = [
        "SET optimizer_switch = 'materialization=off'",
        "SET optimizer_switch = 'mrr=on'",
        "SELECT @@optimizer_switch FROM t LIMIT 1",
        "EXPLAIN SELECT * FROM t WHERE (id, v) IN (SELECT id, MAX(v) FROM t GROUP BY id)",
    ];
    let expected = told(&mut direct(&cluster.primary)?, &script)?;
    assert_eq!(told(&mut client(&proxy)?, &script)?, expected);
    Ok(())
}

/// Who says SET GLOBAL keeps its own values; who comes afterwards begins with the new ones, wherever its statements go.
#[test]
fn a_global_setting_is_there_for_who_comes_afterwards() -> Result<()> {
    let (cluster, proxy) = stage()?;
    for (address, through) in [(cluster.primary.address(), false), (proxy.addr(), true)] {
        let mut one = admin(&address)?;
        let before = value(&mut one, "SELECT @@sort_buffer_size")?;
        one.query("SET GLOBAL sort_buffer_size = 65536, GLOBAL max_allowed_packet = 2048")?;
        assert_eq!(value(&mut one, "SELECT @@sort_buffer_size")?, before, "{through}");
        assert_eq!(value(&mut one, "SELECT LENGTH(REPEAT('a', 4000))")?, "4000", "{through}");
        let mut another = admin(&address)?;
        assert_eq!(value(&mut another, "SELECT @@sort_buffer_size")?, "65536", "{through}");
        let long = another.query("SELECT REPEAT('a', 4000) FROM t LIMIT 1")?;
        assert_eq!(long, [vec![None]], "{through}");
        one.query("SET GLOBAL sort_buffer_size = 262144, GLOBAL max_allowed_packet = 1073741824")?;
        let long = admin(&address)?.query("SELECT LENGTH(REPEAT('a', 4000)) FROM t LIMIT 1")?;
        assert_eq!(long, [vec![Some("4000".to_owned())]], "{through}");
    }
    Ok(())
}

/// Counters, traces and profiles are of the connection that did the work.
#[test]
fn counters_traces_and_profiles_are_ones_own() -> Result<()> {
    let (cluster, proxy) = stage()?;
    let script = [
        "FLUSH STATUS",
        "SELECT * FROM t",
        "SHOW SESSION STATUS LIKE 'Handler_read_rnd_next'",
        "SHOW SESSION STATUS LIKE 'Com_select'",
    ];
    let traces = ["SET optimizer_trace = 'enabled=on'", "SELECT id FROM t WHERE v = 2"];
    let traces =
        [traces.as_slice(), &["SELECT COUNT(*), MAX(query) FROM information_schema.optimizer_trace"]]
            .concat();
    let profiles = [
        "SET profiling = 1",
        "SELECT v FROM t",
        "SELECT COUNT(*) FROM information_schema.profiling WHERE query_id = 1 AND seq = 2",
    ];
    let looks_twice = [
        "SHOW STATUS LIKE 'Feature_window_functions'",
        "SELECT id, RANK() OVER (ORDER BY v) FROM t",
        "SHOW STATUS LIKE 'Feature_window_functions'",
    ];
    for statements in [script.as_slice(), traces.as_slice(), profiles.as_slice(), looks_twice.as_slice()] {
        let expected = told(&mut admin(&cluster.primary.address())?, statements)?;
        assert_eq!(told(&mut admin(&proxy.addr())?, statements)?, expected, "{statements:?}");
    }
    Ok(())
}

/// Their types too, which a table made of them shows.
#[test]
fn what_is_put_in_for_functions_has_their_types_and_values() -> Result<()> {
    let (cluster, proxy) = stage()?;
    let script = [
        "SELECT * FROM t",
        "CREATE TABLE made AS SELECT FOUND_ROWS() AS a, ROW_COUNT() AS b, CONNECTION_ID() > 0 AS c",
        "SHOW CREATE TABLE made",
        "SELECT a, b, c FROM made",
        "CREATE TABLE ids AS SELECT CONNECTION_ID() AS a",
        "SHOW CREATE TABLE ids",
        "DROP TABLE ids",
        "SELECT * FROM t",
        "CREATE TABLE ids AS SELECT 1",
        "SELECT FOUND_ROWS() + 0",
        "SELECT * FROM t",
        "SHOW CREATE TABLE ids",
        "SELECT FOUND_ROWS() + 0",
        "SET @n = (SELECT COUNT(*) FROM t WHERE id < 0)",
        "SELECT FOUND_ROWS() + 0",
        "DROP TABLE ids",
        "DROP TABLE made",
    ];
    let expected = told(&mut direct(&cluster.primary)?, &script)?;
    let answered = told(&mut client(&proxy)?, &script)?;
    for (sql, (answered, expected)) in script.iter().zip(answered.iter().zip(&expected)) {
        assert_eq!(answered, expected, "{sql}");
    }
    Ok(())
}

/// MariaDB leaves a client that may not become another the one it was, and knows the command no more after three times.
#[test]
fn a_refused_change_of_user_leaves_the_client_who_it_was() -> Result<()> {
    let (cluster, proxy) = stage()?;
    let try_all = |mut session: Connection| -> Result<Vec<(u16, String)>> {
        let mut codes = Vec::new();
        for _ in 0..4 {
            let refused = error_of(session.change_user(ADMIN, "not the password", "app"))?;
            codes
                .push((refused.code, value(&mut session, "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)")?));
        }
        Ok(codes)
    };
    let expected = try_all(direct(&cluster.primary)?)?;
    assert_eq!(expected.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [1045, 1045, 1045, 1047]);
    assert_eq!(try_all(client(&proxy)?)?, expected);
    Ok(())
}

/// The server is told at once that nobody waits any more.
#[test]
fn a_client_that_leaves_waits_for_no_lock() -> Result<()> {
    let (cluster, proxy) = stage()?;
    let mut holder = client(&proxy)?;
    assert_eq!(value(&mut holder, "SELECT GET_LOCK('dangling', 0)")?, "1");
    let mut waiting = client(&proxy)?;
    waiting.send("SELECT GET_LOCK('dangling', 3600)")?;
    let waits = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT GET_LOCK(%'";
    let count = |number: &str| {
        wait_until("the number of those who wait", DEFAULT_TIMEOUT, || {
            cluster.primary.value(waits).is_ok_and(|now| now == number)
        })
    };
    count("1")?;
    waiting.vanish();
    count("0")
}

/// 4031 ends a connection on MySQL; on MariaDB it is about a trigger.
#[test]
fn an_error_of_mariadbs_own_number_ends_nothing() -> Result<()> {
    let (cluster, proxy) = stage()?;
    let sql = "CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW FOLLOWS a SET NEW.v = 1";
    for address in [cluster.primary.address(), proxy.addr()] {
        let mut session = admin(&address)?;
        assert_eq!(error_of(session.query(sql))?.code, 4031);
        assert_eq!(value(&mut session, "SELECT COUNT(*) FROM t")?, "3");
    }
    Ok(())
}

/// Errors about the schema that a client names are the server's own.
#[test]
fn a_schema_that_cannot_be_is_refused_in_the_servers_words() -> Result<()> {
    let (cluster, proxy) = stage()?;
    for schema in ["no_such_schema", "with space at its end "] {
        let open = |address: &str| Connection::open_tcp(address, ADMIN, ADMIN_PASSWORD, Some(schema));
        let expected = error_of(open(&cluster.primary.address()))?;
        assert_eq!(error_of(open(&proxy.addr()))?, expected, "{schema}");
    }
    Ok(())
}

/// Who looks for itself among the server's connections finds the one that asks.
#[test]
fn a_client_finds_itself_in_the_processlist() -> Result<()> {
    let (cluster, proxy) = stage()?;
    let own = "SELECT user, COUNT(*), MAX(memory_used > 0) FROM information_schema.processlist \
               WHERE id = CONNECTION_ID()";
    let expected = admin(&cluster.primary.address())?.query(own)?;
    let mut session = admin(&proxy.addr())?;
    assert_eq!(session.query(own)?, expected);
    let prepared = format!("PREPARE own FROM '{own}'");
    session.query(&prepared)?;
    assert_eq!(session.query("EXECUTE own")?, expected);
    assert_eq!(value(&mut session, "SELECT @@pseudo_thread_id = CONNECTION_ID()")?, "1");
    assert_eq!(
        value(&mut session, "SELECT @@session.pseudo_thread_id")?,
        value(&mut session, "SELECT CONNECTION_ID()")?
    );
    session.query("SELECT GET_LOCK('own', 0)")?;
    assert_eq!(value(&mut session, "SELECT IS_USED_LOCK('own') = CONNECTION_ID()")?, "1");
    let mut other = admin(&proxy.addr())?;
    assert_eq!(value(&mut other, "SELECT IS_USED_LOCK('own') = CONNECTION_ID()")?, "0");
    Ok(())
}

/// A function that fails has done what it did before: a reply that says "denied" may be about what is in it.
#[test]
fn what_a_function_set_before_it_failed_is_there() -> Result<()> {
    let (cluster, proxy) = stage()?;
    cluster.primary.query(
        "CREATE FUNCTION app.halfway () RETURNS INT DETERMINISTIC BEGIN SET @halfway = 'yes'; RETURN (SELECT v FROM app.nowhere); END",
    )?;
    cluster.wait_caught_up()?;
    for address in [cluster.primary.address(), proxy.addr()] {
        let mut session = admin(&address)?;
        assert_eq!(error_of(session.query("SELECT halfway()"))?.code, 1146);
        assert_eq!(value(&mut session, "SELECT @halfway")?, "yes");
    }
    Ok(())
}

/// Who changes their own password goes on, though it came with another one.
#[test]
fn a_client_that_changes_its_password_goes_on() -> Result<()> {
    let (cluster, proxy) = stage()?;
    for address in [cluster.primary.address(), proxy.addr()] {
        let mut session = admin(&address)?;
        session.query("SET PASSWORD = PASSWORD('another')")?;
        for v in 0..3 {
            session.query(&format!("UPDATE t SET v = {v}"))?;
        }
        session.query(&format!("ALTER USER {ADMIN} IDENTIFIED BY '{ADMIN_PASSWORD}'"))?;
    }
    Ok(())
}
