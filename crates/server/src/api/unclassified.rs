//! `/v1/unclassified`: failures that no rule matched, so that rules can be written.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use wellspring_core::{ErrorClass, SourceName, Unclassified, UnclassifiedId};
use wellspring_engine::UnclassifiedView;

use crate::Caller;
use crate::list::{List, Wanted};
use crate::path::Place;
use crate::problem::Problem;
use crate::router::{App, within};

/// Failures of a source that look alike and that no rule matched.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnclassifiedBody {
    /// Its id.
    id: String,
    /// The source.
    source: String,
    /// What was being done when the first was met, such as `fetch`.
    operation: String,
    /// The HTTP status, where there was an answer.
    status: Option<u16>,
    /// The source's word for the kind of error.
    error_type: Option<String>,
    /// The source's error code.
    error_code: Option<String>,
    /// The message, with all masked that differs from one to the next or may tell of a person.
    message: String,
    /// How many there were.
    count: u64,
    /// When the first was.
    first_seen_at: String,
    /// When the last was.
    last_seen_at: String,
    /// A rule for the source's file, as YAML; what it means is for the operator to say.
    suggested_rule: String,
}

/// Lists failures that no rule matched, by kind, the latest kinds first.
///
/// What a rule matches since is left out, and kinds are forgotten 30 days after their last.
/// Of a source at most 100 kinds are kept.
/// The failures of all tenants are in it: only the tenant that was there first, which runs the installation, may see it.
#[utoipa::path(
    get, path = "/v1/unclassified", tag = "sources", operation_id = "listUnclassified",
    params(
        ("source" = Option<String>, Query, description = "Only those of this source"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 200; 50 unless told"),
        ("cursor" = Option<String>, Query, description = "Go on from this `next_cursor`"),
    ),
    responses(
        (status = 200, description = "A page", body = List<UnclassifiedBody>),
        (status = 400, description = "A parameter is wrong"),
        (status = 403, description = "The tenant does not run the installation (`not_the_operator`)"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    for_the_operator(&app, &caller)?;
    let mut wanted = Wanted::read(request.uri(), &["source"]);
    let parameters = &mut wanted.parameters;
    let source = match parameters.value("source").map(str::parse::<SourceName>) {
        None => None,
        Some(Ok(source)) => Some(source),
        Some(Err(error)) => {
            parameters.fault("source", error.to_string());
            None
        }
    };
    let page = wanted.checked()?;
    let mut before = page.before.map(UnclassifiedId::from_bytes);
    let mut found = Vec::new();
    loop {
        let read = app
            .backend
            .unclassified(source.clone(), before, page.rows());
        let rows = within(read).await?;
        let is_last = rows.len() < page.rows();
        before = rows.last().map(|row| row.id);
        let is_unknown = |row: &UnclassifiedView| app.intake.rule_for(&row.kept).is_none();
        found.extend(rows.into_iter().filter(is_unknown));
        if is_last || found.len() >= page.rows() {
            break;
        }
    }
    let next = page.cut(&mut found, |row| *row.id.as_bytes());
    let bodies = found.into_iter().map(UnclassifiedBody::new);
    List::response(bodies.collect(), next)
}

/// Forgets a kind of failure; it is listed anew when it is met again and no rule matches it.
#[utoipa::path(
    delete, path = "/v1/unclassified/{unclassified}", tag = "sources", operation_id = "forgetUnclassified",
    params(("unclassified" = String, Path, description = "The id of the kind")),
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 403, description = "The tenant does not run the installation (`not_the_operator`)"),
        (status = 404, description = "There is no such kind"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn forget(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    for_the_operator(&app, &caller)?;
    let (mut parts, _body) = request.into_parts();
    let id: UnclassifiedId = Place::of(&mut parts).await.id(0)?;
    if within(app.backend.forget_unclassified(id)).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::nothing())
    }
}

fn for_the_operator(app: &App, caller: &Caller) -> Result<(), Problem> {
    if app.access.operator() == Some(caller.tenant) {
        return Ok(());
    }
    let detail = "Only the tenant that was there first, which runs the installation, sees the failures of sources";
    let status = StatusCode::FORBIDDEN;
    Err(Problem::new(status, "not_the_operator", detail))
}

impl UnclassifiedBody {
    fn new(view: UnclassifiedView) -> Self {
        let suggested_rule = suggested(&view.kept);
        let Unclassified {
            source,
            operation,
            status,
            error_type,
            error_code,
            shape,
        } = view.kept;
        Self {
            id: view.id.to_string(),
            source: source.to_string(),
            operation,
            status,
            error_type,
            error_code,
            message: shape,
            count: view.count,
            first_seen_at: view.first_at.to_string(),
            last_seen_at: view.last_at.to_string(),
            suggested_rule,
        }
    }
}

/// Returns a rule that matches failures of this kind, for the source's file.
fn suggested(kept: &Unclassified) -> String {
    let mut name = kept.source.to_string();
    let mut parts = Vec::new();
    if let Some(status) = kept.status {
        parts.push(format!("status: {status}"));
        write!(name, " {status}").unwrap_or_default();
    }
    if let Some(code) = kept.named_code() {
        parts.push(format!("error_code: {}", quoted(code)));
        name.push(' ');
        name.push_str(code);
    } else if let Some(pattern) = kept.pattern() {
        parts.push(format!("message: {}", quoted(&pattern)));
    }
    let class = match kept.status {
        None => ErrorClass::ConnectionFailure,
        Some(_) => ErrorClass::InstitutionError,
    };
    format!(
        "rules:\n  - name: {}\n    match: {{ {} }}\n    class: {class}   # say what it means, see docs/CLASSES.md\n",
        quoted(&name),
        parts.join(", ")
    )
}

/// Every JSON string is one of YAML.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
