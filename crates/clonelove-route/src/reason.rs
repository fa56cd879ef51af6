//! Why a command went where it went: one closed vocabulary for metrics, logs and `explain`.
//! Owns the names; must not decide anything.

use clonelove_sql::Why;

/// Where a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The one writable server.
    Primary,
    /// One of the replicas.
    Replica,
    /// The proxy itself.
    Local,
    /// Nobody: the client got an error of the proxy's own.
    Refused,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 4] = [Target::Primary, Target::Replica, Target::Local, Target::Refused];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Target::Primary => "primary",
            Target::Replica => "replica",
            Target::Local => "local",
            Target::Refused => "refused",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident $text:literal $target:ident $doc:literal;)*) => {
        /// Why a command went where it went. Each reason belongs to one [`Target`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $doc] $variant,)* }

        impl Reason {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The metric label, log field and answer of `explain`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $text,)* }
            }

            /// The one target this reason can have.
            pub const fn target(self) -> Target {
                match self { $(Reason::$variant => Target::$target,)* }
            }
        }
    };
}

reasons! {
    Read "read" Replica "provably a read, and a replica could answer it";
    ReadWaited "read_waited" Replica "the same, after waiting for the replica to catch up";
    ReadOnlyTransaction "read_only_transaction" Replica "a transaction that declared itself READ ONLY";
    OverBudgetStale "over_budget_stale" Replica "stale by the operator's choice, to spare the primary";
    Write "write" Primary "it changes data";
    Ddl "ddl" Primary "it changes the schema";
    Transaction "transaction" Primary "a transaction is open";
    TransactionControl "transaction_control" Primary "it begins or ends a transaction";
    SessionSetting "session_setting" Primary "it changes the session";
    Administrative "administrative" Primary "an administrative statement";
    LockingRead "locking_read" Primary "a read that locks rows";
    SideEffect "side_effect" Primary "it does more than read";
    PreviousStatement "previous_statement" Primary "it asks about the statement before";
    ServerSpecific "server_specific" Primary "its answer differs from server to server";
    UnknownStatement "unknown_statement" Primary "it could not be understood: unknown is a write";
    UnknownFunction "unknown_function" Primary "it calls a function not known to only read";
    UnknownTable "unknown_table" Primary "it reads a table that is not known";
    TooLarge "too_large" Primary "too long to be analysed";
    MultiStatement "multi_statement" Primary "several statements of which one is no read";
    Pinned "pinned" Primary "the session has state that lives on its primary connection";
    Command "command" Primary "a protocol command that is not split";
    Stale "stale" Primary "no replica has what the read must reflect";
    Pending "pending" Primary "a write to the same data is under way";
    NoReplica "no_replica" Primary "no replica is eligible";
    ReadOnlyRefused "read_only_refused" Primary "a replica refused it as a write";
    Learned "learned" Primary "a replica refused such a statement before";
    Retried "retried" Primary "it failed on a replica before the first byte";
    Configured "configured" Primary "the configuration sends it to the primary";
    Ping "ping" Local "COM_PING";
    SettingKnown "setting_known" Local "a setting whose effect and reply are known";
    AnsweredHere "answered_here" Local "the proxy knows the answer";
    NoPrimary "no_primary" Refused "no server accepts writes";
    NoServer "no_server" Refused "no server can be reached";
    QueueTimeout "queue_timeout" Refused "no backend connection became free in time";
    Limit "limit" Refused "over a limit";
    OverBudget "over_budget" Refused "no fresh replica, and the primary's budget is spent";
    NotAllowed "not_allowed" Refused "not allowed here";
    ReadOnlyMode "read_only_mode" Refused "the proxy is in read-only mode";
}

impl From<Why> for Reason {
    fn from(why: Why) -> Reason {
        match why {
            Why::Write => Reason::Write,
            Why::Ddl => Reason::Ddl,
            Why::TransactionControl => Reason::TransactionControl,
            Why::SessionSetting => Reason::SessionSetting,
            Why::Administrative => Reason::Administrative,
            Why::LockingRead => Reason::LockingRead,
            Why::SideEffect => Reason::SideEffect,
            Why::PreviousStatement => Reason::PreviousStatement,
            Why::ServerSpecific => Reason::ServerSpecific,
            Why::UnknownStatement => Reason::UnknownStatement,
            Why::UnknownFunction => Reason::UnknownFunction,
            Why::UnknownTable => Reason::UnknownTable,
            Why::MultiStatement => Reason::MultiStatement,
            Why::TooLarge => Reason::TooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are an interface: this list is that page's, by hand.
    #[test]
    fn the_names_are_the_published_ones() {
        let published = "read read_waited read_only_transaction over_budget_stale \
            write ddl transaction transaction_control session_setting administrative \
            locking_read side_effect previous_statement server_specific \
            unknown_statement unknown_function unknown_table too_large multi_statement \
            pinned command stale pending no_replica read_only_refused learned retried configured \
            ping setting_known answered_here \
            no_primary no_server queue_timeout limit over_budget not_allowed read_only_mode";
        let ours: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(ours, published.split_whitespace().collect::<Vec<_>>());
    }
}
