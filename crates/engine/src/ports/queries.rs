//! What people and programs look at; nothing here changes anything.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use wellspring_core::connection::{self, FetchRecord};
use wellspring_core::interaction::{Closed, Question};
use wellspring_core::reliability::{Day, FetchTally};
use wellspring_core::{
    Account, AccountId, Alert, AlertId, AlertKind, CollectionId, CollectionStatus, Connection,
    ConnectionId, Document, DocumentId, Error as Failure, FetchId, Incident, IncidentId,
    IncidentKind, InteractionId, Shard, SourceName, Stage, SubscriptionId, TenantId, Timestamp,
    UnclassifiedId, Verb, source,
};

use crate::dispatch::{DeliveryAttempt, DeliveryRow, DeliveryStatus, LogEntry};
use crate::{Entry, KeyRow, StoreError, UnclassifiedView};

mod cursor;

pub use cursor::{Cursor, CursorError};

/// A collection as the API shows it.
#[derive(Debug, Clone)]
pub struct CollectionView {
    /// Its id.
    pub id: CollectionId,
    /// Its source.
    pub source: SourceName,
    /// Where it stands.
    pub status: CollectionStatus,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the source or the callback is called next.
    pub next_attempt_at: Option<Timestamp>,
    /// When the data came in.
    pub collected_at: Option<Timestamp>,
    /// When the callback took the data.
    pub delivered_at: Option<Timestamp>,
    /// Why it failed, and in which stage.
    pub error: Option<(Stage, Failure)>,
    /// The attempts, oldest first; empty in lists.
    pub attempts: Vec<AttemptView>,
}

/// An attempt as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptView {
    /// What was tried.
    pub stage: Stage,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
}

/// An interaction as the API shows it, the answer's hash included, by which a second answer is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct InteractionView {
    /// Its id.
    pub id: InteractionId,
    /// Of which connection.
    pub connection: ConnectionId,
    /// What is asked.
    pub question: Question,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it can no longer be answered.
    pub expires_at: Option<Timestamp>,
    /// Why and when it was closed.
    pub closed: Option<(Closed, Timestamp)>,
    /// By which the same answer is known again.
    pub hash: Option<[u8; 32]>,
}

/// A fetch with its attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchView {
    /// The fetch.
    pub record: FetchRecord,
    /// Its attempts, oldest first.
    pub attempts: Vec<connection::Attempt>,
}

/// A delivery with its attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryView {
    /// The delivery.
    pub row: DeliveryRow,
    /// Its attempts, oldest first.
    pub attempts: Vec<DeliveryAttempt>,
}

/// Which deliveries are listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryFilter {
    /// Those to this subscription.
    pub subscription: Option<SubscriptionId>,
    /// Those that stand so.
    pub status: Option<DeliveryStatus>,
    /// Those of changes written before this moment, or at it with a lesser (shard, place).
    pub before: Option<(Timestamp, Shard, u64)>,
}

/// Which alerts are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Those that are open, acknowledged ones included, or those that are closed.
    pub open: Option<bool>,
    /// Those of this kind.
    pub kind: Option<AlertKind>,
    /// Those that concern this source.
    pub source: Option<SourceName>,
    /// Those about this connection.
    pub connection: Option<ConnectionId>,
}

/// Which incidents are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// Those of this source.
    pub source: Option<SourceName>,
    /// Those of this kind.
    pub kind: Option<IncidentKind>,
    /// Those that go on, or those that have ended.
    pub open: Option<bool>,
}

/// One page of a list; `next` goes on after it.
#[derive(Debug, Clone)]
pub struct CollectionPage {
    /// The rows, newest first.
    pub rows: Vec<CollectionView>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<CollectionId>,
}

/// An entry of the log as its readers see it.
#[derive(Debug, Clone)]
pub struct ChangeView {
    /// Where it stands.
    pub shard: Shard,
    /// Its place in the shard.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub verb: Verb,
    /// To what.
    pub path: String,
    /// Its name in the domain.
    pub event: Option<String>,
    /// Who caused it.
    pub actor: String,
    /// What caused it.
    pub cause: String,
    /// The facts, a JSON object.
    pub body: Box<RawValue>,
}

impl ChangeView {
    /// Returns an entry that has just become durable as its readers see it.
    pub fn of(entry: &Entry) -> Self {
        let change = &entry.change;
        Self {
            shard: entry.shard,
            seq: entry.seq,
            at: entry.at,
            verb: change.verb,
            path: change.subject.to_string(),
            event: change.event.map(|event| event.as_str().to_owned()),
            actor: change.actor.to_string(),
            cause: change.cause.as_str().to_owned(),
            // Facts are plain values, which always have a JSON form.
            body: to_raw_value(&change.body).unwrap_or_default(),
        }
    }

    /// Returns its id, the same in every delivery: a UUIDv7 whose random part is the entry's
    /// place, which no other entry of this log has.
    pub fn id(&self) -> String {
        let mut place = [0; 10];
        place[1] = self.shard.0;
        place[2..].copy_from_slice(&self.seq.to_be_bytes());
        let millis = u64::try_from(self.at.as_millis()).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &place).into_uuid();
        format!("chg_{}", uuid.simple())
    }
}

/// The form of the API and of webhooks.
impl Serialize for ChangeView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut entry = serializer.serialize_struct("Change", 8)?;
        entry.serialize_field("id", &self.id())?;
        entry.serialize_field("at", &self.at)?;
        entry.serialize_field("verb", self.verb.as_str())?;
        entry.serialize_field("path", &self.path)?;
        if let Some(event) = &self.event {
            entry.serialize_field("event", event)?;
        }
        entry.serialize_field("actor", &self.actor)?;
        entry.serialize_field("cause", &self.cause)?;
        entry.serialize_field("body", &self.body)?;
        entry.end()
    }
}

/// A stretch of the log.
#[derive(Debug, Clone)]
pub struct ChangesPage {
    /// The tenant's entries in it, in order within each shard.
    pub entries: Vec<ChangeView>,
    /// Where the next stretch begins.
    pub next: Cursor,
    /// Whether there was more when this was read.
    pub has_more: bool,
}

/// Whose fetches statistics are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchScope {
    /// Those on all connections that an account has at present.
    Account(AccountId),
    /// Those on one connection.
    Connection(ConnectionId),
    /// Those from a source, on connections that are gone as well.
    Source(SourceName),
}

/// Reads for the API and for operators, none of them a step.
pub trait Queries: Send + Sync {
    /// Returns one collection of the tenant with its attempts.
    fn collection(
        &self,
        tenant: TenantId,
        id: CollectionId,
    ) -> BoxFuture<'_, Result<Option<CollectionView>, StoreError>>;

    /// Returns collections of the tenant, newest first, older than `before`.
    ///
    /// A bounded number of rows is looked at; a page may be short and still have a `next`.
    fn collections(
        &self,
        tenant: TenantId,
        status: Option<CollectionStatus>,
        before: Option<CollectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<CollectionPage, StoreError>>;

    /// Returns the present end of the log.
    fn head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>>;

    /// Reads at most `limit` entries after `cursor` and returns those of the tenant.
    fn changes(
        &self,
        tenant: TenantId,
        cursor: Cursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<ChangesPage, CursorError>>;

    /// Returns one account of the tenant.
    fn account(
        &self,
        tenant: TenantId,
        id: AccountId,
    ) -> BoxFuture<'_, Result<Option<Account>, StoreError>>;

    /// Returns accounts of the tenant, newest first, older than `before`; those called `external_id` if given.
    fn accounts(
        &self,
        tenant: TenantId,
        external_id: Option<String>,
        before: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Account>, StoreError>>;

    /// Returns one connection of the tenant.
    fn connection(
        &self,
        tenant: TenantId,
        id: ConnectionId,
    ) -> BoxFuture<'_, Result<Option<Connection>, StoreError>>;

    /// Returns connections of an account, newest first, older than `before`.
    fn connections(
        &self,
        tenant: TenantId,
        account: AccountId,
        before: Option<ConnectionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Connection>, StoreError>>;

    /// Returns the interactions of a connection that are kept, newest first.
    fn interactions(
        &self,
        connection: ConnectionId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InteractionView>, StoreError>>;

    /// Returns one interaction of a connection.
    fn interaction(
        &self,
        connection: ConnectionId,
        id: InteractionId,
    ) -> BoxFuture<'_, Result<Option<InteractionView>, StoreError>>;

    /// Returns fetches of a connection, newest first, older than `before`.
    fn fetches(
        &self,
        connection: ConnectionId,
        before: Option<FetchId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<FetchRecord>, StoreError>>;

    /// Returns one fetch of a connection with its attempts, oldest first.
    fn fetch(
        &self,
        connection: ConnectionId,
        id: FetchId,
    ) -> BoxFuture<'_, Result<Option<FetchView>, StoreError>>;

    /// Returns what is kept of fetches of the tenant that ended on `since` or later, added up by
    /// day, status and class of duration, in that order; it is kept longer than the fetches are.
    fn fetch_statistics(
        &self,
        tenant: TenantId,
        of: FetchScope,
        since: Day,
    ) -> BoxFuture<'_, Result<Vec<FetchTally>, StoreError>>;

    /// Returns how many calls of a source were spent for each tenant in the hours that began at
    /// `since` or later, most first.
    fn spenders(
        &self,
        source: SourceName,
        since: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(TenantId, u64)>, StoreError>>;

    /// Returns documents of the tenant, newest first, older than `before`; those of one account
    /// and of one connection if given.
    fn documents(
        &self,
        tenant: TenantId,
        of: (Option<AccountId>, Option<ConnectionId>),
        before: Option<DocumentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Document>, StoreError>>;

    /// Returns one document of the tenant.
    fn document(
        &self,
        tenant: TenantId,
        id: DocumentId,
    ) -> BoxFuture<'_, Result<Option<Document>, StoreError>>;

    /// Returns the document of a connection that has this id of the source's, or, where none is
    /// given, these bytes.
    fn known_document(
        &self,
        connection: ConnectionId,
        source_id: Option<String>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'_, Result<Option<DocumentId>, StoreError>>;

    /// Returns which of these documents have a row.
    fn existing_documents(
        &self,
        ids: Vec<DocumentId>,
    ) -> BoxFuture<'_, Result<Vec<DocumentId>, StoreError>>;

    /// Returns alerts of the tenant, newest first, older than `before`; see [`AlertFilter`].
    fn alerts(
        &self,
        tenant: TenantId,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>>;

    /// Returns one alert of the tenant.
    fn alert(
        &self,
        tenant: TenantId,
        id: AlertId,
    ) -> BoxFuture<'_, Result<Option<Alert>, StoreError>>;

    /// Returns alerts of all tenants, as the operator sees them, newest first, older than `before`.
    fn alerts_of_all(
        &self,
        filter: AlertFilter,
        before: Option<AlertId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>>;

    /// Returns one alert, whosever it is, as the operator sees it.
    fn alert_of_any(&self, id: AlertId) -> BoxFuture<'_, Result<Option<Alert>, StoreError>>;

    /// Returns kinds of failures that no rule matched, of one source if given, the latest kinds
    /// first, older than `before`.
    fn unclassified(
        &self,
        source: Option<SourceName>,
        before: Option<UnclassifiedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<UnclassifiedView>, StoreError>>;

    /// Returns what is kept of sources beside their files.
    fn sources(&self) -> BoxFuture<'_, Result<Vec<source::Source>, StoreError>>;

    /// Returns incidents of sources, newest first, older than `before`; see [`IncidentFilter`].
    fn incidents(
        &self,
        filter: IncidentFilter,
        before: Option<IncidentId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Incident>, StoreError>>;

    /// Returns deliveries of the tenant, newest change first; see [`DeliveryFilter`].
    fn deliveries(
        &self,
        tenant: TenantId,
        filter: DeliveryFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeliveryRow>, StoreError>>;

    /// Returns one delivery of the tenant with its attempts, oldest first.
    fn delivery(
        &self,
        tenant: TenantId,
        subscription: SubscriptionId,
        place: (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<DeliveryView>, StoreError>>;

    /// Returns the entry of the log at a place, if it is the tenant's and still kept.
    fn entry(
        &self,
        tenant: TenantId,
        place: (Shard, u64),
    ) -> BoxFuture<'_, Result<Option<LogEntry>, StoreError>>;

    /// Returns what an idempotency key was used for.
    fn key(
        &self,
        tenant: TenantId,
        key: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<KeyRow>, StoreError>>;

    /// Returns an error when the database cannot be read now.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
