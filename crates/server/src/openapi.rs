//! The OpenAPI document, gathered from what stands beside each endpoint.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::api::{
    accounts, alerts, callback_secret, changes, collect, connections, deliveries, documents,
    incidents, notifications, reliability, settings, sources, statistics, stream, subscriptions,
    tokens, unclassified,
};
use crate::body::bytes;
use crate::problem::{MEDIA_TYPE, Problem, ProblemBody};
use crate::router::App;
use crate::{connect, docs, health, metrics};

#[derive(OpenApi)]
#[openapi(
    info(title = "Wellspring", description = "Keeps connections to outside data sources alive."),
    paths(
        collect::create::create,
        collect::list::list,
        collect::show::show,
        collect::erase::erase,
        collect::retry::retry,
        changes::list,
        changes::head,
        stream::stream,
        accounts::create::create,
        accounts::list::list,
        accounts::show,
        accounts::patch::patch,
        accounts::erase::erase,
        sources::list,
        sources::show,
        sources::patch::patch,
        sources::budgets::show,
        incidents::list,
        connections::create::create,
        connections::list::list,
        connections::show,
        connections::patch::patch,
        connections::delete::delete,
        connections::credentials::replace,
        connections::fetch::fetch,
        statistics::of_connection,
        statistics::of_source,
        connections::fetches::list,
        connections::fetches::show,
        connections::interactions::list,
        connections::interactions::show,
        connections::interactions::cancel,
        connections::response::put,
        documents::list::of_connection,
        documents::upload::upload,
        documents::list::list,
        documents::show,
        documents::content::show,
        notifications::contact::show,
        notifications::contact::put,
        notifications::preferences::show,
        notifications::preferences::put,
        notifications::push::key,
        notifications::push::list,
        notifications::push::add,
        notifications::push::remove,
        notifications::list,
        notifications::send,
        notifications::show,
        notifications::read,
        notifications::stream::stream,
        notifications::sms::inbound,
        notifications::mend::show,
        notifications::unsubscribe::show,
        notifications::unsubscribe::confirm,
        reliability::notifications::list,
        reliability::notifications::read,
        reliability::notifications::send_test,
        alerts::list,
        alerts::show,
        alerts::acknowledge,
        alerts::close,
        unclassified::list,
        unclassified::forget,
        settings::show,
        settings::patch,
        callback_secret::show,
        callback_secret::rotate,
        tokens::create,
        subscriptions::list::list,
        subscriptions::create::create,
        subscriptions::show::show,
        subscriptions::patch::patch,
        subscriptions::remove::remove,
        subscriptions::rotate::rotate,
        subscriptions::replay::replay,
        subscriptions::test::test,
        deliveries::list,
        deliveries::show,
        deliveries::retry,
        reliability::connections::list,
        reliability::connections::show,
        reliability::start::retry,
        reliability::reconnect::reconnect,
        reliability::sync_status::show,
        reliability::start::sync_now,
        reliability::metrics::overview,
        reliability::metrics::of_connection,
        reliability::service::show,
        connect::show,
        connect::open,
        health::livez,
        health::readyz,
        metrics::show,
        show,
        docs::show,
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "collect", description = "One-shot fetches with a callback"),
        (name = "accounts", description = "The end users of a tenant"),
        (name = "sources", description = "What data can be fetched from"),
        (name = "connections", description = "What links an account to a source, and its fetches"),
        (name = "interactions", description = "What sources ask people in the middle of a fetch"),
        (name = "documents", description = "Files from sources, or uploaded by hand"),
        (name = "notifications", description = "Messages to people, and how they want to be told"),
        (name = "reliability", description = "How reliably a person's connections work"),
        (name = "alerts", description = "What the tenant or the operator must act on"),
        (name = "changes", description = "The ordered log of what happened"),
        (name = "settings", description = "What a tenant sets for itself"),
        (name = "subscriptions", description = "Changes pushed as webhooks, and what became of them"),
        (name = "reliability", description = "How connections fare and what can be done about it"),
        (name = "connect", description = "The page where a person connects a source or repairs a connection"),
        (name = "operation", description = "Open, for operators and their tools"),
    ),
)]
struct Document;

/// Describes this API (OpenAPI 3.1).
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation", operation_id = "openapi",
    responses((status = 200, description = "The document", body = Object)),
)]
pub(crate) async fn show(app: Arc<App>, _request: Request) -> Result<Response, Problem> {
    Ok(bytes(
        StatusCode::OK,
        "application/json",
        app.openapi.clone(),
    ))
}

/// Returns the document of the API at `public_url`.
pub(crate) fn document(public_url: &str, version: &str) -> Value {
    let mut document = serde_json::to_value(Document::openapi())
        .expect("the document is made of strings, numbers and maps");
    document["info"]["version"] = version.into();
    document["servers"] = json!([{ "url": public_url }]);
    document["components"]["securitySchemes"] = json!({
        "key": { "type": "http", "scheme": "bearer", "description": "An API key" },
        "basic": { "type": "http", "scheme": "basic", "description": "An API key as the password" },
        "token": { "type": "http", "scheme": "bearer", "description": "A token of one account, where an endpoint serves its clients or the connect page" },
    });
    let items = document["paths"].as_object_mut().into_iter().flatten();
    let operations = items.filter_map(|(_, item)| item.as_object_mut()).flatten();
    for (_, operation) in operations {
        complete(operation);
    }
    document
}

/// Adds what every endpoint has.
fn complete(operation: &mut Value) {
    let keyed = operation.get("security").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    if keyed {
        for (status, description) in COMMON {
            responses
                .entry(status)
                .or_insert_with(|| json!({ "description": description }));
        }
    }
    for (status, response) in responses {
        if status.starts_with(['4', '5']) && response.get("content").is_none_or(is_problem) {
            let schema = json!({ "$ref": "#/components/schemas/ProblemBody" });
            response["content"] = json!({ MEDIA_TYPE: { "schema": schema } });
        }
    }
}

fn is_problem(content: &Value) -> bool {
    content["application/json"]["schema"]["$ref"] == "#/components/schemas/ProblemBody"
}

const COMMON: [(&str, &str); 4] = [
    ("401", "No valid API key or token"),
    ("403", "A token that does not serve here"),
    (
        "500",
        "The server failed; `id` names the failure in its log",
    ),
    ("503", "Not now; come back after `Retry-After`"),
];
