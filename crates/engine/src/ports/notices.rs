//! Where messages to people are kept, and what was done about them.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wellspring_core::notification::{Channel, Contact, Issue, NotificationKind, Preferences};
use wellspring_core::{
    AccountId, ConnectionId, IncarnationId, NotificationId, Sealed, Shard, Stored, TenantId,
    Timestamp,
};

use crate::{CommitError, Cursor, LogSlice, Queries, Store, StoreError};

/// How a person is reached and wants to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The account.
    pub account: AccountId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Counts the writes.
    pub version: u32,
    /// Their [`Contact`], sealed.
    pub contact: Option<Sealed>,
    /// What they want.
    pub preferences: Preferences,
}

/// A message to a person, whatever ways it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// Whose person it is.
    pub tenant: TenantId,
    /// Which person.
    pub account: AccountId,
    /// What it is about.
    pub kind: NotificationKind,
    /// When it was written.
    pub at: Timestamp,
    /// When the person read it in the application.
    pub read_at: Option<Timestamp>,
    /// Whether it is listed in the application.
    pub in_app: bool,
    /// What the templates are filled with.
    pub event: Map<String, Value>,
}

/// How a message stands that goes over one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeStatus {
    /// It is to be sent when it is due.
    Planned,
    /// It is being sent.
    Sending,
    /// It was taken.
    Sent,
    /// It was given up.
    Failed,
    /// Whether it was taken is not known, and it is not repeated.
    Unknown,
}

/// A message on its way over one channel to one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Which message.
    pub notification: NotificationId,
    /// Over which channel.
    pub channel: Channel,
    /// Which of the channel's addresses.
    pub slot: u64,
    /// Whose person it is.
    pub tenant: TenantId,
    /// Which person.
    pub account: AccountId,
    /// What it is about.
    pub kind: NotificationKind,
    /// When it is sent next, or was last written once it is over.
    pub due: Timestamp,
    /// Whether it waits for others to go with.
    pub gathers: bool,
    /// How it stands.
    pub status: NoticeStatus,
    /// How often it was tried.
    pub attempts: u16,
    /// The epoch of the shard under which it is being sent.
    pub epoch: u64,
    /// Under whose id it goes: that of the first of those that go together.
    pub order: Option<NotificationId>,
    /// Why it was not taken, without contact data.
    pub reason: Option<String>,
    /// What the far side calls it.
    pub receipt: Option<String>,
}

/// What one step of the notifier writes, all of it or nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct NoticeBatch {
    /// Who writes.
    pub incarnation: IncarnationId,
    /// In which shard.
    pub shard: Shard,
    /// The fence.
    pub epoch: u64,
    /// From where to where the log was read.
    pub cursor: Option<(u64, u64)>,
    /// What people have been told.
    pub issues: Vec<(ConnectionId, AccountId, Issue)>,
    /// New messages.
    pub notifications: Vec<Notification>,
    /// New messages by channel, and those whose standing changed.
    pub notices: Vec<Notice>,
}

/// Which messages are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotificationFilter {
    /// Those that are not read.
    pub unread_only: bool,
    /// Those of one kind.
    pub kind: Option<NotificationKind>,
    /// Those in the application's list alone.
    pub in_app_only: bool,
    /// Those older than this one.
    pub before: Option<NotificationId>,
}

impl Stored for NoticeStatus {
    const MEMBERS: &'static [Self] = &[
        Self::Planned,
        Self::Sending,
        Self::Sent,
        Self::Failed,
        Self::Unknown,
    ];
}

impl NoticeStatus {
    /// Returns the name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Returns whether something is still to be done.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Planned | Self::Sending => true,
            Self::Sent | Self::Failed | Self::Unknown => false,
        }
    }
}

/// Rows of messages to people.
///
/// Nothing is written for an account that is gone or on its way.
pub trait Notices: Send + Sync {
    /// Returns how people are reached; those of whom nothing is kept are missing.
    fn people(&self, accounts: Vec<AccountId>) -> BoxFuture<'_, Result<Vec<Person>, StoreError>>;

    /// Writes how a person is reached over what has the version `expected`, 0 where there is nothing;
    /// returns whether it did.
    fn put_person(&self, person: Person, expected: u32) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Returns up to where the log of these shards was read; 0 where nothing was.
    fn notice_cursors(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<BTreeMap<Shard, u64>, StoreError>>;

    /// Returns what people were told about these connections, where they were told anything.
    fn issues(
        &self,
        connections: Vec<ConnectionId>,
    ) -> BoxFuture<'_, Result<BTreeMap<ConnectionId, Issue>, StoreError>>;

    /// Writes a step of the notifier.
    ///
    /// # Errors
    ///
    /// [`CommitError::Fenced`] where the shard is another's or the cursor is elsewhere.
    fn commit_notices(&self, batch: NoticeBatch) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Adds a message that the tenant sends; a message of this id that is there stays as it is.
    fn add_notification(
        &self,
        notification: Notification,
        notices: Vec<Notice>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns open messages over a channel that are due by `by`, oldest first and by person; none
    /// to people on their way, for nothing could be noted of them.
    fn due_notices(
        &self,
        channel: Channel,
        shards: Vec<Shard>,
        by: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>>;

    /// Returns what belongs to these messages, in the order of their ids.
    fn notifications_of(
        &self,
        ids: Vec<NotificationId>,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>>;

    /// Returns messages to a person, newest first.
    fn notifications(
        &self,
        account: AccountId,
        filter: NotificationFilter,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Notification>, StoreError>>;

    /// Returns how a message stands, by channel and slot.
    fn notices(
        &self,
        notification: NotificationId,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>>;

    /// Notes that the person read it; returns whether there is such a message of theirs.
    fn read_notification(
        &self,
        account: AccountId,
        id: NotificationId,
        at: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes messages written before a moment, at most `limit`; returns how many.
    fn sweep_notifications(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<usize, StoreError>>;
}

/// What a notifier needs of a database: the rows of messages, and the log.
pub trait NoticeBackend: Notices + fmt::Debug {
    /// Returns the present end of the log.
    fn log_head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>>;

    /// Reads at most `limit` entries of a shard's log after `after`, of all tenants.
    fn log_after(
        &self,
        shard: Shard,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<LogSlice, StoreError>>;
}

impl<T: Store + Queries + Notices> NoticeBackend for T {
    fn log_head(&self) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        self.head()
    }

    fn log_after(
        &self,
        shard: Shard,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<LogSlice, StoreError>> {
        self.log(shard, after, None, limit)
    }
}

/// Knows the addresses that are kept sealed.
pub trait AddressBook: fmt::Debug + Send + Sync {
    /// Returns how a person is reached; nothing where it cannot be opened.
    fn open(&self, person: &Person) -> Option<Contact>;

    /// Seals how a person is reached.
    fn seal(&self, account: AccountId, contact: &Contact) -> Sealed;

    /// Returns where a person wants no more of a kind over a channel, by one click.
    fn unsubscribe_url(
        &self,
        account: AccountId,
        kind: NotificationKind,
        channel: Channel,
    ) -> Option<String>;
}
