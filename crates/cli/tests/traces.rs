//! Traces from outside: one fetch is one trace, whatever happens to the process meanwhile.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, Method};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use tokio::time::Instant;
use wellspring_outbound::{AddressPolicy, Request, Target};
use wellspring_sandbox::{Delivery, Receiver, Source};

use common::bank::Bank;
use common::child::{KEY, Server, Start};
use common::{PATIENCE, json as body_of, program};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_is_one_trace_over_a_kill_between_its_attempts() {
    let bank = Bank::start();
    let collector = Collector::start(&bank).await;
    let gas = format!(
        "name: gas\nconnector: http_json\nurl: {}/providers/gas\ntimeout: 5s\nretry: {{ interval: 1500ms, rate: 1, max_delay: 1500ms, max_retries: 100 }}\n",
        bank.world.sandbox_url
    );
    std::fs::write(bank.world.folder.path().join("sources/gas.yaml"), gas).unwrap();
    let (callback, heard) = callback(&bank);
    bank.world
        .sandbox
        .update(Source::Gas, |gas| gas.failure_rate = 1.0);
    let mut server = Server::start(collector.configure(&bank)).await.unwrap();
    bank.subscribe(&server, &["* /collections/**"]).await;

    let body = json!({"provider": "gas", "callbackUrl": callback});
    let accepted = post_traced(&bank, &server, "/collect", body).await;
    let id = accepted["requestId"].as_str().unwrap().to_owned();
    let trace = hex::decode(id.trim_start_matches("col_")).unwrap();
    // Whatever a kill takes away must have been told before.
    collector
        .until(&trace, |spans| {
            named(spans, "accept") == 1 && named(spans, "attempt") >= 1
        })
        .await;
    server.kill().await.unwrap();
    let before = named(&collector.spans(&trace), "attempt");
    let (server, _) = server.restart().await.unwrap();
    collector
        .until(&trace, |spans| named(spans, "attempt") > before)
        .await;
    bank.world
        .sandbox
        .update(Source::Gas, |gas| gas.failure_rate = 0.0);
    bank.world.until_status(&server, &id, "delivered").await;
    let spans = collector
        .until(&trace, |spans| {
            named(spans, "webhook") >= 3 && named(spans, "collection") >= 1
        })
        .await;

    let root = hold_together(&spans, &trace, "collection");
    assert_eq!(fact(&root, "wellspring.status"), "delivered");
    assert_eq!(fact(&root, "wellspring.collection.id"), id);
    let attempts: Vec<&Span> = spans.iter().filter(|span| span.name == "attempt").collect();
    let outcomes: Vec<String> = attempts
        .iter()
        .map(|span| fact(span, "wellspring.outcome"))
        .collect();
    assert!(attempts.len() >= 3, "{outcomes:?}");
    assert!(
        outcomes[..outcomes.len() - 1]
            .iter()
            .all(|outcome| outcome == "failed"),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[outcomes.len() - 1], "success");
    for attempt in attempts {
        let exchange = spans
            .iter()
            .find(|span| span.parent_span_id == attempt.span_id)
            .unwrap();
        assert_eq!(exchange.name, "http");
        assert_eq!(fact(exchange, "server.address"), "127.0.0.1");
        assert!(!fact(exchange, "http.response.status_code").is_empty());
    }
    let accept = spans.iter().find(|span| span.name == "accept").unwrap();
    is_linked(accept);
    assert!(named(&spans, "commit") >= 2);

    // The callback was told of the exchange that it was a part of.
    let told = heard.lock().unwrap().clone();
    let told = told.last().unwrap();
    let parts: Vec<&str> = told.split('-').collect();
    assert_eq!(
        (parts[0], parts[1], parts[3]),
        ("00", &*hex::encode(&trace), "01")
    );
    let exchange = spans
        .iter()
        .find(|span| hex::encode(&span.span_id) == parts[2])
        .unwrap();
    let delivery = spans
        .iter()
        .find(|span| span.span_id == exchange.parent_span_id)
        .unwrap();
    assert_eq!(delivery.name, "callback");
    bank.world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_on_a_connection_is_one_trace_with_its_webhooks_and_messages_to_people() {
    let bank = Bank::start();
    let collector = Collector::start(&bank).await;
    let yaml = format!(
        "name: bank\nconnector: sandbox_bank\nurl: {}/bank\ntimeout: 5s\nslow_plan: [200ms]\n\
         retry: {{ interval: 2s, rate: 1, max_delay: 2s, max_retries: 2 }}\n",
        bank.world.sandbox_url
    );
    std::fs::write(bank.world.folder.path().join("sources/bank.yaml"), yaml).unwrap();
    let mut server = Server::start(collector.configure(&bank)).await.unwrap();
    bank.subscribe(&server, &["* /accounts/**"]).await;
    let account = bank.account(&server).await;
    let contact = json!({"name": "Ada", "webhook": bank.world.callback});
    let path = format!("/v1/accounts/{account}/contact");
    bank.call(&server, Method::PUT, &path, contact).await;

    let path = format!("/v1/accounts/{account}/connections");
    let body = json!({"source": "bank", "credentials": {"username": "user", "password": "down"}});
    let made = post_traced(&bank, &server, &path, body).await;
    let connection = format!("{path}/{}", made["id"].as_str().unwrap());
    let listed = format!("{connection}/fetches");
    let shown = bank
        .until(&server, &listed, |shown| shown["data"][0]["id"].is_string())
        .await;
    let first = trace_of(&shown["data"][0]);
    collector
        .until(&first, |spans| named(spans, "attempt") == 1)
        .await;
    server.kill().await.unwrap();
    let (server, _) = server.restart().await.unwrap();
    bank.until_state(&server, &connection, "error").await;
    let spans = collector
        .until(&first, |spans| {
            named(spans, "fetch") >= 1 && named(spans, "webhook") >= 2
        })
        .await;
    let root = hold_together(&spans, &first, "fetch");
    assert_eq!(fact(&root, "wellspring.status"), "failed");
    assert_eq!(fact(&root, "wellspring.attempts"), "3");
    is_linked(&root);
    let attempts = spans.iter().filter(|span| span.name == "attempt");
    let numbers: BTreeSet<String> = attempts
        .map(|span| fact(span, "wellspring.attempt"))
        .collect();
    let all: BTreeSet<String> = ["1", "2", "3"].map(str::to_owned).into();
    assert_eq!(numbers, all);

    let shown = bank.call(&server, Method::GET, &listed, Value::Null).await;
    let last = trace_of(&shown["data"][0]);
    assert_ne!(last, first, "another fetch is another trace");
    let spans = collector
        .until(&last, |spans| {
            named(spans, "notice") == 1 && named(spans, "fetch") == 1
        })
        .await;
    let root = hold_together(&spans, &last, "fetch");
    assert!(root.links.is_empty(), "nobody asked for it");
    let notice = spans.iter().find(|span| span.name == "notice").unwrap();
    assert_eq!(fact(notice, "wellspring.notification.channel"), "webhook");
    assert_eq!(fact(notice, "wellspring.outcome"), "sent");
    bank.world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_resumed_goes_on_in_its_trace_under_the_same_root() {
    let bank = Bank::start();
    let collector = Collector::start(&bank).await;
    let gas = format!(
        "name: gas\nconnector: http_json\nurl: {}/providers/gas\ntimeout: 5s\nretry: {{ interval: 50ms, rate: 1, max_delay: 50ms, max_retries: 1 }}\n",
        bank.world.sandbox_url
    );
    std::fs::write(bank.world.folder.path().join("sources/gas.yaml"), gas).unwrap();
    let (callback, _) = callback(&bank);
    bank.world
        .sandbox
        .update(Source::Gas, |gas| gas.failure_rate = 1.0);
    let server = Server::start(collector.configure(&bank)).await.unwrap();
    let body = json!({"provider": "gas", "callbackUrl": callback});
    let accepted = post_traced(&bank, &server, "/collect", body).await;
    let id = accepted["requestId"].as_str().unwrap().to_owned();
    let trace = hex::decode(id.trim_start_matches("col_")).unwrap();
    let spans = collector
        .until(&trace, |spans| named(spans, "collection") == 1)
        .await;
    let root = hold_together(&spans, &trace, "collection");
    assert_eq!(fact(&root, "wellspring.status"), "failed");
    assert_eq!(named(&spans, "callback"), 1, "its failure is told");

    bank.world
        .sandbox
        .update(Source::Gas, |gas| gas.failure_rate = 0.0);
    let path = format!("/collect/{id}/retry");
    bank.call(&server, Method::POST, &path, Value::Null).await;
    let spans = collector
        .until(&trace, |spans| named(spans, "ended") == 1)
        .await;
    assert_eq!(hold_together(&spans, &trace, "collection"), root);
    assert_eq!((named(&spans, "attempt"), named(&spans, "resumed")), (3, 1));
    let ended = spans.iter().find(|span| span.name == "ended").unwrap();
    assert_eq!(fact(ended, "wellspring.status"), "delivered");
    bank.world.tasks.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_greets_the_collector_and_a_bad_key_is_named_with_its_file() {
    let bank = Bank::start();
    let collector = Collector::start(&bank).await;
    let start = collector.configure(&bank);
    let doctor = || {
        let data = bank.world.folder.path().join("data");
        let output = Command::new(program())
            .args(["doctor", "--data-dir", &data.display().to_string()])
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let found = String::from_utf8(output.stdout).unwrap();
        (found, String::from_utf8(output.stderr).unwrap())
    };
    let (found, _) = doctor();
    assert!(found.contains("takes exports"), "{found}");
    {
        let seen = collector.seen.lock().unwrap();
        assert_eq!((seen.exports, seen.spans.len()), (1, 0));
        assert_eq!(seen.headers["x-collector-key"], "s3cret");
        assert_eq!(seen.headers["content-type"], "application/x-protobuf");
    }
    let file = bank.world.folder.path().join("wellspring.toml");
    std::fs::write(
        &file,
        "[telemetry]\notlp_endpoint = \"http://127.0.0.1:1\"\n",
    )
    .unwrap();
    let (found, _) = doctor();
    assert!(
        found.contains("warning collector of traces") && found.contains("gave no answer"),
        "{found}"
    );
    std::fs::write(&file, "[telemetry]\nsample_ratio = 7\n").unwrap();
    let (_, error) = doctor();
    assert!(
        error.contains("telemetry.sample_ratio") && error.contains("wellspring.toml"),
        "{error}"
    );
    bank.world.tasks.stop();
}

/// A collector that keeps what it is sent.
struct Collector {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    spans: Vec<Span>,
    exports: usize,
    headers: HeaderMap,
}

impl Collector {
    async fn start(bank: &Bank) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = bank.world.tasks.stop_token().clone();
        bank.world.tasks.spawn("collector", async move {
            let serving = axum::serve(listener, router);
            tokio::select! {
                () = stop.cancelled() => {}
                served = serving => served.unwrap(),
            }
        });
        Self { url, seen }
    }

    /// Returns how the binary serves the world with traces.
    fn configure(&self, bank: &Bank) -> Start {
        let path = bank.world.folder.path().join("wellspring.toml");
        let text = format!(
            "[telemetry]\notlp_endpoint = \"{}\"\nheaders = {{ x-collector-key = \"s3cret\" }}\npropagate = true\n",
            self.url
        );
        std::fs::write(&path, text).unwrap();
        let mut start = bank.world.serve(None);
        let path = path.display().to_string();
        start
            .environment
            .push(("WELLSPRING_CONFIG".to_owned(), path));
        start
    }

    fn spans(&self, trace: &[u8]) -> Vec<Span> {
        let seen = self.seen.lock().unwrap();
        let of = seen.spans.iter().filter(|span| span.trace_id == trace);
        of.cloned().collect()
    }

    /// Waits until the spans of a trace are as wanted, in the order in which they ended.
    async fn until(&self, trace: &[u8], wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut spans = self.spans(trace);
            if wanted(&spans) {
                spans.sort_by_key(|span| span.end_time_unix_nano);
                return spans;
            }
            let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            assert!(Instant::now() < deadline, "{names:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn take(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap, body: Bytes) {
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    let mut seen = seen.lock().unwrap();
    seen.exports += 1;
    seen.headers = headers;
    for of in export.resource_spans {
        let service = &of.resource.unwrap().attributes[0];
        assert_eq!(service.key, "service.name");
        seen.spans
            .extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
}

/// Starts a callback that keeps the `traceparent` of each message.
fn callback(bank: &Bank) -> (String, Arc<Mutex<Vec<String>>>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heard);
    let receiver = Receiver::bind("127.0.0.1:0".parse().unwrap(), 9).unwrap();
    let receiver = receiver.on_delivery(Arc::new(move |delivery: &Delivery| {
        let told = delivery.headers["traceparent"].to_str().unwrap().to_owned();
        kept.lock().unwrap().push(told);
    }));
    let url = format!("http://{}/told?secret=in-the-query", receiver.local_addr());
    let stop = bank.world.tasks.stop_token().clone();
    let serving = receiver.run(async move { stop.cancelled().await });
    bank.world.tasks.spawn("callback", serving);
    (url, heard)
}

/// Posts as a caller that is traced itself.
async fn post_traced(bank: &Bank, server: &Server, path: &str, body: Value) -> Value {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let parent = format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01");
    headers.insert("traceparent", parent.parse().unwrap());
    let request = Request {
        method: Method::POST,
        target: Target::parse(&server.url(path), &AddressPolicy::unrestricted()).unwrap(),
        headers,
        body: body.to_string().into(),
        deadline: Duration::from_secs(10),
        max_body: 1 << 20,
    };
    body_of(&bank.world.client.send(request).await.unwrap())
}

/// Checks that a span is linked to that of the caller, and to no other.
fn is_linked(span: &Span) {
    let links: Vec<_> = span
        .links
        .iter()
        .map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)))
        .collect();
    assert_eq!(links, [(CALLER_TRACE.to_owned(), CALLER_SPAN.to_owned())]);
}

/// Checks that every span of a trace has its parent, that no id stands for two and that there is
/// one root, which is returned; and that nothing is told that must not be.
fn hold_together(spans: &[Span], trace: &[u8], name: &str) -> Span {
    let mut by_id: BTreeMap<&[u8], &Span> = BTreeMap::new();
    for span in spans {
        assert!(
            by_id.insert(&span.span_id, span).is_none(),
            "{} is there twice",
            span.name
        );
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        let facts = format!("{:?}", span.attributes);
        for secret in ["told", "?", "http://", KEY, "Ada", "s3cret"] {
            assert!(!facts.contains(secret), "{secret} in {facts}");
        }
    }
    let mut roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
    let root = roots.next().unwrap().clone();
    assert!(roots.next().is_none(), "there are two roots");
    assert_eq!((root.name.as_str(), &root.span_id[..]), (name, &trace[8..]));
    for span in spans {
        assert!(
            span.parent_span_id.is_empty() || by_id.contains_key(&span.parent_span_id[..]),
            "{} has a parent that is not there",
            span.name
        );
    }
    root
}

fn named(spans: &[Span], name: &str) -> usize {
    spans.iter().filter(|span| span.name == name).count()
}

fn fact(span: &Span, key: &str) -> String {
    let pair = span.attributes.iter().find(|pair| pair.key == key);
    let value = pair.and_then(|pair| pair.value.clone()?.value);
    match value {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(flag)) => flag.to_string(),
        other => panic!("{key} of {} is {other:?}", span.name),
    }
}

fn trace_of(fetch: &Value) -> Vec<u8> {
    let id = fetch["id"].as_str().unwrap();
    hex::decode(id.trim_start_matches("fetch_")).unwrap()
}

const CALLER_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN: &str = "00f067aa0ba902b7";
