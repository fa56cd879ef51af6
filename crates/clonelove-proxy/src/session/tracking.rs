//! Session tracking as clients ask for it: their own `session_track_…` settings, which no server keeps, for servers
//! track for us. Owns what a client is told of what servers report, and how it changes its mind.

use bytes::{BufMut, BytesMut};
use clonelove_route::pins::Pin;
use clonelove_route::report::{Flavour, Report};
use clonelove_sql::{Assignment, Effect, Facts, Setting};
use clonelove_wire::track::Change;
use clonelove_wire::write::PutExt;
use clonelove_wire::{Caps, Command};

use super::{ClientSession, connections::life_ended};
use crate::backend::reply::Reply;
use crate::backend::setup;
use crate::error::{Fault, ServerFault};

/// What a client wants to be told, as its own settings have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    flavour: Flavour,
    /// The names of variables, in lower case; none of them when it is `*`.
    variables: Vec<String>,
    every_variable: bool,
    schema: bool,
    state_change: bool,
    /// `OFF`, `STATE` or `CHARACTERISTICS`.
    transaction: String,
    /// `OFF`, `OWN_GTID` or `ALL_GTIDS`; MySQL only.
    gtids: String,
}

/// The settings, in the order in which they are asked for.
const SCHEMA: &str = "session_track_schema";
const STATE_CHANGE: &str = "session_track_state_change";
const VARIABLES: &str = "session_track_system_variables";
const TRANSACTION: &str = "session_track_transaction_info";
const GTIDS: &str = "session_track_gtids";

impl Wishes {
    /// Those of a session that has said nothing: the primary's defaults.
    pub(crate) fn by_default(flavour: Flavour, report: Option<&Report>) -> Self {
        let told = |name: &str| report.and_then(|report| report.default_of(name)).map(str::to_owned);
        let values = [SCHEMA, STATE_CHANGE, VARIABLES, TRANSACTION, GTIDS].map(told);
        Self::read(flavour, &values)
    }

    /// From the values of the settings.
    fn read(flavour: Flavour, values: &[Option<String>]) -> Self {
        let text = |at: usize| values.get(at).and_then(Option::as_deref).unwrap_or_default();
        let on = |at: usize| matches!(text(at), "1" | "ON");
        let word = |at: usize| if text(at).is_empty() { "OFF" } else { text(at) }.to_ascii_uppercase();
        let names = text(2).split(',').map(|name| name.trim().to_ascii_lowercase());
        Self {
            flavour,
            every_variable: names.clone().any(|name| name == "*"),
            variables: names.filter(|name| !name.is_empty()).collect(),
            schema: on(0),
            state_change: on(1),
            transaction: word(3),
            gtids: word(4),
        }
    }

    /// Whether the client is to be told of this.
    pub(crate) fn include(&self, change: &Change<'_>) -> bool {
        match change {
            Change::Variable { name, .. } => {
                self.every_variable || self.variables.iter().any(|known| known.as_bytes() == *name)
            }
            Change::Schema(_) => self.schema,
            Change::StateChanged(_) => self.state_change,
            Change::Gtid(_) => self.gtids != "OFF",
            Change::TransactionState(_) => self.transaction != "OFF",
            Change::TransactionCharacteristics(_) => self.transaction == "CHARACTERISTICS",
            Change::Unknown(..) => true,
        }
    }

    /// Whether it is to be told where what it wrote stands.
    pub(crate) fn include_positions(&self) -> bool {
        self.include(&Change::Variable { name: b"last_gtid", value: b"" }) || self.gtids != "OFF"
    }

    /// Whether it is to be told of what changes with the default schema, beside its name.
    pub(crate) fn include_more_of_schemas(&self) -> bool {
        self.every_variable || self.variables.iter().any(|name| name.ends_with("_database"))
    }

    /// The SET that makes a server's settings these.
    fn set(&self) -> String {
        let plain = |text: &str| text.chars().filter(|c| *c != '\'' && *c != '\\').collect::<String>();
        let mut set = format!(
            "SET SESSION {SCHEMA} = {}, SESSION {STATE_CHANGE} = {}, SESSION {VARIABLES} = '{}', \
             SESSION {TRANSACTION} = '{}'",
            u8::from(self.schema),
            u8::from(self.state_change),
            plain(&self.variables.join(",")),
            plain(&self.transaction),
        );
        if self.flavour == Flavour::MySql {
            set.push_str(&format!(", SESSION {GTIDS} = '{}'", plain(&self.gtids)));
        }
        set
    }

    /// What a connection must be told beyond what all are told that belong to clients that track.
    fn beyond(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.transaction != "OFF" {
            parts.push(format!("SESSION {TRANSACTION} = '{}'", self.transaction));
        }
        if self.gtids == "ALL_GTIDS" {
            parts.push(format!("SESSION {GTIDS} = 'ALL_GTIDS'"));
        }
        (!parts.is_empty()).then(|| format!("SET {}", parts.join(", ")))
    }

    /// Asks for the settings as they are.
    fn ask(&self) -> String {
        let gtids = if self.flavour == Flavour::MySql { ", @@session.session_track_gtids" } else { "" };
        format!(
            "SELECT @@session.{SCHEMA}, @@session.{STATE_CHANGE}, @@session.{VARIABLES}, \
             @@session.{TRANSACTION}{gtids}"
        )
    }
}

/// Whether a statement is about a client's own session tracking.
pub(super) fn speaks_of(sql: &[u8], facts: &Facts, caps: Caps) -> bool {
    let is_ours = |assignment: &Assignment| matches!(&assignment.target, Setting::Variable(name) if name.starts_with("session_track_"));
    let sets = facts.effects.iter().any(|effect| match effect {
        Effect::Settings(list) => list.iter().any(is_ours),
        _ => false,
    });
    const NAME: &[u8] = b"session_track";
    let names = |sql: &[u8]| sql.windows(NAME.len()).any(|part| part.eq_ignore_ascii_case(NAME));
    sets || caps.contains(Caps::SESSION_TRACK) && names(sql)
}

/// What servers tell of whoever enters a schema: its name, and that something changed.
pub(super) fn entered(schema: &str) -> BytesMut {
    const SCHEMA: u8 = 1;
    const STATE_CHANGE: u8 = 2;
    let (mut told, mut name) = (BytesMut::new(), BytesMut::new());
    name.put_lenenc_bytes(schema.as_bytes());
    for (kind, data) in [(SCHEMA, &*name), (STATE_CHANGE, b"1")] {
        told.put_u8(kind);
        told.put_lenenc_bytes(data);
    }
    told
}

impl ClientSession {
    /// What the client wants to be told, if it can be told at all.
    pub(super) fn begin_tracking(&mut self) {
        self.wishes = None;
        if self.caps.contains(Caps::SESSION_TRACK) {
            self.wishes = Some(Box::new(self.default_wishes()));
        }
    }

    fn default_wishes(&self) -> Wishes {
        let snapshot = self.shared.cluster.snapshot();
        let model = snapshot.model();
        let flavour = model.as_ref().map_or(Flavour::MariaDb, |report| report.flavour);
        Wishes::by_default(flavour, model.as_deref())
    }

    /// Before a statement about them: the server has the client's own settings.
    pub(super) async fn show_wishes(&mut self) -> Result<(), ServerFault> {
        let set = match &self.wishes {
            Some(wishes) => wishes.set(),
            None => self.default_wishes().set(),
        };
        self.ask_of_tracking(&[set]).await.map(drop)
    }

    /// After it: what the client's settings are now is kept, and the server has ours again.
    pub(super) async fn hear_wishes(&mut self) -> Result<(), ServerFault> {
        let before = match &self.wishes {
            Some(wishes) => (**wishes).clone(),
            None => self.default_wishes(),
        };
        let tracks = self.caps.contains(Caps::SESSION_TRACK);
        let ours = format!("SET {}", setup::trackers(before.flavour, tracks));
        let mut replies = self.ask_of_tracking(&[before.ask(), ours]).await?;
        replies.pop();
        let Some(Reply::Rows(rows)) = replies.pop() else { return Ok(()) };
        let row = rows.rows.into_iter().next().unwrap_or_default();
        let wishes = Wishes::read(before.flavour, &row);
        if let Some(beyond) = wishes.beyond().filter(|_| tracks) {
            // Other connections do not report that.
            self.state.pins.hold(Pin::SessionSetting);
            self.ask_of_tracking(&[beyond]).await?;
        }
        self.wishes = Some(Box::new(wishes));
        Ok(())
    }

    async fn ask_of_tracking(&mut self, statements: &[String]) -> Result<Vec<Reply>, ServerFault> {
        let Some(leased) = &mut self.primary else { return Ok(Vec::new()) };
        let name = leased.server.name.clone();
        let life = leased.conn.life.clone();
        let requests: Vec<(Command, &[u8])> =
            statements.iter().map(|sql| (Command::Query, sql.as_bytes())).collect();
        let asked = life.run(leased.conn.ask(&requests)).await;
        let replies = asked.unwrap_or_else(|| Err(life_ended(&name)))?;
        for reply in &replies {
            if let Reply::Err { code, message, .. } = reply {
                let detail = format!("it refused settings of session tracking: {message} ({code})");
                return Err(ServerFault::new(&name, Fault::ServerProtocol, detail));
            }
        }
        Ok(replies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(values: [&str; 5]) -> Wishes {
        Wishes::read(Flavour::MySql, &values.map(|value| Some(value.to_owned())))
    }

    #[test]
    fn a_client_is_told_what_it_asked_for() {
        let some = wishes(["1", "0", "autocommit, Time_Zone", "OFF", "OFF"]);
        let variable = |name: &'static str| Change::Variable { name: name.as_bytes(), value: b"x" };
        assert!(some.include(&variable("time_zone")) && some.include(&Change::Schema(b"d")));
        for change in [
            variable("sql_mode"),
            variable("last_gtid"),
            Change::StateChanged(true),
            Change::Gtid(b"u:1"),
            Change::TransactionState(b"________"),
            Change::TransactionCharacteristics(b""),
        ] {
            assert!(!some.include(&change), "{change:?}");
        }
        let more = wishes(["OFF", "ON", "*", "STATE", "OWN_GTID"]);
        assert!(more.include(&variable("sql_mode")) && !more.include(&Change::Schema(b"d")));
        assert!(more.include(&Change::StateChanged(true)) && more.include(&Change::Gtid(b"u:1")));
        assert!(more.include(&Change::TransactionState(b"________")));
        assert!(!more.include(&Change::TransactionCharacteristics(b"")));
    }

    #[test]
    fn only_what_no_other_connection_reports_is_asked_for_beyond() {
        assert_eq!(wishes(["1", "1", "*", "OFF", "OWN_GTID"]).beyond(), None);
        let beyond = wishes(["1", "1", "", "STATE", "ALL_GTIDS"]).beyond().unwrap();
        assert!(beyond.contains("transaction_info = 'STATE'") && beyond.contains("'ALL_GTIDS'"), "{beyond}");
        let set = wishes(["1", "0", "a,b", "OFF", "OFF"]).set();
        assert!(set.contains("_schema = 1") && set.contains("_variables = 'a,b'"), "{set}");
    }
}
