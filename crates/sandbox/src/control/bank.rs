use std::time::Duration;

use serde::{Serialize, Serializer};

use super::settings::as_millis;

/// How the bank behaves, beyond what every source can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BankSettings {
    /// Documents of each kind issued beyond those of the start.
    pub new_documents: u32,
    /// Transactions booked beyond those of the start.
    pub new_transactions: u32,
    /// Wait before every document; where it is not set, only the password `slow` has one.
    #[serde(
        rename = "document_latency_ms",
        serialize_with = "as_millis_if_there_is_one"
    )]
    pub document_latency: Option<Duration>,
    /// Documents end in the middle, with a `Content-Length` for all of them.
    pub truncate_documents: bool,
    /// How long a one-time code holds.
    #[serde(rename = "code_expires_in_s", serialize_with = "as_seconds")]
    pub code_expires_in: Duration,
    /// What the captcha's picture shows: letters and digits without `I`, `O`, `0` and `1`.
    pub captcha: String,
}

impl Default for BankSettings {
    /// Nothing new, nothing slow, codes that hold ten minutes.
    fn default() -> Self {
        Self {
            new_documents: 0,
            new_transactions: 0,
            document_latency: None,
            truncate_documents: false,
            code_expires_in: Duration::from_secs(600),
            captcha: "W4TER".to_owned(),
        }
    }
}

/// The bank's calls received, by what they asked for, whatever they were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BankCounts {
    /// Logins.
    pub logins: u64,
    /// The most logins in any sixty seconds.
    pub max_logins_per_minute: u64,
    /// Questions posed; not a call, but a part of what a login or an answer was answered.
    pub challenges: u64,
    /// Answers to questions.
    pub answers: u64,
    /// Times a person agreed or refused on the consent page.
    pub consents: u64,
    /// Looks at the account.
    pub accounts: u64,
    /// Pages of the list of documents.
    pub document_lists: u64,
    /// Documents.
    pub documents: u64,
    /// Pages of transactions.
    pub transactions: u64,
    /// Sessions ended by their owner.
    pub logouts: u64,
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn as_millis_if_there_is_one<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => as_millis(duration, serializer),
        None => serializer.serialize_none(),
    }
}
