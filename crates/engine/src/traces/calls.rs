//! The spans of calls to the outside, from the slot on, and of the wait for it.

use wellspring_core::{Error, Kind, TraceParent};

use super::{ActiveSpan, Tracer, nanos, root};
use crate::{
    DeliverOrder, DeliverResult, EffectId, Fact, FetchOrder, FetchResult, NoticeOrder,
    NoticeResult, RunOrder, RunResult, SendOrder, SendResult, Span, SpanKind, SubscriptionKind,
};

/// Begins the span of a call to a source for a collection.
pub(crate) fn collection_call(effect: &EffectId, order: &FetchOrder) -> ActiveSpan {
    let Some(tracer) = Tracer::of(order.id.as_bytes()) else {
        return ActiveSpan::default();
    };
    let mut span = of_effect(tracer, *order.id.as_bytes(), "attempt", effect);
    span.note("wellspring.collection.id", order.id.to_string());
    span.note("wellspring.source.name", order.source.as_str());
    span.note("wellspring.tenant.id", order.tenant.to_string());
    span
}

/// Begins the span of an attempt on a connection.
pub(crate) fn attempt(effect: &EffectId, order: &RunOrder) -> ActiveSpan {
    let Some(tracer) = Tracer::of(order.fetch.as_bytes()) else {
        return ActiveSpan::default();
    };
    let mut span = of_effect(tracer, *order.fetch.as_bytes(), "attempt", effect);
    span.note("wellspring.fetch.id", order.fetch.to_string());
    span.note("wellspring.connection.id", order.connection.to_string());
    span.note("wellspring.source.name", order.source.as_str());
    span.note("wellspring.tenant.id", order.tenant.to_string());
    span.note("wellspring.attempt", order.attempt);
    span.note("wellspring.user_present", order.present);
    span
}

/// Begins the span of a message to a callback.
pub(crate) fn callback(effect: &EffectId, order: &DeliverOrder) -> ActiveSpan {
    let Some(tracer) = Tracer::of(order.id.as_bytes()) else {
        return ActiveSpan::default();
    };
    let mut span = of_effect(tracer, *order.id.as_bytes(), "callback", effect);
    span.note("wellspring.collection.id", order.id.to_string());
    span.note("wellspring.tenant.id", order.tenant.to_string());
    span.note("wellspring.message", order.message);
    let tells_failure = match order.kind {
        Kind::Success => false,
        Kind::Failure(_) => true,
    };
    span.note("wellspring.message.tells_failure", tells_failure);
    span
}

/// Begins the span of a message to a subscription.
pub(crate) fn sending(order: &SendOrder) -> ActiveSpan {
    if !super::is_tracing() {
        return ActiveSpan::default();
    }
    let Some(trace) = super::message::trace_of(&order.message) else {
        return ActiveSpan::default();
    };
    let Some(tracer) = Tracer::of(&trace) else {
        return ActiveSpan::default();
    };
    let name = match order.subscription.kind {
        SubscriptionKind::Webhook => "webhook",
        SubscriptionKind::Documents => "document",
    };
    let mut span = ActiveSpan(Some(Box::new(tracer.begin(trace, name))));
    span.note(
        "wellspring.subscription.id",
        order.subscription.id.to_string(),
    );
    span.note("wellspring.tenant.id", order.message.tenant.to_string());
    span.note("wellspring.message.id", order.message.id.clone());
    span
}

/// Begins the span of a message to a person; of several fetches it belongs to the first and links
/// to the others.
pub(crate) fn notice(order: &NoticeOrder) -> ActiveSpan {
    if !super::is_tracing() {
        return ActiveSpan::default();
    }
    let mut traces = order.events.iter().filter_map(super::message::trace_in);
    let Some(trace) = traces.next() else {
        return ActiveSpan::default();
    };
    let Some(tracer) = Tracer::of(&trace) else {
        return ActiveSpan::default();
    };
    let mut active = tracer.begin(trace, "notice");
    active.span.links = traces
        .filter(|other| *other != trace)
        .map(|other| TraceParent {
            trace: other,
            span: root(&other),
            flags: super::SAMPLED,
        })
        .collect();
    let mut span = ActiveSpan(Some(Box::new(active)));
    span.note("wellspring.notification.id", order.id.to_string());
    span.note("wellspring.notification.kind", order.kind.as_str());
    span.note("wellspring.notification.channel", order.channel.as_str());
    span.note("wellspring.tenant.id", order.tenant.to_string());
    span
}

impl ActiveSpan {
    /// Ends it with what came of asking a source.
    pub(crate) fn fetched(self, result: &FetchResult) {
        self.ended(match result {
            FetchResult::Fetched(_) => Ok("success"),
            FetchResult::Failed { error, .. } => Err(error),
        });
    }

    /// Ends it with what came of an attempt.
    pub(crate) fn ran(self, result: &RunResult) {
        self.ended(match result {
            RunResult::Finished { partial: None, .. } => Ok("success"),
            RunResult::Finished {
                partial: Some(_), ..
            } => Ok("partial"),
            RunResult::Asked => Ok("question"),
            RunResult::NotBegun => Ok("not_begun"),
            RunResult::Failed { error, .. } => Err(error),
        });
    }

    /// Ends it with what came of a message to a callback.
    pub(crate) fn delivered(self, result: &DeliverResult) {
        self.ended(match result {
            DeliverResult::Delivered => Ok("success"),
            DeliverResult::Failed { error, .. } => Err(error),
        });
    }

    /// Ends it with what came of a message to a subscription.
    pub(crate) fn sent(self, result: &SendResult) {
        self.ended(match &result.failure {
            None => Ok("success"),
            Some(failure) => Err(&failure.error),
        });
    }

    /// Ends it with what came of a message to a person; the reason stays out, it is not ours.
    pub(crate) fn told(mut self, result: &NoticeResult) {
        let outcome = match result {
            NoticeResult::Sent { .. } => "sent",
            NoticeResult::Failed { .. } => "failed",
            NoticeResult::Refused { .. } => "refused",
            NoticeResult::Stopped { .. } => "stopped",
            NoticeResult::Unknown { .. } => "unknown",
        };
        self.note("wellspring.outcome", outcome);
        if outcome != "sent" {
            self.fail(outcome);
        }
        self.end();
    }

    fn ended(mut self, outcome: Result<&'static str, &Error>) {
        match outcome {
            Ok(outcome) => self.note("wellspring.outcome", outcome),
            Err(error) => {
                self.note("wellspring.outcome", "failed");
                self.note("wellspring.error.code", error.code.clone());
                self.fail(error.class.as_str());
            }
        }
        self.end();
    }
}

/// Begins the span of a call that had to wait for its slot.
fn of_effect(
    tracer: &Tracer,
    trace: [u8; 16],
    name: &'static str,
    effect: &EffectId,
) -> ActiveSpan {
    let mut active = tracer.begin(trace, name);
    let waited = Span {
        trace,
        id: tracer.id(),
        parent: Some(root(&trace)),
        name: "wait",
        kind: SpanKind::Internal,
        begin: nanos(effect.due),
        end: nanos(effect.started),
        facts: vec![("wellspring.for", Fact::from(name))],
        links: Vec::new(),
        error: None,
    };
    active.before = (effect.due < effect.started).then_some(waited);
    let mut span = ActiveSpan(Some(Box::new(active)));
    if effect.probe {
        span.note("wellspring.probe", true);
    }
    span
}
