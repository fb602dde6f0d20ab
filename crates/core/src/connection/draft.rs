//! The makings of a step: what several transitions do alike.

use std::time::Duration;

use super::fetch::{Attempt, Fetch, FetchRecord, FetchStatus};
use super::step::{InteractionWrite, SecretWrite, Slot, Step};
use super::{
    Access, BeforeRepair, Connection, ConnectionState, LastOutcome, Next, OutcomeKind, Policy,
    Reason, State, activity_of, credentials_question,
};
use crate::interaction::{Closed, Code, Question};
use crate::schedule::{SlowPlan, phase_seed};
use crate::{
    AccessFacts, Actor, AlertWrite, Cause, Change, Document, Error, Facts, FetchId,
    InteractionFacts, InteractionId, Sealed, StateFacts, Subject, Timestamp, Verb,
};

/// A step that is being made.
pub(super) struct Draft<'a> {
    pub(super) next: Connection,
    pub(super) now: Timestamp,
    actor: Actor,
    cause: Cause,
    policy: &'a Policy,
    pub(super) gone: bool,
    pub(super) manual_upload_wanted: bool,
    changes: Vec<Change>,
    pub(super) fetch: Option<FetchRecord>,
    attempt: Option<Attempt>,
    interactions: Vec<InteractionWrite>,
    pub(super) secrets: Vec<SecretWrite>,
    documents: Vec<Document>,
    pub(super) access_was: Access,
    pub(super) alerts: Vec<AlertWrite>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        connection: Connection,
        now: Timestamp,
        actor: Actor,
        cause: Cause,
        policy: &'a Policy,
    ) -> Self {
        let access_was = connection.access;
        let next = Connection {
            version: connection.version.saturating_add(1),
            ..connection
        };
        Self {
            next,
            now,
            actor,
            cause,
            policy,
            gone: false,
            manual_upload_wanted: false,
            changes: Vec::new(),
            fetch: None,
            attempt: None,
            interactions: Vec::new(),
            secrets: Vec::new(),
            documents: Vec::new(),
            access_was,
            alerts: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Step {
        self.judge_alerts();
        Step {
            next: (!self.gone).then_some(self.next),
            changes: self.changes,
            fetch: self.fetch,
            attempt: self.attempt,
            interactions: self.interactions,
            secrets: self.secrets,
            documents: self.documents,
            alerts: self.alerts,
        }
    }

    pub(super) fn plan(&self) -> &SlowPlan {
        self.next
            .config
            .slow_plan
            .as_ref()
            .unwrap_or(&self.policy.slow_plan)
    }

    /// Returns when the schedule wants the next fetch, if anything but a person does.
    pub(super) fn scheduled(&self) -> Option<Next> {
        let at_rest = match self.next.access {
            Access::ReauthRequired | Access::Revoked => true,
            Access::Unverified | Access::Pending | Access::Valid | Access::Expiring => {
                self.next.config.paused
            }
        };
        if at_rest {
            return None;
        }
        let seed = phase_seed(self.next.id);
        let at = self.next.config.schedule.next(self.now, self.now, seed)?;
        Some(Next {
            at,
            reason: Reason::Schedule,
        })
    }

    pub(super) fn say(&mut self, verb: Verb, subject: Subject, body: Facts) {
        self.changes.push(Change {
            verb,
            subject,
            event: None,
            actor: self.actor,
            cause: self.cause,
            body,
        });
    }

    pub(super) fn say_state(&mut self) {
        let state = self.next.shown_state(self.policy.legacy_waiting);
        let fetch = self.next.fetch().cloned();
        self.say_state_as(state, fetch.as_ref());
    }

    pub(super) fn say_state_as(&mut self, state: ConnectionState, fetch: Option<&Fetch>) {
        let next = self.next.next();
        let outcome = self.next.outcome.as_ref();
        let facts = StateFacts {
            source: self.next.source.clone(),
            retries: self.next.retries,
            next_attempt_at: next.map(|next| next.at),
            reason: next.map(|next| next.reason),
            outcome: outcome.map(|outcome| outcome.kind),
            code: outcome
                .and_then(|outcome| outcome.error.as_ref())
                .map(|error| error.code.clone()),
            access: self.next.access.as_str(),
            fetch_id: fetch.map(|fetch| fetch.id),
            activity_id: fetch.map(|fetch| activity_of(fetch.id)),
            documents: fetch.map_or(0, |fetch| fetch.documents),
            records: fetch.map_or(0, |fetch| fetch.records),
            manual_upload_wanted: self.manual_upload_wanted,
        };
        let subject = Subject::ConnectionState(self.next.account, self.next.id, state);
        self.say(Verb::Updated, subject, Facts::State(Box::new(facts)));
    }

    pub(super) fn set_access(&mut self, access: Access, error: Option<&Error>) {
        if self.next.access == access {
            return;
        }
        self.next.access = access;
        let subject = Subject::ConnectionAccess(self.next.account, self.next.id, access);
        let facts = AccessFacts {
            source: self.next.source.clone(),
            class: error.map(|error| error.class),
            code: error.map(|error| error.code.clone()),
        };
        self.say(Verb::Updated, subject, Facts::Access(facts));
    }

    /// Counts an attempt that ended.
    pub(super) fn attempt_ended(
        &mut self,
        fetch: Fetch,
        started: Timestamp,
        error: Option<Error>,
    ) -> Fetch {
        let fetch = Fetch {
            running: false,
            attempts: fetch.attempts.saturating_add(1),
            ..fetch
        };
        self.attempt = Some(Attempt {
            fetch: fetch.id,
            number: fetch.attempts,
            at: started,
            duration: self.now.since(started),
            error,
            documents: fetch.documents,
            records: fetch.records,
            next_at: None,
        });
        fetch
    }

    pub(super) fn keep_fetch(&mut self, fetch: &Fetch, status: FetchStatus) {
        self.fetch = Some(FetchRecord {
            id: fetch.id,
            connection: self.next.id,
            trigger: fetch.trigger,
            started_at: fetch.started_at,
            ended_at: None,
            status,
            outcome: None,
            error: None,
            attempts: fetch.attempts,
            documents: fetch.documents,
            records: fetch.records,
            next_attempt_at: None,
        });
    }

    /// Writes how a fetch ended; what state follows is said by the caller.
    pub(super) fn end_fetch(&mut self, fetch: &Fetch, outcome: LastOutcome, status: FetchStatus) {
        self.keep_fetch(fetch, status);
        if let Some(record) = &mut self.fetch {
            record.ended_at = Some(self.now);
            record.outcome = Some(outcome.kind);
            record.error.clone_from(&outcome.error);
        }
        self.next.outcome = Some(outcome);
    }

    /// Ends a fetch and has the connection rest until its schedule, or until a person mends it.
    pub(super) fn rest(&mut self, fetch: &Fetch, outcome: LastOutcome, status: FetchStatus) {
        self.end_fetch(fetch, outcome, status);
        self.next.state = State::Waiting {
            next: self.scheduled(),
        };
        let state = self.next.shown_state(self.policy.legacy_waiting);
        self.say_state_as(state, Some(fetch));
        self.note_next();
    }

    pub(super) fn note_next(&mut self) {
        let next = self.next.next().map(|next| next.at);
        self.note_next_at(next);
    }

    /// Notes when the connection is tried again, in the fetch and in the attempt that led to it.
    fn note_next_at(&mut self, next: Option<Timestamp>) {
        if let Some(record) = &mut self.fetch {
            record.next_attempt_at = next;
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.next_at = next;
        }
    }

    /// Writes that an attempt failed and when the next one of the same fetch follows.
    pub(super) fn keep_retrying(&mut self, fetch: &Fetch, error: Option<Error>, due: Timestamp) {
        self.keep_fetch(fetch, FetchStatus::Retrying);
        if let Some(record) = &mut self.fetch {
            record.error = error;
        }
        self.note_next_at(Some(due));
    }

    pub(super) fn keep_document(&mut self, document: Document) {
        let subject = Subject::Document(self.next.account, self.next.id, document.id);
        self.say(Verb::Created, subject, Facts::Document(document.facts()));
        self.documents.push(document);
    }

    pub(super) fn pose(&mut self, fetch: Fetch, asked: Asked) {
        let Asked {
            question,
            interaction,
            resume,
            credentials,
            ..
        } = asked;
        let lives = match (question.expires_in, self.next.repair.is_some()) {
            (lives, false) => lives,
            // Whoever sets out to repair and walks away has everything as it was.
            (lives, true) => {
                Some(lives.map_or(REPAIR_PATIENCE, |lives| lives.min(REPAIR_PATIENCE)))
            }
        };
        let expires_at = lives.map(|lives| self.now.after(lives));
        self.forget_answers();
        if let Some(resume) = resume {
            self.secrets.push(SecretWrite::Put(Slot::Resume, resume));
        }
        let facts = InteractionFacts {
            code: Some(question.code),
            expires_at,
            reason: None,
        };
        let credentials = credentials || question.code == Code::Credentials;
        let subject = Subject::Interaction(self.next.account, self.next.id, interaction);
        self.keep_fetch(&fetch, FetchStatus::Running);
        self.next.state = State::Question {
            fetch,
            interaction,
            credentials,
            expires_at,
        };
        self.say(Verb::Created, subject, Facts::Interaction(facts));
        self.say_state();
        self.interactions.push(InteractionWrite::Open {
            id: interaction,
            question,
            at: self.now,
            expires_at,
        });
    }

    /// Closes the open interaction, if there is one.
    pub(super) fn close(&mut self, reason: Closed, hash: Option<[u8; 32]>) {
        let Some(id) = self.next.open_interaction() else {
            return;
        };
        let subject = Subject::Interaction(self.next.account, self.next.id, id);
        let facts = InteractionFacts {
            code: None,
            expires_at: None,
            reason: Some(reason),
        };
        self.say(Verb::Deleted, subject, Facts::Interaction(facts));
        self.interactions.push(InteractionWrite::Close {
            id,
            reason,
            at: self.now,
            hash,
        });
    }

    /// Ends a fetch that somebody has ended, so that its late results are dropped.
    pub(super) fn cancel_fetch(&mut self) {
        let Some(fetch) = self.next.fetch().cloned() else {
            return;
        };
        let outcome = LastOutcome {
            kind: OutcomeKind::Cancelled,
            at: self.now,
            error: None,
        };
        self.forget_answers();
        self.end_fetch(&fetch, outcome, FetchStatus::Cancelled);
    }

    pub(super) fn forget_answers(&mut self) {
        self.secrets.push(SecretWrite::Delete(Slot::Resume));
        self.secrets.push(SecretWrite::Delete(Slot::Answer));
    }

    /// Only the person can mend it.
    pub(super) fn unauthorised(&mut self, fetch: Fetch, error: &Error, revoked: bool) {
        let outcome = LastOutcome {
            kind: OutcomeKind::Failed(error.class),
            at: self.now,
            error: Some(error.clone()),
        };
        self.forget_answers();
        if revoked {
            self.set_access(Access::Revoked, Some(error));
            self.secrets.push(SecretWrite::Delete(Slot::Credentials));
            self.secrets
                .push(SecretWrite::Delete(Slot::PreviousCredentials));
            self.next.repair = None;
            self.rest(&fetch, outcome, FetchStatus::Failed);
            return;
        }
        self.set_access(Access::ReauthRequired, Some(error));
        let present = fetch.present || self.next.repair.is_some();
        let question =
            credentials_question(self.policy).filter(|_| self.policy.ask.allows(self.now, present));
        let Some(mut question) = question else {
            self.rest(&fetch, outcome, FetchStatus::Failed);
            return;
        };
        question.title = Some(error.message.clone());
        self.next.outcome = Some(outcome);
        let asked = Asked {
            started: self.now,
            question,
            // Unique, because a fetch ends each attempt once and poses at most one question with it.
            interaction: interaction_of(fetch.id, fetch.attempts),
            resume: None,
            credentials: true,
        };
        self.pose(fetch, asked);
    }

    /// The source is not ready: nothing is tried until it says so, or a person asks.
    pub(super) fn wait_for_event(&mut self, fetch: &Fetch, error: Error) {
        let outcome = LastOutcome {
            kind: OutcomeKind::Failed(error.class),
            at: self.now,
            error: Some(error),
        };
        self.stop(
            fetch,
            outcome,
            FetchStatus::Cancelled,
            State::Waiting { next: None },
        );
    }

    /// The source will never be able to: only a person begins another fetch.
    pub(super) fn unsupported(&mut self, fetch: &Fetch, error: Error) {
        let outcome = LastOutcome {
            kind: OutcomeKind::Failed(error.class),
            at: self.now,
            error: Some(error),
        };
        self.stop(fetch, outcome, FetchStatus::Failed, State::Error);
    }

    /// The person has to know of something, and to do it at the source; acknowledging it has the
    /// fetch go on.
    pub(super) fn notice(&mut self, fetch: Fetch, code: Code, error: Error) {
        let present = fetch.present || self.next.repair.is_some();
        if !self.policy.ask.allows(self.now, present) {
            let outcome = LastOutcome {
                kind: OutcomeKind::UserNeeded,
                at: self.now,
                error: Some(error),
            };
            let rests = State::Waiting { next: None };
            self.stop(&fetch, outcome, FetchStatus::Cancelled, rests);
            return;
        }
        let question = Question {
            code,
            title: Some(error.message.clone()),
            parts: Vec::new(),
            expires_in: None,
        };
        self.next.outcome = Some(LastOutcome {
            kind: OutcomeKind::Failed(error.class),
            at: self.now,
            error: Some(error),
        });
        let asked = Asked {
            started: self.now,
            question,
            interaction: interaction_of(fetch.id, fetch.attempts),
            resume: None,
            credentials: false,
        };
        self.pose(fetch, asked);
    }

    /// Ends a fetch in a state from which only a person or the source moves the connection on.
    fn stop(&mut self, fetch: &Fetch, outcome: LastOutcome, status: FetchStatus, state: State) {
        self.forget_answers();
        self.end_fetch(fetch, outcome, status);
        self.next.state = state;
        let state = self.next.shown_state(self.policy.legacy_waiting);
        self.say_state_as(state, Some(fetch));
    }

    /// A fetch has failed for good: the slow plan goes on, or ends.
    pub(super) fn plan_spent(&mut self, fetch: &Fetch, outcome: LastOutcome) {
        self.forget_answers();
        let failures = self.next.retries.saturating_add(1);
        match self.plan().gap(failures) {
            Some(gap) => {
                self.next.retries = failures;
                self.next.state = State::Retrying {
                    due: self.now.after(gap),
                };
            }
            None => self.next.state = State::Error,
        }
        self.end_fetch(fetch, outcome, FetchStatus::Failed);
        self.note_next();
        let state = self.next.shown_state(self.policy.legacy_waiting);
        self.say_state_as(state, Some(fetch));
    }

    /// Puts everything back as it was before the repair began.
    pub(super) fn abandon_repair(&mut self, fetch: &Fetch) {
        let Some(before) = self.next.repair.take() else {
            return;
        };
        let BeforeRepair {
            state,
            access,
            outcome,
            retries,
        } = *before;
        let cancelled = LastOutcome {
            kind: OutcomeKind::Cancelled,
            at: self.now,
            error: None,
        };
        self.forget_answers();
        self.end_fetch(fetch, cancelled, FetchStatus::Cancelled);
        self.set_access(access, None);
        self.secrets.push(SecretWrite::Move(
            Slot::PreviousCredentials,
            Slot::Credentials,
        ));
        self.next.outcome = outcome;
        self.next.retries = retries;
        self.next.state = state;
        self.say_state();
    }

    pub(super) fn delete(&mut self) {
        self.close_alerts();
        let subject = Subject::Connection(self.next.account, self.next.id);
        let source = self.next.source.clone();
        self.say(Verb::Deleted, subject, Facts::Source { source });
        for slot in Slot::ALL {
            self.secrets.push(SecretWrite::Delete(slot));
        }
        self.gone = true;
    }
}

pub(super) struct Asked {
    pub(super) started: Timestamp,
    pub(super) question: Question,
    pub(super) interaction: InteractionId,
    pub(super) resume: Option<Sealed>,
    pub(super) credentials: bool,
}

/// Makes the id of the question that follows a refused login.
fn interaction_of(fetch: FetchId, attempt: u16) -> InteractionId {
    let mut bytes = *fetch.as_bytes();
    // The last byte names the shard; the two before it are random in the fetch's own id.
    let [high, low] = attempt.to_be_bytes();
    let [.., a, b, _] = &mut bytes;
    *a ^= high;
    *b ^= low;
    InteractionId::from_bytes(bytes)
}

/// How long a question of a repair waits at the most.
const REPAIR_PATIENCE: Duration = Duration::from_secs(10 * 60);
