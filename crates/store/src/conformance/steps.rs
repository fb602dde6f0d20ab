//! Steps of accounts and connections, made by the core as the driver makes them.

use wellspring_core::account::AccountStep;
use wellspring_core::connection::{Config, Connection, Input, New, Policy, Step};
use wellspring_core::document::Origin;
use wellspring_core::interaction::{Code, Part, Question};
use wellspring_core::schedule::Schedule;
use wellspring_core::{
    Account, AccountId, Actor, Ask, ConnectionId, Document, DocumentId, Sealed, Shard,
    SubscriptionId, TenantId, Timestamp,
};
use wellspring_engine::{
    AccountWrite, Batch, Before, ConnectionWrite, DispatchWrites, Subscription, SubscriptionKind,
    Write,
};

use super::{Node, START, TENANT};

impl Node {
    /// Makes a batch of one step of an account.
    pub fn account_batch(
        &mut self,
        now: Timestamp,
        (id, before, tenant): (AccountId, Before, TenantId),
        step: AccountStep,
    ) -> Batch {
        let write = AccountWrite {
            id,
            before,
            next: step.next,
        };
        self.batch_of(now, tenant, Write::Account(write), step.change)
    }

    /// Makes an account in the first shard.
    ///
    /// # Panics
    ///
    /// When the store does not commit it.
    pub async fn account(
        &mut self,
        now: Timestamp,
        tenant: TenantId,
        external_id: Option<&str>,
    ) -> Account {
        let id = AccountId::mint_in(now, self.leases[0].shard, &mut self.rng);
        let external_id = external_id.map(str::to_owned);
        let step = Account::create(now, id, tenant, external_id, Actor::Operator);
        let next = step.next.clone().expect("made");
        let batch = self.account_batch(now, (id, Before::New, tenant), step);
        self.commit(batch).await;
        next
    }

    /// Writes a step of an account that is there.
    ///
    /// # Panics
    ///
    /// When the store does not commit it.
    pub async fn account_stepped(&mut self, now: Timestamp, of: &Account, step: AccountStep) {
        let before = Before::Live(of.version);
        let batch = self.account_batch(now, (of.id, before, of.tenant), step);
        self.commit(batch).await;
    }

    /// Makes a batch of one step of a connection; it can be given items before it is committed.
    pub fn connection_batch(
        &mut self,
        now: Timestamp,
        (id, before, tenant): (ConnectionId, Before, TenantId),
        step: Step,
    ) -> Batch {
        let write = ConnectionWrite {
            id,
            before,
            next: step.next,
            fetch: step.fetch,
            attempt: step.attempt,
            interactions: step.interactions,
            secrets: step.secrets,
            documents: step.documents,
            records: Vec::new(),
            cursors: Vec::new(),
            alerts: step.alerts,
        };
        let write = Write::Connection(Box::new(write));
        self.batch_of(now, tenant, write, step.changes)
    }

    /// Makes a connection of an account, its credentials being `[1]`.
    ///
    /// # Panics
    ///
    /// When the store does not commit it.
    pub async fn connected(&mut self, now: Timestamp, account: &Account) -> Connection {
        let id = ConnectionId::mint_in(now, account.id.shard(), &mut self.rng);
        let new = New {
            id,
            account: account.id,
            tenant: account.tenant,
            source: "gas".parse().expect("a name"),
            config: Config {
                label: Some("At home".to_owned()),
                schedule: Schedule::Manual,
                slow_plan: None,
                on_question_expired: wellspring_core::OnQuestionExpired::FallBack,
                start_date: Some("2026-01-31".to_owned()),
                paused: false,
            },
            credentials: Some(sealed(1)),
            asked_in: None,
        };
        let step = Connection::create(now, new, Actor::Operator, &policy());
        let next = step.next.clone().expect("made");
        let batch = self.connection_batch(now, (id, Before::New, account.tenant), step);
        self.commit(batch).await;
        next
    }

    /// Steps a connection; nothing is written yet.
    ///
    /// # Panics
    ///
    /// When the connection does not take the input.
    pub fn connection_step(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        input: Input,
    ) -> (Step, Batch) {
        let before = Before::Live(connection.version);
        let step = connection
            .clone()
            .handle(now, input, &policy(), &mut self.rng)
            .expect("takes the input");
        let of = (connection.id, before, connection.tenant);
        let batch = self.connection_batch(now, of, step.clone());
        (step, batch)
    }

    /// Steps a connection, commits the step and returns the connection.
    ///
    /// # Panics
    ///
    /// When it is gone then, or the store does not commit it.
    pub async fn moved(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        input: Input,
    ) -> Connection {
        let (step, batch) = self.connection_step(connection, now, input);
        self.commit(batch).await;
        step.next.expect("is there")
    }

    /// Begins a fetch on a connection.
    ///
    /// # Panics
    ///
    /// As [`Self::moved`].
    pub async fn fetching(&mut self, connection: &Connection, now: Timestamp) -> Connection {
        let shard = connection.id.shard();
        let fetch = wellspring_core::FetchId::mint_in(now, shard, &mut self.rng);
        self.moved(connection, now, Input::Due { fetch }).await
    }

    /// Has the source ask something.
    ///
    /// # Panics
    ///
    /// As [`Self::moved`].
    pub async fn asked(&mut self, connection: &Connection, now: Timestamp) -> Connection {
        let shard = connection.id.shard();
        let interaction = wellspring_core::InteractionId::mint_in(now, shard, &mut self.rng);
        let input = Input::QuestionAsked {
            started: now,
            question: question(),
            interaction,
            resume: Some(sealed(2)),
        };
        self.moved(connection, now, input).await
    }

    /// Makes a document of a connection.
    pub fn document(&mut self, connection: &Connection, now: Timestamp, hash: u8) -> Document {
        Document {
            id: DocumentId::mint_in(now, connection.id.shard(), &mut self.rng),
            tenant: connection.tenant,
            account: connection.account,
            connection: connection.id,
            fetch: connection.fetch().map(|fetch| fetch.id),
            origin: Origin::Fetched,
            created_at: now,
            source_id: Some(format!("bill-{hash}")),
            hash: [hash; 32],
            size: u64::from(hash) << 33,
            kind: "bill".to_owned(),
            name: "Bill \u{2013} \"May\".pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            date: Some("2026-05-31".to_owned()),
            metadata: [("total".to_owned(), "30.00".to_owned())].into(),
        }
    }

    /// Commits what the dispatcher wants kept.
    ///
    /// # Panics
    ///
    /// When the store does not commit it.
    pub async fn dispatched(&mut self, shard: Shard, dispatch: DispatchWrites) {
        let batch = self.batch_in(shard);
        self.commit(Batch { dispatch, ..batch }).await;
    }
}

/// Makes a subscription to all changes.
///
/// # Panics
///
/// Never: the pattern is one.
pub fn subscription(id: u8) -> Subscription {
    Subscription {
        id: SubscriptionId::from_bytes([id; 16]),
        tenant: TENANT,
        kind: SubscriptionKind::Webhook,
        patterns: vec![
            "CREATED /accounts/**".parse().expect("a pattern"),
            "* /collections/*/status/delivered"
                .parse()
                .expect("a pattern"),
        ],
        url: "http://127.0.0.1:9/hook".into(),
        description: Some("All that is new".to_owned()),
        created_at: START,
        version: 1,
        enabled: true,
        disabled: None,
        sealed_secrets: vec![7, 8, 9],
    }
}

/// Makes a question with something to fill in.
pub fn question() -> Question {
    Question {
        code: Code::OneTimeCode,
        title: Some("A code was sent".to_owned()),
        parts: vec![
            Part::StaticText {
                id: "text".to_owned(),
                text: "Look at your phone".to_owned(),
            },
            Part::TextInput {
                id: "code".to_owned(),
                label: "Code".to_owned(),
                sensitive: true,
                default: None,
                pattern: Some("[0-9]{6}".to_owned()),
                max_length: Some(6),
            },
        ],
        expires_in: Some(std::time::Duration::from_secs(300)),
    }
}

/// Makes an encrypted value.
pub fn sealed(byte: u8) -> Sealed {
    Sealed::new(vec![byte])
}

fn policy() -> Policy {
    Policy {
        ask: Ask::Always,
        ..Policy::default()
    }
}
