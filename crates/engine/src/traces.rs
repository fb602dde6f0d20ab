//! Traces: what was done for one fetch or collection, call by call, over all restarts and nodes.
//!
//! A trace has the bytes of the id of what it is about, and its root span the last eight of them.
//! So whoever knows the id knows where its spans belong: the id in the effect's row carries the
//! trace, and nothing else has to be stored.
//!
//! Like the recorder of metrics the sink is set once for the process; without one, asking whether
//! there is one is all that a call costs.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::time::Instant;
use wellspring_core::{AnyId, Timestamp, TraceParent};

use crate::{Clock, Fact, Span, SpanKind, SpanSink, random_seed};

mod calls;
mod durable;
pub(crate) mod message;

pub(crate) use calls::{attempt, callback, collection_call, notice, sending};
pub(crate) use durable::Committed;

/// What traces are made with.
#[derive(Debug)]
pub struct Tracing {
    /// Where spans go.
    pub sink: Arc<dyn SpanSink>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Which part of all traces is made, from 0 to 1. The id decides, so that every node and every
    /// life of a node decides alike.
    pub sample_ratio: f64,
    /// Whether calls to callbacks, webhooks and receivers bear `traceparent`.
    pub propagate: bool,
}

/// Sets what traces are made with, once for the process; returns whether it was the first time.
pub fn set_tracing(tracing: Tracing) -> bool {
    let sampled_below = if tracing.sample_ratio >= 1.0 {
        u64::MAX
    } else {
        (tracing.sample_ratio.max(0.0) * SAMPLE_SPACE) as u64
    };
    let tracer = Tracer {
        tracing,
        sampled_below,
        next: AtomicU64::new(random_seed()),
    };
    TRACER.set(tracer).is_ok()
}

#[derive(Debug)]
struct Tracer {
    tracing: Tracing,
    sampled_below: u64,
    next: AtomicU64,
}

/// A span that is under way, or nothing where its trace is not made.
///
/// It is handed over with the spans within it when it ends; one that is dropped was called off.
#[derive(Debug, Default)]
pub struct ActiveSpan(Option<Box<Active>>);

#[derive(Debug)]
struct Active {
    span: Span,
    clockwork: Clockwork,
    before: Option<Span>,
    within: Arc<Within>,
}

/// When a call began, by both clocks: durations do not jump.
#[derive(Debug, Clone, Copy)]
struct Clockwork {
    at: u64,
    since: Instant,
}

/// The spans within a call, which are handed over together with it.
#[derive(Debug)]
struct Within {
    trace: AnyId,
    id: u64,
    clockwork: Clockwork,
    ended: Mutex<Vec<Span>>,
}

tokio::task_local! {
    static WITHIN: Arc<Within>;
}

impl Tracer {
    /// Returns what traces are made with, where this one is.
    fn of(trace: &AnyId) -> Option<&'static Self> {
        let tracer = TRACER.get()?;
        (tracer.sampled_below == u64::MAX || place(trace) < tracer.sampled_below).then_some(tracer)
    }

    /// Returns an id that no other span of this process has.
    fn id(&self) -> u64 {
        let z = self.next.fetch_add(STRIDE, Ordering::Relaxed);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }

    fn clockwork(&self) -> Clockwork {
        Clockwork {
            at: nanos(self.tracing.clock.now()),
            since: Instant::now(),
        }
    }

    /// Begins a call that is a part of what `trace` is about.
    fn begin(&self, trace: AnyId, name: &'static str) -> Active {
        let clockwork = self.clockwork();
        let id = self.id();
        let span = Span {
            trace,
            id,
            parent: Some(root(&trace)),
            name,
            kind: SpanKind::Internal,
            begin: clockwork.at,
            end: clockwork.at,
            facts: Vec::new(),
            links: Vec::new(),
            error: None,
        };
        Active {
            span,
            clockwork,
            before: None,
            within: Arc::new(Within {
                trace,
                id,
                clockwork,
                ended: Mutex::default(),
            }),
        }
    }
}

impl Clockwork {
    fn now(&self) -> u64 {
        let passed = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.at.saturating_add(passed)
    }
}

impl ActiveSpan {
    /// Notes something that is known of it.
    pub fn note(&mut self, name: &'static str, fact: impl Into<Fact>) {
        if let Some(active) = &mut self.0 {
            active.span.facts.push((name, fact.into()));
        }
    }

    /// Notes what went wrong, as a stable word.
    pub fn fail(&mut self, error: impl Into<String>) {
        if let Some(active) = &mut self.0 {
            active.span.error = Some(error.into());
        }
    }

    /// Runs a future whose spans are within this one.
    pub(crate) fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let within = self.0.as_ref().map(|active| Arc::clone(&active.within));
        async move {
            match within {
                Some(within) => WITHIN.scope(within, future).await,
                None => future.await,
            }
        }
    }

    /// Ends it.
    pub fn end(mut self) {
        self.close();
    }

    fn close(&mut self) {
        let Some(active) = self.0.take() else { return };
        let Active {
            mut span,
            clockwork,
            before,
            within,
        } = *active;
        span.end = clockwork.now();
        let mut children = within.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tracer) = TRACER.get() {
            let mut spans = Vec::with_capacity(2 + children.len());
            spans.extend(before);
            spans.push(span);
            spans.append(&mut children);
            tracer.tracing.sink.take(spans);
        }
    }
}

impl Drop for ActiveSpan {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.note("wellspring.outcome", "called_off");
            self.close();
        }
    }
}

/// An exchange by HTTP within the call that the task is busy with, or nothing where its trace is not made.
#[derive(Debug, Default)]
pub struct Exchange(Option<Box<(Arc<Within>, Span)>>);

impl Exchange {
    /// Begins it, where the task is busy with a call whose trace is made. Of the address only host
    /// and port are kept: what follows may hold secrets.
    pub fn begin(method: &str, host: &str, port: u16) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self(None);
        };
        let Ok(within) = WITHIN.try_with(Arc::clone) else {
            return Self(None);
        };
        let begin = within.clockwork.now();
        let span = Span {
            trace: within.trace,
            id: tracer.id(),
            parent: Some(within.id),
            name: "http",
            kind: SpanKind::Client,
            begin,
            end: begin,
            facts: vec![
                ("http.request.method", method.into()),
                ("server.address", host.into()),
                ("server.port", port.into()),
            ],
            links: Vec::new(),
            error: None,
        };
        Self(Some(Box::new((within, span))))
    }

    /// Returns the `traceparent` that it is to bear, where receivers are to be told of the trace.
    pub fn traceparent(&self) -> Option<String> {
        let (_, span) = self.0.as_deref()?;
        if !TRACER.get()?.tracing.propagate {
            return None;
        }
        let parent = TraceParent {
            trace: span.trace,
            span: span.id,
            flags: SAMPLED,
        };
        Some(parent.to_string())
    }

    /// Notes what was being done, as rules name it.
    pub fn operation(&mut self, operation: &'static str) {
        if let Some(exchange) = &mut self.0 {
            let fact = ("wellspring.operation", operation.into());
            exchange.1.facts.push(fact);
        }
    }

    /// Ends it with the status of the answer, or with what kept the answer away.
    pub fn end(mut self, answer: Result<u16, &str>) {
        if let Some(exchange) = &mut self.0 {
            match answer {
                Ok(status) => {
                    let fact = ("http.response.status_code", status.into());
                    exchange.1.facts.push(fact);
                    exchange.1.error = (status >= 400).then(|| status.to_string());
                }
                Err(code) => exchange.1.error = Some(code.to_owned()),
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(exchange) = self.0.take() else {
            return;
        };
        let (within, mut span) = *exchange;
        span.end = within.clockwork.now();
        let mut ended = within.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() < MOST_WITHIN {
            ended.push(span);
        }
    }
}

/// Begins a span of the API's answer to a request that asks for what `trace` is about, once that is
/// known; `since` is when the request came. The link is to the caller's own span.
pub fn accepted(trace: &AnyId, since: Instant, parent: Option<TraceParent>) -> ActiveSpan {
    let Some(tracer) = Tracer::of(trace) else {
        return ActiveSpan::default();
    };
    let mut active = tracer.begin(*trace, "accept");
    let took = u64::try_from(since.elapsed().as_nanos()).unwrap_or(0);
    active.span.begin = active.span.begin.saturating_sub(took);
    active.span.kind = SpanKind::Server;
    active.span.links.extend(parent);
    ActiveSpan(Some(Box::new(active)))
}

/// Returns whether traces are made at all.
pub fn is_tracing() -> bool {
    TRACER.get().is_some()
}

/// Returns the id of the root span of a trace; that of an id is never 0, for its variant is not.
fn root(trace: &AnyId) -> u64 {
    let [_, _, _, _, _, _, _, _, id @ ..] = *trace;
    u64::from_be_bytes(id).max(1)
}

/// Returns where in the space of samples a trace is: the random bits of its id.
fn place(trace: &AnyId) -> u64 {
    root(trace) & (u64::MAX >> 2)
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis())
        .unwrap_or(0)
        .saturating_mul(1_000_000)
}

static TRACER: OnceLock<Tracer> = OnceLock::new();
/// How many places there are in the space of samples: an id has so many random bits at its end.
const SAMPLE_SPACE: f64 = (1_u64 << 62) as f64;
/// An odd number, so that a counter that goes by it visits every place.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
/// The flag of `traceparent` that says that a trace is made.
const SAMPLED: u8 = 1;
/// Exchanges that are kept of one call.
const MOST_WITHIN: usize = 256;
