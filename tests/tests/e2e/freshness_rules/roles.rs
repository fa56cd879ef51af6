//! Who is written to: what a connection was good for before says nothing of what it is good for now.

use anyhow::{Context, Result, bail, ensure};
use clonelove_testkit::{APP_PASSWORD, APP_USER, Connection, DEFAULT_TIMEOUT, Family, Flavour, wait_until};

use super::super::support::{error_of, uniform_of};
use super::rule::{Scene, perform};

/// Lets the application write where nobody else can.
fn privilege(flavour: Flavour) -> String {
    let name = match flavour.family() {
        Family::MariaDb => "READ_ONLY ADMIN",
        Family::MySql => "CONNECTION_ADMIN",
    };
    format!("GRANT {name} ON *.* TO {APP_USER}@'%'")
}

/// The primary is made read-only between two looks at it, by somebody who means to hand over: an application that may
/// write all the same would write what the next primary lacks.
pub(super) fn a_primary_that_has_become_read_only(flavour: Flavour) -> Result<()> {
    let given = ["CREATE TABLE one (id INT PRIMARY KEY)".to_owned(), privilege(flavour)];
    let scene = Scene::on(uniform_of(flavour, 0)?, &given, |config| {
        config.set("monitor", "interval", "\"1h\"").set("pool", "min_idle", "0")
    })?;
    let primary = &scene.cluster.primary;
    primary.set_read_only(true)?;
    // Without a schema, so that this is what the first connection is made for.
    let mut session = Connection::open_tcp(&scene.proxy.addr(), APP_USER, APP_PASSWORD, None)?;
    let said = session.query("INSERT INTO app.one VALUES (1)");
    let rows = primary.value("SELECT COUNT(*) FROM app.one")?;
    if said.is_ok() && rows == "1" {
        bail!("the write was taken by a server that had become read-only");
    }
    let error = error_of(said)?;
    ensure!(error.code == 1836 && error.message.contains("it has become read-only"), "{error}");
    ensure!(rows == "0", "{rows} rows after {error}");
    Ok(())
}

/// A replica becomes the primary: its connections were never asked whether it can be written.
pub(super) fn another_primary(flavour: Flavour) -> Result<()> {
    let given = [
        "CREATE TABLE one (id INT PRIMARY KEY, v BIGINT NOT NULL)",
        "INSERT INTO one VALUES (1, 0)",
        "CREATE TRIGGER noted BEFORE INSERT ON one FOR EACH ROW SET NEW.v = CONNECTION_ID()",
    ];
    let scene = Scene::on(uniform_of(flavour, 1)?, &given.map(str::to_owned), |config| {
        config.set("monitor", "interval", "\"2s\"").set("pool", "min_idle", "0")
    })?;
    let next = &scene.cluster.replicas[0];
    wait_until("a read to run on the replica", DEFAULT_TIMEOUT, || {
        scene.told("SELECT COUNT(*) FROM one").map(|told| told.1)
    })?;
    let of_app = format!("SELECT id FROM information_schema.processlist WHERE user = '{APP_USER}'");
    let before: Vec<String> =
        next.query(&of_app)?.into_iter().flatten().collect::<Option<_>>().context("no id")?;
    ensure!(!before.is_empty(), "no connection to the replica was left open");
    scene.cluster.primary.set_read_only(true)?;
    scene.cluster.wait_caught_up()?;
    next.promote()?;
    wait_until("the promotion to be noticed", DEFAULT_TIMEOUT, || {
        Ok::<_, anyhow::Error>(scene.proxy.status()?["primary"] == next.name())
    })?;
    perform(&mut scene.client(false)?, &["INSERT INTO one VALUES (2, 0)"], str::to_owned)?;
    let over = next.value("SELECT v FROM app.one WHERE id = 2")?;
    ensure!(!before.contains(&over), "the write was taken over a connection from before the change of roles");
    Ok(())
}
