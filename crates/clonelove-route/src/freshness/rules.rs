//! The rules that keep reads fresh, by name, so that a test can drop one and show what it is for.

bitflags::bitflags! {
    /// All are in force; tests drop one at a time.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Rules: u64 {
        /// What was written is raised before its client has the reply.
        const RAISED_BEFORE_REPLY = 1;
        /// The trackers of every part of a reply count.
        const EVERY_PART = 1 << 1;
        /// An error after what is no read leaves its tables in doubt.
        const DOUBT_AFTER_ERROR = 1 << 2;
        /// So do rows that end without trackers.
        const DOUBT_AFTER_PLAIN_EOF = 1 << 3;
        /// What changed rows and got no position stays on the primary.
        const UNLOGGED = 1 << 4;
        /// The end of a transaction raises what all of its statements wrote.
        const TRANSACTION = 1 << 5;
        /// A position amid a transaction does not empty what it wrote.
        const KEPT_TO_THE_END = 1 << 6;
        /// What a prepared XA transaction wrote is kept by its id.
        const XA = 1 << 7;
        /// XA COMMIT of an unknown id writes any table.
        const UNKNOWN_XA = 1 << 8;
        /// A lost connection leaves in doubt what it was in the middle of.
        const LOST_CONNECTION = 1 << 9;
        /// Definitions are unknown from before the statement that changes them is sent.
        const DEFINITIONS_BEFORE = 1 << 10;
        /// A write reaches as far as the schema says when its reply comes, too.
        const SCHEMA_AT_REPLY = 1 << 11;
        /// Changes of accounts are needed by every read.
        const ACCOUNTS = 1 << 12;
        /// What a session may have seen before its writer was told.
        const PENDING = 1 << 13;
        /// A session's next replica has what its last one showed.
        const SAME_OR_LATER = 1 << 14;
        /// A later write does not stand for an earlier one.
        const UNION = 1 << 15;
        /// What commits several times is asked for, not believed.
        const SEVERAL_COMMITS = 1 << 16;
        /// A position is void when the connection that told it breaks.
        const VOID_ON_BREAK = 1 << 17;
        /// What is forgotten raises the floor.
        const FLOOR_ON_FORGET = 1 << 18;
        /// Nothing is read from a server that lacks what the primary had at the start.
        const FLOOR_AT_START = 1 << 19;
        /// A new connection finds its server no earlier than it was.
        const NO_WAY_BACK = 1 << 20;
        /// What the primary's binary log tells of others' writes is raised.
        const OTHERS_WRITES = 1 << 21;
        /// A session that the primary has answered goes on when the log has told as much.
        const AHEAD_OF_LOG = 1 << 22;
        /// What a session's former replica showed of writes under way, its next one need not have.
        const FORMER_REPLICA = 1 << 23;
        /// What a replica showed of a write under way, the primary need not show yet.
        const SHOWN_EARLY = 1 << 24;
        /// A replica that leaves tables out is not read from.
        const FILTERED = 1 << 25;
        /// Positions from before the primary's log began anew say nothing of what came after.
        const HISTORY = 1 << 26;
        /// What a replica showed of others' writes, the primary or another replica need not show yet.
        const OTHERS_EARLY = 1 << 27;
        /// A replica has what it has applied, whatever its own binary log says.
        const APPLIED_ONLY = 1 << 28;
        /// A position that a reply could not carry is fetched before it comes with another statement's.
        const LATE_POSITION = 1 << 29;
        /// What answers at an address must be the server whose position is known.
        const ONE_SERVER = 1 << 30;
        /// A new connection to the primary finds it writable, or carries nothing.
        const FOUND_WRITABLE = 1 << 31;
        /// Connections to who was primary, and to who is now, end when another one is.
        const ROLE_CHANGE = 1 << 32;
        /// Only who is writable claims to be primary.
        const WRITABLE = 1 << 33;
        /// Only who replicates from none of the others claims to be primary.
        const INDEPENDENT = 1 << 34;
        /// The present primary stays while it is reachable and writable.
        const PRESENT_STAYS = 1 << 35;
        /// Who takes the place of a primary was its replica.
        const HEIR = 1 << 36;
        /// Of two that claim to be primary neither is.
        const TWO_CLAIMANTS = 1 << 37;
        /// A delay on purpose counts as lag.
        const INTENDED_DELAY = 1 << 38;
        /// A replica whose replication does not run is not read from.
        const BROKEN = 1 << 39;
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules::all()
    }
}
