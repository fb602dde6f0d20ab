//! `/collect`: one-shot fetches with a callback.

use std::fmt::Write;

use axum::extract::{FromRequestParts, Path};
use axum::response::Response;
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::{CollectionId, CollectionStatus, Stage, TenantId};
use wellspring_engine::{CollectionView, StoreError};

use crate::body::bytes;
use crate::idempotency::REPLAYED;
use crate::problem::Problem;
use crate::router::{App, within};

pub(crate) mod create;
pub(crate) mod erase;
pub(crate) mod list;
pub(crate) mod retry;
pub(crate) mod show;

/// That a collection was accepted, or accepted again.
// `accepted` writes it by hand; this describes it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepted {
    /// The collection's id.
    request_id: String,
    /// `requested`; after a retry `collected` where only the callback is to be called again.
    status: String,
    /// Where it shows how it goes on.
    status_url: String,
}

/// A collection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CollectionBody {
    /// Its id.
    request_id: String,
    /// Its source.
    provider: String,
    /// `requested`, `retrying`, `collected`, `delivered` or `failed`.
    status: &'static str,
    /// The attempts, oldest first; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptBody>>,
    /// When it was accepted.
    created_at: String,
    /// When the source or the callback is called next.
    next_attempt_at: Option<String>,
    /// When the data came in.
    collected_at: Option<String>,
    /// When the callback took the data.
    delivered_at: Option<String>,
    /// Why it failed.
    error: Option<ErrorBody>,
}

/// One try to reach the source or the callback.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptBody {
    /// `collect` or `deliver`.
    stage: &'static str,
    /// When it began.
    at: String,
    /// How long it took.
    duration_ms: u64,
    /// `success` or `failure`.
    outcome: &'static str,
    /// The class of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    /// The code of the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The failure in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Why a collection failed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// `collect` or `deliver`.
    stage: &'static str,
    /// The class.
    class: &'static str,
    /// The code.
    code: String,
    /// In words.
    message: String,
}

/// The base of links, ready for where it goes.
#[derive(Debug)]
pub(crate) struct Links {
    header: String,
    json: String,
}

/// The path names no collection of the caller's.
#[derive(Debug)]
pub(crate) struct NotFound;

/// Returns the collection that the path names, if it is the tenant's.
pub(crate) async fn find(
    app: &App,
    tenant: TenantId,
    parts: &mut Parts,
) -> Result<Result<CollectionView, NotFound>, StoreError> {
    let Ok(Path(text)) = Path::<String>::from_request_parts(parts, &()).await else {
        return Ok(Err(NotFound));
    };
    let Ok(id) = text.parse::<CollectionId>() else {
        return Ok(Err(NotFound));
    };
    let view = within(app.backend.collection(tenant, id)).await?;
    Ok(view.ok_or(NotFound))
}

/// Answers that a collection was accepted.
pub(crate) fn accepted(
    app: &App,
    id: CollectionId,
    status: CollectionStatus,
    replayed: bool,
) -> Response {
    let Links { header, json } = &app.links;
    let mut body = String::with_capacity(json.len() + 160);
    write!(
        body,
        r#"{{"requestId":"{id}","status":"{status}","statusUrl":"{json}/collect/{id}"}}"#
    )
    .expect("writing to a string does not fail");
    let mut response = bytes(StatusCode::ACCEPTED, "application/json", body.into());
    if let Ok(location) = HeaderValue::try_from(format!("{header}/collect/{id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    if replayed {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, yes);
    }
    response
}

impl CollectionBody {
    pub(crate) fn new(view: CollectionView) -> Self {
        let attempts = view.attempts.into_iter().map(AttemptBody::new).collect();
        Self {
            request_id: view.id.to_string(),
            provider: view.source.as_str().to_owned(),
            status: view.status.as_str(),
            attempts: Some(attempts),
            created_at: view.created_at.to_string(),
            next_attempt_at: view.next_attempt_at.map(|at| at.to_string()),
            collected_at: view.collected_at.map(|at| at.to_string()),
            delivered_at: view.delivered_at.map(|at| at.to_string()),
            error: view.error.map(|(stage, error)| ErrorBody {
                stage: stage.as_str(),
                class: error.class.as_str(),
                code: error.code,
                message: error.message,
            }),
        }
    }

    pub(crate) fn listed(view: CollectionView) -> Self {
        Self {
            attempts: None,
            ..Self::new(view)
        }
    }
}

impl AttemptBody {
    fn new(attempt: wellspring_engine::AttemptView) -> Self {
        let (class, code, message) = attempt.error.map_or((None, None, None), |error| {
            let class = error.class.as_str();
            (Some(class), Some(error.code), Some(error.message))
        });
        Self {
            stage: attempt.stage.as_str(),
            at: attempt.at.to_string(),
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            outcome: if class.is_none() {
                "success"
            } else {
                "failure"
            },
            class,
            code,
            message,
        }
    }
}

impl Links {
    pub(crate) fn new(public_url: &str) -> Self {
        let quoted = serde_json::Value::from(public_url).to_string();
        Self {
            header: public_url.to_owned(),
            json: quoted.trim_matches('"').to_owned(),
        }
    }

    /// Returns the address of a path.
    pub(crate) fn to(&self, path: &str) -> String {
        format!("{}{path}", self.header)
    }
}

impl From<NotFound> for Problem {
    fn from(NotFound: NotFound) -> Self {
        Self::not_found("There is no such collection")
    }
}

/// Returns the status that resuming a failed collection gives it.
pub(crate) fn resumed(view: &CollectionView) -> CollectionStatus {
    let stage = view.error.as_ref().map(|(stage, _)| *stage);
    match (stage, view.collected_at) {
        (Some(Stage::Deliver), Some(_)) => CollectionStatus::Collected,
        (Some(Stage::Collect | Stage::Deliver) | None, _) => CollectionStatus::Requested,
    }
}
