//! The definitions, asked for once, without a running proxy: what `explain` knows of them. Owns the choice of the server.

use std::sync::Arc;

use clonelove_sql::schema::MissingGrant;
use clonelove_sql::{Facts, Resolved, Schema};

use super::super::probe::monitoring_connection;
use super::read::read_definitions;
use crate::error::{Fault, ServerFault};
use crate::freshness::Freshness;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::settings::{RoleSetting, Settings};

/// What a server told of its definitions.
#[derive(Clone, Debug)]
pub struct Told {
    /// The server's configured name.
    pub server: String,
    /// What it is: how statements are read depends on it.
    pub flavour: clonelove_sql::Flavour,
    /// Its version; 101119 is 10.11.19.
    pub version: u32,
    /// All that the monitoring account could see.
    pub schema: Schema,
}

impl Told {
    /// What a running proxy that had read them would take a statement for, in a session with this default schema.
    pub fn resolve(&self, facts: &Facts, schema: Option<&str>) -> Resolved {
        self.schema.resolve_leniently(facts, schema, &[])
    }

    /// Privileges that the monitoring account lacks.
    pub fn missing(&self) -> Vec<MissingGrant> {
        self.schema.missing_grants()
    }
}

/// Asks the configured servers for their definitions: the first that may be written to, else the first that answers.
///
/// # Errors
/// What kept the last one from answering, with its name.
pub async fn explain_schema(settings: &Settings) -> Result<Told, ServerFault> {
    let nobody = Arc::from("none");
    let mut fault = ServerFault::new(&nobody, Fault::NoServer, "no server is configured");
    let metrics = Metrics::new("", "").map_err(|error| ServerFault::new(&nobody, Fault::Internal, error))?;
    let freshness = Freshness::new(0, settings.rules);
    let mut readable = None;
    for (at, one) in settings.servers.iter().enumerate() {
        let server = Arc::new(Server::new(at, one.clone(), &metrics, &freshness, &Arc::default()));
        match writable(&server, settings, one.role).await {
            Ok(true) => return told(&server, settings).await,
            Ok(false) => {
                readable.get_or_insert(server);
            }
            Err(error) => fault = error,
        }
    }
    match readable {
        Some(server) => told(&server, settings).await,
        None => Err(fault),
    }
}

async fn writable(server: &Arc<Server>, settings: &Settings, role: RoleSetting) -> Result<bool, ServerFault> {
    let within = settings.monitor.timeout;
    let late = |_| {
        ServerFault::new(&server.name, Fault::ServerConnect, format!("it did not answer within {within:?}"))
    };
    let connecting = monitoring_connection(server, &settings.monitor);
    let (mut conn, _) = tokio::time::timeout(within, connecting).await.map_err(late)??;
    let read_only = conn.rows("SELECT @@global.read_only", within).await?;
    let off =
        read_only.rows.first().and_then(|row| row.first()).is_some_and(|value| value.as_deref() == Some("0"));
    Ok(off && role != RoleSetting::Replica)
}

async fn told(server: &Arc<Server>, settings: &Settings) -> Result<Told, ServerFault> {
    let (flavour, version, schema) = read_definitions(server, &settings.monitor).await?;
    Ok(Told { server: server.name.to_string(), flavour, version, schema })
}
