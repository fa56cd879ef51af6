//! What becomes of a session that panics: a real task with real sockets and a lease, forced to panic.

use std::time::Duration;

use clonelove_route::journal::Journal;
use clonelove_route::report::Flavour;
use clonelove_wire::frame::write_packet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::backend::conn::{BackendConn, Target};
use crate::backend::pool::{Class, Key, Lease};
use crate::backend::setup::Use;
use crate::listener;
use crate::metrics::Metrics;
use crate::net::Stream;
use crate::server::Server;
use crate::settings::{
    Address, Limits, Listen, Monitor, Pool, RoleSetting, Routing, Secret, ServerSettings, Settings, UsersFrom,
};
use crate::tls::{ClientTls, Connector};

fn settings() -> Settings {
    Settings {
        rules: clonelove_route::freshness::Rules::all(),
        listen: Listen {
            mysql: Vec::new(),
            unix_mode: 0o777,
            proxy_protocol: Vec::new(),
            compression: Caps::empty(),
        },
        servers: vec![ServerSettings {
            name: "db1".into(),
            address: Address::Tcp { host: "127.0.0.1".into(), port: 1 },
            role: RoleSetting::Auto,
            weight: 100,
            zone: String::new(),
            max_connections: 1,
            tls: Arc::new(Connector::disabled()),
            compression: Caps::empty(),
            proxy_protocol: false,
        }],
        monitor: Monitor {
            user: "m".into(),
            password: Secret::new("p"),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
            schema_interval: Duration::from_secs(60),
        },
        users: vec![user()],
        users_from: UsersFrom::Config,
        routing: Routing::default(),
        pool: Pool::default(),
        limits: Limits::default(),
        tls: None,
        rsa_key: None,
    }
}

fn user() -> User {
    User {
        name: "app".into(),
        passwords: vec![Secret::new("p")],
        max_connections: 1,
        networks: Vec::new(),
        route: Route::Split,
        tls: ClientTls::Optional,
        admin: false,
    }
}

fn key() -> Arc<Key> {
    Arc::new(Key::new(Arc::from("app"), (None, None), Caps::empty(), (0, 0)))
}

/// A leased connection whose other end is the test's.
async fn lease(server: &Arc<Server>) -> (Leased, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let lease = server.pool.lease(&key(), (0, 0), Class::Write, (Duration::ZERO, &mut None)).await;
    let Ok((Lease::Slot(slot), leasing)) = lease else { panic!("no slot") };
    let conn = Box::new(BackendConn {
        io: Buffered::new(Stream::Unix(ours)),
        caps: Caps::empty(),
        server: Arc::clone(&server.name),
        life: server.life(),
        usage: Use::Primary,
        schema: None,
        thread: 1,
        home: crate::cores::NOWHERE,
        charset: 45,
        journal: Journal::default(),
        last_insert_id: None,
        tainted: false,
        diagnostics: false,
        owes_position: false,
        statements: crate::backend::statements::Statements::new(&Arc::default()),
        expired: false,
        native: false,
        worn_at: Instant::now(),
        flavour: Flavour::MariaDb,
        says_transaction: false,
        tracks: false,
        born: Instant::now(),
        _slot: Some(slot),
    });
    (Leased::new(conn, server, key(), leasing), theirs)
}

#[tokio::test]
async fn a_session_that_panics_closes_its_two_sockets_frees_its_lease_and_is_counted() {
    let metrics = Metrics::new("0", "test").unwrap();
    let shared = Shared::new(settings(), Arc::clone(&metrics), Arc::default()).unwrap();
    let server = Arc::clone(&shared.cluster.snapshot().servers[0]);
    let (client, mut client_end) = UnixStream::pair().unwrap();
    let (leased, mut server_end) = lease(&server).await;
    let view = shared.clients.enter("test".to_owned(), 1).unwrap();

    let logged_in = LoggedIn {
        response: Response::default(),
        caps: Caps::empty(),
        user: user(),
        account: Arc::default(),
        seq: 2,
        info: Vec::new(),
        salt: [1; 20],
    };
    let client = Buffered::new(Stream::Unix(client));
    let from = (None, Route::Split);
    let mut session = ClientSession::new(Arc::clone(&shared), client, from, Arc::clone(&view), logged_in);
    session.user_count = Some(UserCount::enter(&shared, &user()).unwrap());
    session.primary = Some(leased);
    session.state.transaction.open = true;
    session.show_pin();
    let in_flight = server.begin();
    assert_eq!(
        (server.pool.counts().leased, server.pinned.load(std::sync::atomic::Ordering::Relaxed)),
        (1, 1)
    );
    assert!(shared.clients.enter("another".to_owned(), 1).is_none(), "the limit of clients is reached");

    listener::spawn(&shared, &view, shared.cores.place(0), async move {
        let _held = (session, in_flight);
        tokio::task::yield_now().await;
        panic!("forced by the test");
    });
    assert_eq!(metrics.client_connections.get(), 1);
    shared.sessions.close();
    shared.sessions.wait().await;

    let mut said = Vec::new();
    assert_eq!(client_end.read_to_end(&mut said).await.unwrap(), 0, "the client's socket is closed");
    assert_eq!(server_end.read_to_end(&mut said).await.unwrap(), 0, "the server's socket is closed");
    let counts = server.pool.counts();
    assert_eq!((counts.leased, counts.idle), (0, 0), "half a transaction goes to nobody");
    assert_eq!(server.pinned.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(server.in_flight.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(
        server.pool.lease(&key(), (0, 0), Class::Write, (Duration::ZERO, &mut None)).await.is_ok(),
        "the slot is free again"
    );
    assert_eq!((metrics.panics.get(), metrics.client_connections.get()), (1, 0));
    assert_eq!(metrics.pin(Pin::Transaction).unwrap().get(), 0);
    assert!(shared.clients.enter("another".to_owned(), 1).is_some(), "its place is free again");
    assert!(UserCount::enter(&shared, &user()).is_ok(), "and its user's");
}

#[tokio::test]
async fn a_server_may_ask_for_a_file_only_where_one_is_loaded() {
    let metrics = Metrics::new("0", "test").unwrap();
    let shared = Shared::new(settings(), Arc::clone(&metrics), Arc::default()).unwrap();
    let server = Arc::clone(&shared.cluster.snapshot().servers[0]);
    for (sql, passes) in [
        ("SELECT 1", false),
        ("LOAD DATA INFILE 'x' INTO TABLE t", false),
        ("LOAD DATA LOCAL INFILE 'x' INTO TABLE t", true),
    ] {
        let (mut leased, mut server_end) = lease(&server).await;
        let (client, mut client_end) = UnixStream::pair().unwrap();
        let mut frame = BytesMut::new();
        write_packet(&mut frame, 0, format!("\x03{sql}").as_bytes());
        let facts = clonelove_sql::analyse(sql.as_bytes(), &clonelove_sql::Dialect::default());
        let mut statement = statement::Statement::new(Command::Query, frame, facts);
        let request = b"\x02\0\0\x01\xFBx";
        server_end.write_all(request).await.unwrap();
        if passes {
            client_end.write_all(b"\x01\0\0\x021\0\0\0\x03").await.unwrap();
            server_end.write_all(b"\x07\0\0\x04\0\0\0\x02\0\0\0").await.unwrap();
        }
        let (mut client, mut out) = (Buffered::new(Stream::Unix(client)), BytesMut::new());
        let caps = (Caps::LOCAL_FILES, None);
        let done =
            exchange::exchange(&mut client, caps, &mut leased, &mut out, &mut statement, (false, |_| false))
                .await;
        assert_eq!(done.is_ok(), passes, "{sql}");
        drop(client);
        let mut told = Vec::new();
        client_end.read_to_end(&mut told).await.unwrap();
        assert_eq!(told.starts_with(request), passes, "{sql}: {told:?}");
    }
}

/// What a connection must hear, and the read that needs it, are one write: the server has both before it has answered.
#[tokio::test]
async fn settings_and_the_read_that_needs_them_go_out_together() {
    use clonelove_route::session::{Heard, Ran, Session};
    use clonelove_wire::frame::FrameHead;
    let metrics = Metrics::new("0", "test").unwrap();
    let shared = Shared::new(settings(), Arc::clone(&metrics), Arc::default()).unwrap();
    let server = Arc::clone(&shared.cluster.snapshot().servers[0]);
    let (mut leased, mut server_end) = lease(&server).await;
    let mut wanted = Session::new(Some("app".into()), clonelove_sql::Dialect::default());
    let set = b"SET sql_mode = 'ANSI', time_zone = '+05:00'";
    let facts = clonelove_sql::analyse(set, &wanted.dialect);
    wanted.after(set, &facts, Ran::Primary, &Heard::default());
    let target = Target {
        usage: Use::Primary,
        charset: 45,
        schema: wanted.schema.as_deref(),
        journal: &wanted.journal,
        like: &Vec::new,
        last_insert_id: None,
        no_variables: false,
        no_diagnostics: false,
        no_position: false,
        asks_diagnostics: false,
    };
    let mut read = BytesMut::new();
    write_packet(&mut read, 0, b"\x03SELECT 1");
    let steps = leased.conn.steps(&target).unwrap();
    let serve = async {
        let mut heard = vec![0; 4_096];
        let count = server_end.read(&mut heard).await.unwrap();
        let mut rest = &heard[..count];
        let mut texts = Vec::new();
        while let Some(head) = FrameHead::parse(rest) {
            texts.push(String::from_utf8_lossy(&rest[5..head.whole()]).into_owned());
            rest = &rest[head.whole()..];
        }
        for _ in 1..texts.len() {
            server_end.write_all(b"\x07\0\0\x01\0\0\0\x02\0\0\0").await.unwrap();
        }
        texts
    };
    let (texts, taken) = tokio::join!(serve, leased.conn.take(&steps, &target, Some(&read)));
    assert!(taken.is_ok(), "{taken:?}");
    assert!(texts.len() > 2 && texts[0] == "app" && texts.last().unwrap() == "SELECT 1", "{texts:?}");
    assert!(leased.conn.steps(&target).unwrap().is_empty(), "it is there");
}

#[tokio::test]
async fn a_client_that_waits_is_small() {
    let metrics = Metrics::new("0", "test").unwrap();
    let shared = Shared::new(settings(), Arc::clone(&metrics), Arc::default()).unwrap();
    let (client, _client_end) = UnixStream::pair().unwrap();
    let view = shared.clients.enter("test".to_owned(), 1).unwrap();
    let logged_in = LoggedIn {
        response: Response::default(),
        caps: Caps::empty(),
        user: user(),
        account: Arc::default(),
        seq: 2,
        info: Vec::new(),
        salt: [1; 20],
    };
    let client = Buffered::new(Stream::Unix(client));
    let mut session = Box::new(ClientSession::new(shared, client, (None, Route::Split), view, logged_in));
    assert!(size_of::<ClientSession>() <= 1_024, "{}", size_of::<ClientSession>());
    let busy = size_of_val(&session.query(BytesMut::new()));
    assert!(busy <= 7_168, "{busy}");
    let waiting = size_of_val(&session.serve_all());
    assert!(waiting <= 256, "{waiting}");
}
