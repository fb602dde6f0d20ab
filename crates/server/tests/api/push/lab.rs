//! A server on a memory store, with a source that asks what it is told to and endpoints that answer by their names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::{BoxFuture, pending, ready};
use http::{Method, Request};
use serde_json::{Value, json};
use wellspring_core::interaction::{Code, CredentialField, Part, Question};
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_core::{CollectionPolicy, Error, ErrorClass, Sealed, SourceName, Unclassified};
use wellspring_engine::{
    Backend, Channel, Clock, ConnectionDefaults, Connector, DeliverOrder, DeliverResult,
    EngineHandle, FetchOrder, FetchResult, Limits, Listener, NoTransport, RunInputs, RunOrder,
    RunResult, SendFailure, SendOrder, SendResult, Session, Source, SystemClock, Tasks,
};
use wellspring_server::{Intake, SourceInfo, router};
use wellspring_store::MemoryStore;

use crate::lab::{Outside, Reply, eventually, one_tenant, request};

/// A server with one tenant and its key.
pub(crate) struct Lab {
    pub(crate) router: Router,
    pub(crate) engine: EngineHandle,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) key: String,
    pub(crate) tasks: Tasks,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = MemoryStore::new(Arc::clone(&clock), 4, None);
        let backend: Arc<dyn Backend> = Arc::new(store);
        let (_, access, key) = one_tenant(&backend, &clock).await;
        let tasks = Tasks::default();
        let endpoints = Arc::new(Endpoints::default());
        let sources = SOURCES.map(|name| Source {
            name: name.parse().unwrap(),
            policy: CollectionPolicy::default(),
            concurrency: Source::DEFAULT_CONCURRENCY,
            budget: Arc::default(),
            connections: defaults(name),
            maintenance: Arc::default(),
            limits: Arc::default(),
            backlog_alert: Source::DEFAULT_BACKLOG_ALERT,
        });
        let outside = Outside {
            backend,
            clock,
            connector: Arc::new(Pretend),
            channel: Arc::<Endpoints>::clone(&endpoints),
            transport: Arc::new(NoTransport),
            intake: Arc::new(Pretend),
            blobs: Arc::default(),
            sources: sources.into(),
            limits: Limits::default(),
        };
        let parts = outside.served(&access, &tasks).await;
        let lab = Self {
            engine: parts.engine.clone(),
            router: router(parts),
            endpoints,
            key,
            tasks,
        };
        eventually(|| ready(lab.engine.snapshot().ready)).await;
        lab
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        Reply::of(&self.router, request).await
    }

    pub(crate) async fn as_caller(
        &self,
        bearer: &str,
        method: Method,
        path: &str,
        body: impl Into<Body>,
    ) -> Reply {
        self.send(request(bearer, method, path, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.as_caller(&self.key, Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.as_caller(&self.key, Method::POST, path, body).await
    }

    pub(crate) async fn post_under(&self, key: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut request = request(&self.key, Method::POST, path, body);
        let key = key.parse().unwrap();
        request.headers_mut().insert("idempotency-key", key);
        self.send(request).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        let body = body.to_string();
        self.as_caller(&self.key, Method::PATCH, path, body).await
    }

    /// Makes an account and returns its id.
    pub(crate) async fn account(&self) -> String {
        let reply = self.post("/v1/accounts", json!({})).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        text(&reply.json()["id"])
    }

    /// Connects an account to the source `bank` and returns the connection's id.
    pub(crate) async fn connect(&self, account: &str, password: &str) -> String {
        let body = json!({"source": "bank", "credentials": {"user": "user", "password": password}});
        let reply = self
            .post(&format!("/v1/accounts/{account}/connections"), body)
            .await;
        assert_eq!(reply.status, 201, "{reply:?}");
        text(&reply.json()["id"])
    }

    /// Waits until a connection is in this state.
    pub(crate) async fn settles(&self, account: &str, connection: &str, state: &str) -> Value {
        let path = format!("/v1/accounts/{account}/connections/{connection}");
        eventually(async || self.get(&path).await.json()["state"] == state).await;
        self.get(&path).await.json()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Reply {
    /// Checks that it is a problem of this status and code and returns the pointers of its faults.
    #[track_caller]
    pub(crate) fn faults(&self, status: u16, code: &str) -> Vec<String> {
        let problem = self.problem(status, code);
        let faults = problem["errors"].as_array();
        let faults = faults.into_iter().flatten();
        faults
            .map(|fault| text(fault.get("pointer").unwrap_or_else(|| &fault["parameter"])))
            .collect()
    }
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}

/// Endpoints of subscriptions: they take everything but where their URL says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    /// The `webhook-id`s that each URL was sent, in order, and the bodies.
    got: Mutex<BTreeMap<String, Vec<(String, Value)>>>,
}

impl Endpoints {
    pub(crate) fn got(&self, url: &str) -> Vec<(String, Value)> {
        self.got
            .lock()
            .unwrap()
            .get(url)
            .cloned()
            .unwrap_or_default()
    }
}

impl Channel for Endpoints {
    fn deliver(&self, _order: DeliverOrder) -> BoxFuture<'_, DeliverResult> {
        Box::pin(ready(DeliverResult::Delivered))
    }

    fn send(&self, order: SendOrder) -> BoxFuture<'_, SendResult> {
        let url = order.subscription.url.to_string();
        let gone = url.contains("gone");
        let busy = url.contains("busy");
        let body = serde_json::from_slice(&order.message.body).unwrap();
        let sent = (order.message.id.clone(), body);
        self.got.lock().unwrap().entry(url).or_default().push(sent);
        let failure = (gone || busy).then(|| SendFailure {
            error: error(ErrorClass::InvalidRequest, "http_410"),
            gone,
            retry_at: None,
            unreachable: false,
        });
        Box::pin(ready(SendResult {
            status: Some(if gone {
                410
            } else if busy {
                400
            } else {
                204
            }),
            snippet: "so it says".to_owned(),
            duration: Duration::from_millis(3),
            failure,
        }))
    }
}

/// The source `bank` does as its password says, the source `feed` only serves collections.
#[derive(Debug)]
struct Pretend;

impl Connector for Pretend {
    fn fetch(&self, order: FetchOrder, _listener: Arc<dyn Listener>) -> BoxFuture<'_, FetchResult> {
        drop(order);
        Box::pin(ready(FetchResult::Fetched(Bytes::from_static(b"[1]"))))
    }

    fn run(
        &self,
        order: RunOrder,
        inputs: RunInputs,
        session: Session,
    ) -> BoxFuture<'_, RunResult> {
        Box::pin(async move {
            if order.source.as_str() == "quiet" {
                return pending().await;
            }
            if inputs.answer.is_some() {
                return RunResult::Finished {
                    partial: None,
                    unclassified: None,
                };
            }
            let resume = Some(Sealed::new(b"asked".to_vec()));
            match session.ask(pin(), resume).await {
                Ok(()) => RunResult::Asked,
                Err(_ended) => pending().await,
            }
        })
    }
}

fn pin() -> Question {
    Question {
        code: Code::Pin,
        title: Some("Your PIN".to_owned()),
        parts: vec![Part::TextInput {
            id: "pin".to_owned(),
            label: "PIN".to_owned(),
            sensitive: true,
            default: None,
            pattern: None,
            max_length: Some(12),
        }],
        expires_in: None,
    }
}

impl Intake for Pretend {
    fn knows(&self, source: &SourceName) -> bool {
        SOURCES.contains(&source.as_str())
    }

    fn check_url<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), String>> {
        let refused = url.contains("refused") || !url.starts_with("http");
        Box::pin(ready(if refused {
            Err("is refused".to_owned())
        } else {
            Ok(())
        }))
    }

    fn rule_for(&self, kept: &Unclassified) -> Option<String> {
        let is_known = kept.error_code.as_deref() == Some("KNOWN");
        is_known.then(|| "known".to_owned())
    }

    fn source_names(&self) -> Vec<String> {
        SOURCES.map(str::to_owned).into()
    }

    fn source(&self, name: &SourceName) -> Option<SourceInfo> {
        self.knows(name).then(|| SourceInfo {
            name: name.clone(),
            connector: "pretend",
            connections: defaults(name.as_str()),
            maintenance: Arc::default(),
        })
    }
}

fn defaults(name: &str) -> Option<ConnectionDefaults> {
    let field = |id: &str, sensitive| CredentialField {
        id: id.to_owned(),
        label: id.to_owned(),
        sensitive,
        optional: false,
    };
    (name != "feed").then(|| ConnectionDefaults {
        schedule: Schedule::Manual,
        slow_plan: SlowPlan::default(),
        credential_fields: [field("user", false), field("password", true)].into(),
        attempts: None,
    })
}

fn error(class: ErrorClass, code: &str) -> Error {
    Error {
        class,
        code: code.to_owned(),
        message: "It does not want to.".to_owned(),
    }
}

const SOURCES: [&str; 3] = ["bank", "feed", "quiet"];
