//! `/v1/changes`: the ordered log.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wellspring_core::{AccountId, Pattern};
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
    /// The entries, in order within each collection and each account.
    #[schema(value_type = Vec<ChangeBody>)]
    data: Vec<ChangeView>,
    /// Where the next stretch begins; it moves on even where nothing matched.
    next_cursor: String,
    /// Whether there was more when this was read.
    has_more: bool,
}

/// One entry of the log.
// `ChangeView` writes itself; this describes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeBody {
    /// Its id, the same in every delivery.
    id: String,
    /// When it was written.
    at: String,
    /// `CREATED`, `UPDATED` or `DELETED`.
    verb: String,
    /// What it happened to.
    path: String,
    /// Its name in the domain.
    event: Option<String>,
    /// Who caused it: an API key's id, an account's, `operator`, `engine` or `schedule`.
    actor: String,
    /// What caused it.
    cause: String,
    /// The facts.
    #[schema(value_type = Object)]
    body: serde_json::Value,
}

/// Which entries a reader wants, and may have.
#[derive(Debug)]
pub(crate) struct Filter {
    patterns: Vec<Pattern>,
    /// What a person's own entries begin with.
    own: Option<String>,
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
    let filter = Filter::read(&caller, &mut parameters);
    parameters.finish().map_err(ChangesError::Parameters)?;
    let cursor = match after? {
        Some(cursor) => cursor,
        None => Cursor::start(within(app.backend.head()).await?.life),
    };
    let list = read(&app, &caller, cursor, &filter, limit).await?;
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
    caller: &Caller,
    mut cursor: Cursor,
    filter: &Filter,
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
        let page = within(app.backend.changes(caller.tenant, cursor, look)).await?;
        let wanted = page.entries.into_iter();
        data.extend(wanted.filter(|entry| filter.wants(entry)));
        (cursor, has_more) = (page.next, page.has_more);
    }
    Ok(ChangeList {
        data,
        next_cursor: cursor.to_text(),
        has_more,
    })
}

impl Filter {
    /// Reads the `pattern` parameters; what a person sees is their account's.
    pub(crate) fn read(caller: &Caller, parameters: &mut Parameters) -> Self {
        let own = |account: AccountId| format!("/accounts/{account}");
        Self {
            patterns: patterns(parameters),
            own: caller.account.map(own),
        }
    }

    pub(crate) fn wants(&self, entry: &ChangeView) -> bool {
        let own = self.own.as_ref().is_none_or(|own| {
            let rest = entry.path.strip_prefix(own.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let mut any = self.patterns.iter();
        own && (self.patterns.is_empty() || any.any(|one| one.matches(entry.verb, &entry.path)))
    }
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
