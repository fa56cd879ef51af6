//! One statement at a time: what the analysis says of it, what it then does to the primary, and what the replica
//! answers. Owns the judgement; who sends which statement is of no concern here.

use std::collections::BTreeSet;

use clonelove_route::decide::{Plan, Policy, plan};
use clonelove_route::journal::{Journal, Way};
use clonelove_route::pins::Pin;
use clonelove_route::reason::Reason;
use clonelove_route::session::{Heard, Ran, Session, Settled, Transaction};
use clonelove_sql::{Charset, Dialect, Facts, Kind, Modes, Resolved, Why, analyse};

use super::carry::{self, State};
use super::classes::{self, Text};
use super::client::{Client, Fault, Reply};
use super::difference::{Difference, difference, first_difference, plain};
use super::parser;
use super::site::Site;
use super::tables;
use super::tally::{Finding, Tally};

/// Where a statement stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
}

/// A session on the primary, with what clonelove would know of it.
pub(super) struct Player {
    pub(super) client: Client,
    pub(super) model: Session,
    user: String,
    found_rows: bool,
    replica: Option<Reader>,
    /// Another one, for reads of a session that clonelove has pinned.
    carried: Option<(Client, State)>,
    before: Option<(u64, Snapshot)>,
}

/// Its connection to the replica.
struct Reader {
    client: Client,
    heard: Journal,
    schema: Option<String>,
}

/// What a read must leave as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snapshot {
    variables: Vec<Vec<u8>>,
    position: Vec<Vec<u8>>,
    counters: Vec<Vec<u8>>,
    locks: Vec<Vec<Option<String>>>,
}

/// What must not move, of the session (Handler_update and Handler_delete count the server's own temporary tables too): rows written anywhere but in the server's own temporary tables, and statements
/// that write, those within functions included.
const WATCH: &str = "SELECT * FROM information_schema.user_variables ORDER BY variable_name LIMIT 1000000; \
    SELECT @@global.gtid_binlog_pos; \
    SHOW SESSION STATUS WHERE Variable_name IN ('Handler_write', 'Com_insert', \
    'Com_insert_select', 'Com_update', 'Com_update_multi', 'Com_delete', 'Com_delete_multi', 'Com_replace', \
    'Com_replace_select', 'Com_create_table', 'Com_create_temporary_table', 'Com_drop_table', \
    'Com_drop_temporary_table', 'Com_load', 'Com_truncate', 'Com_alter_table')";

/// What the session's replies are to report: clonelove-proxy, `backend::setup::trackers`.
const TRACKERS: &str = "SET SESSION session_track_schema = 1, SESSION session_track_state_change = 1, \
    SESSION session_track_transaction_info = 'OFF', \
    SESSION session_track_system_variables = 'sql_mode,character_set_client,last_gtid'";

/// The judge, and what it has found.
pub(super) struct Judge {
    pub(super) tally: Tally,
    /// Raised by everything that may have changed what a snapshot holds.
    moment: u64,
    /// Others are writing meanwhile, so that positions tell nothing.
    pub(super) busy_others: bool,
    /// The server writes what INSERT DELAYED left to it, whenever it likes.
    pub(super) delayed: bool,
    /// Whether tables are to be compared.
    pub(super) with_tables: bool,
}

impl Player {
    /// Logs in, and makes replies tell what clonelove wants to hear.
    pub(super) fn open(
        site: &Site,
        user: &str,
        schema: Option<&str>,
        found_rows: bool,
    ) -> Result<Self, String> {
        let socket = site.cluster.primary.socket();
        let mut client =
            Client::open(&socket, user, schema, found_rows).map_err(|refusal| format!("{refusal:?}"))?;
        client.ask(TRACKERS.as_bytes()).map_err(|fault| format!("{fault:?}"))?;
        let model = Session::new(schema.map(str::to_owned), site.dialect());
        Ok(Self {
            client,
            model,
            user: user.to_owned(),
            found_rows,
            replica: None,
            carried: None,
            before: None,
        })
    }

    /// Learns from a reply, as clonelove's session does.
    pub(super) fn learn(&mut self, sql: &[u8], facts: &Facts, reply: &Reply) {
        let failed = reply.error.is_some();
        let told = |name: &str| {
            reply.variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        let transaction = Transaction { open: reply.in_transaction(), autocommit: reply.autocommit() };
        let heard = Heard {
            transaction: (!failed).then_some(transaction),
            failed,
            error: reply.code(),
            schema: reply.schema.clone(),
            modes: told("sql_mode").map(Modes::from_sql_mode),
            charset: told("character_set_client").map(Charset::from_name),
            state_changed: reply.state_changed,
            position: None,
            affected: reply.affected,
            plain_eof: reply.plain_eof,
            // What the next statement may ask about this one is not judged here.
            ..Heard::default()
        };
        if let Settled::ReadBack(_) = self.model.after(sql, facts, Ran::Primary, &heard) {
            // Carried as the state of pinned sessions is.
            self.model.read_back(None);
        }
    }

    /// The connection to the replica, set up and up to date as clonelove would have it.
    fn reader(&mut self, site: &Site) -> Result<&mut Reader, String> {
        let way = |reader: &Reader| self.model.journal.way_from(&reader.heard, true);
        let kept = self.replica.take().filter(|reader| {
            let no_schema_again = reader.schema.is_some() && self.model.schema.is_none();
            !no_schema_again && matches!(way(reader), Way::Say(_))
        });
        let mut reader = match kept {
            Some(reader) => reader,
            None => self.new_reader(site)?,
        };
        if self.model.schema != reader.schema
            && let Some(schema) = &self.model.schema
        {
            reader.hear(format!("USE `{}`", schema.replace('`', "``")).as_bytes())?;
            reader.schema = Some(schema.clone());
        }
        if let Way::Say(statements) = self.model.journal.way_from(&reader.heard, true) {
            for sql in statements {
                reader.hear(&sql)?;
            }
        }
        reader.heard = self.model.journal.clone();
        Ok(self.replica.insert(reader))
    }

    fn new_reader(&self, site: &Site) -> Result<Reader, String> {
        let socket = site.cluster.replicas.first().map(clonelove_testkit::Server::socket).unwrap_or_default();
        let client = Client::open(&socket, &self.user, None, self.found_rows)
            .map_err(|refusal| format!("log-in: {refusal:?}"))?;
        let mut reader = Reader { client, heard: Journal::default(), schema: None };
        for statement in site.burst() {
            reader.hear(statement.as_bytes())?;
        }
        Ok(reader)
    }

    /// SET GLOBAL may have changed what a session begins with.
    pub(super) fn forget_replica(&mut self) {
        self.replica = None;
        self.carried = None;
    }

    /// The connection that a routed read goes to.
    fn ready(&mut self, site: &Site, carry: bool) -> Result<&mut Client, String> {
        if carry { self.carrier(site) } else { self.reader(site).map(|reader| &mut reader.client) }
    }

    /// A connection to the replica with the session's state carried by value.
    fn carrier(&mut self, site: &Site) -> Result<&mut Client, String> {
        let variables =
            self.before.as_ref().map(|(_, snapshot)| snapshot.variables.clone()).unwrap_or_default();
        let state = carry::read(&mut self.client, &variables, self.model.schema.as_deref());
        let state = state.map_err(|fault| format!("{fault:?}"))?.ok_or("state that cannot be carried")?;
        if self.carried.as_ref().is_none_or(|(_, known)| *known != state) {
            let socket =
                site.cluster.replicas.first().map(clonelove_testkit::Server::socket).unwrap_or_default();
            let mut client = Client::open(&socket, &self.user, None, self.found_rows)
                .map_err(|r| format!("log-in: {r:?}"))?;
            carry::apply(&mut client, &state)?;
            client.ask(b"SET SESSION TRANSACTION READ ONLY").map_err(|fault| format!("{fault:?}"))?;
            self.carried = Some((client, state));
        }
        Ok(&mut self.carried.as_mut().ok_or("no replica")?.0)
    }

    /// Whether nothing but values keeps its reads on the primary.
    fn may_be_carried(&self) -> bool {
        let pin = self.model.pin();
        matches!(pin, Some(Pin::UserVariable | Pin::PreparedText | Pin::SessionSetting | Pin::LastInsertId))
    }
}

impl Reader {
    fn hear(&mut self, sql: &[u8]) -> Result<(), String> {
        match self.client.ask(sql) {
            Ok(Reply { error: None, .. }) => Ok(()),
            Ok(Reply { error: Some((code, message)), .. }) => {
                Err(format!("{}: {message} ({code})", String::from_utf8_lossy(sql)))
            }
            Err(fault) => Err(format!("{fault:?}")),
        }
    }
}

/// What a statement did that no read may do.
fn deeds(before: &Snapshot, after: &Snapshot, busy_others: bool) -> Vec<String> {
    let mut deeds = Vec::new();
    if before.position != after.position && !busy_others {
        let text = |rows: &[Vec<u8>]| {
            rows.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect::<String>()
        };
        deeds.push(format!(
            "gtid_binlog_pos moved from {} to {}",
            text(&before.position),
            text(&after.position)
        ));
    }
    if before.variables != after.variables {
        deeds.push("a user variable changed".to_owned());
    }
    for (old, new) in before.counters.iter().zip(&after.counters).filter(|(old, new)| old != new) {
        let text = |row: &[u8]| {
            row.iter()
                .map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' })
                .collect::<String>()
        };
        deeds.push(format!("{} became {}", text(old), text(new)));
    }
    if before.locks != after.locks {
        deeds.push(format!("user locks {:?} became {:?}", before.locks, after.locks));
    }
    deeds
}

impl Judge {
    pub(super) fn new(with_tables: bool) -> Self {
        Self { tally: Tally::default(), moment: 0, busy_others: false, delayed: false, with_tables }
    }

    /// Something else happened on the servers.
    pub(super) fn disturbed(&mut self) {
        self.moment += 1;
    }

    /// Runs a statement and judges it.
    pub(super) fn statement(
        &mut self,
        site: &mut Site,
        player: &mut Player,
        sql: &[u8],
        place: &Place,
    ) -> Result<Reply, Fault> {
        self.tally.run += 1;
        let (dialect, schema) = (player.model.dialect, player.model.schema.clone());
        let text = Text::of(sql);
        let mut facts = analyse(sql, &dialect);
        let resolved = (facts.why.is_none() || facts.apart.is_some() && text.is_select())
            .then(|| site.resolve(&facts, schema.as_deref()));
        if let Some(resolved) = &resolved {
            // As routing does: what the text alone says gives way to what is known.
            self.tally.knowledge(facts.why, resolved.why);
            facts.why = resolved.why;
        }
        self.delayed |= text.has("DELAYED");
        let policy = Policy { primary_only: false, repeatable_by_default: site.repeatable() };
        let plan = plan(&facts, &player.model, policy);
        let read = facts.why.is_none();
        let watched = read || text.is_select();
        let before = if watched { self.snapshot(site, player)? } else { None };
        if !watched && !text.is_set() {
            self.disturbed();
            if !matches!(facts.kind, Kind::Read | Kind::Session | Kind::Transaction) && !text.is_plain_write()
            {
                site.outdate();
            }
        }
        let reply = player.client.ask(sql)?;
        player.learn(sql, &facts, &reply);
        if text.sets_global() && reply.error.is_none() {
            let _ = site.learn_defaults();
            player.forget_replica();
        }
        if reply.error.is_none() {
            self.second_opinion(
                &Case { sql, place, facts: &facts, resolved: resolved.as_ref(), text: &text },
                &dialect,
                schema.as_deref(),
            );
        }
        if !watched || reply.error.is_some() {
            self.tally.succeeded += u64::from(reply.error.is_none());
            self.disturbed();
            return Ok(reply);
        }
        self.tally.succeeded += 1;
        self.disturbed();
        let case = Case { sql, place, facts: &facts, resolved: resolved.as_ref(), text: &text };
        let after = self.snapshot(site, player)?;
        let deeds = match (before, &after) {
            (Some(before), Some(after)) => Some(deeds(&before, after, self.busy_others || self.delayed)),
            _ => None,
        };
        if read {
            self.judge_read(&case, deeds);
            match (plan, after.as_ref().and_then(|after| after.position.first())) {
                (Plan::Replica(_), Some(position)) => {
                    self.compare(site, player, &case, &reply, (&plain(position), false));
                }
                (Plan::Primary(Reason::Pinned), Some(position)) if player.may_be_carried() => {
                    self.tally.carried += 1;
                    self.compare(site, player, &case, &reply, (&plain(position), true));
                }
                (Plan::Primary(reason), _) => {
                    self.tally.stay(player.model.pin().map_or(reason.as_str(), |pin| pin.as_str()))
                }
                _ => {}
            }
        } else {
            self.kept(site, &case, deeds);
        }
        Ok(reply)
    }

    /// What sqlparser says of it, where it understands it.
    fn second_opinion(&mut self, case: &Case<'_>, dialect: &Dialect, schema: Option<&str>) {
        let Some(opinion) = parser::opinion(case.sql, dialect, schema) else { return };
        if case.facts.why.is_none() && !opinion.query {
            self.accuse(case, "a read that sqlparser calls none", String::new());
        }
        let body = case.text.has_any(&["VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"]);
        if body || case.text.first() == "SHOW" {
            // Bodies name tables that the definition neither reads nor writes; and it takes schemas of SHOW for tables.
            return;
        }
        let ours = tables::ours(case.facts, schema);
        self.tally.parser.compare(&opinion.tables, &ours, case.facts.all_tables);
        let missing: Vec<_> = opinion.tables.iter().filter(|table| !ours.contains(*table)).cloned().collect();
        if !case.facts.all_tables && !missing.is_empty() {
            self.accuse(case, "tables that sqlparser names and we do not", missing.join(", "));
        }
    }

    fn judge_read(&mut self, case: &Case<'_>, deeds: Option<Vec<String>>) {
        let Some(deeds) = deeds else {
            self.tally.unseen += 1;
            return;
        };
        self.tally.judged += 1;
        self.tally.selects += u64::from(case.text.is_select());
        if !deeds.is_empty() {
            self.accuse(case, "a read that is none", deeds.join("; "));
        }
    }

    fn accuse(&mut self, case: &Case<'_>, what: &'static str, detail: String) {
        let finding = Finding::new(what, case.place, case.sql, detail);
        finding.tell();
        self.tally.failures.push(finding);
    }

    /// A SELECT that the analysis keeps on the primary: was that needed?
    fn kept(&mut self, site: &mut Site, case: &Case<'_>, deeds: Option<Vec<String>>) {
        let harmless = deeds.is_some_and(|deeds| deeds.is_empty());
        let why = case.facts.why.map_or("read", clonelove_sql::Why::as_str);
        // What a view's own text does counts as if it stood here.
        let by_view = matches!(
            case.facts.why,
            Some(Why::LockingRead | Why::SideEffect | Why::Write | Why::ServerSpecific)
        );
        let excluded =
            by_view && case.resolved.is_some() || classes::names_an_exclusion(site, case.text, case.facts);
        self.tally.keep(why, harmless, excluded, case.place, case.sql);
    }

    /// Runs it on the replica and compares.
    fn compare(
        &mut self,
        site: &mut Site,
        player: &mut Player,
        case: &Case<'_>,
        reply: &Reply,
        how: (&str, bool),
    ) {
        let (position, carry) = how;
        if site.replica_lost {
            self.tally.alone += 1;
            return;
        }
        if let Err(why) = site.catch_up(position) {
            self.tally.broken_replication.push(format!("{}:{}: {why}", case.place.file, case.place.line));
            self.tally.alone += 1;
            site.replica_lost = true;
            return;
        }
        let answer =
            player.ready(site, carry).and_then(|client| client.ask(case.sql).map_err(|f| format!("{f:?}")));
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                self.tally.unready(&why);
                player.forget_replica();
                return;
            }
        };
        self.tally.routed += 1;
        let differs = answer.error.is_some() || difference(&reply.results, &answer.results).is_some();
        if carry && differs && reads_temporary(player, case) {
            self.tally.differ("temporary tables of a session that clonelove pins");
            return;
        }
        if let Some((code, message)) = &answer.error {
            self.refused(case, *code, message);
            return;
        }
        match difference(&reply.results, &answer.results) {
            None => self.tally.equal += 1,
            Some(Difference::Order) if !case.text.has("ORDER") => self.tally.equal += 1,
            Some(how) => self.differs(player, case, (reply, &answer), how),
        }
        if self.with_tables {
            self.compare_tables(site, player, case, carry);
        }
    }

    fn refused(&mut self, case: &Case<'_>, code: u16, message: &str) {
        if clonelove_refuses(code) {
            self.accuse(case, "refused by a read-only connection", format!("{message} ({code})"));
        } else if let Some(class) = classes::may_be_refused(code) {
            self.tally.differ(class);
        } else {
            self.accuse(case, "refused by the replica alone", format!("{message} ({code})"));
        }
    }

    /// Rows that differ: by themselves, for a reason that is written down, or wrongly.
    fn differs(&mut self, player: &mut Player, case: &Case<'_>, both: (&Reply, &Reply), how: Difference) {
        let (reply, answer) = both;
        let again = player.client.ask(case.sql).map(|again| again.results).unwrap_or_default();
        if difference(&reply.results, &again).is_some() {
            self.tally.differ("differs on the primary itself when asked twice");
        } else if let Some(class) =
            classes::may_differ(case.text, how == Difference::Order, how == Difference::Count)
        {
            self.tally.differ(class);
        } else {
            self.accuse(case, "other rows on the replica", first_difference(&reply.results, &answer.results));
        }
    }

    /// Which tables the server opens, and which we say.
    fn compare_tables(&mut self, site: &mut Site, player: &mut Player, case: &Case<'_>, carry: bool) {
        let Ok(client) = player.ready(site, carry) else { return };
        let Some(opened) = tables::opened(client, &mut site.replica_side, case.sql) else { return };
        let Some(resolved) = case.resolved else { return };
        let ours = tables::known(case.facts, resolved);
        self.tally.tables.compare(&tables::ids(&opened), &ours, resolved.all_tables);
        let lacking = |name: &&String| !tables::ids(&BTreeSet::from([(*name).clone()])).is_subset(&ours);
        let missing: Vec<_> = opened.iter().filter(lacking).cloned().collect();
        if !resolved.all_tables && !missing.is_empty() {
            self.accuse(case, "tables that we do not name", missing.join(", "));
        }
    }

    fn snapshot(&mut self, site: &mut Site, player: &mut Player) -> Result<Option<Snapshot>, Fault> {
        if let Some((moment, snapshot)) = &player.before
            && *moment == self.moment
        {
            return Ok(Some(snapshot.clone()));
        }
        let reply = player.client.ask(WATCH.as_bytes())?;
        let [variables, position, counters] = reply.results.as_slice() else { return Ok(None) };
        let locks = if site.sees_locks {
            let id = player.client.id;
            site.side.rows(&format!(
                "SELECT lock_mode, table_schema, table_name FROM information_schema.metadata_lock_info \
                 WHERE thread_id = {id} AND lock_type = 'User lock'"
            ))?
        } else {
            Vec::new()
        };
        let [variables, position, counters] = [variables, position, counters].map(|rows| rows.rows.clone());
        let snapshot = Snapshot { variables, position, counters, locks };
        player.before = Some((self.moment, snapshot.clone()));
        Ok(Some(snapshot))
    }
}

/// Whether one of the tables is a temporary one of the session's own.
fn reads_temporary(player: &mut Player, case: &Case<'_>) -> bool {
    let text = String::from_utf8_lossy(case.sql);
    let lower = text.to_ascii_lowercase();
    case.facts.tables_read.iter().any(|table| {
        // As it was written: servers may tell tables apart by case.
        let written = lower.find(&table.name).and_then(|at| text.get(at..at + table.name.len()));
        let table_name = written.unwrap_or(&table.name);
        let name = match &table.schema {
            Some(schema) => format!("`{schema}`.`{table_name}`"),
            None => format!("`{table_name}`"),
        };
        let shown = player.client.rows(&format!("SHOW CREATE TABLE {name}")).unwrap_or_default();
        let text =
            shown.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten().unwrap_or_default();
        text.replace('\0', "").starts_with("CREATE TEMPORARY")
    })
}

/// A statement under judgement.
struct Case<'a> {
    sql: &'a [u8],
    place: &'a Place,
    facts: &'a Facts,
    resolved: Option<&'a Resolved>,
    text: &'a Text,
}

/// Errors that say that a statement wanted to write.
fn clonelove_refuses(code: u16) -> bool {
    matches!(code, 1290 | 1792 | 1836)
}
