//! Errors as clients see them: RFC 9457.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::Timestamp;
use wellspring_engine::{StoreError, random_seed};

/// What went wrong, as a response.
#[derive(Debug)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    body: ProblemBody,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// Always `about:blank`; `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What happened, in words that may change.
    detail: String,
    /// What happened, in a word that does not.
    code: &'static str,
    /// One entry for each fault of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// In how many seconds the same request may be granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// When it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_allowed_at: Option<String>,
    /// Names this one failure in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// One fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// Where in the body, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// In which parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    /// What is wrong there.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            body: ProblemBody {
                kind: "about:blank",
                title: status.canonical_reason().unwrap_or("Problem"),
                status: status.as_u16(),
                detail: detail.into(),
                code,
                errors: Vec::new(),
                retry_after: None,
                next_allowed_at: None,
                id: None,
            },
            headers: Vec::new(),
        }))
    }

    /// The request is understood and cannot be done: the body's faults say why.
    pub(crate) fn invalid(faults: Vec<Fault>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "validation_failed", summary("body", &faults)).with_errors(faults)
    }

    /// Parameters of the query are wrong.
    pub(crate) fn parameters(faults: Vec<Fault>) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self::new(status, "invalid_parameter", summary("query", &faults)).with_errors(faults)
    }

    /// As [`Self::parameters`] where wrong filters are content that cannot be processed.
    pub(crate) fn invalid_query(faults: Vec<Fault>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "validation_failed", summary("query", &faults)).with_errors(faults)
    }

    pub(crate) fn unauthorized() -> Self {
        let detail =
            "A valid API key or token is needed, as a Bearer token or as the password of Basic";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(
            WWW_AUTHENTICATE,
            HeaderValue::from_static(r#"Bearer realm="wellspring", Basic realm="wellspring""#),
        )
    }

    /// The path names nothing of the caller's.
    pub(crate) fn nothing() -> Self {
        Self::not_found("There is nothing of yours at this path")
    }

    pub(crate) fn not_found(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// It was done as often as it may be for now.
    pub(crate) fn too_many(code: &'static str, detail: &'static str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
    }

    /// Something that a person must look at; the cause goes to the log alone.
    pub(crate) fn internal(cause: impl fmt::Display) -> Self {
        let problem = Self::failed(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "The server failed; the id names this failure in its log",
        );
        tracing::error!(problem.id = problem.id(), %cause, "A request failed inside the server");
        problem
    }

    /// Something that passes by itself.
    pub(crate) fn unavailable(
        code: &'static str,
        detail: &'static str,
        cause: impl fmt::Display,
    ) -> Self {
        let problem = Self::failed(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        tracing::warn!(problem.id = problem.id(), code, %cause, "A request was turned away");
        problem.with_header(RETRY_AFTER, soon())
    }

    /// As [`Self::unavailable`] where there may be very many and the metrics tell of them.
    pub(crate) fn busy(code: &'static str, detail: &'static str) -> Self {
        let problem = Self::failed(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        tracing::debug!(problem.id = problem.id(), code, "A request was turned away");
        problem.with_header(RETRY_AFTER, soon())
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says from when on the same request may be granted.
    pub(crate) fn with_next_allowed(mut self, now: Timestamp, at: Timestamp) -> Self {
        let seconds = at.since(now).as_millis().div_ceil(1_000);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        self.0.body.retry_after = Some(seconds);
        self.0.body.next_allowed_at = Some(at.to_string());
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn with_errors(mut self, faults: Vec<Fault>) -> Self {
        self.0.body.errors = faults;
        self
    }

    fn failed(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        let mut problem = Self::new(status, code, detail);
        problem.0.body.id = Some(format!("err_{:016x}", random_seed()));
        problem
    }

    fn id(&self) -> &str {
        self.0.body.id.as_deref().unwrap_or_default()
    }
}

impl Fault {
    /// Returns a fault of the top-level field `name`, or of one below it, such as `/a/b`.
    pub(crate) fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            parameter: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn of_parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: None,
            parameter: Some(name.into()),
            detail: detail.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Fenced => Self::unavailable(
                "database_unavailable",
                "The database does not answer at present",
                error,
            ),
            StoreError::Inconsistent { .. } | StoreError::Refused(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Inner {
            status,
            body,
            headers,
        } = *self.0;
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Returns when to come back, one to five seconds from now, so that not all come at once.
fn soon() -> HeaderValue {
    static TURN: AtomicU32 = AtomicU32::new(0);
    HeaderValue::from(TURN.fetch_add(1, Ordering::Relaxed) % 5 + 1)
}

fn summary(part: &str, faults: &[Fault]) -> String {
    match faults {
        [] => format!("The {part} is not valid"),
        [one] => {
            let place = one.pointer.as_deref().or(one.parameter.as_deref());
            let place = place.filter(|place| place.len() <= 100).unwrap_or(part);
            format!("{place} {}", one.detail)
        }
        many => format!("The {part} has {} faults", many.len()),
    }
}

pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
