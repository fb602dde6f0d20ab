//! Which path leads where.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use bytes::Bytes;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use wellspring_core::TenantId;
use wellspring_engine::{Backend, Blobs, Clock, EngineHandle, NotifierHandle, StoreError};

use crate::api::accounts::Naming;
use crate::api::collect::Links;
use crate::api::documents::upload::Uploads;
use crate::api::seats::Streams;
use crate::api::{
    accounts, alerts, callback_secret, changes, collect, connections, deliveries, documents,
    incidents, notifications, reliability, settings, sources, statistics, stream, subscriptions,
    tokens, unclassified,
};
use crate::metrics::{Exposition, Meter};
use crate::problem::Problem;
use crate::subscriptions::SubscriptionsError;
use crate::{Access, Intake, Subscriptions, connect, docs, health, metrics, openapi};

mod routes;

use routes::Routes;

/// What the API is made of.
#[derive(Debug, Clone)]
pub struct AppParts {
    /// Does what is asked.
    pub engine: EngineHandle,
    /// Answers what is read.
    pub backend: Arc<dyn Backend>,
    /// Knows who asks.
    pub access: Arc<Access>,
    /// Knows what is pushed where.
    pub subscriptions: Arc<Subscriptions>,
    /// Tells people what they should know.
    pub notifier: NotifierHandle,
    /// Judges what a collection names.
    pub intake: Arc<dyn Intake>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where the bytes of documents are kept.
    pub blobs: Arc<dyn Blobs>,
    /// The base of links in answers, as clients reach it.
    pub public_url: String,
    /// Where metrics are gathered; without it `/metrics` is not there.
    pub metrics: Option<PrometheusHandle>,
    /// The version of the program.
    pub version: &'static str,
    /// With what a gateway signs the SMS that it takes in; without it none are taken in.
    pub sms_secret: Option<SecretString>,
    /// Whether metrics are served by [`metrics_router`] alone.
    pub separate_metrics: bool,
}

/// Returns the API with its open endpoints.
pub fn router(parts: AppParts) -> Router {
    let exposition = exposition(&parts).filter(|_| !parts.separate_metrics);
    let mut routes = routes();
    if exposition.is_some() {
        routes = routes.open(MethodFilter::GET, metrics::PATH, metrics::show);
    }
    let elsewhere = Arc::new(Meter::new("other", "other"));
    let elsewhere_too = Arc::clone(&elsewhere);
    routes
        .router
        .route("/", axum::routing::get(to_docs))
        .route("/docs/", axum::routing::get(to_docs))
        .fallback(move || lost(&elsewhere, unknown_path()))
        .method_not_allowed_fallback(move || lost(&elsewhere_too, unknown_method()))
        .with_state(Arc::new(App::new(parts, exposition)))
}

/// Who opens the address in a browser wants the documentation.
async fn to_docs() -> axum::response::Redirect {
    axum::response::Redirect::temporary("/docs")
}

/// Returns a router with nothing but `/metrics`, for a listener of its own.
///
/// Without [`AppParts::metrics`] it has nothing at all.
pub fn metrics_router(parts: &AppParts) -> Router {
    let Some(exposition) = exposition(parts) else {
        return Router::new();
    };
    let exposition = Arc::new(exposition);
    let (engine, clock) = (parts.engine.clone(), Arc::clone(&parts.clock));
    let show = move || {
        let text = exposition.render(&engine.snapshot(), clock.now());
        async move { metrics::response(text) }
    };
    Router::new().route(metrics::PATH, on(MethodFilter::GET, show))
}

fn exposition(parts: &AppParts) -> Option<Exposition> {
    let handle = parts.metrics.clone()?;
    Some(Exposition::new(handle, parts.version, parts.clock.now()))
}

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: EngineHandle,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) access: Arc<Access>,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) notifier: NotifierHandle,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) blobs: Arc<dyn Blobs>,
    /// Names of accounts that are being given.
    pub(crate) naming: Naming,
    /// Documents that are being taken in.
    pub(crate) uploads: Uploads,
    telling: tokio::sync::Mutex<()>,
    pub(crate) links: Links,
    /// The base of links, as clients reach it, without a slash at its end.
    pub(crate) public_url: String,
    /// Open streams of changes.
    pub(crate) streams: Streams,
    pub(crate) sms_secret: Option<SecretString>,
    pub(crate) exposition: Option<Exposition>,
    pub(crate) openapi: Bytes,
    pub(crate) docs: Bytes,
}

impl App {
    /// Has everybody go by what the tenant has set; what is told last is what was read last.
    pub(crate) async fn go_by_settings(&self, tenant: TenantId) -> Result<(), SubscriptionsError> {
        let _one_at_a_time = self.telling.lock().await;
        let rules = Arc::new(self.access.tenant_rules());
        self.engine.set_tenants(rules).await;
        let receiver = self.access.settings(tenant).document_receiver;
        let receiver = receiver.as_deref().map(Into::into);
        self.subscriptions
            .set_document_receiver(tenant, receiver)
            .await
    }

    fn new(parts: AppParts, exposition: Option<Exposition>) -> Self {
        let public_url = parts.public_url.trim_end_matches('/');
        let document = openapi::document(public_url, parts.version);
        Self {
            engine: parts.engine,
            backend: parts.backend,
            access: parts.access,
            subscriptions: parts.subscriptions,
            notifier: parts.notifier,
            intake: parts.intake,
            clock: parts.clock,
            blobs: parts.blobs,
            naming: Naming::default(),
            uploads: Uploads::default(),
            telling: tokio::sync::Mutex::default(),
            links: Links::new(public_url),
            public_url: public_url.to_owned(),
            streams: Streams::default(),
            sms_secret: parts.sms_secret,
            exposition,
            openapi: document.to_string().into(),
            docs: docs::render(&document).into(),
        }
    }
}

/// Waits for the database for as long as a client would.
pub(crate) async fn within<T, E: From<StoreError>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            let error = StoreError::Unavailable("it did not answer in time".to_owned());
            Err(error.into())
        }
    }
}

/// All routes but that of the metrics, which may be elsewhere.
fn routes() -> Routes {
    const GET: MethodFilter = MethodFilter::GET;
    const POST: MethodFilter = MethodFilter::POST;
    const PUT: MethodFilter = MethodFilter::PUT;
    const PATCH: MethodFilter = MethodFilter::PATCH;
    const DELETE: MethodFilter = MethodFilter::DELETE;
    const CONNECTIONS: &str = "/v1/accounts/{account}/connections";
    const CONNECTION: &str = "/v1/accounts/{account}/connections/{connection}";
    const CREDENTIALS: &str = "/v1/accounts/{account}/connections/{connection}/credentials";
    const FETCH: &str = "/v1/accounts/{account}/connections/{connection}/fetch";
    const FETCHES: &str = "/v1/accounts/{account}/connections/{connection}/fetches";
    const ONE_FETCH: &str = "/v1/accounts/{account}/connections/{connection}/fetches/{fetch}";
    const STATISTICS: &str = "/v1/accounts/{account}/connections/{connection}/statistics";
    const INTERACTIONS: &str = "/v1/accounts/{account}/connections/{connection}/interactions";
    const INTERACTION: &str =
        "/v1/accounts/{account}/connections/{connection}/interactions/{interaction}";
    const RESPONSE: &str =
        "/v1/accounts/{account}/connections/{connection}/interactions/{interaction}/response";
    const CONTACT: &str = "/v1/accounts/{account}/contact";
    const PREFERENCES: &str = "/v1/accounts/{account}/preferences";
    const PUSHES: &str = "/v1/accounts/{account}/push-subscriptions";
    const PUSH: &str = "/v1/accounts/{account}/push-subscriptions/{push}";
    const NOTIFICATIONS: &str = "/v1/accounts/{account}/notifications";
    const NOTIFICATION: &str = "/v1/accounts/{account}/notifications/{notification}";
    const MESSAGES: &str = "/v1/accounts/{account}/notifications/stream";
    const READ: &str = "/v1/accounts/{account}/notifications/{notification}/read";
    const ITS_DOCUMENTS: &str = "/v1/accounts/{account}/connections/{connection}/documents";

    Routes::default()
        .keyed(POST, "/collect", collect::create::create)
        .keyed(GET, "/collect", collect::list::list)
        .keyed(GET, "/collect/{requestId}", collect::show::show)
        .keyed(DELETE, "/collect/{requestId}", collect::erase::erase)
        .keyed(POST, "/collect/{requestId}/retry", collect::retry::retry)
        .for_pages(GET, "/v1/changes", changes::list)
        .for_pages(GET, "/v1/changes/head", changes::head)
        .for_pages(GET, "/v1/changes/stream", stream::stream)
        .keyed(POST, "/v1/accounts", accounts::create::create)
        .keyed(GET, "/v1/accounts", accounts::list::list)
        .for_clients(GET, "/v1/accounts/{account}", accounts::show)
        .keyed(PATCH, "/v1/accounts/{account}", accounts::patch::patch)
        .keyed(DELETE, "/v1/accounts/{account}", accounts::erase::erase)
        .for_pages(GET, "/v1/sources", sources::list)
        .for_pages(GET, "/v1/sources/{source}", sources::show)
        .keyed(PATCH, "/v1/sources/{source}", sources::patch::patch)
        .keyed(GET, "/v1/incidents", incidents::list)
        .keyed(GET, "/v1/sources/{source}/budgets", sources::budgets::show)
        .for_pages(POST, CONNECTIONS, connections::create::create)
        .for_clients(GET, CONNECTIONS, connections::list::list)
        .for_pages(GET, CONNECTION, connections::show)
        .for_clients(PATCH, CONNECTION, connections::patch::patch)
        .for_clients(DELETE, CONNECTION, connections::delete::delete)
        .for_pages(PUT, CREDENTIALS, connections::credentials::replace)
        .for_pages(POST, FETCH, connections::fetch::fetch)
        .for_clients(GET, STATISTICS, statistics::of_connection)
        .keyed(
            GET,
            "/v1/sources/{source}/statistics",
            statistics::of_source,
        )
        .for_clients(GET, FETCHES, connections::fetches::list)
        .for_clients(GET, ONE_FETCH, connections::fetches::show)
        .for_pages(GET, INTERACTIONS, connections::interactions::list)
        .for_pages(GET, INTERACTION, connections::interactions::show)
        .for_pages(DELETE, INTERACTION, connections::interactions::cancel)
        .for_pages(PUT, RESPONSE, connections::response::put)
        .for_clients(GET, ITS_DOCUMENTS, documents::list::of_connection)
        .for_clients(POST, ITS_DOCUMENTS, documents::upload::upload)
        .for_clients(GET, "/v1/documents", documents::list::list)
        .for_clients(GET, "/v1/documents/{document}", documents::show)
        .for_clients(
            GET,
            "/v1/documents/{document}/content",
            documents::content::show,
        )
        .for_clients(GET, CONTACT, notifications::contact::show)
        .for_clients(PUT, CONTACT, notifications::contact::put)
        .for_clients(GET, PREFERENCES, notifications::preferences::show)
        .for_clients(PUT, PREFERENCES, notifications::preferences::put)
        .for_clients(GET, PUSHES, notifications::push::list)
        .for_clients(POST, PUSHES, notifications::push::add)
        .for_clients(DELETE, PUSH, notifications::push::remove)
        .for_clients(GET, NOTIFICATIONS, notifications::list)
        .keyed(POST, NOTIFICATIONS, notifications::send)
        .keyed(GET, NOTIFICATION, notifications::show)
        .for_clients(GET, MESSAGES, notifications::stream::stream)
        .for_clients(POST, READ, notifications::read)
        .for_clients(GET, "/v1/push/key", notifications::push::key)
        .open(POST, "/v1/sms/inbound", notifications::sms::inbound)
        .open(GET, "/mend/{token}", notifications::mend::show)
        .open(
            GET,
            "/unsubscribe/{token}",
            notifications::unsubscribe::show,
        )
        .open(
            POST,
            "/unsubscribe/{token}",
            notifications::unsubscribe::confirm,
        )
        .for_clients(
            GET,
            "/api/reliability/notifications",
            reliability::notifications::list,
        )
        .for_clients(
            POST,
            "/api/reliability/notifications/{notification}/read",
            reliability::notifications::read,
        )
        .for_clients(
            POST,
            "/api/reliability/notifications/send-test",
            reliability::notifications::send_test,
        )
        .keyed(GET, "/v1/alerts", alerts::list)
        .keyed(GET, "/v1/alerts/{alert}", alerts::show)
        .keyed(POST, "/v1/alerts/{alert}/acknowledge", alerts::acknowledge)
        .keyed(POST, "/v1/alerts/{alert}/close", alerts::close)
        .keyed(GET, "/v1/unclassified", unclassified::list)
        .keyed(
            DELETE,
            "/v1/unclassified/{unclassified}",
            unclassified::forget,
        )
        .keyed(GET, "/v1/settings", settings::show)
        .keyed(PATCH, "/v1/settings", settings::patch)
        .keyed(GET, "/v1/callback-secret", callback_secret::show)
        .keyed(POST, "/v1/callback-secret/rotate", callback_secret::rotate)
        .keyed(POST, "/v1/accounts/{account}/tokens", tokens::create)
        .keyed(GET, "/v1/subscriptions", subscriptions::list::list)
        .keyed(POST, "/v1/subscriptions", subscriptions::create::create)
        .keyed(GET, SUBSCRIPTION, subscriptions::show::show)
        .keyed(PATCH, SUBSCRIPTION, subscriptions::patch::patch)
        .keyed(DELETE, SUBSCRIPTION, subscriptions::remove::remove)
        .keyed(
            POST,
            "/v1/subscriptions/{subscription}/secret/rotate",
            subscriptions::rotate::rotate,
        )
        .keyed(
            POST,
            "/v1/subscriptions/{subscription}/replay",
            subscriptions::replay::replay,
        )
        .keyed(
            POST,
            "/v1/subscriptions/{subscription}/test",
            subscriptions::test::test,
        )
        .keyed(GET, "/v1/deliveries", deliveries::list)
        .keyed(GET, "/v1/deliveries/{delivery}", deliveries::show)
        .keyed(POST, "/v1/deliveries/{delivery}/retry", deliveries::retry)
        .with_reliability()
        .open(GET, "/connect/{token}", connect::show)
        .open(POST, "/connect/{token}/session", connect::open)
        .open(GET, "/livez", health::livez)
        .open(GET, "/readyz", health::readyz)
        .open(GET, "/openapi.json", openapi::show)
        .open(GET, "/docs", docs::show)
}

impl Routes {
    /// Adds the endpoints of the reliability API.
    fn with_reliability(self) -> Self {
        const GET: MethodFilter = MethodFilter::GET;
        const POST: MethodFilter = MethodFilter::POST;
        use reliability::{connections, metrics, reconnect, service, start, sync_status};

        self.for_clients(
            GET,
            "/api/reliability/connections/health",
            connections::list,
        )
        .for_clients(
            GET,
            "/api/reliability/connections/{connection}/health",
            connections::show,
        )
        .for_clients(
            POST,
            "/api/reliability/connections/{connection}/retry",
            start::retry,
        )
        .for_clients(
            POST,
            "/api/reliability/connections/{connection}/reconnect",
            reconnect::reconnect,
        )
        .for_clients(
            GET,
            "/api/reliability/connections/{connection}/sync-status",
            sync_status::show,
        )
        .for_clients(
            POST,
            "/api/reliability/connections/{connection}/sync-now",
            start::sync_now,
        )
        .for_clients(GET, "/api/reliability/metrics/overview", metrics::overview)
        .for_clients(
            GET,
            "/api/reliability/metrics/connections/{connection}",
            metrics::of_connection,
        )
        .open(GET, "/api/reliability/health", service::show)
    }
}

fn lost(meter: &Meter, problem: Problem) -> Ready<Response> {
    let response = problem.into_response();
    meter.record(response.status(), Duration::ZERO);
    ready(response)
}

fn unknown_path() -> Problem {
    Problem::not_found("There is nothing at this path; /docs tells what there is")
}

fn unknown_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This path does not have this method; the header Allow names those that it has",
    )
}

const SUBSCRIPTION: &str = "/v1/subscriptions/{subscription}";
/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        let document = openapi::document("http://localhost", "0");
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                described.insert((method.to_uppercase(), path.clone()));
                assert!(operation["summary"].is_string(), "{method} {path}");
                assert!(!operation["responses"].as_object().unwrap().is_empty());
            }
        }
        let routed: BTreeSet<(String, String)> = routes()
            .open(MethodFilter::GET, metrics::PATH, metrics::show)
            .list
            .into_iter()
            .map(|(method, path)| (method.to_owned(), path.to_owned()))
            .collect();
        assert_eq!(described, routed);
        let text = document.to_string();
        let references = text.split(r##""$ref":"#/components/schemas/"##).skip(1);
        for name in references.filter_map(|rest| rest.split('"').next()) {
            let schema = &document["components"]["schemas"][name];
            assert!(schema.is_object(), "{name} is described nowhere");
        }
    }
}
