//! The limit: the same accept, fetch and callback with the same server and client code, and no store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use rand_core::SeedableRng;
use serde::Deserialize;
use tokio::net::TcpListener;
use wellspring_connectors::{Connectors, SourceFolder};
use wellspring_core::{CollectionId, Kind, Shard, SourceName, TenantId};
use wellspring_delivery::{CallbackOptions, Callbacks, Secrets, SigningSecret};
use wellspring_engine::{
    Clock, Connector, DeliverOrder, FetchOrder, FetchResult, Nobody, SystemClock, Tasks,
};
use wellspring_outbound::AddressPolicy;

use crate::wiring;

/// Where it listens and what it asks.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitServer {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    sources: PathBuf,
    /// Taken so that both servers are started alike
    #[arg(long)]
    threads: Option<usize>,
}

struct Limit {
    connectors: Arc<Connectors>,
    callbacks: Callbacks,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
}

#[derive(Debug)]
struct OneSecret(Arc<[SigningSecret]>);

impl Secrets for OneSecret {
    fn callback(&self, _tenant: TenantId) -> Option<Arc<[SigningSecret]>> {
        Some(Arc::clone(&self.0))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Collect {
    provider: SourceName,
    callback_url: Arc<str>,
}

/// Serves until it is killed.
pub(crate) async fn run(server: LimitServer) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sources = SourceFolder::new(&server.sources)
        .load()
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let secrets = Arc::new(OneSecret([SigningSecret::generate([7; 32])].into()));
    let callbacks = Callbacks::new(
        AddressPolicy::unrestricted(),
        CallbackOptions::default(),
        secrets,
        Arc::clone(&clock),
    )?;
    let connectors = wiring::connectors(sources, &clock, &wiring::passing_vault(&clock))?;
    let limit = Arc::new(Limit {
        connectors,
        callbacks,
        clock,
        tasks: Tasks::default(),
    });
    let router = Router::new()
        .route("/collect", post(collect))
        .route("/readyz", get(async || StatusCode::OK))
        .with_state(limit);
    let listener = TcpListener::bind(server.listen).await?;
    wellspring_server::serve(listener, router, std::future::pending()).await?;
    Ok(())
}

async fn collect(State(limit): State<Arc<Limit>>, body: Bytes) -> (StatusCode, String) {
    let Ok(request) = serde_json::from_slice::<Collect>(&body) else {
        return (StatusCode::BAD_REQUEST, String::new());
    };
    let now = limit.clock.now();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(wellspring_engine::random_seed());
    let id = CollectionId::mint_in(now, Shard(0), &mut rng);
    let tenant = TenantId::from_bytes([1; 16]);
    let working = Arc::clone(&limit);
    limit.tasks.spawn("collect", async move {
        let limit = working;
        let order = FetchOrder {
            source: request.provider.clone(),
            id,
            tenant,
        };
        let FetchResult::Fetched(payload) = limit.connectors.fetch(order, Arc::new(Nobody)).await
        else {
            return;
        };
        let order = DeliverOrder {
            id,
            tenant,
            kind: Kind::Success,
            message: 1,
            at: now,
            source: request.provider,
            callback_url: request.callback_url,
            created_at: now,
            payload,
        };
        limit.callbacks.deliver(order).await;
    });
    (
        StatusCode::ACCEPTED,
        format!(r#"{{"requestId":"{id}","status":"requested"}}"#),
    )
}
