//! Plays what Drupal really sent, in its order, through the judge.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::judge::{Judge, Place, Player};
use super::site::Site;
use crate::bench::site::{load_site, recordings};

/// The recorded sites that are at hand, with their files.
pub(super) fn sites() -> Vec<(&'static str, PathBuf)> {
    ["drupal7", "drupal10"]
        .into_iter()
        .map(|site| (site, recordings().join(format!("{site}.jsonl.gz"))))
        .filter(|(_, file)| file.is_file())
        .collect()
}

/// Plays one recording on servers that were just started.
pub(super) fn play(
    site: &mut Site,
    judge: &mut Judge,
    name: &str,
    file: &PathBuf,
    tell: &mut dyn FnMut(&Judge),
) -> Result<()> {
    load_site(&site.cluster, name)?;
    site.cluster.wait_caught_up()?;
    let mut unpack = Command::new("zcat").arg(file).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(unpack.stdout.take().context("no output of zcat")?).lines();
    let mut players: BTreeMap<u64, Player> = BTreeMap::new();
    for (index, line) in lines.enumerate() {
        let request: Value = serde_json::from_str(&line?)?;
        let place = Place { file: name.to_owned(), line: index + 1 };
        for command in request.get("commands").and_then(Value::as_array).into_iter().flatten() {
            one(site, judge, &mut players, command, &place)?;
        }
        tell(judge);
    }
    unpack.wait()?;
    judge.tally.files += 1;
    Ok(())
}

fn one(
    site: &mut Site,
    judge: &mut Judge,
    players: &mut BTreeMap<u64, Player>,
    command: &Value,
    place: &Place,
) -> Result<()> {
    let connection = command.get("conn").and_then(Value::as_u64).context("a command without a connection")?;
    if let Some(connect) = command.get("connect") {
        let schema = connect.get("db").and_then(Value::as_str);
        let flags = connect.get("capabilities").and_then(Value::as_array);
        let found_rows = flags.is_some_and(|flags| flags.iter().any(|flag| flag == "FOUND_ROWS"));
        let player = Player::open(site, "root", schema, found_rows).map_err(anyhow::Error::msg)?;
        players.insert(connection, player);
        judge.disturbed();
        return Ok(());
    }
    if command.get("com").and_then(Value::as_str) == Some("QUIT") {
        players.remove(&connection);
        return Ok(());
    }
    let Some(sql) = statement(command) else { return Ok(()) };
    let player = players.get_mut(&connection).context("a statement before its connection")?;
    judge
        .statement(site, player, &sql, place)
        .map_err(|fault| anyhow::anyhow!("{}:{}: {fault:?}", place.file, place.line))?;
    Ok(())
}

fn statement(command: &Value) -> Option<Vec<u8>> {
    let text = |name: &str| command.get(name).and_then(Value::as_str);
    text("sql").map(|sql| sql.as_bytes().to_vec()).or_else(|| text("sql_base64").map(decoded))
}

/// Base64, in which the few statements stand that are not UTF-8.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0_u32, 0_u32, Vec::new());
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        bits = (bits << 6) | u32::try_from(digit).unwrap_or(0);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap_or(0));
        }
    }
    bytes
}
