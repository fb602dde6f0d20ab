//! The buffer, and the task that takes spans from it to the collector.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use metrics::{Counter, counter};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wellspring_engine::{Span, SpanSink};
use wellspring_outbound::{AddressPolicy, Client, ClientOptions, Request, Target};

use crate::encode;

/// Where spans go.
#[derive(Debug, Clone)]
pub struct OtlpOptions {
    /// The collector, such as `http://127.0.0.1:4318`; spans go to `/v1/traces` below it.
    pub endpoint: String,
    /// Headers of every export, which may hold secrets.
    pub headers: Vec<(String, SecretString)>,
    /// What the service is called.
    pub service_name: String,
    /// The version of the program.
    pub version: &'static str,
}

/// Why spans cannot be exported, or were not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExportError {
    /// The endpoint is no URL that can be called.
    #[error("the endpoint cannot be called: {0}")]
    Endpoint(String),
    /// A header cannot be one.
    #[error("`{0}` is no header, or its value cannot be one")]
    Header(String),
    /// No client can be made.
    #[error("{0}")]
    Client(String),
    /// No answer came.
    #[error("the collector gave no answer: {0}")]
    NoAnswer(String),
    /// The collector took nothing.
    #[error("the collector answered {0}")]
    Refused(u16),
}

/// Takes spans and exports them.
///
/// A clone is cheap and is the same exporter.
#[derive(Clone)]
pub struct Exporter(Arc<Inner>);

struct Inner {
    client: Client,
    target: Target,
    headers: HeaderMap,
    service_name: String,
    version: &'static str,
    waiting: Mutex<Vec<Span>>,
    filled: Notify,
    exported: Counter,
    dropped: Counter,
    refused: Counter,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Makes an exporter; nothing is sent before [`Self::run`] or [`Self::greet`].
    ///
    /// Every address may be reached, since the operator wrote the endpoint.
    ///
    /// # Errors
    ///
    /// When the options name nothing that can be called.
    pub fn new(options: OtlpOptions, client: ClientOptions) -> Result<Self, ExportError> {
        let policy = AddressPolicy::unrestricted();
        let address = format!("{}{PATH}", options.endpoint.trim_end_matches('/'));
        let target = Target::parse(&address, &policy)
            .map_err(|error| ExportError::Endpoint(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let key = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.expose_secret());
            let (Ok(key), Ok(mut value)) = (key, value) else {
                return Err(ExportError::Header(name.clone()));
            };
            value.set_sensitive(true);
            headers.append(key, value);
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        let client =
            Client::new(policy, client).map_err(|error| ExportError::Client(error.to_string()))?;
        let spans = |outcome| counter!("wellspring_trace_spans_total", "outcome" => outcome);
        Ok(Self(Arc::new(Inner {
            client,
            target,
            headers,
            service_name: options.service_name,
            version: options.version,
            waiting: Mutex::default(),
            filled: Notify::new(),
            exported: spans("exported"),
            dropped: spans("dropped"),
            refused: spans("refused"),
        })))
    }

    /// Exports nothing, to see whether the collector takes it.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn greet(&self) -> Result<(), ExportError> {
        self.send(&[]).await.map_err(|failed| failed.error)
    }

    /// Exports what comes until `stop`, and then what is still there, trying each batch once more.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.0.filled.notified() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
            while let Some(spans) = self.next() {
                self.export(spans, &stop).await;
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    async fn export(&self, spans: Vec<Span>, stop: &CancellationToken) {
        let count = u64::try_from(spans.len()).unwrap_or(0);
        let mut pause = FIRST_PAUSE;
        for left in (0..TRIES).rev() {
            let failed = match self.send(&spans).await {
                Ok(()) => return self.0.exported.increment(count),
                Err(failed) => failed,
            };
            if left == 0 || !failed.again || stop.is_cancelled() {
                tracing::warn!(error = %failed.error, spans = count, "Spans could not be exported");
                return self.0.refused.increment(count);
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(failed.after.unwrap_or(pause).min(LONGEST_PAUSE)) => {}
            }
            pause = pause.saturating_mul(2);
        }
    }

    fn next(&self) -> Option<Vec<Span>> {
        let mut waiting = self.waiting();
        let at_most = waiting.len().min(BATCH);
        let rest = waiting.split_off(at_most);
        let batch = std::mem::replace(&mut *waiting, rest);
        (!batch.is_empty()).then_some(batch)
    }

    async fn send(&self, spans: &[Span]) -> Result<(), Failed> {
        let inner = &self.0;
        let request = Request {
            method: Method::POST,
            target: inner.target.clone(),
            headers: inner.headers.clone(),
            body: encode::body(&inner.service_name, inner.version, spans).into(),
            deadline: DEADLINE,
            max_body: MAX_ANSWER,
        };
        let answer = inner.client.send_for_status(request).await;
        let answer = answer.map_err(|error| Failed {
            error: ExportError::NoAnswer(error.to_string()),
            again: true,
            after: None,
        })?;
        if answer.status.is_success() {
            return Ok(());
        }
        let after = answer.headers.get(RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
        Err(Failed {
            error: ExportError::Refused(answer.status.as_u16()),
            again: AGAIN.contains(&answer.status),
            after: after.map(Duration::from_secs),
        })
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpanSink for Exporter {
    fn take(&self, mut spans: Vec<Span>) {
        let (dropped, filled) = {
            let mut waiting = self.waiting();
            let room = CAPACITY.saturating_sub(waiting.len());
            let dropped = spans.len().saturating_sub(room);
            // Parents come first, so that what is left of a trace holds together.
            spans.truncate(room);
            waiting.append(&mut spans);
            (dropped, waiting.len() >= BATCH)
        };
        if dropped > 0 {
            self.0
                .dropped
                .increment(u64::try_from(dropped).unwrap_or(0));
        }
        if filled {
            self.0.filled.notify_one();
        }
    }
}

/// An export that was not taken.
struct Failed {
    error: ExportError,
    /// Whether it may be taken later.
    again: bool,
    /// The collector's own word for when.
    after: Option<Duration>,
}

const PATH: &str = "/v1/traces";
/// What a collector answers when it may take the same later, as OTLP has it.
const AGAIN: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];
/// Spans that wait at most; some 400 bytes each.
const CAPACITY: usize = 16_384;
/// Spans of one export.
const BATCH: usize = 1_024;
/// How long spans gather where there are few.
const PAUSE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(5);
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 64 * 1024;
