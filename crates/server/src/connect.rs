//! `/connect/{token}`: the page where a person connects a source or repairs a connection.

mod page;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request};
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_engine::{StoreError, TokenRecord};

use crate::body::json;
use crate::problem::Problem;
use crate::router::App;
use crate::tokens::{self, Link};

use page::Page;

/// What an opened page works with.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBody {
    /// Its bearer token, which goes no further than the page's memory.
    token: String,
    /// When that ends.
    expires_at: String,
    /// For which account.
    account: String,
    /// The connection that is repaired.
    connection: Option<String>,
    /// The source that is connected.
    source: Option<String>,
    /// Where the person is sent back to.
    return_url: Option<String>,
    /// Who may frame the page and is told how it went.
    frame_origins: Vec<String>,
}

/// Why a link is not exchanged.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Unknown,
    Spent,
    Expired,
    Store(StoreError),
    Answer(Problem),
}

/// Shows the connect page; opening it spends nothing.
#[utoipa::path(
    get, path = "/connect/{token}", tag = "connect", operation_id = "connectPage",
    params(("token" = String, Path, description = "The token of the link")),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 404, description = "A page that says that there is no such link", body = String, content_type = "text/html"),
        (status = 410, description = "A page that says that the link was used, or that its time is over", body = String, content_type = "text/html"),
    ),
)]
pub(crate) async fn show(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let page = match find(&app, request).await? {
        Link::Open(record) if record.connection.is_some() => Page::repair(origins(&app, &record)),
        Link::Open(record) => Page::connect(origins(&app, &record)),
        Link::Spent(record) => Page::spent(origins(&app, &record), record.return_url),
        Link::Expired(record) => Page::expired(origins(&app, &record), record.return_url),
        Link::Unknown => Page::unknown(),
    };
    Ok(page.into_response())
}

/// Exchanges the link for what the page works with, once.
#[utoipa::path(
    post, path = "/connect/{token}/session", tag = "connect", operation_id = "openConnectPage",
    params(("token" = String, Path, description = "The token of the link")),
    responses(
        (status = 200, description = "What the page works with", body = SessionBody),
        (status = 404, description = "There is no such link"),
        (status = 410, description = "`link_spent`: it was used already; `link_expired`: its time is over"),
    ),
)]
pub(crate) async fn open(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    Ok(session(&app, request).await?)
}

async fn session(app: &App, request: Request) -> Result<Response, ConnectError> {
    let record = match find(app, request).await? {
        Link::Open(record) => record,
        Link::Spent(_) => return Err(ConnectError::Spent),
        Link::Expired(_) => return Err(ConnectError::Expired),
        Link::Unknown => return Err(ConnectError::Unknown),
    };
    let exchanged = tokens::exchange(app, &record).await?;
    let (token, expires_at) = exchanged.ok_or(ConnectError::Spent)?;
    let body = SessionBody {
        token,
        expires_at: expires_at.to_string(),
        account: record.account.to_string(),
        connection: record.connection.map(|id| id.to_string()),
        source: record.source.as_ref().map(ToString::to_string),
        frame_origins: origins(app, &record),
        return_url: record.return_url,
    };
    let mut response = json(StatusCode::OK, &body).map_err(ConnectError::Answer)?;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

async fn find(app: &App, request: Request) -> Result<Link, StoreError> {
    let (mut parts, _body) = request.into_parts();
    match Path::<String>::from_request_parts(&mut parts, &()).await {
        Ok(Path(token)) => tokens::link(app, &token).await,
        Err(_not_text) => Ok(Link::Unknown),
    }
}

fn origins(app: &App, record: &TokenRecord) -> Vec<String> {
    app.access.settings(record.tenant).frame_origins
}

impl From<StoreError> for ConnectError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Self {
        let gone = |code, detail: &str| Self::new(StatusCode::GONE, code, detail);
        match error {
            ConnectError::Unknown => Self::not_found("There is no such link"),
            ConnectError::Spent => gone("link_spent", "This link was used already"),
            ConnectError::Expired => gone("link_expired", "The time of this link is over"),
            ConnectError::Store(error) => error.into(),
            ConnectError::Answer(problem) => problem,
        }
    }
}
