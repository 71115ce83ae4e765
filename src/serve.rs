//! `/livez`, `/readyz` and `/metrics`.
use crate::telemetry::Telemetry;
use axum::{
    Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, response::IntoResponse, routing::get,
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// What the three pages tell.
#[derive(Clone, Default)]
pub struct Health {
    /// The numbers.
    pub telemetry: Telemetry,
    /// Whether the API server has answered.
    pub ready: Arc<AtomicBool>,
}

/// The pages, without a socket.
pub fn pages(health: Health) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not answered yet")
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], health.telemetry.text())
}

/// Serves the pages until the process ends. On a node without IPv6 `[::]` is `0.0.0.0`.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, health: Health) -> std::io::Result<()> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
    let listener = match tokio::net::TcpListener::bind(address).await {
        Err(_) if address == any => tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await?,
        bound => bound?,
    };
    axum::serve(listener, pages(health)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use tower::ServiceExt;

    async fn ask(health: &Health, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let answer = pages(health.clone()).oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_follows_the_flag_and_liveness_does_not() {
        let health = Health::default();
        assert_eq!(ask(&health, "/livez").await.0, StatusCode::OK);
        assert_eq!(ask(&health, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        health.ready.store(true, Ordering::Relaxed);
        assert_eq!(ask(&health, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn numbers_are_served() {
        let health = Health::default();
        health.telemetry.leader.set(1);
        let (status, text) = ask(&health, "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("bellwether_leader 1"), "{text}");
    }
}
