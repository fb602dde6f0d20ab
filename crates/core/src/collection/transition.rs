//! The transitions, one function for each input.

use std::time::Duration;

use rand_core::Rng;

use super::{
    Attempt, Collection, CollectionPolicy, CollectionStatus, CollectionStep, Error, Input, Kind,
    Outcome, PayloadChange, Rejected, Stage, State, disposition,
};
use crate::{
    Actor, Body, Cause, Change, CollectionId, Disposition, ErrorClass, Event, Facts, RetryPolicy,
    SourceName, Subject, TenantId, Timestamp, Verb,
};

impl Collection {
    /// Accepts a collection; its first call is due at once.
    pub fn accept(
        now: Timestamp,
        id: CollectionId,
        tenant: TenantId,
        source: SourceName,
        callback_url: std::sync::Arc<str>,
        actor: Actor,
    ) -> CollectionStep {
        let next = Self {
            id,
            tenant,
            source,
            callback_url,
            created_at: now,
            version: 1,
            message: 1,
            state: State::Collecting {
                since: now,
                retries: 0,
                waits: 0,
                due: now,
            },
        };
        let change = next.change(
            actor,
            Cause::CollectRequested,
            Some(Event::CollectionRequested),
            Body::default(),
        );
        CollectionStep {
            next: Some(next),
            change: Some(change),
            attempt: None,
            payload: PayloadChange::Keep,
        }
    }

    /// Applies `input` and returns what to write.
    ///
    /// Changes what [`Collection::next_wakeup`] and [`Collection::gives_up_at`] say.
    ///
    /// # Errors
    ///
    /// [`Rejected`] where the state does not take the input; results of calls are fenced
    /// by the version before they come here, so that only people's wishes are ever rejected.
    pub fn handle(
        self,
        now: Timestamp,
        input: Input,
        policy: &CollectionPolicy,
        rng: &mut impl Rng,
    ) -> Result<CollectionStep, Rejected> {
        let rejected = Rejected {
            from: self.status(),
            input: input.name(),
        };
        match (self.state.clone(), input) {
            (_, Input::EraseRequested(actor)) => Ok(self.erased(actor)),
            (State::Collecting { .. }, Input::Fetched { started }) => {
                Ok(self.fetched(now, started))
            }
            (
                State::Collecting {
                    since,
                    retries,
                    waits,
                    ..
                },
                Input::FetchFailed {
                    started,
                    error,
                    retry_at,
                    probe,
                },
            ) => {
                let counts = Counts {
                    since,
                    retries,
                    waits,
                };
                Ok(self.fetch_failed(
                    now,
                    counts,
                    Failed {
                        started,
                        error,
                        retry_at,
                        probe,
                    },
                    policy,
                    rng,
                ))
            }
            (State::Delivering { kind, since, .. }, Input::DeliverySucceeded { started }) => {
                Ok(self.delivered(now, started, kind, since))
            }
            (
                State::Delivering {
                    kind,
                    since,
                    retries,
                    ..
                },
                Input::DeliveryFailed {
                    started,
                    error,
                    gone,
                    retry_at,
                    probe,
                },
            ) => {
                let counts = Counts {
                    since,
                    retries,
                    waits: 0,
                };
                let failed = Failed {
                    started,
                    error,
                    retry_at,
                    probe,
                };
                Ok(self.delivery_failed(now, kind, counts, failed, gone, policy, rng))
            }
            (State::Collecting { .. }, Input::GaveUp) => {
                Ok(self.collect_spent(now, gave_up(policy), None, Cause::GaveUp))
            }
            (State::Delivering { kind, since, .. }, Input::GaveUp) => {
                Ok(self.deliver_spent(now, kind, since, gave_up(policy), None, Cause::GaveUp))
            }
            (
                State::Failed {
                    stage,
                    collected_at,
                    ..
                },
                Input::ResumeRequested(actor),
            ) => Ok(self.resumed(now, stage, collected_at, actor)),
            // The notice of the failure is dropped: what it would say is no longer so.
            (
                State::Delivering {
                    kind: Kind::Failure(_),
                    ..
                },
                Input::ResumeRequested(actor),
            ) => Ok(self.resumed(now, Stage::Collect, None, actor)),
            (
                State::Collecting { .. }
                | State::Delivering {
                    kind: Kind::Success,
                    ..
                }
                | State::Delivered { .. },
                Input::ResumeRequested(_),
            )
            | (
                State::Collecting { .. },
                Input::DeliverySucceeded { .. } | Input::DeliveryFailed { .. },
            )
            | (State::Delivering { .. }, Input::Fetched { .. } | Input::FetchFailed { .. })
            | (
                State::Delivered { .. } | State::Failed { .. },
                Input::Fetched { .. }
                | Input::FetchFailed { .. }
                | Input::DeliverySucceeded { .. }
                | Input::DeliveryFailed { .. }
                | Input::GaveUp,
            ) => Err(rejected),
        }
    }

    fn fetched(self, now: Timestamp, started: Timestamp) -> CollectionStep {
        let state = State::Delivering {
            kind: Kind::Success,
            since: now,
            retries: 0,
            due: now,
        };
        let next = self.next(state);
        let attempt = succeeded(Stage::Collect, started, now);
        let body = Body {
            duration_ms: Some(attempt.duration),
            ..Body::default()
        };
        let change = next.change(
            Actor::Engine,
            Cause::Fetched,
            Some(Event::CollectionSuccessful),
            body,
        );
        CollectionStep {
            next: Some(next),
            change: Some(change),
            attempt: Some(attempt),
            payload: PayloadChange::Put,
        }
    }

    fn fetch_failed(
        self,
        now: Timestamp,
        counts: Counts,
        failed: Failed,
        policy: &CollectionPolicy,
        rng: &mut impl Rng,
    ) -> CollectionStep {
        let Failed {
            started,
            error,
            retry_at,
            probe,
        } = failed;
        let attempt = Attempt {
            stage: Stage::Collect,
            at: started,
            duration: now.since(started),
            outcome: Outcome::Failed(error.clone()),
        };
        let give_up_at = counts.since.after(policy.give_up_after);
        let (retries, waits, delay) = match disposition(&error) {
            Disposition::Stop => {
                return self.collect_spent(now, error, Some(attempt), Cause::FetchFailed);
            }
            Disposition::Wait => {
                let waits = counts.waits.saturating_add(1);
                (counts.retries, waits, wait_delay(&error, waits, rng))
            }
            // The next probe of the lane decides when it is tried again.
            Disposition::Retry if probe => (
                counts.retries,
                counts.waits.saturating_add(1),
                Duration::ZERO,
            ),
            Disposition::Retry => {
                let retries = counts.retries.saturating_add(1);
                if !policy.collect.allows(retries) {
                    return self.collect_spent(now, error, Some(attempt), Cause::FetchFailed);
                }
                (retries, counts.waits, policy.collect.delay(retries, rng))
            }
        };
        let due = told_or_planned(now, retry_at, delay).min(give_up_at);
        let next = self.next(State::Collecting {
            since: counts.since,
            retries,
            waits,
            due,
        });
        let body = Body {
            retries: Some(retries),
            next_attempt_at: Some(due),
            class: Some(error.class),
            code: Some(error.code),
            ..Body::default()
        };
        let change = next.change(
            Actor::Engine,
            Cause::FetchFailed,
            Some(Event::CollectionRetryRequested),
            body,
        );
        CollectionStep {
            next: Some(next),
            change: Some(change),
            attempt: Some(attempt),
            payload: PayloadChange::Keep,
        }
    }

    /// No data will come: the callback is told so.
    fn collect_spent(
        self,
        now: Timestamp,
        error: Error,
        attempt: Option<Attempt>,
        cause: Cause,
    ) -> CollectionStep {
        let change = self.critically_failed(Stage::Collect, &error, cause);
        let kind = Kind::Failure(error);
        let next = self.next(State::Delivering {
            kind,
            since: now,
            retries: 0,
            due: now,
        });
        CollectionStep {
            next: Some(next),
            change: Some(change),
            attempt,
            payload: PayloadChange::Keep,
        }
    }

    fn delivered(
        self,
        now: Timestamp,
        started: Timestamp,
        kind: Kind,
        since: Timestamp,
    ) -> CollectionStep {
        let attempt = succeeded(Stage::Deliver, started, now);
        match kind {
            Kind::Success => {
                let next = self
                    .next(State::Delivered {
                        collected_at: since,
                        at: now,
                    })
                    .with_next_message();
                let body = Body {
                    duration_ms: Some(attempt.duration),
                    ..Body::default()
                };
                let change = next.change(Actor::Engine, Cause::DeliverySucceeded, None, body);
                CollectionStep {
                    next: Some(next),
                    change: Some(change),
                    attempt: Some(attempt),
                    payload: PayloadChange::Keep,
                }
            }
            // That it failed stands in the log since it did.
            Kind::Failure(error) => {
                self.parked(Stage::Collect, None, since, error, Some(attempt), None)
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is one fact of the failed call"
    )]
    fn delivery_failed(
        self,
        now: Timestamp,
        kind: Kind,
        counts: Counts,
        failed: Failed,
        gone: bool,
        policy: &CollectionPolicy,
        rng: &mut impl Rng,
    ) -> CollectionStep {
        let Failed {
            started,
            error,
            retry_at,
            probe,
        } = failed;
        let attempt = Attempt {
            stage: Stage::Deliver,
            at: started,
            duration: now.since(started),
            outcome: Outcome::Failed(error.clone()),
        };
        let retries = if probe {
            counts.retries
        } else {
            counts.retries.saturating_add(1)
        };
        if gone || !policy.deliver.allows(retries) {
            return self.deliver_spent(
                now,
                kind,
                counts.since,
                error,
                Some(attempt),
                Cause::DeliveryFailed,
            );
        }
        let delay = if probe {
            Duration::ZERO
        } else {
            policy.deliver.delay(retries, rng)
        };
        let give_up_at = counts.since.after(policy.give_up_after);
        let due = told_or_planned(now, retry_at, delay).min(give_up_at);
        let next = self.next(State::Delivering {
            kind,
            since: counts.since,
            retries,
            due,
        });
        CollectionStep {
            next: Some(next),
            change: None,
            attempt: Some(attempt),
            payload: PayloadChange::Keep,
        }
    }

    fn deliver_spent(
        self,
        now: Timestamp,
        kind: Kind,
        since: Timestamp,
        error: Error,
        attempt: Option<Attempt>,
        cause: Cause,
    ) -> CollectionStep {
        match kind {
            Kind::Success => self.parked(
                Stage::Deliver,
                Some(since),
                now,
                error,
                attempt,
                Some(cause),
            ),
            Kind::Failure(reason) => {
                self.parked(Stage::Collect, None, since, reason, attempt, None)
            }
        }
    }

    fn parked(
        self,
        stage: Stage,
        collected_at: Option<Timestamp>,
        at: Timestamp,
        error: Error,
        attempt: Option<Attempt>,
        cause: Option<Cause>,
    ) -> CollectionStep {
        let change = cause.map(|cause| self.critically_failed(stage, &error, cause));
        let next = self
            .next(State::Failed {
                stage,
                collected_at,
                at,
                error,
            })
            .with_next_message();
        CollectionStep {
            next: Some(next),
            change,
            attempt,
            payload: PayloadChange::Keep,
        }
    }

    fn resumed(
        self,
        now: Timestamp,
        stage: Stage,
        collected_at: Option<Timestamp>,
        actor: Actor,
    ) -> CollectionStep {
        // A notice that was dropped in mid-flight may have arrived: the next message is another one.
        let noticed = matches!(self.state, State::Delivering { .. });
        let (state, event) = match (stage, collected_at) {
            // The data is kept: a callback that failed never fetches again.
            (Stage::Deliver, Some(_)) => (
                State::Delivering {
                    kind: Kind::Success,
                    since: now,
                    retries: 0,
                    due: now,
                },
                None,
            ),
            (Stage::Collect | Stage::Deliver, _) => (
                State::Collecting {
                    since: now,
                    retries: 0,
                    waits: 0,
                    due: now,
                },
                Some(Event::CollectionRequested),
            ),
        };
        let mut next = self.next(state);
        if noticed {
            next = next.with_next_message();
        }
        let change = next.change(actor, Cause::ResumeRequested, event, Body::default());
        CollectionStep {
            next: Some(next),
            change: Some(change),
            attempt: None,
            payload: PayloadChange::Keep,
        }
    }

    fn erased(self, actor: Actor) -> CollectionStep {
        let change = Change {
            verb: Verb::Deleted,
            subject: Subject::Collection(self.id),
            event: None,
            actor,
            cause: Cause::EraseRequested,
            body: Facts::Collection(Body::default()),
        };
        CollectionStep {
            next: None,
            change: Some(change),
            attempt: None,
            payload: PayloadChange::Keep,
        }
    }

    fn next(self, state: State) -> Self {
        Self {
            version: self.version.saturating_add(1),
            state,
            ..self
        }
    }

    fn with_next_message(self) -> Self {
        Self {
            message: self.message.saturating_add(1),
            ..self
        }
    }

    fn critically_failed(&self, stage: Stage, error: &Error, cause: Cause) -> Change {
        let body = Body {
            stage: Some(stage),
            class: Some(error.class),
            code: Some(error.code.clone()),
            ..Body::default()
        };
        self.change_to(
            CollectionStatus::Failed,
            Actor::Engine,
            cause,
            Some(Event::CollectionCriticallyFailed),
            body,
        )
    }

    fn change(&self, actor: Actor, cause: Cause, event: Option<Event>, body: Body) -> Change {
        self.change_to(self.status(), actor, cause, event, body)
    }

    fn change_to(
        &self,
        status: CollectionStatus,
        actor: Actor,
        cause: Cause,
        event: Option<Event>,
        body: Body,
    ) -> Change {
        Change {
            verb: Verb::Updated,
            subject: Subject::CollectionStatus(self.id, status),
            event,
            actor,
            cause,
            body: Facts::Collection(Body {
                provider: Some(self.source.clone()),
                ..body
            }),
        }
    }
}

#[derive(Clone, Copy)]
struct Counts {
    since: Timestamp,
    retries: u16,
    waits: u16,
}

struct Failed {
    started: Timestamp,
    error: Error,
    retry_at: Option<Timestamp>,
    probe: bool,
}

fn succeeded(stage: Stage, started: Timestamp, now: Timestamp) -> Attempt {
    Attempt {
        stage,
        at: started,
        duration: now.since(started),
        outcome: Outcome::Succeeded,
    }
}

/// Returns how long nobody's failure is waited out when nobody said how long.
fn wait_delay(error: &Error, waits: u16, rng: &mut impl Rng) -> Duration {
    let policy: Option<RetryPolicy> = error.class.policy();
    policy.map_or(Duration::ZERO, |policy| {
        policy.delay(waits.min(policy.max_retries), rng)
    })
}

/// Returns when it is tried again: the other side's own word wins over the plan, but not even
/// that makes a hot loop.
fn told_or_planned(now: Timestamp, told: Option<Timestamp>, planned: Duration) -> Timestamp {
    let soonest = now.after(planned.min(SOONEST));
    told.map_or_else(|| now.after(planned), |told| told.max(soonest))
}

fn gave_up(policy: &CollectionPolicy) -> Error {
    Error {
        class: ErrorClass::ConnectionFailure,
        code: "gave_up".to_owned(),
        message: format!(
            "not done within {}",
            crate::format_duration(policy.give_up_after)
        ),
    }
}

/// How soon at the least a call follows one that was told to wait.
const SOONEST: Duration = Duration::from_secs(1);
