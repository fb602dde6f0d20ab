//! The exporter against a collector that is well, busy, or away.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::{Arc, Mutex};

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wellspring_engine::{Fact, Span, SpanKind, SpanSink, Tasks};
use wellspring_outbound::ClientOptions;
use wellspring_telemetry::{ExportError, Exporter, OtlpOptions};

type Taken = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

#[tokio::test]
async fn what_a_busy_collector_did_not_take_is_exported_again_and_once() {
    let tasks = Tasks::default();
    let (endpoint, taken) = collector(&tasks, vec![503, 429]).await;
    let exporter = exporter(&endpoint);
    exporter.take(vec![span(1), span(2)]);
    let stop = CancellationToken::new();
    let (running, stopping) = (exporter.clone(), stop.clone());
    let exporting = Tasks::default();
    exporting.spawn("exporter", async move { running.run(stopping).await });
    while taken.lock().unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // What comes before the end is exported at the end.
    exporter.take(vec![span(3)]);
    stop.cancel();
    exporting.ended().await;
    tasks.stop();
    tasks.ended().await;
    let ids: Vec<Vec<u8>> = taken
        .lock()
        .unwrap()
        .iter()
        .flat_map(|export| &export.resource_spans[0].scope_spans[0].spans)
        .map(|span| span.span_id.clone())
        .collect();
    assert_eq!(ids, [1_u64, 2, 3].map(|id| id.to_be_bytes().to_vec()));
    let export = &taken.lock().unwrap()[0];
    let first = &export.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(first.trace_id, [7; 16]);
    assert_eq!(first.parent_span_id, 9_u64.to_be_bytes());
    assert_eq!(
        (first.start_time_unix_nano, first.end_time_unix_nano),
        (5, 8)
    );
    let keys: Vec<&str> = first
        .attributes
        .iter()
        .map(|pair| pair.key.as_str())
        .collect();
    assert_eq!(keys, ["wellspring.attempt", "error.type"]);
}

#[tokio::test]
async fn taking_never_waits_and_keeps_no_more_than_fits() {
    let tasks = Tasks::default();
    let (endpoint, taken) = collector(&tasks, Vec::new()).await;
    let exporter = exporter(&endpoint);
    for id in 0..20_000 {
        exporter.take(vec![span(id), span(id)]);
    }
    let stop = CancellationToken::new();
    stop.cancel();
    exporter.run(stop).await;
    tasks.stop();
    tasks.ended().await;
    let spans: Vec<usize> = taken
        .lock()
        .unwrap()
        .iter()
        .map(|export| export.resource_spans[0].scope_spans[0].spans.len())
        .collect();
    assert_eq!(spans.iter().sum::<usize>(), 16_384, "what came first");
    assert!(spans.iter().all(|of| *of <= 1_024), "{spans:?}");
}

#[tokio::test]
async fn a_greeting_says_what_is_wrong() {
    let tasks = Tasks::default();
    let (endpoint, taken) = collector(&tasks, vec![401]).await;
    let exporter = exporter(&endpoint);
    assert_eq!(exporter.greet().await, Err(ExportError::Refused(401)));
    assert_eq!(exporter.greet().await, Ok(()));
    assert_eq!(taken.lock().unwrap().len(), 1);
    tasks.stop();
    tasks.ended().await;
    assert!(matches!(
        exporter.greet().await,
        Err(ExportError::NoAnswer(_))
    ));
    let bad = |endpoint: &str, name: &str| {
        let options = OtlpOptions {
            endpoint: endpoint.to_owned(),
            headers: vec![(name.to_owned(), "value".to_owned().into())],
            service_name: "wellspring".to_owned(),
            version: "0",
        };
        Exporter::new(options, ClientOptions::default()).unwrap_err()
    };
    assert!(matches!(bad("http://", "a"), ExportError::Endpoint(_)));
    let header = bad("http://127.0.0.1:1", "not a header");
    assert_eq!(header, ExportError::Header("not a header".to_owned()));
}

/// Starts a collector that answers with these statuses first, and takes what comes after.
async fn collector(tasks: &Tasks, refusals: Vec<u16>) -> (String, Taken) {
    let taken = Taken::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let refusals = Arc::new(Mutex::new(refusals.into_iter()));
    let (kept, stop) = (Arc::clone(&taken), tasks.stop_token().clone());
    tasks.spawn("collector", async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (kept, refusals) = (Arc::clone(&kept), Arc::clone(&refusals));
            let answer = service_fn(move |request: hyper::Request<Incoming>| {
                let (kept, refusals) = (Arc::clone(&kept), Arc::clone(&refusals));
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    let body = request.into_body().collect().await?.to_bytes();
                    let refusal = refusals.lock().unwrap().next();
                    if refusal.is_none() {
                        let export = ExportTraceServiceRequest::decode(body).unwrap();
                        kept.lock().unwrap().push(export);
                    }
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() = StatusCode::from_u16(refusal.unwrap_or(200)).unwrap();
                    Ok::<_, hyper::Error>(response)
                }
            });
            let io = TokioIo::new(accepted.unwrap().0);
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, answer);
            tokio::select! {
                () = stop.cancelled() => return,
                served = serving => served.unwrap(),
            }
        }
    });
    (endpoint, taken)
}

fn exporter(endpoint: &str) -> Exporter {
    let options = OtlpOptions {
        endpoint: endpoint.to_owned(),
        headers: Vec::new(),
        service_name: "wellspring".to_owned(),
        version: "0",
    };
    Exporter::new(options, ClientOptions::default()).unwrap()
}

fn span(id: u64) -> Span {
    Span {
        trace: [7; 16],
        id,
        parent: Some(9),
        name: "attempt",
        kind: SpanKind::Internal,
        begin: 5,
        end: 8,
        facts: vec![("wellspring.attempt", Fact::Number(1))],
        links: Vec::new(),
        error: Some("timeout".to_owned()),
    }
}
