//! The admin port: what can be asked of a running clonelove, and what it can be told. Owns paths, their
//! answers and who may send what; steers through [`Control`] and must not know the proxy's insides.

mod guard;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clonelove_proxy::control::Status;
use prometheus::{Encoder, Registry, TextEncoder};
use serde::{Deserialize, Serialize};

use crate::config::{Http, Problem};

pub(crate) use self::serve::serve;

/// The paths there are, for those who ask for another.
const PATHS: &str = "GET /metrics, /status, /healthz, /readyz[?writes=1]; POST /reload, /servers/NAME/drain, /servers/NAME/undrain";

/// What the admin port needs of the daemon.
pub(crate) trait Control: Send + Sync + 'static {
    /// What it is doing.
    fn status(&self) -> Status;
    /// Whether a client could read now, or, with `writes`, write; else why not.
    fn ready(&self, writes: bool) -> Result<(), String>;
    /// Takes a server out of use; false when there is none of that name.
    fn drain_server(&self, name: &str) -> bool;
    /// Puts it back; false when there is none of that name.
    fn undrain_server(&self, name: &str) -> bool;
    /// Brings gauges that are computed at scrape time up to date.
    fn refresh_metrics(&self);
    /// Reads the config again; answers one line per difference. Blocks on files.
    fn reload(&self) -> Result<Vec<String>, Refused>;
}

/// Why a new config was not taken; the old one still holds, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What is wrong.
    pub(crate) error: String,
    /// What to do.
    pub(crate) hint: String,
    /// What is wrong with the file, where it is the file.
    pub(crate) problems: Vec<Problem>,
}

/// What the handlers share.
struct Admin<C> {
    control: Arc<C>,
    registry: Registry,
}

/// An answer other than 2xx.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    error: String,
    hint: String,
    problems: Vec<Problem>,
}

/// The admin port's answers.
pub(crate) fn router<C: Control>(control: Arc<C>, registry: Registry, http: &Http) -> Router {
    let posts = Router::new()
        .route("/reload", post(reload::<C>))
        .route("/servers/{name}/drain", post(drain::<C>))
        .route("/servers/{name}/undrain", post(undrain::<C>));
    let guard = Arc::new(guard::Guard::new(http));
    Router::new()
        .route("/metrics", get(metrics::<C>))
        .route("/status", get(status::<C>))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz::<C>))
        .merge(posts)
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no such path", PATHS) })
        .method_not_allowed_fallback(|| async {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method", PATHS)
        })
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
        .with_state(Arc::new(Admin { control, registry }))
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, error: error.into(), hint: hint.into(), problems: Vec::new() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
            hint: String,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            problems: Vec<Problem>,
        }
        let Failure { status, error, hint, problems } = self;
        (status, axum::Json(Body { error, hint, problems })).into_response()
    }
}

async fn metrics<C: Control>(State(admin): State<Arc<Admin<C>>>) -> Result<Response, Failure> {
    admin.control.refresh_metrics();
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder.encode(&admin.registry.gather(), &mut text).map_err(|error| {
        let hint = "this is a fault in clonelove; please report it";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}"), hint)
    })?;
    Ok(([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
}

async fn status<C: Control>(State(admin): State<Arc<Admin<C>>>) -> axum::Json<Status> {
    axum::Json(admin.control.status())
}

#[derive(Deserialize)]
struct Ready {
    writes: Option<String>,
}

async fn readyz<C: Control>(
    State(admin): State<Arc<Admin<C>>>,
    Query(query): Query<Ready>,
) -> (StatusCode, String) {
    let writes = query.writes.is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "no"));
    match admin.control.ready(writes) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", why.replace(['\r', '\n'], " "))),
    }
}

async fn reload<C: Control>(State(admin): State<Arc<Admin<C>>>) -> Result<Response, Failure> {
    let outcome = tokio::task::spawn_blocking(move || admin.control.reload()).await;
    match outcome {
        Ok(Ok(changes)) => Ok(axum::Json(serde_json::json!({ "changes": changes })).into_response()),
        Ok(Err(Refused { error, hint, problems })) => {
            Err(Failure { status: StatusCode::UNPROCESSABLE_ENTITY, error, hint, problems })
        }
        Err(error) => {
            let hint = "the old config still holds; see the log";
            Err(Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the reload broke off: {error}"),
                hint,
            ))
        }
    }
}

async fn drain<C: Control>(
    State(admin): State<Arc<Admin<C>>>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    steered(admin.control.drain_server(&name), &name, "draining")
}

async fn undrain<C: Control>(
    State(admin): State<Arc<Admin<C>>>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    steered(admin.control.undrain_server(&name), &name, "in use")
}

fn steered(known: bool, name: &str, now: &str) -> Result<Response, Failure> {
    if known {
        return Ok(axum::Json(serde_json::json!({ "server": name, "now": now })).into_response());
    }
    let hint = "GET /status lists the servers by name";
    Err(Failure::new(StatusCode::NOT_FOUND, format!("no server is named \"{name}\""), hint))
}
