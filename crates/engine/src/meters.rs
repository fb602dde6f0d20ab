//! What the shell measures of calls and commits; the driver has no clock to do it with.
//!
//! Meters are looked up once and kept, so that a call costs a few atomic additions.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram, Label, counter, histogram};
use tokio::time::Instant;
use wellspring_core::budget::Spent;
use wellspring_core::{ErrorClass, SourceName};

use crate::{
    CommitError, DeliverResult, EffectId, FetchResult, RunResult, SendResult, SubscriptionKind,
};

/// The meters of one engine.
#[derive(Debug)]
pub(crate) struct Meters {
    collections: BTreeMap<SourceName, Arc<Family>>,
    connections: BTreeMap<SourceName, Arc<Family>>,
    callbacks: Arc<Family>,
    webhooks: Arc<Family>,
    documents: Arc<Family>,
    pub(crate) commits: Commits,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            collections: BTreeMap::new(),
            connections: BTreeMap::new(),
            callbacks: Arc::new(Family::of_deliveries("callback")),
            webhooks: Arc::new(Family::of_deliveries("webhook")),
            documents: Arc::new(Family::of_deliveries("document")),
            commits: Commits::new(),
        }
    }

    /// Begins to measure a call to a source for a collection.
    pub(crate) fn fetch(&mut self, effect: &EffectId, source: &SourceName) -> Call {
        of_source(&mut self.collections, effect, source, "collection")
    }

    /// Begins to measure an attempt on a connection.
    pub(crate) fn run(&mut self, effect: &EffectId, source: &SourceName) -> Call {
        of_source(&mut self.connections, effect, source, "connection")
    }

    /// Begins to measure a call to a callback.
    pub(crate) fn deliver(&self) -> Call {
        Call::new(&self.callbacks)
    }

    /// Begins to measure a message to a subscription.
    pub(crate) fn send(&self, kind: SubscriptionKind) -> Call {
        Call::new(match kind {
            SubscriptionKind::Webhook => &self.webhooks,
            SubscriptionKind::Documents => &self.documents,
        })
    }
}

fn of_source(
    families: &mut BTreeMap<SourceName, Arc<Family>>,
    effect: &EffectId,
    source: &SourceName,
    work: &'static str,
) -> Call {
    if !families.contains_key(source) {
        let family = Arc::new(Family::of_source(source, work));
        families.insert(source.clone(), family);
    }
    // It was put there just now if it was not there before.
    let call = families.get(source).map(Call::new).unwrap_or_default();
    call.was_due(effect.started.since(effect.due));
    call
}

/// How calls of one kind to one target end, and how long they take.
#[derive(Debug)]
struct Family {
    name: &'static str,
    labels: Vec<Label>,
    duration: Histogram,
    lag: Option<Histogram>,
    outcomes: [OnceLock<Counter>; Outcome::COUNT],
}

impl Family {
    fn of_source(source: &SourceName, work: &'static str) -> Self {
        let source = Label::new("source", source.as_str().to_owned());
        let labels = vec![source, Label::from_static_parts("work", work)];
        Self {
            name: "wellspring_source_attempts_total",
            duration: histogram!("wellspring_source_attempt_duration_seconds", labels.clone()),
            lag: Some(histogram!("wellspring_fetch_lag_seconds", labels.clone())),
            outcomes: Default::default(),
            labels,
        }
    }

    fn of_deliveries(kind: &'static str) -> Self {
        let labels = vec![Label::from_static_parts("kind", kind)];
        Self {
            name: "wellspring_delivery_attempts_total",
            duration: histogram!(
                "wellspring_delivery_attempt_duration_seconds",
                labels.clone()
            ),
            lag: None,
            outcomes: Default::default(),
            labels,
        }
    }

    fn count(&self, outcome: Outcome) {
        let Some(counter) = self.outcomes.get(outcome.place()) else {
            return;
        };
        let counter = counter.get_or_init(|| {
            let mut labels = self.labels.clone();
            labels.push(Label::from_static_parts("outcome", outcome.as_str()));
            counter!(self.name, labels)
        });
        counter.increment(1);
    }
}

/// A call that is being measured; one that is dropped before it ended was called off.
#[derive(Debug, Default)]
pub(crate) struct Call(Option<(Arc<Family>, Instant)>);

impl Call {
    fn new(family: &Arc<Family>) -> Self {
        Self(Some((Arc::clone(family), Instant::now())))
    }

    fn was_due(&self, lag: Duration) {
        if let Some(histogram) = self.0.as_ref().and_then(|(family, _)| family.lag.as_ref()) {
            histogram.record(lag.as_secs_f64());
        }
    }

    pub(crate) fn fetched(self, result: &FetchResult) {
        self.end(match result {
            FetchResult::Fetched(_) => Outcome::Success,
            FetchResult::Failed { error, .. } => Outcome::Failed(error.class),
        });
    }

    pub(crate) fn ran(self, result: &RunResult) {
        self.end(match result {
            RunResult::Finished { partial: None, .. } => Outcome::Success,
            RunResult::Finished {
                partial: Some(_), ..
            } => Outcome::Partial,
            RunResult::Asked => Outcome::Question,
            RunResult::NotBegun => Outcome::CalledOff,
            RunResult::Failed { error, .. } => Outcome::Failed(error.class),
        });
    }

    pub(crate) fn delivered(self, result: &DeliverResult) {
        self.end(match result {
            DeliverResult::Delivered => Outcome::Success,
            DeliverResult::Failed { gone: true, .. } => Outcome::Gone,
            DeliverResult::Failed { error, .. } => Outcome::Failed(error.class),
        });
    }

    pub(crate) fn sent(self, result: &SendResult) {
        self.end(match &result.failure {
            None => Outcome::Success,
            Some(failure) if failure.gone => Outcome::Gone,
            Some(failure) => Outcome::Failed(failure.error.class),
        });
    }

    fn end(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some((family, since)) = self.0.take() {
            family.duration.record(since.elapsed().as_secs_f64());
            family.count(outcome);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.tell(Outcome::CalledOff);
    }
}

/// How a call ended, as a label says it.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Success,
    Partial,
    Question,
    Gone,
    CalledOff,
    Failed(ErrorClass),
}

impl Outcome {
    const COUNT: usize = 5 + ErrorClass::ALL.len();

    const fn place(self) -> usize {
        match self {
            Self::Success => 0,
            Self::Partial => 1,
            Self::Question => 2,
            Self::Gone => 3,
            Self::CalledOff => 4,
            Self::Failed(class) => 5 + class as usize,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Question => "question",
            Self::Gone => "gone",
            Self::CalledOff => "called_off",
            Self::Failed(class) => class.as_str(),
        }
    }
}

/// How long commits take and how many steps are in one.
#[derive(Debug, Clone)]
pub(crate) struct Commits {
    steps: Histogram,
    durable: Histogram,
    refused: Histogram,
}

impl Commits {
    fn new() -> Self {
        let duration =
            |outcome| histogram!("wellspring_commit_duration_seconds", "outcome" => outcome);
        Self {
            steps: histogram!("wellspring_commit_steps"),
            durable: duration("durable"),
            refused: duration("failed"),
        }
    }

    pub(crate) fn record(
        &self,
        steps: usize,
        took: Duration,
        outcome: &Result<Spent, CommitError>,
    ) {
        let duration = match outcome {
            Ok(_) => &self.durable,
            Err(_) => &self.refused,
        };
        duration.record(took.as_secs_f64());
        self.steps.record(steps as f64);
    }
}
