//! `PUT /v1/accounts/{account}/connections/{connection}/interactions/{interaction}/response`.

use std::sync::Arc;

use axum::extract::Request as HttpRequest;
use axum::response::Response as HttpResponse;
use http::StatusCode;
use serde_json::Value;
use wellspring_core::connection::Action;
use wellspring_core::interaction::{
    AnswerFault, ButtonAction, Closed, Code, PartValue, Response, Validated,
};
use wellspring_core::{Connection, Sealed, Timestamp};
use wellspring_engine::{InteractionView, Request, Wish};
use wellspring_vault::{Vault, context};
use zeroize::Zeroizing;

use super::interactions::{InteractionBody, VERSION, closed, interaction, over};
use crate::Caller;
use crate::ask::Refused;
use crate::body::{self, Fields, json, pointer};
use crate::idempotency::{Asked, Once, replayed};
use crate::path::Place;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::router::{App, within};

/// Answers what is asked.
///
/// `parts` has a value for each part that takes one, and the action of a button that was clicked; a notice is acknowledged with none.
/// The same answer again is the same answer; where anything is wrong with it the question stays open.
#[utoipa::path(
    put, path = "/v1/accounts/{account}/connections/{connection}/interactions/{interaction}/response", tag = "interactions", operation_id = "answerInteraction",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("connection" = String, Path, description = "The connection's id"),
        ("interaction" = String, Path, description = "The interaction's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key within 24 hours answers nothing again and shows the interaction as it is"),
    ),
    request_body(content = Object, description = "`version` of the interaction and `parts`", example = json!({"version": 1, "parts": [{"id": "code", "value": "123456"}]})),
    responses(
        (status = 200, description = "This was the answer already", body = InteractionBody),
        (status = 202, description = "Taken, and the fetch goes on; or put off by a button, and the question stays open", body = InteractionBody),
        (status = 400, description = "Not JSON, or a malformed Idempotency-Key"),
        (status = 404, description = "There is no such interaction"),
        (status = 409, description = "It was answered with something else (`already_answered`), or `version` is another (`version_conflict`)"),
        (status = 410, description = "It expired (`interaction_expired`), or is closed for another reason (`interaction_closed`)"),
        (status = 413, description = "The body is larger than 1 MiB"),
        (status = 422, description = "The answer does not fit the question, with an entry for each fault; or the Idempotency-Key was used for another request", body = ProblemBody),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn put(
    app: Arc<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (mut parts, body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let body = body::read(body).await?;
    let (connection, view) = interaction(&app, &caller, &place).await?;
    let what: [&[u8]; 3] = [b"PUT response", view.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &what)?;
    let now = app.clock.now();
    if once.before(&app).await?.is_some() {
        return shown(StatusCode::ACCEPTED, view, now).map(replayed);
    }
    let response = read(&body)?;
    if response.version != VERSION {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "version_conflict",
            "The question has another version than the one that is answered",
        ));
    }
    let vault = app.access.vault();
    let checked = view.question.validate(&response);
    if let Some(reason) = closed(&view, now) {
        return second(vault, view, reason, checked, now);
    }
    let answer = checked.map_err(invalid)?;
    let action = match answer.action {
        ButtonAction::Defer => return shown(StatusCode::ACCEPTED, view, now),
        ButtonAction::RespondAndContinue => Action::Continue,
        ButtonAction::RespondOnly => Action::Stop,
        ButtonAction::RespondAndDeleteConnection => Action::DeleteConnection,
    };
    let request = Request::Connection {
        id: connection.id,
        tenant: connection.tenant,
        wish: Wish::Answer {
            interaction: view.id,
            answer: seal(vault, &connection, &view, &answer),
            hash: hash(vault, &view, &answer),
            action,
        },
        actor: caller.actor,
    };
    let asked = once.ask(&app, request).await?;
    let read = within(app.backend.interaction(connection.id, view.id)).await?;
    // With the connection its questions are gone, but not from this answer.
    let after = read.unwrap_or(InteractionView {
        closed: Some((Closed::Answered, now)),
        ..view
    });
    match asked {
        Asked::Done(_) => shown(StatusCode::ACCEPTED, after, now),
        Asked::Again(_) => shown(StatusCode::ACCEPTED, after, now).map(replayed),
        // It was closed in this very moment.
        Asked::State(rejected) => match after.closed {
            Some((reason, _)) => second(vault, after, reason, Ok(answer), now),
            None => Err(Refused::State(rejected).into()),
        },
    }
}

/// Answers an answer to a question that is closed: what was answered may be said again.
fn second(
    vault: &Vault,
    view: InteractionView,
    reason: Closed,
    checked: Result<Validated, Vec<AnswerFault>>,
    now: Timestamp,
) -> Result<HttpResponse, Problem> {
    let same = reason == Closed::Answered
        && checked.is_ok_and(|answer| view.hash == Some(hash(vault, &view, &answer)));
    if same {
        shown(StatusCode::OK, view, now)
    } else {
        Err(over(reason))
    }
}

fn shown(
    status: StatusCode,
    view: InteractionView,
    now: Timestamp,
) -> Result<HttpResponse, Problem> {
    json(status, &InteractionBody::new(view, now))
}

/// Seals the answers for the connector; those to the question for credentials become them.
fn seal(
    vault: &Vault,
    connection: &Connection,
    view: &InteractionView,
    answer: &Validated,
) -> Sealed {
    let id = connection.id.as_bytes();
    let context = if view.question.code == Code::Credentials {
        context::credentials(id)
    } else {
        context::answer(id)
    };
    let json = serde_json::to_vec(&answer.answers).expect("texts always serialize");
    Sealed::new(vault.seal(&context, &Zeroizing::new(json)))
}

/// Returns that by which the same answer to the same question is known again.
fn hash(vault: &Vault, view: &InteractionView, answer: &Validated) -> [u8; 32] {
    let context = [b"answer ".as_slice(), view.id.as_bytes()].concat();
    vault.keyed_hash(&context, &Zeroizing::new(answer.canonical()))
}

fn invalid(faults: Vec<AnswerFault>) -> Problem {
    let faults = faults.into_iter();
    Problem::invalid(
        faults
            .map(|fault| Fault::at(fault.pointer, fault.detail))
            .collect(),
    )
}

fn read(body: &[u8]) -> Result<Response, Problem> {
    let mut faults = Vec::new();
    let mut fields = Fields::read(body, &mut faults)?;
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let version = fields.take("version", &mut faults);
    let version = version.and_then(|value| u32::try_from(value.as_u64()?).ok());
    if version.is_none() {
        faults.push(Fault::at("/version", "must be the interaction's version"));
    }
    let parts = match fields.take("parts", &mut faults) {
        Some(Value::Array(parts)) => parts
            .into_iter()
            .enumerate()
            .filter_map(|(place, part)| part_of(part, place, &mut faults))
            .collect(),
        _other => {
            faults.push(Fault::at("/parts", "must be a list"));
            Vec::new()
        }
    };
    fields.finish(&mut faults);
    match version {
        Some(version) if faults.is_empty() => Ok(Response { version, parts }),
        Some(_) | None => {
            faults.truncate(MOST_FAULTS);
            Err(Problem::invalid(faults))
        }
    }
}

fn part_of(part: Value, place: usize, faults: &mut Vec<Fault>) -> Option<PartValue> {
    let at = format!("/parts/{place}");
    let Value::Object(mut members) = part else {
        faults.push(Fault::at(at, "must be an object with `id` and `value`"));
        return None;
    };
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _other => {
            faults.push(Fault::at(pointer(&at, name), "must be a string"));
            None
        }
    };
    let (id, value) = (text("id"), text("value"));
    let unknown = members.keys();
    faults.extend(unknown.map(|name| Fault::at(pointer(&at, name), "is not known here")));
    Some(PartValue {
        id: id?,
        value: value?,
    })
}

const MOST_FAULTS: usize = 50;
