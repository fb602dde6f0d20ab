//! Where messages to people are kept, and what was done about them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wellspring_core::notification::{
    Channel, Contact, Issue, Maintenance, NotificationKind, Preferences,
};
use wellspring_core::source::Source;
use wellspring_core::{
    AccountId, ConnectionId, IncarnationId, IncidentId, NotificationId, Sealed, Shard, SourceName,
    Stored, TenantId, Timestamp,
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
    /// By what their telephone number is found again, which says nothing about it.
    pub phone: Option<PhoneMark>,
    /// Messages of theirs that were taken in, the last one last.
    pub heard: Vec<PhoneMark>,
}

/// A keyed hash of a telephone number, or of the id of a message that came from one.
pub type PhoneMark = [u8; 16];

/// How far the people of one shard were told about an incident of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentStage {
    /// They are being told of its start, and were up to here.
    Beginning(Option<AccountId>),
    /// All were told of its start.
    Begun,
    /// They are being told of its end, and were up to here.
    Ending(Option<AccountId>),
    /// All were told of its end; nothing of it is kept.
    Ended,
}

/// What is kept of an incident for the people of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentTelling {
    /// Where it is.
    pub source: SourceName,
    /// How far people were told.
    pub stage: IncidentStage,
}

/// A step in telling the people of one shard of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentWrite {
    /// Which incident.
    pub id: IncidentId,
    /// What the step goes on from; nothing where nobody was told.
    pub from: Option<IncidentStage>,
    /// What is kept of it then.
    pub to: IncidentTelling,
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
    /// The request that it came by, where its sender named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestMark>,
}

/// A request for a message that is written once, however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMark {
    /// What its sender calls it, hashed.
    pub key: [u8; 16],
    /// What it said, hashed with a key.
    pub said: [u8; 16],
}

/// What may be done for an account only so often, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allowance {
    /// Messages for a test.
    TestMessages,
    /// Changes of where a person is reached, by their own client.
    ContactChanges,
}

/// What people were told about the maintenance of sources.
pub type MaintenanceTold = BTreeMap<(AccountId, SourceName), Maintenance>;

/// How far the people of shards were told about incidents.
pub type IncidentsTold = BTreeMap<(Shard, IncidentId), IncidentTelling>;

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
    /// What it says was over before it went or was tried again, or the number wants no SMS.
    Dropped,
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
    /// What people have been told about the maintenance of sources.
    pub maintenance: Vec<(AccountId, SourceName, Option<Maintenance>)>,
    /// How far they were told about incidents.
    pub incidents: Vec<IncidentWrite>,
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

impl Stored for Allowance {
    const MEMBERS: &'static [Self] = &[Self::TestMessages, Self::ContactChanges];
}

impl Allowance {
    /// Returns how often within [`Self::window`].
    pub const fn most(self) -> u32 {
        match self {
            Self::TestMessages => 5,
            Self::ContactChanges => 10,
        }
    }

    /// Returns how long a window is; it begins with the first use.
    pub const fn window(self) -> Duration {
        match self {
            Self::TestMessages => Duration::from_secs(3_600),
            Self::ContactChanges => Duration::from_secs(86_400),
        }
    }
}

impl Stored for NoticeStatus {
    const MEMBERS: &'static [Self] = &[
        Self::Planned,
        Self::Sending,
        Self::Sent,
        Self::Failed,
        Self::Unknown,
        Self::Dropped,
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
            Self::Dropped => "dropped",
        }
    }

    /// Returns whether something is still to be done.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Planned | Self::Sending => true,
            Self::Sent | Self::Failed | Self::Unknown | Self::Dropped => false,
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

    /// Returns the people of a telephone number.
    fn people_called(&self, phone: PhoneMark) -> BoxFuture<'_, Result<Vec<Person>, StoreError>>;

    /// Notes that a number wants no SMS, or wants them again; `by` is the message that says so.
    ///
    /// What the same message says again changes nothing.
    fn hear_phone(
        &self,
        phone: PhoneMark,
        by: Option<PhoneMark>,
        stopped: bool,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns those of these numbers that want no SMS, whosever they are.
    fn stopped_phones(
        &self,
        phones: Vec<PhoneMark>,
    ) -> BoxFuture<'_, Result<Vec<PhoneMark>, StoreError>>;

    /// Takes one use of an account's allowance; returns when there is the next where all are taken.
    fn spend(
        &self,
        account: AccountId,
        allowance: Allowance,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>>;

    /// Returns the accounts of one shard that have a connection to a source that is not disabled,
    /// in order from `after` on.
    fn accounts_at(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>>;

    /// Returns the accounts of one shard of which it is kept what they were told about the
    /// maintenance of a source, in order from `after` on.
    fn accounts_told(
        &self,
        source: SourceName,
        shard: Shard,
        after: Option<AccountId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(AccountId, TenantId)>, StoreError>>;

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

    /// Returns what people were told about the maintenance of sources, where they were told anything.
    fn maintenance_told(
        &self,
        of: Vec<(AccountId, SourceName)>,
    ) -> BoxFuture<'_, Result<MaintenanceTold, StoreError>>;

    /// Returns the incidents of which the people of these shards were told and that are not over for them.
    fn incidents_told(
        &self,
        shards: Vec<Shard>,
    ) -> BoxFuture<'_, Result<IncidentsTold, StoreError>>;

    /// Returns messages to these people that wait: held back, or to be tried again.
    fn held_notices(
        &self,
        accounts: Vec<AccountId>,
    ) -> BoxFuture<'_, Result<Vec<Notice>, StoreError>>;

    /// Writes a step of the notifier.
    ///
    /// # Errors
    ///
    /// [`CommitError::Fenced`] where the shard is another's, or the cursor or an incident is elsewhere.
    fn commit_notices(&self, batch: NoticeBatch) -> BoxFuture<'_, Result<(), CommitError>>;

    /// Adds a message that the tenant sends; a message of this id that is there stays as it is.
    ///
    /// Returns the message that came by a request of the same key before, and adds none then.
    fn add_notification(
        &self,
        notification: Notification,
        notices: Vec<Notice>,
    ) -> BoxFuture<'_, Result<Option<Notification>, StoreError>>;

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

    /// Returns the number of the last message that was written to a person; 0 where there was none.
    fn notification_head(&self, account: AccountId) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Returns messages of the application's list that were written after the one of a number, each with its own.
    ///
    /// Numbers grow in the order in which messages come to be seen: none appears below one that was read.
    fn notifications_since(
        &self,
        account: AccountId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(u64, Notification)>, StoreError>>;

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

    /// Returns what is kept of sources beside their files.
    fn kept_sources(&self) -> BoxFuture<'_, Result<Vec<Source>, StoreError>>;

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

    fn kept_sources(&self) -> BoxFuture<'_, Result<Vec<Source>, StoreError>> {
        self.sources()
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

    /// Returns by what a telephone number, or the id of a message from one, is found again.
    fn mark(&self, text: &str) -> PhoneMark;

    /// Returns where a person mends one of their connections, up to a moment.
    fn mend_url(
        &self,
        account: AccountId,
        connection: ConnectionId,
        until: Timestamp,
    ) -> Option<String>;

    /// Returns where a person wants no more of a kind over a channel, by one click.
    fn unsubscribe_url(
        &self,
        account: AccountId,
        kind: NotificationKind,
        channel: Channel,
    ) -> Option<String>;
}
