//! One connection, its clock, and what is said of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wellspring_core::connection::{
    Action, Config, Connection, FetchStatus, Input, New, OnQuestionExpired, OutcomeKind, Policy,
    Step, Wakeup,
};
use wellspring_core::document::{Document, Origin};
use wellspring_core::interaction::{Code, CredentialField, Question};
use wellspring_core::schedule::Schedule;
use wellspring_core::{
    AccountId, Actor, ConnectionId, ConnectionState, DocumentId, Error, ErrorClass, Facts, FetchId,
    InteractionId, Sealed, TenantId, Timestamp, Verb,
};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// One connection and its clock.
pub(crate) struct Bench {
    pub(crate) connection: Connection,
    pub(crate) now: Timestamp,
    pub(crate) policy: Policy,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) fetches: u8,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Policy::default(), config())
    }

    pub(crate) fn with(policy: Policy, config: Config) -> Self {
        let new = New {
            id: ConnectionId::from_bytes([2; 16]),
            account: AccountId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([9; 16]),
            source: "bank".parse().unwrap(),
            config,
            credentials: Some(sealed("first")),
            asked_in: None,
        };
        let step = Connection::create(START, new, Actor::Operator, &policy);
        assert_eq!(
            said(&step),
            [
                "CREATED /accounts/{a}/connections/{c}",
                "UPDATED /accounts/{a}/connections/{c}/state/created"
            ]
        );
        Self {
            connection: step.next.unwrap(),
            now: START,
            policy,
            rng: ChaCha8Rng::seed_from_u64(1),
            fetches: 0,
        }
    }

    pub(crate) fn step(&mut self, input: Input) -> Step {
        let version = self.connection.version;
        let step = self
            .connection
            .clone()
            .handle(self.now, input, &self.policy, &mut self.rng)
            .unwrap();
        if let Some(next) = &step.next {
            assert_eq!(next.version, version + 1);
            self.connection = next.clone();
        }
        step
    }

    pub(crate) fn refused(&mut self, input: Input) -> ConnectionState {
        self.connection
            .clone()
            .handle(self.now, input, &self.policy, &mut self.rng)
            .unwrap_err()
            .from
    }

    /// Waits for the next fetch and begins it.
    pub(crate) fn begin(&mut self) -> Step {
        let Some(Wakeup::Call(due, _)) = self.connection.next_wakeup() else {
            panic!("nothing is due: {:?}", self.connection.state);
        };
        self.now = self.now.max(due);
        self.fetches += 1;
        let fetch = FetchId::from_bytes([self.fetches; 16]);
        self.step(Input::Due { fetch })
    }

    /// Waits for the next attempt of the fetch under way.
    pub(crate) fn next_attempt(&mut self) {
        let Some(Wakeup::Call(due, _)) = self.connection.next_wakeup() else {
            panic!("nothing is due: {:?}", self.connection.state);
        };
        assert!(self.connection.is_attempt_due());
        self.now = self.now.max(due);
    }

    pub(crate) fn document(&mut self, id: u8) -> Step {
        let document = Document {
            id: DocumentId::from_bytes([id; 16]),
            tenant: self.connection.tenant,
            account: self.connection.account,
            connection: self.connection.id,
            fetch: self.connection.fetch().map(|fetch| fetch.id),
            origin: Origin::Fetched,
            created_at: self.now,
            source_id: Some(id.to_string()),
            hash: [id; 32],
            size: 100,
            kind: "statement".to_owned(),
            name: "a.pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            date: None,
            metadata: BTreeMap::new(),
        };
        self.step(Input::ItemsCame {
            documents: vec![document],
            records: 0,
        })
    }

    pub(crate) fn finish(&mut self) -> Step {
        let started = self.now;
        self.step(Input::Fetched {
            started,
            partial: None,
        })
    }

    pub(crate) fn fail(&mut self, class: ErrorClass) -> Step {
        self.fail_until(class, None)
    }

    pub(crate) fn fail_until(&mut self, class: ErrorClass, retry_at: Option<Timestamp>) -> Step {
        let started = self.now;
        self.step(Input::FetchFailed {
            started,
            error: error(class),
            retry_at,
            follow: wellspring_core::Action::Default,
            probe: false,
        })
    }

    pub(crate) fn fail_and(&mut self, class: ErrorClass, follow: wellspring_core::Action) -> Step {
        let started = self.now;
        self.step(Input::FetchFailed {
            started,
            error: error(class),
            retry_at: None,
            follow,
            probe: false,
        })
    }

    /// Fails all attempts of the fetch under way; returns the last step.
    pub(crate) fn fail_whole_fetch(&mut self, class: ErrorClass) -> Step {
        loop {
            let step = self.fail(class);
            if !self.connection.is_attempt_due() {
                return step;
            }
            assert!(
                step.changes.is_empty(),
                "attempts inside a fetch are no changes"
            );
            assert_eq!(step.fetch.unwrap().status, FetchStatus::Retrying);
            self.next_attempt();
        }
    }

    pub(crate) fn ask(&mut self, expires_in: Option<Duration>) -> Step {
        let started = self.now;
        let question = Question {
            code: Code::OneTimeCode,
            title: None,
            parts: Vec::new(),
            expires_in,
        };
        self.step(Input::QuestionAsked {
            started,
            question,
            interaction: InteractionId::from_bytes([self.fetches.wrapping_add(100); 16]),
            resume: Some(sealed("resume")),
        })
    }

    pub(crate) fn answer(&mut self, action: Action) -> Step {
        let interaction = self.connection.open_interaction().unwrap();
        self.step(Input::QuestionAnswered {
            interaction,
            answer: sealed("answer"),
            hash: [7; 32],
            action,
            actor: Actor::Person(self.connection.account),
        })
    }

    pub(crate) fn fetch_asked(&mut self) -> Step {
        self.step(Input::FetchAsked(Actor::Operator))
    }

    pub(crate) fn state(&self) -> ConnectionState {
        self.connection.state()
    }

    pub(crate) fn outcome(&self) -> OutcomeKind {
        self.connection.outcome.as_ref().unwrap().kind
    }
}

pub(crate) fn config() -> Config {
    Config {
        label: None,
        schedule: Schedule::every(HOUR * 24).unwrap(),
        slow_plan: None,
        on_question_expired: OnQuestionExpired::Retry,
        start_date: None,
        paused: false,
    }
}

pub(crate) fn credential_fields() -> Arc<[CredentialField]> {
    let field = |id: &str, sensitive| CredentialField {
        id: id.to_owned(),
        label: id.to_owned(),
        sensitive,
        optional: false,
    };
    Arc::from([field("username", false), field("password", true)])
}

pub(crate) fn sealed(text: &str) -> Sealed {
    Sealed::new(text.as_bytes())
}

pub(crate) fn error(class: ErrorClass) -> Error {
    Error {
        class,
        code: "test_code".to_owned(),
        message: "it went wrong".to_owned(),
    }
}

/// Verbs and paths of a step's changes, the ids replaced.
pub(crate) fn said(step: &Step) -> Vec<String> {
    let said = step.changes.iter().map(|change| {
        let verb = match change.verb {
            Verb::Created => "CREATED",
            Verb::Updated => "UPDATED",
            Verb::Deleted => "DELETED",
        };
        let path = change.subject.to_string();
        let plain: Vec<&str> = path
            .split('/')
            .map(
                |segment| match segment.split('_').next().unwrap_or_default() {
                    "acct" => "{a}",
                    "conn" => "{c}",
                    "int" => "{i}",
                    "doc" => "{d}",
                    "alert" => "{alert}",
                    _ => segment,
                },
            )
            .collect();
        format!("{verb} {}", plain.join("/"))
    });
    said.collect()
}

pub(crate) fn last_segments(step: &Step, property: &str) -> Vec<String> {
    let paths = step.changes.iter().map(|change| change.subject.to_string());
    let values = paths.filter_map(|path| {
        let (before, last) = path.rsplit_once('/')?;
        let is_its_own = before.starts_with("/accounts/") && before.ends_with(property);
        is_its_own.then(|| last.to_owned())
    });
    values.collect()
}

pub(crate) fn states(step: &Step) -> Vec<String> {
    last_segments(step, "/state")
}

pub(crate) fn accesses(step: &Step) -> Vec<String> {
    last_segments(step, "/access")
}

/// The facts of the change to a state, as readers see them.
pub(crate) fn facts(step: &Step, state: &str) -> serde_json::Value {
    let change = step
        .changes
        .iter()
        .find(|change| {
            change
                .subject
                .to_string()
                .ends_with(&format!("/state/{state}"))
                && matches!(change.body, Facts::State(_))
        })
        .unwrap();
    assert!(matches!(change.body, Facts::State(_)));
    serde_json::to_value(&change.body).unwrap()
}
