//! What can go wrong and whose fault it is. Owns the vocabulary of faults (a metric label) and the
//! wording of the errors that clients see from the proxy itself; must not send anything.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use clonelove_route::report::Flavour;
use clonelove_wire::packet::err::Err as ErrPacket;

/// Whose fault, in one word: the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it; as_str has the published spelling")]
pub enum Fault {
    ClientNetwork,
    ClientProtocol,
    ClientAuth,
    ServerConnect,
    ServerLost,
    ServerAuth,
    ServerProtocol,
    PoolTimeout,
    NoPrimary,
    NoServer,
    Limit,
    Tls,
    Internal,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 13] = [
        Fault::ClientNetwork,
        Fault::ClientProtocol,
        Fault::ClientAuth,
        Fault::ServerConnect,
        Fault::ServerLost,
        Fault::ServerAuth,
        Fault::ServerProtocol,
        Fault::PoolTimeout,
        Fault::NoPrimary,
        Fault::NoServer,
        Fault::Limit,
        Fault::Tls,
        Fault::Internal,
    ];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::ClientNetwork => "client_network",
            Fault::ClientProtocol => "client_protocol",
            Fault::ClientAuth => "client_auth",
            Fault::ServerConnect => "server_connect",
            Fault::ServerLost => "server_lost",
            Fault::ServerAuth => "server_auth",
            Fault::ServerProtocol => "server_protocol",
            Fault::PoolTimeout => "pool_timeout",
            Fault::NoPrimary => "no_primary",
            Fault::NoServer => "no_server",
            Fault::Limit => "limit",
            Fault::Tls => "tls",
            Fault::Internal => "internal",
        }
    }
}

/// A fault on the side of a server.
#[derive(Clone, Debug)]
pub struct ServerFault {
    /// The server's configured name.
    pub server: Arc<str>,
    /// Which kind.
    pub fault: Fault,
    /// What happened, in words.
    pub detail: String,
    /// The server's own error, where it sent one instead of going on.
    pub refused: Option<Refusal>,
}

/// An error packet of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its code.
    pub code: u16,
    /// SQLSTATE.
    pub state: [u8; 5],
    /// Its text.
    pub message: String,
}

impl ServerFault {
    /// A fault of `server`.
    pub fn new(server: &Arc<str>, fault: Fault, detail: impl fmt::Display) -> Self {
        Self { server: Arc::clone(server), fault, detail: detail.to_string(), refused: None }
    }

    /// The server went away, by an error of its socket.
    pub fn lost(server: &Arc<str>, error: &io::Error) -> Self {
        Self::new(server, Fault::ServerLost, error)
    }
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}: {}", self.server, self.detail)
    }
}

impl std::error::Error for ServerFault {}

/// An error of the proxy's own, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// The server's error code that frameworks know for this.
    pub code: u16,
    /// SQLSTATE.
    pub state: [u8; 5],
    /// Begins `clonelove: `, names the server, says what to do.
    pub message: String,
    /// For the metric.
    pub fault: Fault,
}

impl ClientError {
    fn new(code: u16, state: &'static [u8; 5], fault: Fault, message: impl fmt::Display) -> Self {
        Self { code, state: *state, message: format!("clonelove: {message}"), fault }
    }

    /// Over `client_connections` or a user's `max_connections`.
    pub fn too_many_clients(limit: usize, key: &str) -> Self {
        let text =
            format!("too many connections ({limit} are open); raise {key}, or find out who holds them");
        Self::new(1040, b"08004", Fault::Limit, text)
    }

    /// Wrong password or unknown user, in the words of the server.
    pub fn access_denied(user: &str, host: &str, using_password: bool) -> Self {
        let using = if using_password { "YES" } else { "NO" };
        Self {
            code: 1045,
            state: *b"28000",
            message: format!("Access denied for user '{user}'@'{host}' (using password: {using})"),
            fault: Fault::ClientAuth,
        }
    }

    /// What a server says to a command that it does not know, or does not want to know any more.
    pub fn unknown_command() -> Self {
        Self {
            code: 1047,
            state: *b"08S01",
            message: "Unknown command".to_owned(),
            fault: Fault::ClientProtocol,
        }
    }

    /// An account that the administrator has locked, in the words of the server.
    pub fn account_locked(user: &str, host: &str, mariadb: bool) -> Self {
        let (code, message) = if mariadb {
            (4151, "Access denied, this account is locked".to_owned())
        } else {
            (3118, format!("Access denied for user '{user}'@'{host}'. Account is locked."))
        };
        Self { code, state: *b"HY000", message, fault: Fault::ClientAuth }
    }

    /// A command of a client whose password has expired, in the words of the server.
    pub fn must_change_password(flavour: Flavour) -> Self {
        let message = match flavour {
            Flavour::MariaDb => "You must SET PASSWORD before executing this statement",
            Flavour::MySql => {
                "You must reset your password using ALTER USER statement before executing this statement."
            }
        };
        Self { code: 1820, state: *b"HY000", message: message.to_owned(), fault: Fault::ClientAuth }
    }

    /// KILL of another user's client.
    pub fn not_owner(id: u32) -> Self {
        Self {
            code: 1095,
            state: *b"HY000",
            message: format!("You are not owner of thread {id}"),
            fault: Fault::ClientAuth,
        }
    }

    /// A KILL of the client itself, or of its statement, which is this.
    pub fn killed_itself(query: bool, mysql: bool) -> Self {
        let (code, message) = if query || mysql {
            (1317, "Query execution was interrupted")
        } else {
            (1927, "Connection was killed")
        };
        Self { code, state: *b"70100", message: message.to_owned(), fault: Fault::ClientProtocol }
    }

    /// A KILL of which nobody can tell whom it would hit.
    pub fn kill_hidden() -> Self {
        let text = "KILL has to be a statement of its own, with a number, a variable or an expression: the server has \
                    other numbers for connections, so that among other statements, in a block, prepared from a text, \
                    or with parameters in an expression it would end the wrong one";
        Self::new(1235, b"42000", Fault::ClientProtocol, text)
    }

    /// A KILL whose expression does more than read.
    pub fn kill_leaves() -> Self {
        let text = "KILL takes a number, a variable or an expression that only reads: what this one sets, locks or writes \
                    would be left behind on a connection that others use; do that in a statement before it";
        Self::new(1235, b"42000", Fault::ClientProtocol, text)
    }

    /// KILL of what a stored function says, in the words of a server.
    pub fn kill_by_function(mysql: bool) -> Self {
        let (code, message) = if mysql {
            let what = "Usage of subqueries or stored function calls as part of this statement";
            (1235, format!("This version of MySQL doesn't yet support '{what}'"))
        } else {
            (1970, "KILL does not support subqueries or stored functions".to_owned())
        };
        Self { code, state: *b"42000", message, fault: Fault::ClientProtocol }
    }

    /// A command that only users with `admin = true` may give.
    pub fn needs_admin(command: &str, user: &str) -> Self {
        let text = format!(
            "COM_{} is not for user '{user}'; set admin = true for it in the configuration, and the server's own \
             rights decide",
            command.to_ascii_uppercase()
        );
        Self::new(1227, b"42000", Fault::ClientAuth, text)
    }

    /// Whoever must use TLS does not; `who` is the user or the listener that asks for it.
    pub fn insecure_transport(who: &str) -> Self {
        let text = format!(
            "Connections using insecure transport are prohibited: {who} has tls = \"required\"; \
             connect over TLS, or over a unix socket"
        );
        Self::new(3159, b"HY000", Fault::Tls, text)
    }

    /// TLS with the client did not come about. For the log only: a client in the middle of it can be told nothing.
    pub fn no_tls(why: &str) -> Self {
        Self::new(1043, b"08S01", Fault::Tls, why)
    }

    /// Nothing accepts writes. `why` names the server.
    pub fn no_primary(why: &str) -> Self {
        let text = format!(
            "no server accepts writes now: {why}; reads go on, repeat the write when the primary is back"
        );
        Self::new(1836, b"HY000", Fault::NoPrimary, text)
    }

    /// Nothing can answer at all. `why` names each server and its fault.
    pub fn no_server(why: &str) -> Self {
        Self::new(1053, b"08S01", Fault::NoServer, format!("no server can be used: {why}"))
    }

    /// The daemon is going down.
    pub fn draining() -> Self {
        let text = "the proxy is shutting down; connect again, to another instance if there is one";
        Self::new(1053, b"08S01", Fault::NoServer, text)
    }

    /// No backend connection became free.
    pub fn queue_timeout(server: &str, limit: usize) -> Self {
        let text = format!(
            "all {limit} connections to server {server} are in use and none became free in time; \
             raise max_connections of the server in the configuration, or look for clients that hold theirs"
        );
        Self::new(1203, b"42000", Fault::PoolTimeout, text)
    }

    /// A server went away in the middle of a statement.
    pub fn server_lost(fault: &ServerFault) -> Self {
        let text = format!(
            "Lost connection to MySQL server during query ({fault}); whether it was executed is not known"
        );
        Self::new(1927, b"70100", fault.fault, text)
    }

    /// A server refused the session. What is about the client's own wish is passed on in the server's
    /// words; a refused log-in is about the proxy's configuration, and says so.
    pub fn refused(fault: &ServerFault, refusal: &Refusal) -> Self {
        let message = match refusal.code {
            // No right to the schema, none of that name, no name at all, no text in the connection's character set; an
            // account that is locked or whose password has expired.
            1044 | 1049 | 1102 | 1300 | 1820 | 1862 | 3118 | 3955 | 4150 | 4151 => refusal.message.clone(),
            _ if refusal.state.starts_with(b"28") => {
                format!("clonelove: {fault}; the passwords in the configuration and on the server must agree")
            }
            _ => format!("clonelove: {fault}"),
        };
        Self { code: refusal.code, state: refusal.state, message, fault: fault.fault }
    }

    /// A write in a READ ONLY transaction, in the words of a server. The replica that runs it may have refused
    /// for being a replica, of which the client knows nothing.
    pub fn in_read_only_transaction(flavour: Flavour) -> Self {
        let end = if flavour == Flavour::MySql { "." } else { "" };
        Self {
            code: 1792,
            state: *b"25006",
            message: format!("Cannot execute statement in a READ ONLY transaction{end}"),
            fault: Fault::ClientProtocol,
        }
    }

    /// A statement over a limit.
    pub fn too_large(limit: u64) -> Self {
        let text = format!("the packet is larger than max_packet ({limit} bytes); raise limits.max_packet");
        Self::new(1153, b"08S01", Fault::Limit, text)
    }

    /// No replica has what the read must reflect, and the primary is not to be asked.
    pub fn not_fresh(why: &str) -> Self {
        Self::new(1205, b"HY000", Fault::NoServer, format!("no replica may answer this read: {why}"))
    }

    /// No replica is fresh enough, and as many reads as may are on the primary for that already.
    pub fn over_budget(table: &str, why: &str) -> Self {
        let text = format!(
            "table {table} cannot be read: {why}, and max_primary_reads reads are on the primary for such reasons; \
             see what delays the replicas, or change over_budget or max_primary_reads"
        );
        Self::new(1205, b"HY000", Fault::Limit, text)
    }

    /// A server's own words.
    pub fn of_server(refusal: &Refusal) -> Self {
        let Refusal { code, state, message } = refusal.clone();
        Self { code, state, message, fault: Fault::ClientProtocol }
    }

    /// A number that no prepared statement has, in the words of a server.
    pub fn unknown_statement(id: u32, command: &str, mysql: bool) -> Self {
        let place = if mysql { "mysql_stmt_precheck".to_owned() } else { format!("mysqld_{command}") };
        Self {
            code: 1243,
            state: *b"HY000",
            message: format!("Unknown prepared statement handler ({id}) given to {place}"),
            fault: Fault::ClientProtocol,
        }
    }

    /// A fetch from a statement without a cursor, in the words of a server.
    pub fn no_cursor(id: u32, mysql: bool) -> Self {
        let end = if mysql { "." } else { "" };
        Self {
            code: 1421,
            state: *b"HY000",
            message: format!("The statement ({id}) has no open cursor{end}"),
            fault: Fault::ClientProtocol,
        }
    }

    /// One client has prepared as many statements as it may.
    pub fn too_many_statements(limit: usize) -> Self {
        let text =
            format!("this client has {limit} prepared statements open; close those that are not needed");
        Self::new(1461, b"42000", Fault::Limit, text)
    }

    /// Bytes that are no packet of this protocol.
    pub fn malformed(what: &str) -> Self {
        Self::new(1835, b"HY000", Fault::ClientProtocol, format!("malformed packet: {what}"))
    }

    /// Writes are refused by configuration.
    pub fn read_only_mode() -> Self {
        let text = "the proxy is in read-only mode (routing.mode); nothing was changed";
        Self::new(1836, b"HY000", Fault::NoPrimary, text)
    }

    /// Something that must not happen did.
    pub fn internal(what: &str) -> Self {
        Self::new(
            1105,
            b"HY000",
            Fault::Internal,
            format!("internal error: {what}; the connection is closed"),
        )
    }

    /// The ERR packet.
    pub fn packet(&self) -> ErrPacket<'_> {
        ErrPacket { code: self.code, state: self.state, message: self.message.as_bytes().into() }
    }

    /// The payload of the ERR packet.
    pub fn payload(&self) -> BytesMut {
        let mut out = BytesMut::new();
        self.packet().encode(&mut out);
        out
    }
}

/// Why the proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be bound.
    #[error("cannot listen on {address}: {source} (is another process using it? `ss -ltnp` tells)")]
    Listen {
        /// As configured.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The key for password exchange without TLS could not be made.
    #[error("cannot make an RSA key for caching_sha2_password")]
    RsaKey,
    /// The threads that sessions run on.
    #[error("cannot start the threads that clients are served on: {0}")]
    Threads(io::Error),
}
