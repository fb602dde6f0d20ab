//! How a message reaches a person.

use std::fmt;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use wellspring_core::notification::{Channel, NotificationKind};
use wellspring_core::{AccountId, NotificationId, TenantId, Timestamp};

/// Where a message goes; it is contact data, and is never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum NoticeAddress {
    /// An e-mail address.
    Email(String),
    /// A subscription to Web Push, as a browser gives it (RFC 8030, RFC 8291).
    Push {
        /// Where the push service takes messages.
        endpoint: String,
        /// The browser's public key, base64url without padding.
        p256dh: String,
        /// The browser's secret, base64url without padding.
        auth: String,
    },
    /// A telephone number in the form of E.164.
    Sms(String),
    /// The tenant's receiver of notifications.
    Webhook(String),
    /// The list in the application, into which nothing is sent.
    InApp,
}

/// One message to one person over one channel.
#[derive(Debug, Clone)]
pub struct NoticeOrder {
    /// Which notification; with the channel it makes the id that repeats of the message share.
    pub id: NotificationId,
    /// Whose person it is.
    pub tenant: TenantId,
    /// Which person.
    pub account: AccountId,
    /// What it is about.
    pub kind: NotificationKind,
    /// Over which channel.
    pub channel: Channel,
    /// Where to.
    pub to: NoticeAddress,
    /// The person's language, a tag of BCP 47 such as `de`.
    pub language: String,
    /// What the templates are filled with, one for each event; more than one make a digest.
    pub events: Vec<Map<String, Value>>,
    /// The time that the message bears.
    pub at: Timestamp,
    /// Where the person wants no more of this kind over this channel, by one click (RFC 8058).
    pub unsubscribe_url: Option<String>,
}

/// What a message says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoticeWords {
    /// What it is about, one line.
    pub subject: String,
    /// The whole text; paragraphs stand between empty lines.
    pub text: String,
}

/// What came of sending a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeResult {
    /// It was taken.
    Sent {
        /// What the far side calls it, where it says.
        receipt: Option<String>,
    },
    /// It was not, and may be later.
    Failed {
        /// Why, without contact data.
        reason: String,
        /// The far side's own word for when to come back.
        retry_at: Option<Timestamp>,
    },
    /// It was not, and never will be.
    Refused {
        /// Why, without contact data.
        reason: String,
        /// Whether the address as such is no longer good, so that nothing else goes there.
        address_gone: bool,
    },
    /// It was not, for the person has told the far side to send them nothing any more.
    Stopped {
        /// Why, without contact data.
        reason: String,
    },
    /// It may or may not have been taken: the exchange broke off after the message had left.
    Unknown {
        /// Why, without contact data.
        reason: String,
    },
}

/// Sends messages to people.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Sends a message within a deadline of its own; it never waits for longer than half a minute.
    fn send(&self, order: NoticeOrder) -> BoxFuture<'_, NoticeResult>;

    /// Returns whether the channel is configured at all.
    fn has(&self, channel: Channel) -> bool;

    /// Returns the key that browsers subscribe to Web Push with, where that is configured.
    fn push_key(&self) -> Option<String>;

    /// Returns what a message says to its person, for those who read it in the application.
    fn words(&self, order: &NoticeOrder) -> NoticeWords;
}

impl fmt::Debug for NoticeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Email(_) => "Email(…)",
            Self::Push { .. } => "Push(…)",
            Self::Sms(_) => "Sms(…)",
            Self::Webhook(_) => "Webhook(…)",
            Self::InApp => "InApp",
        })
    }
}
