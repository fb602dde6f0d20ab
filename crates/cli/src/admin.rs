//! Commands on a data folder: done here when it is free, else by the server that uses it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use http_body_util::{BodyExt, Full};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use wellspring_core::ApiKeyId;
use wellspring_engine::Tasks;

use crate::backup;
use crate::config::Config;
use crate::data_dir;
use crate::rotation;
use crate::wiring::{self, Opened};

/// What an operator wants of a database.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// A new key; the tenant is made if there is none of the name.
    KeyCreate {
        /// The tenant's name.
        tenant: String,
    },
    /// All keys, or those of one tenant.
    KeyList {
        /// The tenant's name.
        tenant: Option<String>,
    },
    /// A key is to work no longer.
    KeyRevoke {
        /// Which.
        id: ApiKeyId,
    },
    /// Another master key.
    RotateMaster(rotation::Step),
    /// A consistent copy of the database.
    Backup {
        /// Where to.
        target: PathBuf,
    },
    /// How the database is.
    Check,
}

/// Has the request done by the server that uses the folder, or else here.
pub(crate) async fn run(config: &Config, request: Request) -> Result<Value> {
    let socket = data_dir::admin_socket(&config.data_dir);
    if let Ok(stream) = UnixStream::connect(&socket).await {
        return ask(stream, &request).await;
    }
    let makes = matches!(request, Request::KeyCreate { .. });
    if config.database.is_none() && !makes && !config.sqlite_path().exists() {
        bail!(
            "there is no database in {}; is --data-dir right?",
            config.data_dir.display()
        );
    }
    let opened = wiring::open(config).await?;
    perform(&opened, request).await
}

/// Listens on the folder's socket until the tasks are stopped.
pub(crate) fn listen(folder: &Path, opened: Arc<Opened>, tasks: &Tasks) -> Result<()> {
    let socket = data_dir::admin_socket(folder);
    // The folder's lock is held: a socket that is there was left by a process that was killed.
    if let Err(error) = std::fs::remove_file(&socket)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot remove {}", socket.display()));
    }
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("cannot listen on {}", socket.display()))?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    let router = axum::Router::new()
        .route("/", post(handle))
        .with_state(opened);
    let stop = tasks.stop_token().clone();
    tasks.spawn("admin", async move {
        let served = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "Admin socket ended");
        }
        std::fs::remove_file(&socket).unwrap_or_default();
    });
    Ok(())
}

async fn handle(
    State(opened): State<Arc<Opened>>,
    Json(request): Json<Request>,
) -> (StatusCode, Json<Value>) {
    match perform(&opened, request).await {
        Ok(reply) => (StatusCode::OK, Json(reply)),
        Err(error) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Json(json!({"error": format!("{error:#}")})),
        ),
    }
}

async fn ask(stream: UnixStream, request: &Request) -> Result<Value> {
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let tasks = Tasks::default();
    tasks.spawn("admin connection", async move {
        // An error shows in the answer that does not come.
        connection.await.unwrap_or_default();
    });
    let body = Full::new(bytes::Bytes::from(serde_json::to_vec(request)?));
    let request = http::Request::post("/")
        .header("host", "admin")
        .header("content-type", "application/json")
        .body(body)?;
    let response = sender
        .send_request(request)
        .await
        .context("the server did not answer")?;
    let ok = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    let reply: Value = serde_json::from_slice(&body).context("the server's answer is no JSON")?;
    if !ok {
        bail!(
            "{}",
            reply["error"].as_str().unwrap_or("the server refused")
        );
    }
    Ok(reply)
}

async fn perform(opened: &Opened, request: Request) -> Result<Value> {
    match request {
        Request::KeyCreate { tenant } => {
            if !opened
                .backend
                .tenants()
                .await?
                .iter()
                .any(|known| known.name == tenant)
            {
                opened.access.create_tenant(&tenant, None).await?;
            }
            let (id, key) = opened.access.create_key(&tenant, None).await?;
            Ok(json!({"id": id, "tenant": tenant, "key": key}))
        }
        Request::KeyList { tenant } => {
            let keys = opened.access.list_keys(tenant.as_deref());
            let keys = keys.into_iter().map(|key| {
                json!({
                    "id": key.id,
                    "tenant": key.tenant,
                    "created_at": key.created_at,
                    "revoked_at": key.revoked_at,
                })
            });
            Ok(json!({"keys": keys.collect::<Vec<_>>()}))
        }
        Request::KeyRevoke { id } => {
            if !opened.access.revoke_key(id).await? {
                bail!("there is no key {id}");
            }
            Ok(json!({"id": id}))
        }
        Request::RotateMaster(step) => rotation::perform(opened, step).await,
        Request::Backup { target } => {
            let (Some(sqlite), Some(blobs)) = (&opened.sqlite, &opened.blob_folder) else {
                bail!("with PostgreSQL, use pg_dump or the backups of your PostgreSQL service");
            };
            backup::write(sqlite, blobs, &target).await
        }
        Request::Check => {
            opened.backend.ping().await?;
            let tenants = opened.access.tenant_count();
            let keys = opened
                .access
                .list_keys(None)
                .iter()
                .filter(|key| key.revoked_at.is_none())
                .count();
            let database = if opened.sqlite.is_some() {
                "SQLite"
            } else {
                "PostgreSQL"
            };
            Ok(json!({"database": database, "tenants": tenants, "keys": keys}))
        }
    }
}
