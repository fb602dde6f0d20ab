//! Takes the webhooks: checks the signature, answers at once, and hands them on.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use standardwebhooks::Webhook;
use tokio::sync::mpsc::Sender;

/// A change, as the `data` of a webhook bears it.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) verb: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) body: serde_json::Value,
}

#[derive(Deserialize)]
struct Envelope {
    data: Change,
}

struct Receiver {
    webhook: Webhook,
    changes: Sender<Change>,
}

/// Binds the address and returns what serves it for as long as it is polled.
pub(crate) async fn serve(
    listen: SocketAddr,
    secret: &str,
    changes: Sender<Change>,
) -> Result<impl Future<Output = ()>> {
    let webhook = Webhook::new(secret).context("the secret of the subscription")?;
    let receiver = Arc::new(Receiver { webhook, changes });
    let router = Router::new()
        .route("/changes", post(take))
        .with_state(receiver);
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    Ok(async move {
        axum::serve(listener, router).await.ok();
    })
}

async fn take(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    // Anybody can send to an open address; only Wellspring can sign.
    if receiver.webhook.verify(&body, &headers).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(Envelope { data }) = serde_json::from_slice(&body) else {
        // A message of another type, such as a test.
        return StatusCode::NO_CONTENT;
    };
    match receiver.changes.send(data).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_ended) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
