//! Messages to people: what they are about and how they reach them (section 8 of the domain).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Stored;

mod issue;
mod maintenance;
mod person;
mod plan;

pub use issue::{Issue, IssueKey, Observation, Telling};
pub use maintenance::Maintenance;
pub use person::{
    Contact, Digest, Minute, Preferences, PreferencesError, PushSubscription, QuietHours,
};
pub use plan::{Planned, Reach, plan, quiet_until, retry_after};

/// What a message to a person is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A connection needs the person, or no longer does.
    PlaidConnectionIssue,
    /// A source is in maintenance, or no longer is.
    BankMaintenance,
    /// How fetching goes.
    DataSyncStatus,
    /// Something that touches the person's security; it ignores quiet hours.
    SecurityAlert,
    /// A change of terms, consent or law.
    ComplianceUpdate,
    /// The application itself is in maintenance.
    SystemMaintenance,
    /// Something new in the application.
    FeatureUpdate,
    /// A change to the person's account.
    AccountUpdate,
}

/// How a message reaches a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// By e-mail.
    Email,
    /// Inside the application, which lists what is unread.
    InApp,
    /// By Web Push (RFC 8030).
    Push,
    /// By SMS.
    Sms,
    /// By a signed webhook to the tenant's own sender of messages.
    Webhook,
}

impl NotificationKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::PlaidConnectionIssue,
        Self::BankMaintenance,
        Self::DataSyncStatus,
        Self::SecurityAlert,
        Self::ComplianceUpdate,
        Self::SystemMaintenance,
        Self::FeatureUpdate,
        Self::AccountUpdate,
    ];

    /// Returns the name used in API, tables and the names of template files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlaidConnectionIssue => "plaid_connection_issue",
            Self::BankMaintenance => "bank_maintenance",
            Self::DataSyncStatus => "data_sync_status",
            Self::SecurityAlert => "security_alert",
            Self::ComplianceUpdate => "compliance_update",
            Self::SystemMaintenance => "system_maintenance",
            Self::FeatureUpdate => "feature_update",
            Self::AccountUpdate => "account_update",
        }
    }
}

impl Channel {
    /// Every channel, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Email,
        Self::InApp,
        Self::Push,
        Self::Sms,
        Self::Webhook,
    ];

    /// Returns the name used in API, tables and the names of template files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::InApp => "in_app",
            Self::Push => "push",
            Self::Sms => "sms",
            Self::Webhook => "webhook",
        }
    }
}

impl Stored for NotificationKind {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

impl Stored for Channel {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NotificationKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not a type of notification"))
    }
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL
            .into_iter()
            .find(|channel| channel.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not a channel"))
    }
}
