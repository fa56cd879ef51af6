//! What a query allocates, counted: the whole way from a client's socket to a server's and back, in this process.
//! A binary of its own, because the allocator is the whole program's.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of a test")]

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use clonelove_proxy::metrics::Metrics;
use clonelove_proxy::settings::{
    Address, Caps, Limits, Listen, ListenAddress, Monitor, Pool, RoleSetting, Route, Routing, Rules, Secret,
    ServerSettings, Settings, User, UsersFrom,
};
use clonelove_proxy::tls::{ClientTls, Connector};
use clonelove_proxy::{Proxy, Readiness};
use clonelove_testkit::{
    APP_PASSWORD, APP_USER, Cluster, ClusterOptions, DEFAULT_TIMEOUT, Flavour, MONITOR_PASSWORD,
    MONITOR_USER, wait_until,
};
use clonelove_wire::auth::native;
use clonelove_wire::packet::{Greeting, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Queries in a row, and how many rows of these: what else goes on in the process from time to time, such as a look
/// at idle connections once a second, falls into some of them only.
const QUERIES: u32 = 50;
const ROWS: u32 = 16;

fn settings(cluster: &Cluster) -> Settings {
    // What asks and looks by itself does so once, at the start.
    let never = Duration::from_secs(3_600);
    let servers = cluster.servers().map(|server| ServerSettings {
        name: server.name().to_owned(),
        address: Address::Tcp { host: "127.0.0.1".into(), port: server.port() },
        role: RoleSetting::Auto,
        weight: 100,
        zone: String::new(),
        max_connections: 10,
        tls: Arc::new(Connector::disabled()),
        compression: Caps::empty(),
        proxy_protocol: false,
    });
    let here = Address::Tcp { host: "127.0.0.1".into(), port: 0 };
    Settings {
        rules: Rules::all(),
        listen: Listen {
            mysql: vec![ListenAddress { address: here, route: Route::Split, tls: ClientTls::Optional }],
            unix_mode: 0o777,
            proxy_protocol: Vec::new(),
            compression: Caps::empty(),
        },
        servers: servers.collect(),
        monitor: Monitor {
            user: MONITOR_USER.into(),
            password: Secret::new(MONITOR_PASSWORD),
            interval: never,
            timeout: Duration::from_secs(10),
            fall: 3,
            rise: 1,
            schema_interval: never,
        },
        users: vec![User {
            name: APP_USER.into(),
            passwords: vec![Secret::new(APP_PASSWORD)],
            max_connections: 0,
            networks: Vec::new(),
            route: Route::Split,
            tls: ClientTls::Optional,
            admin: false,
        }],
        users_from: UsersFrom::Config,
        routing: Routing::default(),
        pool: Pool::default(),
        limits: Limits::default(),
        tls: None,
        rsa_key: None,
    }
}

/// A client that allocates nothing once it is logged in.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn log_in(address: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEFAULT_TIMEOUT))?;
        let mut client = Self { stream: stream.try_clone()?, buffer: vec![0; 16_384] };
        let count = client.packet()?;
        let greeting = Greeting::parse(&client.buffer[4..count])?;
        let response = Response {
            caps: clonelove_wire::Caps::LONG_PASSWORD
                | clonelove_wire::Caps::PROTOCOL_41
                | clonelove_wire::Caps::TRANSACTIONS
                | clonelove_wire::Caps::SECURE_CONNECTION
                | clonelove_wire::Caps::PLUGIN_AUTH,
            charset: 45,
            user: APP_USER.into(),
            auth: native::scramble(&clonelove_wire::Secret::new(APP_PASSWORD), &greeting.salt),
            database: Some("app".into()),
            auth_plugin: Some("mysql_native_password".into()),
            ..Response::default()
        }
        .encode();
        let head = [u8::try_from(response.len())?, 0, 0, 1];
        stream.write_all(&[&head[..], &response].concat())?;
        let count = client.packet()?;
        anyhow::ensure!(client.buffer[4] == 0, "{:?}", &client.buffer[..count]);
        Ok(client)
    }

    /// One packet, into the buffer; how long it is with its head.
    fn packet(&mut self) -> anyhow::Result<usize> {
        self.stream.read_exact(&mut self.buffer[..4])?;
        let len = usize::from(self.buffer[0]) + 256 * usize::from(self.buffer[1]);
        self.stream.read_exact(&mut self.buffer[4..4 + len])?;
        Ok(4 + len)
    }

    /// Asks, and reads one row's reply: until its second EOF packet.
    fn ask(&mut self, command: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(command)?;
        let (mut count, mut ends) = (0, 0);
        while ends < 2 {
            let more = self.stream.read(&mut self.buffer[count..])?;
            anyhow::ensure!(more > 0, "it closed the connection");
            count += more;
            ends = eofs(&self.buffer[..count]);
        }
        Ok(())
    }

    /// Asks again and again, each time with another number in the command: in one of the rows nothing is allocated in
    /// this process.
    fn count(&mut self, command: &mut [u8], number: fn(&mut [u8], u32), what: &str) -> anyhow::Result<()> {
        for at in 0..4 * QUERIES {
            number(command, at);
            self.ask(command)?;
        }
        let mut rows = [0; ROWS as usize];
        for (row, allocations) in (0..).zip(&mut rows) {
            let region = Region::new(ALLOCATOR);
            for at in 0..QUERIES {
                number(command, row * QUERIES + at);
                self.ask(command)?;
            }
            let change = region.change();
            *allocations = change.allocations + change.reallocations;
        }
        let least = rows.iter().min().copied().unwrap_or_default();
        anyhow::ensure!(least == 0, "{what}: so many allocations in {QUERIES} queries: {rows:?}");
        Ok(())
    }
}

/// How many whole EOF packets there are.
fn eofs(mut bytes: &[u8]) -> usize {
    let mut ends = 0;
    while let [low, high, 0, _, first, ..] = bytes {
        let len = usize::from(*low) + 256 * usize::from(*high);
        let Some(rest) = bytes.get(4 + len..) else { break };
        ends += usize::from(*first == 0xFE && len < 9);
        bytes = rest;
    }
    ends
}

#[test]
fn a_point_select_allocates_nothing_on_its_way() -> anyhow::Result<()> {
    let options = ClusterOptions { replicas: 1, uniform: true, ..ClusterOptions::default() };
    let cluster = Cluster::start(Flavour::MariaDbDistribution, options)?;
    let mut root = cluster.primary.connect()?;
    root.query("CREATE TABLE app.t (id INT PRIMARY KEY, c CHAR(120))")?;
    root.query("INSERT INTO app.t SELECT seq, REPEAT('x', 120) FROM app.seq_1_to_1000")?;
    cluster.wait_caught_up()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let metrics = Metrics::new("0", "test")?;
    let proxy = runtime.block_on(Proxy::start(settings(&cluster), metrics))?;
    wait_until("the proxy to be ready", DEFAULT_TIMEOUT, || {
        Ok((proxy.ready(true) == Readiness::Ready).then_some(()))
    })?;
    let address = proxy.status().listen.mysql.first().cloned().unwrap_or_default();
    let mut client = Client::log_in(&address)?;

    let mut text = packet(b"\x03SELECT c FROM app.t WHERE id =       000");
    client.count(&mut text, put_digits, "a point select as text")?;

    client.ask(&packet(b"\x16SELECT c FROM app.t WHERE id = ?"))?;
    let id = client.buffer[5..9].to_vec();
    let mut execute = packet(&[&b"\x17"[..], &id, &[0, 1, 0, 0, 0, 0, 1, 8, 0], &[0; 8]].concat());
    client.count(&mut execute, put_value, "a prepared point select")
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let head = [u8::try_from(payload.len()).unwrap(), 0, 0, 0];
    [&head[..], payload].concat()
}

/// Three digits at the end.
fn put_digits(command: &mut [u8], number: u32) {
    for (place, digit) in [1, 10, 100].into_iter().zip(command.iter_mut().rev()) {
        *digit = b'0' + u8::try_from(number / place % 10).unwrap();
    }
}

/// Eight bytes at the end.
fn put_value(command: &mut [u8], number: u32) {
    let at = command.len() - 8;
    command[at..].copy_from_slice(&u64::from(number % 1_000).to_le_bytes());
}
