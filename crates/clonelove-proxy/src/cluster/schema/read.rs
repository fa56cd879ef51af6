//! Reading the definitions from a server with the monitoring account, again and again. Owns the pace and the
//! connection; what is asked and what the answers mean is `clonelove-sql`'s.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use clonelove_sql::schema::{Answers, queries};
use clonelove_sql::{Flavour, Schema};
use clonelove_wire::Command;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::probe::{MonitorCount, monitoring_connection};
use super::super::{Cluster, Snapshot};
use super::{FIRST_WITHIN, Wish};
use crate::backend::reply::{Reply, read_long_reply, request};
use crate::error::{Fault, Refusal, ServerFault};
use crate::server::Server;
use crate::session::version_number;
use crate::settings::{Monitor, Settings};

/// Never more often than this.
const LEAST: Duration = Duration::from_secs(1);

/// How long a server may take to tell all that it holds.
const WITHIN: Duration = Duration::from_secs(30);

/// Before the questions: they are written for this.
const SET_UP: &str = "SET SESSION sql_mode = ''";

/// When the last reading was, and what came of it.
struct Pace {
    begun: Instant,
    epoch: u64,
    /// It was read, and from the primary.
    good: bool,
    /// What may have changed is looked for no sooner than this after the last time.
    patience: Duration,
}

/// Reads the definitions for as long as the proxy runs.
pub(in super::super) async fn keep(cluster: Arc<Cluster>, settings: Arc<ArcSwap<Settings>>) {
    cluster.first_round().await;
    let mut failing = false;
    let mut patience = LEAST;
    loop {
        let (begun, epoch) = (Instant::now(), cluster.snapshot().topology.epoch);
        let wish = cluster.schema.wish();
        let monitor = settings.load_full().monitor.clone();
        let mut reading = std::pin::pin!(refresh(&cluster, &monitor));
        let soon = timeout(FIRST_WITHIN, &mut reading).await;
        cluster.schema.tried.send_replace(true);
        let outcome = match soon {
            Ok(outcome) => outcome,
            Err(_) => reading.await,
        };
        let good = match &outcome {
            Ok(read) => {
                let in_vain = wish == Wish::Perhaps && !read.new;
                patience = if in_vain { patience.saturating_mul(2) } else { LEAST };
                failing = false;
                read.from_primary
            }
            Err(fault) => {
                cluster.schema.metrics.schema_refreshed(false);
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(server = %fault.server, error = %fault.detail, "the definitions of tables and routines could not be read: those known before are kept");
                }
                false
            }
        };
        wait(&cluster, &settings, &Pace { begun, epoch, good, patience }).await;
    }
}

/// Until the next reading is due.
async fn wait(cluster: &Cluster, settings: &ArcSwap<Settings>, pace: &Pace) {
    let mut changed = cluster.changed.subscribe();
    loop {
        let interval = settings.load().monitor.schema_interval;
        let primary = {
            let snapshot = cluster.snapshot();
            snapshot.topology.primary.is_some() && (!pace.good || snapshot.topology.epoch != pace.epoch)
        };
        let after = match cluster.schema.wish() {
            Wish::Certainly => LEAST,
            _ if primary || cluster.schema.in_doubt() || cluster.schema.view().is_none() => LEAST,
            Wish::Perhaps => pace.patience.min(interval),
            Wish::No => interval,
        };
        tokio::select! {
            () = sleep_until(pace.begun + after) => return,
            () = cluster.schema.nudge.notified() => {}
            ended = changed.changed() => {
                if ended.is_err() {
                    return;
                }
            }
        }
    }
}

struct Read {
    from_primary: bool,
    new: bool,
}

async fn refresh(cluster: &Cluster, monitor: &Monitor) -> Result<Read, ServerFault> {
    let snapshot = cluster.snapshot();
    let first = cluster.schema.view().is_none();
    let Some((server, from_primary)) = whom(&snapshot, first) else {
        let why = snapshot.why_no_primary();
        return Err(ServerFault::new(&Arc::from("primary"), Fault::NoPrimary, why));
    };
    let reading = cluster.schema.begin();
    let ended =
        || ServerFault::new(&server.name, Fault::ServerLost, "it was declared down, or changed its role");
    let told = server.life().run(read_definitions(server, monitor)).await;
    let (_, _, schema) = told.unwrap_or_else(|| Err(ended()))?;
    let new = cluster.schema.publish(schema, &reading, from_primary);
    Ok(Read { from_primary, new })
}

/// The primary; while there is none and nothing is known yet, any other.
fn whom(snapshot: &Snapshot, first: bool) -> Option<(&Arc<Server>, bool)> {
    if let Some(primary) = snapshot.topology.primary.and_then(|at| snapshot.servers.get(at)) {
        return Some((primary, true));
    }
    let mut up = snapshot.servers.iter().zip(&snapshot.topology.servers);
    up.find(|(_, node)| first && node.eligible).map(|(server, _)| (server, false))
}

/// What a server is, and all that it tells the monitoring account.
pub(super) async fn read_definitions(
    server: &Arc<Server>,
    monitor: &Monitor,
) -> Result<(Flavour, u32, Schema), ServerFault> {
    let late = || {
        let why = format!("it did not tell its definitions within {WITHIN:?}");
        ServerFault::new(&server.name, Fault::ServerLost, why)
    };
    let (flavour, version, answers) = timeout(WITHIN, ask(server, monitor)).await.map_err(|_| late())??;
    // A large installation's takes a while.
    let built = tokio::task::spawn_blocking(move || Schema::build(flavour, version, &answers)).await;
    let schema = built.map_err(|_| {
        ServerFault::new(&server.name, Fault::Internal, "its definitions could not be understood")
    })?;
    Ok((flavour, version, schema))
}

async fn ask(server: &Arc<Server>, monitor: &Monitor) -> Result<(Flavour, u32, Answers), ServerFault> {
    let (mut conn, greeting) = monitoring_connection(server, monitor).await?;
    let conn = &mut *conn;
    let _count = MonitorCount::new(server);
    let version = version_number(greeting.version.trim_start_matches("5.5.5-"));
    let questions = queries(conn.flavour);
    let mut out = BytesMut::new();
    for sql in [SET_UP].into_iter().chain(questions.iter().map(|question| question.sql)) {
        out.extend_from_slice(&request(Command::Query, sql.as_bytes(), conn.caps));
    }
    conn.io.write_all(&out).await.map_err(|error| ServerFault::lost(&server.name, &error))?;
    read_long_reply(&mut conn.io, &server.name, conn.caps).await?;
    let mut answers = Answers::new();
    for question in questions {
        match read_long_reply(&mut conn.io, &server.name, conn.caps).await? {
            Reply::Rows(rows) => {
                answers.insert(question.name, rows.rows);
            }
            Reply::Err { .. } if question.optional => {}
            Reply::Err { code, state, message } => {
                let why = format!("it refused `{}`: {message} ({code})", question.sql);
                let refused = Some(Refusal { code, state, message });
                return Err(ServerFault {
                    refused,
                    ..ServerFault::new(&server.name, Fault::ServerAuth, why)
                });
            }
            Reply::Ok => {
                let why = format!("no rows in answer to `{}`", question.sql);
                return Err(ServerFault::new(&server.name, Fault::ServerProtocol, why));
            }
        }
    }
    Ok((conn.flavour, version, answers))
}
