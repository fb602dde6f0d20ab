//! The spans of what has become durable: commits, and the roots of what has ended.

use std::sync::Arc;

use wellspring_core::connection::Trigger;
use wellspring_core::{Collection, State};

use super::{Clockwork, TRACER, Tracer, nanos, root};
use crate::{Batch, Before, CollectionWrite, ConnectionWrite, Fact, Span, SpanKind, Write};

/// A batch whose commit is under way, kept so that its spans can be told.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    batch: Arc<Batch>,
    clockwork: Clockwork,
}

impl Committed {
    /// Keeps a batch whose commit begins; none where no traces are made.
    pub(crate) fn begin(batch: &Arc<Batch>) -> Option<Self> {
        let tracer = TRACER.get()?;
        Some(Self {
            batch: Arc::clone(batch),
            clockwork: tracer.clockwork(),
        })
    }

    /// Returns the number of the batch.
    pub(crate) fn number(&self) -> u64 {
        self.batch.number
    }

    /// Tells the spans of a batch that is durable.
    pub(crate) fn tell(&self) {
        for write in &self.batch.writes {
            match write {
                Write::Collection(write) => self.collection(write),
                Write::Connection(write) => self.connection(write),
                Write::Account(_) | Write::Source(_) => {}
            }
        }
    }

    fn collection(&self, write: &CollectionWrite) {
        let trace = write.id.as_bytes();
        let Some(tracer) = Tracer::of(trace) else {
            return;
        };
        let mut spans = Vec::with_capacity(2);
        if let Some(next) = &write.next {
            spans.extend(self.end_of_collection(tracer, write.before, next));
        }
        spans.push(self.commit(tracer, *trace));
        tracer.tracing.sink.take(spans);
    }

    /// Returns the root of a collection that ends for the first time; when one that was resumed
    /// ends again there is a span that marks it, so that no id stands for two spans.
    fn end_of_collection(
        &self,
        tracer: &Tracer,
        before: Before,
        next: &Collection,
    ) -> Option<Span> {
        let trace = *next.id.as_bytes();
        let now = self.clockwork.now();
        let (status, error) = match &next.state {
            State::Delivered { .. } => ("delivered", None),
            State::Failed { error, .. } => ("failed", Some(error)),
            State::Collecting { .. } | State::Delivering { .. } => match before {
                Before::Finished(_) => return Some(mark(tracer, trace, "resumed", now)),
                // The notice of its failure was on its way, so that it had ended as well.
                Before::Live(_) if is_resumed(next) => ("resumed", None),
                Before::Live(_) | Before::New => return None,
            },
        };
        if next.message != FIRST_END {
            let mut span = mark(tracer, trace, "ended", now);
            span.facts.push(("wellspring.status", status.into()));
            span.error = error.map(|error| error.class.as_str().to_owned());
            return Some(span);
        }
        let mut facts: Vec<(&str, Fact)> = vec![
            ("wellspring.status", status.into()),
            ("wellspring.collection.id", next.id.to_string().into()),
            ("wellspring.source.name", next.source.as_str().into()),
            ("wellspring.tenant.id", next.tenant.to_string().into()),
        ];
        facts.extend(error.map(|error| ("wellspring.error.code", error.code.clone().into())));
        Some(Span {
            trace,
            id: root(&trace),
            parent: None,
            name: "collection",
            kind: SpanKind::Internal,
            begin: nanos(next.created_at),
            end: now,
            facts,
            links: Vec::new(),
            error: error.map(|error| error.class.as_str().to_owned()),
        })
    }

    fn connection(&self, write: &ConnectionWrite) {
        let under_way = write.next.as_ref().and_then(|next| next.fetch());
        let record = write.fetch.as_ref();
        let Some(fetch) = record
            .map(|record| record.id)
            .or_else(|| under_way.map(|fetch| fetch.id))
        else {
            return;
        };
        let trace = fetch.as_bytes();
        let Some(tracer) = Tracer::of(trace) else {
            return;
        };
        let mut spans = Vec::with_capacity(2);
        if let Some((record, ended_at)) = record.and_then(|one| Some((one, one.ended_at?))) {
            let error = record.error.as_ref();
            let mut facts: Vec<(&str, Fact)> = vec![
                ("wellspring.status", record.status.as_str().into()),
                ("wellspring.fetch.id", record.id.to_string().into()),
                (
                    "wellspring.connection.id",
                    record.connection.to_string().into(),
                ),
                ("wellspring.trigger", record.trigger.as_str().into()),
                ("wellspring.attempts", record.attempts.into()),
                ("wellspring.documents", record.documents.into()),
                ("wellspring.records", record.records.into()),
            ];
            if let Some(next) = &write.next {
                facts.push(("wellspring.source.name", next.source.as_str().into()));
                facts.push(("wellspring.tenant.id", next.tenant.to_string().into()));
            }
            facts.extend(error.map(|error| ("wellspring.error.code", error.code.clone().into())));
            let asked_in = match record.trigger {
                Trigger::Created | Trigger::User => {
                    write.next.as_ref().and_then(|next| next.asked_in)
                }
                Trigger::Schedule | Trigger::Retry | Trigger::Wait => None,
            };
            spans.push(Span {
                trace: *trace,
                id: root(trace),
                parent: None,
                name: "fetch",
                kind: SpanKind::Internal,
                begin: nanos(record.started_at),
                end: nanos(ended_at),
                facts,
                links: asked_in.into_iter().collect(),
                error: error.map(|error| error.class.as_str().to_owned()),
            });
        }
        spans.push(self.commit(tracer, *trace));
        tracer.tracing.sink.take(spans);
    }

    fn commit(&self, tracer: &Tracer, trace: [u8; 16]) -> Span {
        let steps = i64::try_from(self.batch.writes.len()).unwrap_or(i64::MAX);
        let mut span = mark(tracer, trace, "commit", self.clockwork.now());
        span.begin = self.clockwork.at;
        span.facts
            .push(("wellspring.commit.steps", Fact::Number(steps)));
        span
    }
}

/// Returns a span that marks a moment.
fn mark(tracer: &Tracer, trace: [u8; 16], name: &'static str, at: u64) -> Span {
    Span {
        trace,
        id: tracer.id(),
        parent: Some(root(&trace)),
        name,
        kind: SpanKind::Internal,
        begin: at,
        end: at,
        facts: Vec::new(),
        links: Vec::new(),
        error: None,
    }
}

/// Returns whether a collection that was not finished has just begun anew.
fn is_resumed(next: &Collection) -> bool {
    match &next.state {
        State::Collecting {
            since,
            retries: 0,
            waits: 0,
            due,
        } => due == since && next.message > 1,
        State::Collecting { .. }
        | State::Delivering { .. }
        | State::Delivered { .. }
        | State::Failed { .. } => false,
    }
}

/// The ordinal of the next message of a collection that has ended once.
const FIRST_END: u16 = 2;
