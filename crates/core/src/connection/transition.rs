//! The transitions, one function for each input; the table is section 2 of the domain.

use std::time::Duration;

use rand_core::Rng;

use super::draft::{Asked, Draft};
use super::fetch::{Fetch, FetchStatus, Trigger};
use super::input::{Action, CredentialsFrom, Input, Patch};
use super::step::{SecretWrite, Slot, Step};
use super::{
    Access, BeforeRepair, Config, Connection, ConnectionState, LastOutcome, Next,
    OnQuestionExpired, OutcomeKind, Policy, Reason, Rejected, State,
};
use crate::Action as Follow;
use crate::interaction::Closed;
use crate::{
    AccountId, Actor, Cause, ConnectionId, Disposition, Document, Error, ErrorClass, Facts,
    FetchId, Sealed, SourceName, Subject, TenantId, Timestamp, TraceParent, Verb,
};

/// What a new connection is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct New {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub account: AccountId,
    /// Whose account it is.
    pub tenant: TenantId,
    /// What it leads to.
    pub source: SourceName,
    /// What its owner has set.
    pub config: Config,
    /// What the source is logged in to with.
    pub credentials: Option<Sealed>,
    /// The span of whoever asks.
    pub asked_in: Option<TraceParent>,
}

impl Connection {
    /// Makes a connection; its first fetch is due at once.
    pub fn create(now: Timestamp, new: New, actor: Actor, policy: &Policy) -> Step {
        let connection = Self {
            id: new.id,
            account: new.account,
            tenant: new.tenant,
            source: new.source,
            created_at: now,
            version: 0,
            config: new.config,
            state: State::Created { due: now },
            access: Access::Unverified,
            outcome: None,
            retries: 0,
            waits: 0,
            last_success_at: None,
            repair: None,
            alerts: Vec::new(),
            asked_in: new.asked_in,
        };
        let subject = Subject::Connection(connection.account, connection.id);
        let source = connection.source.clone();
        let mut draft = Draft::new(connection, now, actor, Cause::ConnectionAsked, policy);
        draft.say(Verb::Created, subject, Facts::Source { source });
        draft.say_state();
        if let Some(credentials) = new.credentials {
            draft
                .secrets
                .push(SecretWrite::Put(Slot::Credentials, credentials));
        }
        draft.finish()
    }

    /// Applies `input` and returns what to write.
    ///
    /// Changes what [`Connection::next_wakeup`] says.
    ///
    /// # Errors
    ///
    /// [`Rejected`] where the state does not take the input; results of attempts are fenced
    /// before they come here, so that only people's wishes are ever rejected.
    pub fn handle(
        self,
        now: Timestamp,
        input: Input,
        policy: &Policy,
        rng: &mut impl Rng,
    ) -> Result<Step, Rejected> {
        let rejected = Rejected {
            from: self.state(),
            input: input.name().to_owned(),
        };
        match input {
            Input::Due { fetch } => self.due(now, fetch, policy).ok_or(rejected),
            Input::AttemptLost => self.attempt_lost(now, policy).ok_or(rejected),
            Input::FetchAsked(actor) => self.fetch_asked(now, actor, None, policy).ok_or(rejected),
            Input::FetchAskedIn(actor, parent) => self
                .fetch_asked(now, actor, Some(parent), policy)
                .ok_or(rejected),
            Input::QuestionAsked {
                started,
                question,
                interaction,
                resume,
            } => {
                let asked = Asked {
                    started,
                    question,
                    interaction,
                    resume,
                    credentials: false,
                };
                self.question_asked(now, asked, policy).ok_or(rejected)
            }
            Input::QuestionAnswered {
                interaction,
                answer,
                hash,
                action,
                actor,
            } => {
                if self.open_interaction() != Some(interaction) {
                    return Err(rejected);
                }
                let answer = Answer {
                    answer,
                    hash,
                    action,
                };
                self.answered(now, answer, actor, policy).ok_or(rejected)
            }
            Input::QuestionExpired => self
                .unanswered(
                    now,
                    (Closed::Expired, Cause::QuestionExpired),
                    Actor::Engine,
                    policy,
                )
                .ok_or(rejected),
            Input::QuestionCancelled { interaction, actor } => {
                if self.open_interaction() != Some(interaction) {
                    return Err(rejected);
                }
                self.unanswered(
                    now,
                    (Closed::Cancelled, Cause::QuestionCancelled),
                    actor,
                    policy,
                )
                .ok_or(rejected)
            }
            Input::ItemsCame { documents, records } => self
                .items_came(now, (documents, records), policy)
                .ok_or(rejected),
            Input::Checkpointed => {
                Ok(Draft::new(self, now, Actor::Engine, Cause::ItemsCame, policy).finish())
            }
            Input::Uploaded(document, actor) => Ok(self.uploaded(now, *document, actor, policy)),
            Input::Fetched { started, partial } => {
                self.fetched(now, started, partial, policy).ok_or(rejected)
            }
            Input::FetchFailed {
                started,
                error,
                retry_at,
                follow,
                probe,
            } => {
                let failed = Failed {
                    started,
                    error,
                    retry_at,
                    follow,
                    probe,
                };
                self.fetch_failed(now, failed, policy, rng).ok_or(rejected)
            }
            Input::CredentialsRotated(credentials) => {
                Ok(self.credentials_rotated(now, credentials, policy))
            }
            Input::CredentialsReplaced {
                credentials,
                from,
                actor,
            } => Ok(self.credentials_replaced(now, credentials, from, actor, policy)),
            Input::Patched(patch, actor) => Ok(self.patched(now, patch, actor, policy)),
            Input::DeleteAsked(actor) => Ok(self.deleted(now, actor, policy)),
            Input::AlertAsked(alert, wish, actor) => self
                .alert_asked(now, alert, wish, actor, policy)
                .ok_or(rejected),
        }
    }

    fn due(self, now: Timestamp, id: FetchId, policy: &Policy) -> Option<Step> {
        let (fetch, actor, cause) = match &self.state {
            State::Created { .. } => {
                let fetch = begun(id, Trigger::Created, now);
                (fetch, Actor::Engine, Cause::FetchDue)
            }
            State::Waiting { next } => {
                let trigger = match next.as_ref()?.reason {
                    Reason::Schedule => Trigger::Schedule,
                    Reason::Retry => Trigger::Retry,
                    Reason::RateLimit | Reason::Maintenance => Trigger::Wait,
                    Reason::User => Trigger::User,
                };
                (begun(id, trigger, now), Actor::Schedule, Cause::FetchDue)
            }
            State::Retrying { .. } => (
                begun(id, Trigger::Retry, now),
                Actor::Schedule,
                Cause::FetchDue,
            ),
            State::Manual { .. } => {
                let fetch = begun(id, Trigger::User, now);
                (fetch, Actor::Engine, Cause::FetchDue)
            }
            State::Answered { fetch, .. } => {
                let fetch = Fetch {
                    running: true,
                    ..fetch.clone()
                };
                (fetch, Actor::Engine, Cause::QuestionAnswered)
            }
            State::Connecting { .. }
            | State::Uploading { .. }
            | State::Question { .. }
            | State::Error
            | State::Disabled => return None,
        };
        let mut draft = Draft::new(self, now, actor, cause, policy);
        if draft.next.access == Access::Unverified {
            draft.set_access(Access::Pending, None);
        }
        draft.keep_fetch(&fetch, FetchStatus::Running);
        draft.next.state = State::Connecting { fetch, due: now };
        draft.say_state();
        Some(draft.finish())
    }

    fn attempt_lost(self, now: Timestamp, policy: &Policy) -> Option<Step> {
        let was_uploading = matches!(self.state, State::Uploading { .. });
        let (State::Connecting { fetch, .. } | State::Uploading { fetch, .. }) = &self.state else {
            return None;
        };
        let fetch = fetch.clone();
        let mut draft = Draft::new(self, now, Actor::Engine, Cause::AttemptLost, policy);
        draft.next.state = State::Connecting { fetch, due: now };
        if was_uploading {
            draft.say_state();
        }
        Some(draft.finish())
    }

    fn fetch_asked(
        self,
        now: Timestamp,
        actor: Actor,
        asked_in: Option<TraceParent>,
        policy: &Policy,
    ) -> Option<Step> {
        match self.state() {
            ConnectionState::Created
            | ConnectionState::Waiting
            | ConnectionState::Retrying
            | ConnectionState::Error => {}
            ConnectionState::Manual
            | ConnectionState::Connecting
            | ConnectionState::Question
            | ConnectionState::Answered
            | ConnectionState::Uploading
            | ConnectionState::Completed
            | ConnectionState::Disabled => return None,
        }
        let mut draft = Draft::new(self, now, actor, Cause::FetchAsked, policy);
        draft.next.state = State::Manual { since: now };
        draft.next.asked_in = asked_in;
        draft.say_state();
        Some(draft.finish())
    }

    fn question_asked(self, now: Timestamp, asked: Asked, policy: &Policy) -> Option<Step> {
        let fetch = self.running()?.clone();
        let present = fetch.present || self.repair.is_some();
        let mut draft = Draft::new(self, now, Actor::Engine, Cause::QuestionAsked, policy);
        let fetch = draft.attempt_ended(fetch, asked.started, None);
        if !policy.ask.allows(now, present) {
            let outcome = LastOutcome {
                kind: OutcomeKind::UserNeeded,
                at: now,
                error: None,
            };
            draft.rest(&fetch, outcome, FetchStatus::Cancelled);
            return Some(draft.finish());
        }
        draft.pose(fetch, asked);
        Some(draft.finish())
    }

    fn answered(
        self,
        now: Timestamp,
        answer: Answer,
        actor: Actor,
        policy: &Policy,
    ) -> Option<Step> {
        if answer.action == Action::DeleteConnection {
            let mut draft = Draft::new(self, now, actor, Cause::QuestionAnswered, policy);
            draft.close(Closed::Answered, Some(answer.hash));
            draft.delete();
            return Some(draft.finish());
        }
        let State::Question {
            fetch, credentials, ..
        } = &self.state
        else {
            return None;
        };
        let (fetch, credentials) = (fetch.clone(), *credentials);
        let mut draft = Draft::new(self, now, actor, Cause::QuestionAnswered, policy);
        draft.close(Closed::Answered, Some(answer.hash));
        if answer.action == Action::Stop && draft.next.repair.is_some() {
            draft.abandon_repair(&fetch);
            return Some(draft.finish());
        }
        if answer.action == Action::Stop {
            let outcome = LastOutcome {
                kind: OutcomeKind::Cancelled,
                at: now,
                error: None,
            };
            draft.secrets.push(SecretWrite::Delete(Slot::Resume));
            draft.rest(&fetch, outcome, FetchStatus::Cancelled);
            return Some(draft.finish());
        }
        let slot = if credentials {
            draft.set_access(Access::Pending, None);
            Slot::Credentials
        } else {
            Slot::Answer
        };
        draft.secrets.push(SecretWrite::Put(slot, answer.answer));
        // Whoever answers is there for the next question, too.
        let fetch = Fetch {
            present: true,
            ..fetch
        };
        draft.next.state = State::Answered { fetch, since: now };
        draft.say_state();
        Some(draft.finish())
    }

    fn unanswered(
        self,
        now: Timestamp,
        (reason, cause): (Closed, Cause),
        actor: Actor,
        policy: &Policy,
    ) -> Option<Step> {
        let State::Question { fetch, .. } = &self.state else {
            return None;
        };
        let fetch = fetch.clone();
        let mut draft = Draft::new(self, now, actor, cause, policy);
        draft.close(reason, None);
        draft.secrets.push(SecretWrite::Delete(Slot::Resume));
        if draft.next.repair.is_some() {
            draft.abandon_repair(&fetch);
            return Some(draft.finish());
        }
        let outcome = LastOutcome {
            kind: OutcomeKind::UserTooSlow,
            at: now,
            error: None,
        };
        match draft.next.config.on_question_expired {
            OnQuestionExpired::Retry if draft.next.access != Access::ReauthRequired => {
                let gap = draft
                    .plan()
                    .gap(draft.next.retries.saturating_add(1))
                    .or_else(|| draft.plan().gap(1));
                let due = now.after(gap.unwrap_or(FALLBACK_GAP));
                draft.end_fetch(&fetch, outcome, FetchStatus::Cancelled);
                draft.next.state = State::Retrying { due };
                draft.note_next();
                draft.say_state();
            }
            OnQuestionExpired::Retry => draft.rest(&fetch, outcome, FetchStatus::Cancelled),
            OnQuestionExpired::FallBack => {
                draft.manual_upload_wanted = true;
                draft.rest(&fetch, outcome, FetchStatus::Cancelled);
            }
        }
        Some(draft.finish())
    }

    fn items_came(
        self,
        now: Timestamp,
        (documents, records): (Vec<Document>, u32),
        policy: &Policy,
    ) -> Option<Step> {
        let was_connecting = matches!(self.state, State::Connecting { .. });
        let fetch = self.running()?;
        let count = u32::try_from(documents.len()).unwrap_or(u32::MAX);
        let fetch = Fetch {
            running: true,
            documents: fetch.documents.saturating_add(count),
            records: fetch.records.saturating_add(records),
            ..fetch.clone()
        };
        let mut draft = Draft::new(self, now, Actor::Engine, Cause::ItemsCame, policy);
        draft.next.state = State::Uploading { fetch, due: now };
        if was_connecting {
            draft.say_state();
        }
        for document in documents {
            draft.keep_document(document);
        }
        Some(draft.finish())
    }

    fn uploaded(self, now: Timestamp, document: Document, actor: Actor, policy: &Policy) -> Step {
        let mut draft = Draft::new(self, now, actor, Cause::DocumentUploaded, policy);
        draft.keep_document(document);
        draft.finish()
    }

    fn fetched(
        self,
        now: Timestamp,
        started: Timestamp,
        partial: Option<Error>,
        policy: &Policy,
    ) -> Option<Step> {
        let fetch = self.running()?.clone();
        let mut draft = Draft::new(self, now, Actor::Engine, Cause::Fetched, policy);
        let fetch = draft.attempt_ended(fetch, started, partial.clone());
        let (kind, status) = if partial.is_some() {
            (OutcomeKind::Partial, FetchStatus::Partial)
        } else {
            draft.next.last_success_at = Some(now);
            (OutcomeKind::Success, FetchStatus::Success)
        };
        let outcome = LastOutcome {
            kind,
            at: now,
            error: partial,
        };
        draft.next.retries = 0;
        draft.next.waits = 0;
        draft.set_access(Access::Valid, None);
        if draft.next.repair.take().is_some() {
            draft
                .secrets
                .push(SecretWrite::Delete(Slot::PreviousCredentials));
        }
        draft.forget_answers();
        draft.next.outcome = Some(outcome.clone());
        draft.say_state_as(ConnectionState::Completed, Some(&fetch));
        draft.rest(&fetch, outcome, status);
        Some(draft.finish())
    }

    fn fetch_failed(
        self,
        now: Timestamp,
        failed: Failed,
        policy: &Policy,
        rng: &mut impl Rng,
    ) -> Option<Step> {
        let fetch = self.running()?.clone();
        let was_uploading = matches!(self.state, State::Uploading { .. });
        let mut draft = Draft::new(self, now, Actor::Engine, Cause::FetchFailed, policy);
        let Failed {
            started,
            error,
            retry_at,
            follow,
            probe,
        } = failed;
        let mut fetch = draft.attempt_ended(fetch, started, Some(error.clone()));
        let class = error.class;
        let revoked = follow == Follow::Revoke;
        if revoked || class == ErrorClass::AuthenticationError {
            draft.unauthorised(fetch, &error, revoked);
            return Some(draft.finish());
        }
        match follow {
            Follow::Default | Follow::Revoke | Follow::RestartStream | Follow::NarrowWindow => {}
            Follow::WaitForEvent => {
                draft.wait_for_event(&fetch, error);
                return Some(draft.finish());
            }
            Follow::Unsupported => {
                draft.unsupported(&fetch, error);
                return Some(draft.finish());
            }
            Follow::Notice(code) => {
                draft.notice(fetch, code, error);
                return Some(draft.finish());
            }
        }
        let outcome = LastOutcome {
            kind: OutcomeKind::Failed(class),
            at: now,
            error: Some(error),
        };
        if class.spares_the_connection() {
            draft.forget_answers();
            draft.rest(&fetch, outcome, FetchStatus::Failed);
            return Some(draft.finish());
        }
        let wait = match class.disposition() {
            Disposition::Wait => {
                draft.next.waits = draft.next.waits.saturating_add(1);
                let planned = class
                    .policy()
                    .map_or(FALLBACK_GAP, |plan| plan.delay(draft.next.waits, rng));
                Some(told_or_planned(now, (retry_at, LONGEST_REST), planned))
            }
            Disposition::Retry | Disposition::Stop => None,
        };
        if let Some(at) = wait {
            let (reason, status) = if class == ErrorClass::BankMaintenance {
                (Reason::Maintenance, FetchStatus::Maintenance)
            } else {
                (Reason::RateLimit, FetchStatus::RateLimited)
            };
            draft.forget_answers();
            draft.next.state = State::Waiting {
                next: Some(Next { at, reason }),
            };
            draft.end_fetch(&fetch, outcome, status);
            draft.note_next();
            draft.say_state();
            return Some(draft.finish());
        }
        // A probe learns whether the source is back; the fetch it borrowed is not charged for it.
        let failures = fetch.failed(class, !probe);
        let again = policy
            .attempts(class)
            .filter(|plan| plan.allows(failures.max(1)))
            .map(|plan| {
                let told = (retry_at, LONGEST_GAP);
                told_or_planned(now, told, plan.delay(failures.max(1), rng))
            });
        if let Some(due) = again {
            draft.keep_retrying(&fetch, outcome.error, due);
            draft.next.state = if was_uploading {
                State::Uploading { fetch, due }
            } else {
                State::Connecting { fetch, due }
            };
            return Some(draft.finish());
        }
        draft.plan_spent(&fetch, outcome);
        Some(draft.finish())
    }

    fn credentials_rotated(self, now: Timestamp, credentials: Sealed, policy: &Policy) -> Step {
        let mut draft = Draft::new(self, now, Actor::Engine, Cause::CredentialsReplaced, policy);
        draft
            .secrets
            .push(SecretWrite::Put(Slot::Credentials, credentials));
        draft.finish()
    }

    fn credentials_replaced(
        self,
        now: Timestamp,
        credentials: Sealed,
        from: CredentialsFrom,
        actor: Actor,
        policy: &Policy,
    ) -> Step {
        let resting = match &self.state {
            State::Created { .. }
            | State::Waiting { .. }
            | State::Retrying { .. }
            | State::Error => true,
            State::Manual { .. }
            | State::Connecting { .. }
            | State::Uploading { .. }
            | State::Question { .. }
            | State::Answered { .. }
            | State::Disabled => false,
        };
        let mut draft = Draft::new(self, now, actor, Cause::CredentialsReplaced, policy);
        match from {
            CredentialsFrom::Repair if draft.next.repair.is_some() => {}
            CredentialsFrom::Repair if resting => {
                draft.next.repair = Some(Box::new(BeforeRepair {
                    state: draft.next.state.clone(),
                    access: draft.next.access,
                    outcome: draft.next.outcome.clone(),
                    retries: draft.next.retries,
                }));
                draft.secrets.push(SecretWrite::Move(
                    Slot::Credentials,
                    Slot::PreviousCredentials,
                ));
            }
            CredentialsFrom::Repair => {}
            CredentialsFrom::Tenant => {
                if draft.next.repair.take().is_some() {
                    draft
                        .secrets
                        .push(SecretWrite::Delete(Slot::PreviousCredentials));
                }
            }
        }
        draft
            .secrets
            .push(SecretWrite::Put(Slot::Credentials, credentials));
        draft.close(Closed::Superseded, None);
        draft.cancel_fetch();
        // What was answered under other credentials is nothing to these.
        draft.forget_answers();
        draft.set_access(Access::Pending, None);
        if !matches!(draft.next.state, State::Disabled) {
            draft.next.state = State::Manual { since: now };
            draft.next.asked_in = None;
            draft.say_state();
        }
        draft.finish()
    }

    fn patched(self, now: Timestamp, patch: Patch, actor: Actor, policy: &Policy) -> Step {
        let before = self.config.clone();
        let was_disabled = matches!(self.state, State::Disabled);
        let mut draft = Draft::new(self, now, actor, Cause::Patched, policy);
        let config = &mut draft.next.config;
        let Patch {
            label,
            schedule,
            slow_plan,
            on_question_expired,
            start_date,
            enabled,
            paused,
        } = patch;
        config.label = label.unwrap_or_else(|| config.label.clone());
        config.schedule = schedule.unwrap_or_else(|| config.schedule.clone());
        config.slow_plan = slow_plan.unwrap_or_else(|| config.slow_plan.clone());
        config.on_question_expired = on_question_expired.unwrap_or(config.on_question_expired);
        config.start_date = start_date.unwrap_or_else(|| config.start_date.clone());
        config.paused = paused.unwrap_or(config.paused);
        let reschedules = config.schedule != before.schedule || config.paused != before.paused;
        if *config != before {
            let subject = Subject::Connection(draft.next.account, draft.next.id);
            draft.say(Verb::Updated, subject, Facts::Nothing {});
        }
        match enabled {
            Some(false) if !was_disabled => {
                draft.close(Closed::Cancelled, None);
                draft.cancel_fetch();
                draft.next.state = State::Disabled;
                draft.say_state();
            }
            Some(true) if was_disabled => {
                draft.next.state = State::Waiting {
                    next: draft.scheduled(),
                };
                draft.say_state();
            }
            Some(_) | None => {
                if let State::Waiting { next } = &draft.next.state
                    && reschedules
                    && next.is_none_or(|next| next.reason == Reason::Schedule)
                {
                    draft.next.state = State::Waiting {
                        next: draft.scheduled(),
                    };
                }
            }
        }
        draft.finish()
    }

    fn deleted(self, now: Timestamp, actor: Actor, policy: &Policy) -> Step {
        let mut draft = Draft::new(self, now, actor, Cause::EraseRequested, policy);
        draft.close(Closed::ConnectionDeleted, None);
        draft.delete();
        draft.finish()
    }

    /// Returns the fetch whose attempt is under way.
    const fn running(&self) -> Option<&Fetch> {
        match &self.state {
            State::Connecting { fetch, .. } | State::Uploading { fetch, .. } => Some(fetch),
            State::Created { .. }
            | State::Waiting { .. }
            | State::Retrying { .. }
            | State::Manual { .. }
            | State::Question { .. }
            | State::Answered { .. }
            | State::Error
            | State::Disabled => None,
        }
    }
}

impl Fetch {
    /// Counts a failed attempt of this class, if it counts; returns how many there were.
    fn failed(&mut self, class: ErrorClass, counts: bool) -> u16 {
        let by = u16::from(counts);
        if let Some((_, failures)) = self.failures.iter_mut().find(|(known, _)| *known == class) {
            *failures = failures.saturating_add(by);
            return *failures;
        }
        self.failures.push((class, by));
        by
    }
}

struct Answer {
    answer: Sealed,
    hash: [u8; 32],
    action: Action,
}

struct Failed {
    started: Timestamp,
    error: Error,
    retry_at: Option<Timestamp>,
    follow: Follow,
    probe: bool,
}

fn begun(id: FetchId, trigger: Trigger, now: Timestamp) -> Fetch {
    Fetch {
        id,
        trigger,
        started_at: now,
        present: trigger.is_present(),
        running: true,
        attempts: 0,
        failures: Vec::new(),
        documents: 0,
        records: 0,
    }
}

/// Returns when it is tried again: the source's own word wins over the plan, but not even that
/// makes a hot loop, or keeps it still for ever.
fn told_or_planned(
    now: Timestamp,
    (told, longest): (Option<Timestamp>, Duration),
    planned: Duration,
) -> Timestamp {
    told.map_or_else(
        || now.after(planned),
        |told| told.max(now.after(SOONEST)).min(now.after(longest)),
    )
}

/// How soon at the least a call follows one that was told to wait.
const SOONEST: Duration = Duration::from_secs(1);
/// The longest that a source's word keeps a connection waiting; what is said of a month is believed.
const LONGEST_REST: Duration = Duration::from_secs(31 * 86_400);
/// As above inside a fetch, which nobody can begin anew while it goes on.
const LONGEST_GAP: Duration = Duration::from_secs(86_400);
/// A gap where the plan has none.
const FALLBACK_GAP: Duration = Duration::from_secs(2 * 3_600);
