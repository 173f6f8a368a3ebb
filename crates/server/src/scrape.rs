//! What the metrics port answers: the figures for Prometheus, and whether the server is alive and ready.

mod exposition;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::dialup::{DialUp, LineState};
use crate::door::Door;
use crate::http_connection;
use crate::metrics::Metrics;
use store::{Health, Store};

/// What Prometheus calls its formats.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, Clone)]
struct Watched {
    metrics: Metrics,
    store: Store,
    dialup: DialUp,
}

/// `/metrics`, `/healthz`, `/readyz`.
pub(crate) fn router(metrics: Metrics, store: Store, dialup: DialUp) -> Router {
    Router::new()
        .route("/metrics", get(show))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(Watched {
            metrics,
            store,
            dialup,
        })
}

/// Connections of the metrics port: in all, and of one address.
const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_OF_ONE_MAX: usize = 16;

/// Serves a listener until `shutdown`.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    seats: usize,
    shutdown: CancellationToken,
) {
    let seats = seats.min(CONNECTIONS_MAX);
    let door = Door::shared(seats, CONNECTIONS_OF_ONE_MAX).with_local_max(seats);
    http_connection::listen(listener, "metrics", router, seats, door, shutdown).await;
}

/// In the format that is asked for; whoever asks for none gets the older one, which everything reads.
async fn show(State(watched): State<Watched>, headers: HeaderMap) -> Response {
    let status = watched.dialup.status();
    let lines = LineState::ALL.map(|state| {
        (
            state.as_str(),
            status.iter().filter(|line| line.state == state).count(),
        )
    });
    let text = watched
        .metrics
        .text(&watched.store, &lines, watched.dialup.connected_count())
        .await;
    let accepts = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if exposition::prefers_open_metrics(accepts) {
        ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(CONTENT_TYPE, TEXT)], exposition::plain(&text)).into_response()
    }
}

async fn ready(State(watched): State<Watched>) -> (StatusCode, &'static str) {
    match watched.store.health(Timestamp::now()).await {
        Health::Ready => (StatusCode::OK, "ready\n"),
        Health::Full => (StatusCode::SERVICE_UNAVAILABLE, "the disk is full\n"),
        Health::Failing(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store fails\n"),
    }
}

#[cfg(test)]
mod tests;
