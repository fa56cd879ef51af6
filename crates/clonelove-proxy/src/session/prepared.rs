//! Prepared statements: the client's numbers for them, what they need to be executed anywhere, and the commands that
//! name them. Owns the mapping; which server executes is the plan's business, as for text.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;
use clonelove_route::reason::Reason;
use clonelove_route::session::{Ran, Traces};
use clonelove_sql::keys::{Bound, Keys, Plan, Session as KeySession};
use clonelove_sql::{Charset, Dialect, Facts, Flavour, Resolved, Why, analyse, substitute};
use clonelove_wire::command::statement_id;
use clonelove_wire::frame::{FrameHead, HEADER, write_packet};
use clonelove_wire::packet::execute::{Execute, Param};
use clonelove_wire::packet::prepare::PrepareOk;
use clonelove_wire::{Caps, Command};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connections::Leased;
use super::kill::speaks_of;
use super::login;
use super::statement::{Statement, opaque};
use super::writes::leaves_letters;
use super::{ClientSession, Next};
use crate::backend::conn::{NotBrought, Target};
use crate::backend::statements::{NotPrepared, What};
use crate::cluster::schema::View;
use crate::error::{ClientError, ServerFault};

/// More open statements than this in one session are refused, as a server does with its default limit.
const MOST_OPEN: usize = 16_382;

/// A statement that the client has prepared.
pub(super) struct Prepared {
    pub(super) what: Arc<What>,
    pub(super) facts: Arc<Facts>,
    /// How its text was read.
    dialect: Dialect,
    /// What the definitions make of it, as they were when it was last executed.
    meaning: Mutex<Option<Arc<Meaning>>>,
}

/// What the definitions make of a statement for all its executions.
pub(super) struct Meaning {
    /// The number of the view that said so.
    view: u64,
    pub(super) resolved: Resolved,
    /// Where the values of its keys stand.
    plan: Option<Plan>,
}

/// How the values of an execution are to be read.
pub(super) struct Bindings {
    types: Arc<[u8]>,
    params: u16,
}

/// The same, with what the client has said of it since.
pub(super) struct Open {
    prepared: Arc<Prepared>,
    params: u16,
    /// The types of its parameters, as last said.
    types: Arc<[u8]>,
    /// What COM_STMT_SEND_LONG_DATA brought, by parameter, in the order it came.
    long: Vec<(u16, BytesMut)>,
    long_len: usize,
    /// It has a cursor, on the connection that the session is pinned to.
    cursor: bool,
    /// What stood for it at its last execution, with values for what it asked of the statement before: the cursor is of
    /// that.
    pub(super) put: Arc<What>,
}

impl Open {
    /// For the same execution elsewhere. What was sent ahead of it is of no use to the next one.
    pub(super) fn again(&mut self) -> Self {
        Self {
            prepared: Arc::clone(&self.prepared),
            params: self.params,
            types: Arc::clone(&self.types),
            long: std::mem::take(&mut self.long),
            long_len: self.long_len,
            cursor: false,
            put: Arc::clone(&self.put),
        }
    }
}

/// Why a statement could not be put where it is to be executed.
pub(super) enum NotPut {
    /// The server refuses it.
    Refused(ClientError),
    Fault(ServerFault),
}

impl Prepared {
    pub(super) fn sql(&self) -> &[u8] {
        &self.what.sql
    }

    /// How its text was read.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What the definitions make of it.
    pub(super) fn meaning(&self, view: &View) -> Arc<Meaning> {
        let mut known = self.meaning.lock();
        if let Some(meaning) = known.as_ref().filter(|meaning| meaning.view == view.number) {
            return Arc::clone(meaning);
        }
        let What { sql, charset, schema, journal } = &*self.what;
        let resolved = view.resolve(&self.facts, schema.as_deref());
        let session = KeySession {
            dialect: &self.dialect,
            schema: schema.as_deref(),
            plain_charsets: leaves_letters(*charset, journal),
        };
        let plan = view.plan(sql, &self.facts, &resolved, session);
        let meaning = Arc::new(Meaning { view: view.number, resolved, plan });
        *known = Some(Arc::clone(&meaning));
        meaning
    }
}

impl ClientSession {
    /// COM_STMT_PREPARE: where it would be executed, so that it need not be prepared again there.
    pub(super) async fn prepare(&mut self, frame: BytesMut) -> Next {
        let sql = whole(&frame).get(1..).unwrap_or_default().to_vec();
        self.last_statement = 0;
        if self.open.len() >= MOST_OPEN {
            let error = ClientError::too_many_statements(MOST_OPEN);
            let statement = Statement::opaque(Command::StmtPrepare, frame);
            return self.refuse(&statement, &error, Reason::Limit).await;
        }
        let limit = self.shared.settings.load().limits.analyse_up_to;
        let facts =
            if sql.len() < limit { analyse(&sql, &self.state.dialect) } else { opaque(Why::TooLarge) };
        let what = What {
            sql: sql.into(),
            charset: self.response.charset,
            schema: self.state.schema.clone(),
            journal: self.state.journal.clone(),
        };
        let prepared = Prepared {
            what: Arc::new(what),
            facts: Arc::new(facts),
            dialect: self.state.dialect,
            meaning: Mutex::default(),
        };
        let statement = Statement::preparing(frame, prepared, self.next_statement);
        self.execute(statement).await
    }

    /// A server has prepared what the client asked for; the client knows it under a number of ours.
    pub(super) fn note_prepared(&mut self, ran: Ran, statement: &Statement, told: PrepareOk) {
        let Some(prepared) = &statement.prepared else { return };
        let most = self.shared.settings.load().limits.prepared_per_connection;
        let leased = match ran {
            Ran::Replica(_) => &mut self.replica,
            _ => &mut self.primary,
        };
        if let Some(leased) = leased {
            leased.conn.statements.add(Arc::clone(&prepared.what), told.statement_id, most);
        }
        let open = Open {
            prepared: Arc::clone(prepared),
            params: told.params,
            types: Arc::default(),
            long: Vec::new(),
            long_len: 0,
            cursor: false,
            put: Arc::clone(&prepared.what),
        };
        self.open.insert(self.next_statement, open);
        self.last_statement = self.next_statement;
        self.next_statement = self.next_statement.wrapping_add(1).max(1);
    }

    /// COM_STMT_EXECUTE, COM_STMT_BULK_EXECUTE.
    pub(super) async fn execute_prepared(&mut self, command: Command, frame: BytesMut) -> Next {
        let id = self.named(&frame);
        let Some(open) = self.open.get_mut(&id) else {
            return Box::pin(self.unknown_statement(id, command)).await;
        };
        let Ok(execute) = Execute::parse(payload(&frame), open.params, self.caps) else {
            let error = ClientError::malformed("an execution that ends before its types");
            return Box::pin(self.broken(&error)).await;
        };
        if let Some(types) = execute.types.filter(|types| **types != *open.types) {
            open.types = types.into();
        }
        // The server puts what came before in the place of values here.
        let bindings = Bindings { types: Arc::clone(&open.types), params: open.params };
        let bindings = (open.long_len == 0 && open.long.is_empty()).then_some(bindings);
        let (cursor, prepared) = (execute.cursor, Arc::clone(&open.prepared));
        let mut statement = Statement::new(command, frame, Arc::clone(&prepared.facts));
        statement.prepared = Some(prepared);
        statement.number = id;
        statement.bindings = bindings;
        statement.cursor = cursor;
        if speaks_of(statement.sql(), &statement.facts) {
            return Box::pin(self.kill_or_run(statement)).await;
        }
        if cursor && !self.state.transaction.open {
            return Box::pin(self.run_on_primary(statement, Reason::Command)).await;
        }
        self.execute(statement).await
    }

    /// What bounds the rows that an execution touches: by the values bound to its parameters, as the client sent them.
    pub(super) fn keys_of_execution(
        &self,
        view: &View,
        statement: &Statement,
        prepared: &Prepared,
    ) -> Option<Keys> {
        let meaning = prepared.meaning(view);
        let plan = meaning.plan.as_ref()?;
        if !plan.has_parameters() {
            return plan.keys(prepared.sql(), |_| None);
        }
        // What is bound is in the session's character set as it is now, the text in that of its time.
        let now = self.key_session();
        let plain = matches!(now.dialect.charset, Charset::Utf8 | Charset::AsciiCompatible);
        let Bindings { types, params } =
            statement.bindings.as_ref().filter(|_| plain && now.plain_charsets)?;
        let whole = whole(&statement.frame);
        let values = Execute::parse(&whole, *params, self.caps).ok()?.params(types)?;
        plan.keys(prepared.sql(), |number| match values.get(usize::from(number))? {
            Param::Integer(value) => Some(Bound::Integer(*value)),
            Param::Text(bytes) => Some(Bound::Text(bytes)),
            Param::Other => None,
        })
    }

    /// The number that a command names; MariaDB's clients say -1 for the one that they prepared last, if that went well.
    fn named(&self, frame: &BytesMut) -> u32 {
        let last = self.state.dialect.flavour == Flavour::MariaDb && self.last_statement != 0;
        match statement_id(payload(frame)).unwrap_or_default() {
            u32::MAX if last => self.last_statement,
            id => id,
        }
    }

    async fn unknown_statement(&mut self, id: u32, command: Command) -> Next {
        let mysql = self.state.dialect.flavour == Flavour::MySql;
        let error = ClientError::unknown_statement(id, command.name(), mysql);
        let statement = Statement::opaque(command, BytesMut::new());
        self.refuse(&statement, &error, Reason::AnsweredHere).await
    }

    /// COM_STMT_SEND_LONG_DATA has no reply: what is wrong with it is said when the statement is executed.
    pub(super) fn keep_long_data(&mut self, frame: &BytesMut) -> Next {
        let limit = usize::try_from(self.shared.settings.load().limits.max_packet).unwrap_or(usize::MAX);
        let id = self.named(frame);
        let whole = whole(frame);
        let body = whole.get(5..).unwrap_or_default();
        let (Some(open), Some((param, data))) = (self.open.get_mut(&id), body.split_first_chunk::<2>())
        else {
            return Next::Go;
        };
        open.long_len = open.long_len.saturating_add(data.len());
        if open.long_len > limit {
            open.long.clear();
            return Next::Go;
        }
        let param = u16::from_le_bytes(*param);
        match open.long.iter_mut().find(|(known, _)| *known == param) {
            Some((_, known)) => known.extend_from_slice(data),
            None => open.long.push((param, BytesMut::from(data))),
        }
        Next::Go
    }

    /// COM_STMT_RESET: the long data goes, and the cursor.
    pub(super) async fn reset_statement(&mut self, frame: BytesMut) -> Next {
        let id = self.named(&frame);
        let Some(open) = self.open.get_mut(&id) else {
            return self.unknown_statement(id, Command::StmtReset).await;
        };
        open.long.clear();
        open.long_len = 0;
        if !open.cursor {
            return self.answer_ok(Reason::AnsweredHere).await;
        }
        self.close_cursor(id);
        self.run_at_cursor(Command::StmtReset, frame, id).await
    }

    /// COM_STMT_FETCH: where the cursor is.
    pub(super) async fn fetch(&mut self, frame: BytesMut) -> Next {
        let id = self.named(&frame);
        match self.open.get(&id) {
            None => self.unknown_statement(id, Command::StmtFetch).await,
            Some(Open { cursor: false, .. }) => {
                let mysql = self.state.dialect.flavour == Flavour::MySql;
                let error = ClientError::no_cursor(id, mysql);
                let statement = Statement::opaque(Command::StmtFetch, frame);
                self.refuse(&statement, &error, Reason::AnsweredHere).await
            }
            Some(_) => self.run_at_cursor(Command::StmtFetch, frame, id).await,
        }
    }

    async fn run_at_cursor(&mut self, command: Command, frame: BytesMut, id: u32) -> Next {
        let prepared = self.open.get(&id).map(|open| Arc::clone(&open.prepared));
        let mut statement = Statement::new(command, frame, super::commands::of_prepared());
        statement.prepared = prepared;
        statement.number = id;
        match self.replica_of_transaction() {
            Some(at) => self.run_where_it_lives(statement, at, Reason::ReadOnlyTransaction).await,
            None => self.run_on_primary(statement, Reason::Command).await,
        }
    }

    /// COM_STMT_CLOSE has no reply. Connections keep what they have prepared, for whoever prepares it next.
    pub(super) fn close_statement(&mut self, frame: &BytesMut) -> Next {
        let id = self.named(frame);
        if let Some(open) = self.open.remove(&id) {
            if id == self.last_statement {
                self.last_statement = 0;
            }
            self.state.pins.closed(id);
            for leased in [&mut self.primary, &mut self.replica].into_iter().flatten() {
                if open.cursor {
                    leased.conn.statements.drop_one(&open.put);
                }
            }
        }
        Next::Go
    }

    /// What a reply said of a cursor: it is there, or it is at its end.
    pub(super) fn note_cursor(
        &mut self,
        ran: Ran,
        statement: &Statement,
        there: Option<bool>,
        before: Traces,
    ) {
        // Rows are counted when a cursor is opened, and not when they are fetched.
        let traces = &mut self.state.traces;
        if statement.command == Command::StmtFetch {
            (traces.found_rows, traces.found_rows_moved) = (before.found_rows, before.found_rows_moved);
        } else if statement.command == Command::StmtExecute && there == Some(true) && ran == Ran::Primary {
            traces.found_rows_moved = true;
        }
        let fetches = matches!(statement.command, Command::StmtExecute | Command::StmtFetch);
        let Some(open) = self.open.get_mut(&statement.number).filter(|_| fetches) else { return };
        if statement.command == Command::StmtExecute {
            open.long.clear();
            open.long_len = 0;
        }
        let was = open.cursor;
        open.cursor = match there {
            Some(there) => there,
            None => was && statement.command == Command::StmtFetch,
        };
        if open.cursor {
            self.state.pins.cursor(statement.number);
        } else if was {
            self.state.pins.closed(statement.number);
        }
    }

    fn close_cursor(&mut self, id: u32) {
        if let Some(open) = self.open.get_mut(&id) {
            open.cursor = false;
        }
        self.state.pins.closed(id);
    }

    /// Before a prepared statement is sent: the connection has it under a number of its own, and hears what the client
    /// said of it elsewhere.
    pub(super) async fn put_prepared(&mut self, ran: Ran, statement: &mut Statement) -> Result<(), NotPut> {
        let Some(prepared) = statement.prepared.clone() else { return Ok(()) };
        if statement.command == Command::StmtPrepare {
            return Ok(());
        }
        let what = match &statement.values {
            // They are put into the answer.
            Some(_) => Arc::clone(&prepared.what),
            None => self.what_to_put(statement, &prepared),
        };
        let leased = match ran {
            Ran::Replica(_) => &mut self.replica,
            _ => &mut self.primary,
        };
        let Some(mut leased) = leased.take() else { return Ok(()) };
        let put = self.put_on(&mut leased, &what).await;
        let Some(open) = self.open.get_mut(&statement.number) else { return Ok(()) };
        if put.is_ok() {
            open.put = Arc::clone(&what);
            address(&mut leased, &what, open, statement);
        }
        match ran {
            Ran::Replica(_) => self.replica = Some(leased),
            _ => self.primary = Some(leased),
        }
        if open.long_len > 0 && open.long.is_empty() {
            let limit = self.shared.settings.load().limits.max_packet;
            return Err(NotPut::Refused(ClientError::too_large(limit)));
        }
        put
    }

    /// A cursor is where its statement was executed; that is told what holds now of what it asks.
    fn what_to_put(&self, statement: &Statement, prepared: &Prepared) -> Arc<What> {
        let at_cursor = matches!(statement.command, Command::StmtFetch | Command::StmtReset);
        match self.open.get(&statement.number).filter(|_| at_cursor) {
            Some(open) => Arc::clone(&open.put),
            None => self.with_traces_now(prepared),
        }
    }

    /// What asks about the statement before is told what holds now.
    fn with_traces_now(&self, prepared: &Prepared) -> Arc<What> {
        if !self.asks_for_traces(&prepared.facts, &prepared.what.sql) {
            return Arc::clone(&prepared.what);
        }
        let values = self.traces();
        let What { sql, charset, schema, journal } = &*prepared.what;
        match substitute(sql, &prepared.dialect, &values) {
            None => Arc::clone(&prepared.what),
            Some(sql) => Arc::new(What {
                sql: sql.into(),
                charset: *charset,
                schema: schema.clone(),
                journal: journal.clone(),
            }),
        }
    }

    /// Has a connection prepare a statement, in the state that it belongs to.
    pub(super) async fn put_on(&self, leased: &mut Leased, what: &Arc<What>) -> Result<(), NotPut> {
        if leased.conn.statements.find(what).is_some() {
            return Ok(());
        }
        let settings = self.shared.settings.load_full();
        let until = Instant::now() + settings.pool.connect_timeout;
        let now = (self.state.schema.as_deref(), &self.state.journal);
        let then = (what.schema.as_deref().or(now.0), &what.journal);
        let elsewhere = now != then && self.may_move(leased, what);
        if elsewhere {
            self.move_to(leased, then, until).await?;
        }
        let most = settings.limits.prepared_per_connection;
        let prepared = tokio::time::timeout_at(until, leased.conn.prepare(what, most)).await;
        let prepared = prepared.unwrap_or_else(|_| {
            let why = "preparing a statement took too long";
            Err(NotPrepared::Fault(ServerFault::new(
                &leased.server.name,
                crate::error::Fault::ServerLost,
                why,
            )))
        });
        match prepared {
            Err(NotPrepared::Fault(fault)) => return Err(NotPut::Fault(fault)),
            Err(NotPrepared::Refused(refusal)) => {
                if elsewhere {
                    self.move_to(leased, now, until).await?;
                }
                return Err(NotPut::Refused(ClientError::of_server(&refusal)));
            }
            Ok(()) => {}
        }
        if elsewhere {
            self.move_to(leased, now, until).await?;
        }
        Ok(())
    }

    /// A connection with state that only lives there is not taken back to its beginning for this.
    fn may_move(&self, leased: &Leased, what: &What) -> bool {
        let free = self.state.pin().is_none();
        let reads = leased.conn.usage == crate::backend::setup::Use::Reads;
        let says = |way| matches!(way, clonelove_route::journal::Way::Say(_));
        let there = says(what.journal.way_from(&self.state.journal, reads));
        let back = says(self.state.journal.way_from(&what.journal, reads));
        free || there && back
    }

    async fn move_to(
        &self,
        leased: &mut Leased,
        (schema, journal): (Option<&str>, &clonelove_route::journal::Journal),
        until: Instant,
    ) -> Result<(), NotPut> {
        let snapshot = self.shared.cluster.snapshot();
        let server = Arc::clone(&leased.server);
        let like = || snapshot.like_primary(server.index).unwrap_or_default();
        let target = Target {
            usage: leased.conn.usage,
            charset: self.response.charset,
            schema,
            journal,
            like: &like,
            last_insert_id: None,
            no_variables: false,
            no_diagnostics: false,
            no_position: false,
            asks_diagnostics: false,
        };
        let moved = server.bring(&mut leased.conn, &target, None, || until).await;
        moved.map(drop).map_err(|not| {
            let (NotBrought::Refused(fault) | NotBrought::NoSchema(fault) | NotBrought::Unfit(fault)) = not;
            NotPut::Fault(fault)
        })
    }
}

/// The number that is bound to the only parameter of an execution.
pub(super) fn number_bound(statement: &Statement, caps: Caps) -> Option<u32> {
    let Bindings { types, params } = statement.bindings.as_ref()?;
    let whole = whole(&statement.frame);
    match Execute::parse(&whole, *params, caps).ok()?.params(types)?.as_slice() {
        [Param::Integer(number)] => u32::try_from(*number).ok(),
        [Param::Text(text)] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// The payload of a packet of one frame, and the first of one of several.
fn payload(frame: &BytesMut) -> &[u8] {
    frame.get(HEADER..).unwrap_or_default()
}

/// Writes the connection's number for a statement into the request, and what the server there has not heard yet before
/// and into it.
pub(super) fn address(leased: &mut Leased, what: &What, open: &Open, statement: &mut Statement) {
    let conn = &mut leased.conn;
    let caps = conn.caps;
    let Some(there) = conn.statements.find(what) else { return };
    let id = there.id.to_le_bytes();
    if let Some(place) = statement.frame.get_mut(HEADER.saturating_add(1)..HEADER.saturating_add(5)) {
        place.copy_from_slice(&id);
    }
    statement.ahead.clear();
    if !matches!(statement.command, Command::StmtExecute | Command::StmtBulkExecute) {
        return;
    }
    for (param, data) in &open.long {
        let mut long = Vec::with_capacity(data.len().saturating_add(7));
        long.push(Command::StmtSendLongData.as_byte());
        long.extend_from_slice(&id);
        long.extend_from_slice(&param.to_le_bytes());
        long.extend_from_slice(data);
        write_packet(&mut statement.ahead, 0, &long);
    }
    let says =
        Execute::parse(payload(&statement.frame), open.params, caps).is_ok_and(|said| said.types.is_some());
    if !says && *there.types != *open.types {
        let whole = whole(&statement.frame);
        if let Ok(said) = Execute::parse(&whole, open.params, caps) {
            let mut with = BytesMut::with_capacity(whole.len().saturating_add(open.types.len()));
            said.with_types(&whole, &open.types, &mut with);
            statement.frame.clear();
            write_packet(&mut statement.frame, 0, &with);
        }
    }
    there.types.clone_from(&open.types);
}

/// The payload of a packet, of however many frames.
fn whole(frames: &BytesMut) -> Cow<'_, [u8]> {
    if FrameHead::parse(frames).is_none_or(|head| head.whole() >= frames.len()) {
        return Cow::Borrowed(payload(frames));
    }
    let mut whole = Vec::with_capacity(frames.len());
    let mut rest: &[u8] = frames;
    while let Some(head) = FrameHead::parse(rest) {
        whole.extend_from_slice(rest.get(HEADER..head.whole()).unwrap_or_default());
        rest = rest.get(head.whole()..).unwrap_or_default();
    }
    whole.into()
}

impl ClientSession {
    /// A command on a prepared statement that is longer than a frame: read whole, as its number must be changed.
    pub(super) async fn long_prepared(&mut self, command: Command) -> Next {
        let limit = self.shared.settings.load().limits.max_packet;
        let frame = match self.gather_packet(limit).await {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let error = ClientError::too_large(limit);
                let _ = login::send(&mut self.client, 1, &error.payload()).await;
                return Next::Close;
            }
            Err(_) => return Next::Close,
        };
        Box::pin(self.command(command, frame)).await
    }
}
