//! `/v1/changes`: the ordered log.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use wellspring_core::{Pattern, TenantId};
use wellspring_engine::{ChangeView, Cursor, CursorError, StoreError};

use crate::Caller;
use crate::body::json;
use crate::problem::Problem;
use crate::query::{BadParameters, Parameters};
use crate::router::{App, within};

/// The present end of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Head {
    /// What comes after it is news.
    cursor: String,
}

/// A stretch of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeList {
    /// The entries, in order within each collection.
    data: Vec<ChangeBody>,
    /// Where the next stretch begins; it moves on even where nothing matched.
    next_cursor: String,
    /// Whether there was more when this was read.
    has_more: bool,
}

/// One entry of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeBody {
    /// Its id, the same in every delivery.
    id: String,
    /// When it was written.
    at: String,
    /// `CREATED`, `UPDATED` or `DELETED`.
    verb: &'static str,
    /// What it happened to.
    path: String,
    /// Its name in the domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<String>,
    /// Who caused it: an API key's id, `operator` or `engine`.
    actor: String,
    /// What caused it.
    cause: String,
    /// The facts.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
}

/// Why the log is not read.
#[derive(Debug)]
pub(crate) enum ChangesError {
    Parameters(BadParameters),
    Cursor(CursorError),
    Answer(Problem),
}

/// Returns the present end of the log.
#[utoipa::path(
    get, path = "/v1/changes/head", tag = "changes", operation_id = "changesHead",
    responses((status = 200, description = "A cursor to begin with", body = Head)),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn head(
    app: Arc<App>,
    _caller: Caller,
    _request: Request,
) -> Result<Response, ChangesError> {
    let cursor = within(app.backend.head()).await?.to_text();
    json(StatusCode::OK, &Head { cursor }).map_err(ChangesError::Answer)
}

/// Reads the log.
///
/// A filtered read looks at a bounded number of entries: it may return few or none and still
/// have more, and its cursor has moved on.
#[utoipa::path(
    get, path = "/v1/changes", tag = "changes", operation_id = "listChanges",
    params(
        ("after" = Option<String>, Query, description = "The cursor to go on from; without it the oldest entry that is kept comes first"),
        ("pattern" = Option<Vec<String>>, Query, description = "Only what matches one of these, such as `UPDATED /collections/*/status/failed`"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1,000; 100 unless told"),
    ),
    responses(
        (status = 200, description = "A stretch of the log", body = ChangeList),
        (status = 400, description = "A parameter is wrong"),
        (status = 410, description = "`cursor_expired`: the log no longer reaches back that far; `cursor_unknown`: the log was restored from a backup"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, ChangesError> {
    let mut parameters = Parameters::read(request.uri(), &["after", "limit"], &["pattern"]);
    let limit = parameters.limit(100, 1_000);
    let after = parameters.value("after").filter(|text| !text.is_empty());
    let after = after.map(Cursor::parse).transpose();
    if after.is_err() {
        parameters.fault("after", "is not a cursor of this log");
    }
    let patterns = patterns(&mut parameters);
    parameters.finish().map_err(ChangesError::Parameters)?;
    let cursor = match after? {
        Some(cursor) => cursor,
        None => Cursor::start(within(app.backend.head()).await?.life),
    };
    let list = read(&app, caller.tenant, cursor, &patterns, limit).await?;
    json(StatusCode::OK, &list).map_err(ChangesError::Answer)
}

fn patterns(parameters: &mut Parameters) -> Vec<Pattern> {
    let texts: Vec<String> = parameters.values("pattern").map(str::to_owned).collect();
    if texts.len() > MOST_PATTERNS {
        parameters.fault(
            "pattern",
            format!("is there more than {MOST_PATTERNS} times"),
        );
        return Vec::new();
    }
    let mut patterns = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse() {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => {
                let shown: String = text.chars().take(100).collect();
                parameters.fault("pattern", format!("`{shown}`: {error}"));
            }
        }
    }
    patterns
}

async fn read(
    app: &App,
    tenant: TenantId,
    mut cursor: Cursor,
    patterns: &[Pattern],
    limit: usize,
) -> Result<ChangeList, CursorError> {
    let mut data = Vec::new();
    let mut left = MOST_ENTRIES;
    let mut has_more = true;
    for _ in 0..MOST_ROUNDS {
        let look = (limit - data.len()).min(left);
        if look == 0 || !has_more {
            break;
        }
        left -= look;
        let page = within(app.backend.changes(tenant, cursor, look)).await?;
        let wanted = |entry: &ChangeView| {
            let mut any = patterns.iter();
            patterns.is_empty() || any.any(|one| one.matches(entry.verb, &entry.path))
        };
        data.extend(page.entries.into_iter().filter(wanted).map(ChangeBody::new));
        (cursor, has_more) = (page.next, page.has_more);
    }
    Ok(ChangeList {
        data,
        next_cursor: cursor.to_text(),
        has_more,
    })
}

impl ChangeBody {
    fn new(entry: ChangeView) -> Self {
        Self {
            id: change_id(&entry),
            at: entry.at.to_string(),
            verb: entry.verb.as_str(),
            path: entry.path,
            event: entry.event,
            actor: entry.actor,
            cause: entry.cause,
            body: entry.body,
        }
    }
}

/// A UUIDv7 whose random part is the entry's place, which no other entry of this log has.
fn change_id(entry: &ChangeView) -> String {
    let mut place = [0; 10];
    place[1] = entry.shard.0;
    place[2..].copy_from_slice(&entry.seq.to_be_bytes());
    let millis = u64::try_from(entry.at.as_millis()).unwrap_or(0);
    let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &place).into_uuid();
    format!("chg_{}", uuid.simple())
}

impl From<CursorError> for ChangesError {
    fn from(error: CursorError) -> Self {
        Self::Cursor(error)
    }
}

impl From<StoreError> for ChangesError {
    fn from(error: StoreError) -> Self {
        Self::Cursor(error.into())
    }
}

impl From<ChangesError> for Problem {
    fn from(error: ChangesError) -> Self {
        let gone = |code, error: CursorError| Self::new(StatusCode::GONE, code, error.to_string());
        match error {
            ChangesError::Parameters(error) => error.into(),
            ChangesError::Cursor(error @ CursorError::Expired) => gone("cursor_expired", error),
            ChangesError::Cursor(error @ CursorError::Unknown) => gone("cursor_unknown", error),
            ChangesError::Cursor(error @ CursorError::Malformed) => Self::internal(error),
            ChangesError::Cursor(CursorError::Store(error)) => error.into(),
            ChangesError::Answer(problem) => problem,
        }
    }
}

/// Entries that one read looks at.
const MOST_ENTRIES: usize = 2_000;
/// Reads of the database that one read makes.
const MOST_ROUNDS: usize = 20;
const MOST_PATTERNS: usize = 20;
