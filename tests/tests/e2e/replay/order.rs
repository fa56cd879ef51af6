//! Where two servers with the same rows may answer differently: the order that ORDER BY, or its absence, leaves open.
//! Which order a server takes is its own affair (the recordings' searches rank many nodes equally), and LIMIT then
//! cuts at different rows. Owns the proof that nothing else differs.

use anyhow::{Context, Result};
use clonelove_testkit::{Cluster, Connection, Row, Server};

use super::client::{Fields, Reply, Said, frames};
use super::recording::Connect;

/// The same statement's answers.
pub(crate) struct Answers<'a> {
    pub(crate) direct: &'a Reply,
    pub(crate) proxied: &'a Reply,
}

/// What it takes to ask a server the same again: a statement, and what its connection had heard before.
pub(crate) struct Asker<'a> {
    pub(crate) connect: &'a Connect,
    pub(crate) settings: &'a [Vec<u8>],
    pub(crate) sql: &'a [u8],
}

/// Whether all that differs is the order of rows that tie, on three conditions: columns, count, status and warnings
/// are the same; so are, row by row, the values that ORDER BY names; and without LIMIT all servers have the same rows,
/// those of both answers among them.
pub(crate) fn alone_differs(
    answers: &Answers<'_>,
    asker: &Asker<'_>,
    direct: &Cluster,
    behind: &Cluster,
) -> Result<bool> {
    let Answers { direct: one, proxied: two } = answers;
    let alike = matches!(one.said, Said::Rows { .. })
        && (&one.said, one.status, one.warnings) == (&two.said, two.status, two.warnings)
        && columns(one)? == columns(two)?
        && keys(one, asker.sql)? == keys(two, asker.sql)?;
    if !alike {
        return Ok(false);
    }
    let all = asker.ask_without_limit(&direct.primary)?;
    for server in behind.servers() {
        if asker.ask_without_limit(server)? != all {
            return Ok(false);
        }
    }
    let among = |answer: &Reply| -> Result<bool> { Ok(rows(answer)?.iter().all(|row| all.contains(row))) };
    Ok(among(one)? && among(two)?)
}

/// Whether all that differs is what a server says of the plan it took (SERVER_QUERY_NO_GOOD_INDEX_USED,
/// SERVER_QUERY_NO_INDEX_USED, SERVER_QUERY_WAS_SLOW): its own statistics decide that.
pub(crate) fn plan_alone_differs(answers: &Answers<'_>) -> Result<bool> {
    const OF_PLANS: u16 = 0x10 | 0x20 | 0x800;
    let Answers { direct: one, proxied: two } = answers;
    Ok((&one.said, one.status & !OF_PLANS, one.warnings) == (&two.said, two.status & !OF_PLANS, two.warnings)
        && columns(one)? == columns(two)?
        && rows(one)? == rows(two)?)
}

impl Asker<'_> {
    /// Asks as root, whose statements are not those that the general logs are read for.
    fn ask_without_limit(&self, server: &Server) -> Result<Vec<Row>> {
        let limit = self.sql.windows(6).rposition(|word| word == b"LIMIT ");
        let sql = limit.and_then(|at| self.sql.get(..at)).unwrap_or(self.sql);
        let mut connection = Connection::open(&server.socket(), "root", Some(&self.connect.db))?;
        for setting in self.settings {
            connection.query_bytes(setting)?;
        }
        let mut rows = connection.query_bytes(sql)?;
        rows.sort();
        Ok(rows)
    }
}

/// The values of the columns that ORDER BY names, row by row. A statement without it has none; of one that orders by
/// something else than columns of its rows, the rows themselves.
fn keys(reply: &Reply, sql: &[u8]) -> Result<Vec<Row>> {
    let text = String::from_utf8_lossy(sql);
    let Some((_, clause)) = text.rsplit_once("ORDER BY ") else { return Ok(Vec::new()) };
    let clause = clause.lines().next().unwrap_or_default();
    let clause = clause.split("LIMIT ").next().unwrap_or_default();
    let mut names = Vec::new();
    for definition in columns(reply)?.iter().skip(1) {
        // Catalogue, schema, table, original table, name.
        names.push(values(definition, 5)?.pop().flatten());
    }
    let place = |term: &str| {
        let name = term.split_whitespace().next().unwrap_or_default().replace(['"', '`'], "");
        names.iter().position(|known| known.as_deref() == Some(&*name))
    };
    let places: Option<Vec<usize>> = clause.split(',').map(place).collect();
    let mut rows = rows(reply)?;
    if let Some(places) = places {
        for row in &mut rows {
            *row = places.iter().filter_map(|place| row.get(*place).cloned()).collect();
        }
    }
    Ok(rows)
}

/// Payloads of the column count and the columns' definitions.
fn columns(reply: &Reply) -> Result<Vec<&[u8]>> {
    let Said::Rows { columns, .. } = reply.said else { return Ok(Vec::new()) };
    let count = usize::try_from(columns)?;
    Ok(frames(&reply.bytes).filter_map(|frame| frame.get(4..)).take(count + 1).collect())
}

/// The rows: after the columns and an EOF, before the last EOF.
fn rows(reply: &Reply) -> Result<Vec<Row>> {
    let Said::Rows { columns, count } = reply.said else { return Ok(Vec::new()) };
    let (columns, count) = (usize::try_from(columns)?, usize::try_from(count)?);
    let payloads = frames(&reply.bytes).skip(columns + 2).take(count);
    payloads.map(|frame| values(frame.get(4..).context("a frame without a header")?, columns)).collect()
}

/// The first values of a row, or parts of a column's definition.
fn values(packet: &[u8], count: usize) -> Result<Row> {
    let mut fields = Fields(packet);
    (0..count).map(|_| fields.text()).collect()
}
