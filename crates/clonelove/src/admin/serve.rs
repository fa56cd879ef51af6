//! Connections to the admin port. Owns their limits: how many, how long, how large a head.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Connections at once; more wait.
const CONNECTIONS: usize = 64;
/// From the connection, or the answer before, to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// No connection lives longer, busy or not.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// A request's head in bytes.
const HEAD_LIMIT: usize = 16 << 10;
/// Header lines of a request.
const HEADERS: usize = 64;
/// After a failed accept (no descriptors left): trying again at once would only burn time.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(200);

/// Serves until `stop`; connections under way then get their answer.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let connection = serve_connection(stream, router.clone(), stop.clone());
        tasks.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            warn!(%error, "the admin port cannot accept a connection");
            tokio::time::sleep(ACCEPT_BACK_OFF).await;
            None
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::time::timeout(CONNECTION_TIMEOUT, async {
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    })
    .await;
    if let Ok(Err(error)) = outcome {
        debug!(%error, "an admin connection ended badly");
    }
}
