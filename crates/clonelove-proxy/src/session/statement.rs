//! A statement on its way: the bytes to forward, what is known of them, and when they came.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use clonelove_sql::keys::Keys;
use clonelove_sql::{Effect, Facts, Kind, Known, Leaves, Resolved, TableName, Why, digest_hash, digest_text};
use clonelove_wire::Command;
use clonelove_wire::frame::{FrameHead, HEADER};
use tokio::time::Instant;

use super::prepared::{Bindings, Meaning, Prepared};
use crate::by_client::Saying;
use crate::freshness::{Pending, Spilled};

/// A statement, or a command that asks a server for something.
pub(super) struct Statement {
    pub(super) command: Command,
    /// As the client sent it, framed; empty when it is forwarded as it arrives.
    pub(super) frame: BytesMut,
    /// Where in it the text begins, of a query.
    pub(super) text_at: usize,
    pub(super) facts: Arc<Facts>,
    /// What it leaves in its session, as far as the schema tells.
    pub(super) leaves: Leaves,
    /// The schema knows all that it touches.
    pub(super) known: bool,
    /// What was prepared: of a statement that is to be prepared, and of one that is executed.
    pub(super) prepared: Option<Arc<Prepared>>,
    /// The client's number for that, or what it will be.
    pub(super) number: u32,
    /// The types of what is bound to its parameters; none where values came before it.
    pub(super) bindings: Option<Bindings>,
    /// Its rows are to be fetched.
    pub(super) cursor: bool,
    /// What is sent before it, and has no reply.
    pub(super) ahead: BytesMut,
    /// It is about the client's own session tracking.
    pub(super) tracking: bool,
    /// What the values of its only row are, whatever the server says: those that are ours to tell.
    pub(super) values: Option<Vec<Option<String>>>,
    /// What the schema says of it, and the snapshot that said so.
    pub(super) resolved: Option<Made>,
    pub(super) generation: u64,
    /// The number of the view that said it.
    pub(super) view: u64,
    /// It may commit something, and its reply is still to come.
    pub(super) pending: Option<Pending>,
    /// It may make the primary read-only, and its reply is still to come.
    pub(super) saying: Option<Saying>,
    /// It is a read on the primary for want of a fresh replica.
    pub(super) spilled: Option<Spilled>,
    pub(super) begun: Instant,
    /// The part of the time that was not the proxy's own.
    pub(super) waited: Duration,
}

/// What the schema makes of a statement.
pub(super) enum Made {
    /// As others of its form have it, with its own keys if those were asked for.
    Known(Arc<Known>, Option<Option<Keys>>),
    /// For all executions of what was prepared.
    Prepared(Arc<Meaning>),
    /// For this one.
    Own(Box<Resolved>),
}

impl Statement {
    /// What the schema says of it.
    pub(super) fn resolved(&self) -> Option<&Resolved> {
        match self.resolved.as_ref()? {
            Made::Known(known, _) => Some(&known.resolved),
            Made::Prepared(meaning) => Some(&meaning.resolved),
            Made::Own(resolved) => Some(resolved),
        }
    }

    pub(super) fn new(command: Command, frame: BytesMut, facts: impl Into<Arc<Facts>>) -> Self {
        Self {
            command,
            frame,
            text_at: HEADER.saturating_add(1),
            facts: facts.into(),
            prepared: None,
            number: 0,
            bindings: None,
            cursor: false,
            ahead: BytesMut::new(),
            tracking: false,
            values: None,
            leaves: Leaves::Unknown,
            known: false,
            resolved: None,
            generation: 0,
            view: 0,
            pending: None,
            saying: None,
            spilled: None,
            begun: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// The same once more.
    pub(super) fn again(&self) -> Self {
        let mut again = Self::new(self.command, self.frame.clone(), Arc::clone(&self.facts));
        (again.text_at, again.number) = (self.text_at, self.number);
        again.prepared.clone_from(&self.prepared);
        again
    }

    /// A command of which only its name is known.
    pub(super) fn opaque(command: Command, frame: BytesMut) -> Self {
        Self::new(command, frame, opaque(Why::UnknownStatement))
    }

    /// The SQL text; empty for other commands and for what was not read.
    pub(super) fn sql(&self) -> &[u8] {
        match self.command {
            Command::Query => self.frame.get(self.text_at..).unwrap_or_default(),
            Command::StmtPrepare | Command::StmtExecute | Command::StmtBulkExecute => {
                self.prepared.as_ref().map_or(&[], |prepared| prepared.sql())
            }
            _ => &[],
        }
    }

    /// Its keys by the view of this number, if they were asked for when it was looked up.
    pub(super) fn known_keys(&self, view: u64) -> Option<Option<&Keys>> {
        match &self.resolved {
            Some(Made::Known(known, Some(keys))) if known.is_of(view) => Some(keys.as_ref()),
            _ => None,
        }
    }

    /// The SQL text, where its literals are all there is to it.
    pub(super) fn text(&self) -> Option<&[u8]> {
        (self.command == Command::Query && !self.frame.is_empty()).then(|| self.sql())
    }

    /// It is only to be prepared: what it does, it does not do yet. What it asks about the statement before, it is
    /// asked soon. A read is prepared where it may be read.
    pub(super) fn preparing(frame: BytesMut, prepared: Prepared, number: u32) -> Self {
        let facts = if prepared.facts.kind == Kind::Read && prepared.facts.why.is_none() {
            Arc::clone(&prepared.facts)
        } else {
            let why = prepared.facts.why.map(|_| Why::PreviousStatement);
            Arc::new(Facts { kind: Kind::Read, why, ..Facts::default() })
        };
        let mut statement = Self::new(Command::StmtPrepare, frame, facts);
        statement.prepared = Some(Arc::new(prepared));
        statement.number = number;
        statement
    }

    /// What was prepared, of a statement that does what that says.
    pub(super) fn executes(&self) -> Option<&Prepared> {
        let executes = matches!(self.command, Command::StmtExecute | Command::StmtBulkExecute);
        self.prepared.as_deref().filter(|_| executes)
    }

    /// The default schema that its names are of.
    pub(super) fn schema<'a>(&'a self, session: Option<&'a str>) -> Option<&'a str> {
        match &self.prepared {
            Some(prepared) => prepared.what.schema.as_deref(),
            None => session,
        }
    }

    /// What may go along with the steps to its state: a text, which needs nothing but that state.
    pub(super) fn along(&self) -> Option<&[u8]> {
        (self.is_read() && self.prepared.is_none() && !self.tracking).then_some(&self.frame[..])
    }

    /// The number of the first packet of its reply: the one after that of its last frame.
    pub(super) fn reply_sequence(&self) -> u8 {
        let mut rest: &[u8] = &self.frame;
        let mut last = 0;
        while let Some(head) = FrameHead::parse(rest) {
            last = head.seq;
            rest = rest.get(head.whole()..).unwrap_or_default();
        }
        last.wrapping_add(1)
    }

    /// Whether the server may ask the client for a file.
    pub(super) fn loads_file(&self) -> bool {
        fn loads(facts: &Facts) -> bool {
            facts.effects.contains(&Effect::LocalInfile) || facts.parts.iter().any(loads)
        }
        loads(&self.facts)
    }

    /// Whether it may be sent again without harm.
    pub(super) fn is_read(&self) -> bool {
        self.facts.why.is_none() && self.facts.kind == Kind::Read
    }

    /// Whether it is certain to write nothing, wherever it has to run: a read, or one that only asks a server for what
    /// that server alone can tell.
    pub(super) fn only_looks(&self) -> bool {
        let Facts { kind, functions, parts, tables_read, effects, all_tables, .. } = &*self.facts;
        let of_itself = |table: &TableName| {
            table.schema.as_ref().is_some_and(|schema| schema.eq_ignore_ascii_case("information_schema"))
        };
        let asks = *kind == Kind::Read && functions.is_empty() && parts.is_empty() && !all_tables;
        let changes = |effect: &Effect| !matches!(effect, Effect::Diagnostics);
        self.is_read() || asks && tables_read.iter().all(of_itself) && !effects.iter().any(changes)
    }
}

/// Awaits what may have to wait, and tells how long it did: from when it could not go on at once.
pub(super) async fn timed<T>(mut work: Pin<&mut impl Future<Output = T>>) -> (T, Duration) {
    let mut since = None;
    let done = poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            since.get_or_insert_with(Instant::now);
        }
        polled
    });
    let done = done.await;
    (done, since.map_or(Duration::ZERO, |since| since.elapsed()))
}

/// What may be anything.
pub(super) fn opaque(why: Why) -> Facts {
    Facts { why: Some(why), all_tables: true, ..Facts::default() }
}

/// How a statement is named where people see it: never with its literals.
pub(super) fn shown(sql: &[u8], dialect: &clonelove_sql::Dialect, command: Command) -> String {
    const LONGEST: usize = 200;
    if sql.is_empty() {
        return command.name().to_owned();
    }
    digest_text(sql.get(..sql.len().min(64 * 1024)).unwrap_or_default(), dialect)
        .chars()
        .take(LONGEST)
        .collect()
}

/// A statement's digest, with its text.
pub(super) fn digest(sql: &[u8], dialect: &clonelove_sql::Dialect) -> (u64, String) {
    let text = digest_text(sql, dialect);
    (digest_hash(&text), text)
}
