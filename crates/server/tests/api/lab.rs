//! What every test needs: a server without a network.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::{BoxFuture, pending, ready};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower::ServiceExt;
use wellspring_core::budget::{Limit, Window};
use wellspring_core::{CollectionPolicy, Error, ErrorClass, SourceName, Timestamp, Unclassified};
use wellspring_engine::{
    Backend, Channel, Clock, Connector, DeliverOrder, DeliverResult, Directory, Engine,
    EngineHandle, EngineParts, FetchOrder, FetchResult, Limits, Listener, Notifier, NotifierParts,
    RunInputs, RunOrder, RunResult, SendOrder, SendResult, Session, Source, SourceTable,
    SystemClock, Tasks, TokenKind, TokenRecord, Transport,
};
use wellspring_server::{
    Access, AppParts, Intake, Page, SealedAddresses, SourceInfo, Subscriptions, open_vault, router,
};
use wellspring_store::MemoryBlobs;
use wellspring_vault::{MasterKey, Vault};

use crate::notifications::Recorder;
use crate::script::{Act, Script, bank};
use crate::switched::Switched;

/// A server with one tenant, `one`, and its key.
pub(crate) struct Lab {
    pub(crate) store: Arc<Switched>,
    pub(crate) access: Arc<Access>,
    pub(crate) clock: Arc<ShiftedClock>,
    pub(crate) parts: AppParts,
    pub(crate) router: Router,
    pub(crate) key: String,
    /// What the bank does.
    pub(crate) script: Arc<Script>,
    /// What was sent to people.
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    tasks: Tasks,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let clock = Arc::new(ShiftedClock::default());
        let shifted: Arc<dyn Clock> = Arc::<ShiftedClock>::clone(&clock);
        let store = Arc::new(Switched::new(Arc::<ShiftedClock>::clone(&clock)));
        let backend: Arc<dyn Backend> = Arc::<Switched>::clone(&store);
        let (vault, access, key) = one_tenant(&backend, &shifted).await;
        let tasks = Tasks::default();
        let sources = ["bank", "broken", "gas", "rotten", "stuck"].map(|name| Source {
            name: name.parse().unwrap(),
            policy: CollectionPolicy::default(),
            concurrency: Source::DEFAULT_CONCURRENCY,
            budget: if name == "bank" {
                Arc::from([window(10_000, 60), window(100_000, 3_600)])
            } else {
                Arc::default()
            },
            connections: (name == "bank").then(bank),
            maintenance: Arc::default(),
            limits: Arc::default(),
            backlog_alert: Source::DEFAULT_BACKLOG_ALERT,
        });
        let script = Arc::new(Script::new(vault));
        let blobs = Arc::new(MemoryBlobs::default());
        let recorder = Arc::<Recorder>::default();
        let outside = Outside {
            backend,
            clock: shifted,
            connector: Arc::new(Connectors(Arc::clone(&script))),
            channel: Arc::new(Pretend),
            transport: Arc::<Recorder>::clone(&recorder),
            intake: Arc::new(Pretend),
            blobs: Arc::<MemoryBlobs>::clone(&blobs),
            sources: sources.into(),
            limits,
        };
        let parts = outside.served(&access, &tasks).await;
        let lab = Self {
            store,
            access,
            clock,
            router: router(parts.clone()),
            parts,
            key,
            script,
            recorder,
            blobs,
            tasks,
        };
        eventually(|| ready(lab.engine().snapshot().ready)).await;
        lab
    }

    /// Has a source that takes connections allow so many calls and no more.
    pub(crate) async fn narrow(&self, name: &str, calls: u32, per: Duration) {
        self.limit(name, Window { calls, per }, []).await;
    }

    /// Has a source take so many attempts, and calls as these limits say.
    pub(crate) async fn limit(
        &self,
        name: &str,
        attempts: Window,
        limits: impl IntoIterator<Item = Limit>,
    ) {
        let source = Source {
            name: name.parse().unwrap(),
            policy: CollectionPolicy::default(),
            concurrency: Source::DEFAULT_CONCURRENCY,
            budget: Arc::from([attempts]),
            connections: Some(bank()),
            maintenance: Arc::default(),
            limits: limits.into_iter().collect(),
            backlog_alert: Source::DEFAULT_BACKLOG_ALERT,
        };
        let table = Arc::new(SourceTable::new([source]));
        self.engine().set_sources(table).await;
    }

    pub(crate) const fn engine(&self) -> &EngineHandle {
        &self.parts.engine
    }

    /// Sends a request without any key.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        Reply::of(&self.router, request).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Reply {
        self.send(request(&self.key, method, path, body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, "").await
    }

    pub(crate) async fn get_as(&self, key: &str, path: &str) -> Reply {
        self.send(request(key, Method::GET, path, "")).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.call(Method::POST, path, body).await
    }

    pub(crate) async fn post_with_key(&self, path: &str, body: &str, key: &str) -> Reply {
        let mut request = request(&self.key, Method::POST, path, body.to_owned());
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        self.send(request).await
    }

    /// Has something collected and returns its id.
    pub(crate) async fn collect(&self, provider: &str, callback_url: &str) -> String {
        let reply = self.post("/collect", collect(provider, callback_url)).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.json()["requestId"].as_str().unwrap().to_owned()
    }

    /// Waits until a collection has this status.
    pub(crate) async fn settles(&self, id: &str, status: &str) -> Value {
        let path = format!("/collect/{id}");
        eventually(async || self.get(&path).await.json()["status"] == status).await;
        self.get(&path).await.json()
    }

    /// Makes an account and returns its path.
    pub(crate) async fn account(&self) -> String {
        let reply = self.post("/v1/accounts", "{}").await;
        assert_eq!(reply.status, 201, "{reply:?}");
        format!("/v1/accounts/{}", reply.json()["id"].as_str().unwrap())
    }

    /// Connects an account of its own to the bank, which does as its script says; returns the
    /// connection's path.
    pub(crate) async fn connect(&self, acts: Vec<Act>) -> String {
        self.connect_as(&self.key, acts).await
    }

    /// Connects an account of the tenant whose key this is.
    pub(crate) async fn connect_as(&self, key: &str, acts: Vec<Act>) -> String {
        self.script.next(acts);
        let made = async |path: String, body| {
            let reply = self.send(request(key, Method::POST, &path, body)).await;
            assert_eq!(reply.status, 201, "{reply:?}");
            format!("{path}/{}", reply.json()["id"].as_str().unwrap())
        };
        let account = made("/v1/accounts".to_owned(), "{}").await;
        let body = r#"{"source": "bank", "credentials": {"user": "ann", "password": "pw-1"}}"#;
        made(format!("{account}/connections"), body).await
    }

    /// Waits until a connection is in this state and returns it.
    pub(crate) async fn comes_to(&self, connection: &str, state: &str) -> Value {
        eventually(async || self.get(connection).await.json()["state"] == state).await;
        self.get(connection).await.json()
    }

    /// Makes a token of an account.
    pub(crate) async fn token(&self, account: &str, kind: TokenKind, page: Page) -> String {
        let token = format!("wst_{account}-{kind:?}-{page:?}");
        let now = self.clock.now();
        let record = TokenRecord {
            hash: Sha256::digest(&token).into(),
            tenant: self.access.authenticate(&self.key).unwrap().tenant,
            account: account.rsplit('/').next().unwrap().parse().unwrap(),
            kind,
            connection: page.connection,
            source: page.source,
            return_url: None,
            created_at: now,
            expires_at: now.after(Duration::from_secs(60)),
            spent_at: None,
        };
        self.store.put_token(record).await.unwrap();
        token
    }

    pub(crate) async fn stop(&self) {
        self.tasks.stop();
        self.tasks.ended().await;
    }
}

/// Opens a vault, and makes a tenant; returns them with the tenant's key.
pub(crate) async fn one_tenant(
    backend: &Arc<dyn Backend>,
    clock: &Arc<dyn Clock>,
) -> (Vault, Arc<Access>, String) {
    let masters = [MasterKey::new([7; 32])];
    let vault = open_vault(backend.as_ref(), &masters, clock.now());
    let vault = vault.await.unwrap();
    let access = Access::load(Arc::clone(backend), vault.clone(), Arc::clone(clock));
    let access = access.await.unwrap();
    access.create_tenant("one", None).await.unwrap();
    let (_, key) = access.create_key("one", None).await.unwrap();
    (vault, Arc::new(access), key)
}

/// What a server meets.
pub(crate) struct Outside {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    pub(crate) sources: Vec<Source>,
    pub(crate) limits: Limits,
}

impl Outside {
    /// Starts what a server needs.
    pub(crate) async fn served(self, access: &Arc<Access>, tasks: &Tasks) -> AppParts {
        let engine = EngineParts {
            store: Arc::clone(&self.backend),
            connector: self.connector,
            channel: self.channel,
            clock: Arc::clone(&self.clock),
            limits: self.limits,
            sources: Arc::new(SourceTable::new(self.sources)),
            tenants: Arc::new(access.tenant_rules()),
            blobs: Arc::<MemoryBlobs>::clone(&self.blobs),
        };
        let engine = Engine::start(engine, tasks);
        let subscriptions = Subscriptions::load(
            Arc::clone(&self.backend),
            access,
            engine.clone(),
            Arc::clone(&self.clock),
        );
        let notifier = NotifierParts {
            store: Arc::<dyn Backend>::clone(&self.backend),
            transport: self.transport,
            addresses: Arc::new(SealedAddresses::new(access, "http://wellspring.test")),
            clock: Arc::clone(&self.clock),
        };
        AppParts {
            notifier: Notifier::start(notifier, &engine, tasks),
            engine,
            backend: self.backend,
            access: Arc::clone(access),
            subscriptions: Arc::new(subscriptions.await.unwrap()),
            intake: self.intake,
            clock: self.clock,
            blobs: self.blobs,
            public_url: "http://wellspring.test/".to_owned(),
            metrics: None,
            sms_secret: Some("gateway secret".into()),
            version: "1.2.3",
            separate_metrics: false,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Reply {
    pub(crate) async fn of(router: &Router, request: Request<Body>) -> Self {
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Checks that it is a problem of this status and code and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        assert_eq!(problem["id"].is_string(), status >= 500, "{problem}");
        problem
    }
}

pub(crate) fn request(
    key: &str,
    method: Method,
    path: &str,
    body: impl Into<Body>,
) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .body(body.into())
        .unwrap()
}

pub(crate) fn collect(provider: &str, callback_url: &str) -> String {
    serde_json::json!({ "provider": provider, "callbackUrl": callback_url }).to_string()
}

/// Waits, for ten seconds at most, until something is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut so: impl FnMut() -> F) {
    let wait = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("it never came to be so");
}

/// The machine's clock, set forward.
#[derive(Debug, Default)]
pub(crate) struct ShiftedClock(AtomicI64);

impl ShiftedClock {
    pub(crate) fn forward(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap();
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        let shift = self.0.load(Ordering::SeqCst);
        Timestamp::from_millis(SystemClock.now().as_millis() + shift)
    }
}

/// Sources by their names; the bank does as its script says.
#[derive(Debug)]
struct Connectors(Arc<Script>);

impl Connector for Connectors {
    fn run(
        &self,
        order: RunOrder,
        inputs: RunInputs,
        session: Session,
    ) -> BoxFuture<'_, RunResult> {
        Box::pin(self.0.run(order, inputs, session))
    }

    fn fetch(&self, order: FetchOrder, _listener: Arc<dyn Listener>) -> BoxFuture<'_, FetchResult> {
        match order.source.as_str() {
            "gas" => Box::pin(ready(FetchResult::Fetched(Bytes::from_static(b"[1]")))),
            "stuck" => Box::pin(pending()),
            "rotten" => panic!("on purpose"),
            _ => Box::pin(ready(FetchResult::Failed {
                error: error("http_400"),
                retry_at: None,
                unclassified: None,
            })),
        }
    }
}

/// Callbacks and addresses by their names.
#[derive(Debug)]
struct Pretend;

impl Channel for Pretend {
    fn send(&self, _order: SendOrder) -> BoxFuture<'_, SendResult> {
        Box::pin(ready(SendResult {
            status: Some(200),
            snippet: String::new(),
            duration: Duration::ZERO,
            failure: None,
        }))
    }

    fn deliver(&self, order: DeliverOrder) -> BoxFuture<'_, DeliverResult> {
        let result = if order.callback_url.contains("gone") {
            DeliverResult::Failed {
                error: error("http_410"),
                gone: true,
                retry_at: None,
                down: false,
            }
        } else {
            DeliverResult::Delivered
        };
        Box::pin(ready(result))
    }
}

impl Intake for Pretend {
    fn knows(&self, source: &SourceName) -> bool {
        self.source_names()
            .iter()
            .any(|name| name == source.as_str())
    }

    fn check_url<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), String>> {
        let refused = url.contains("refused") || !url.starts_with("http");
        let judged = if refused {
            Err("is refused".to_owned())
        } else {
            Ok(())
        };
        Box::pin(ready(judged))
    }

    fn rule_for(&self, kept: &Unclassified) -> Option<String> {
        let is_known = kept.error_code.as_deref() == Some("KNOWN");
        is_known.then(|| "known".to_owned())
    }

    fn source_names(&self) -> Vec<String> {
        ["bank", "broken", "gas", "rotten", "stuck"]
            .map(str::to_owned)
            .into()
    }

    fn source(&self, name: &SourceName) -> Option<SourceInfo> {
        self.knows(name).then(|| SourceInfo {
            name: name.clone(),
            connector: "pretend",
            connections: (name.as_str() == "bank").then(bank),
            maintenance: Arc::default(),
        })
    }
}

fn error(code: &str) -> Error {
    Error {
        class: ErrorClass::InvalidRequest,
        code: code.to_owned(),
        message: "It does not want to.".to_owned(),
    }
}

const fn window(calls: u32, seconds: u64) -> Window {
    Window {
        calls,
        per: Duration::from_secs(seconds),
    }
}
