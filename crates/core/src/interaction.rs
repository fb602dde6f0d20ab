//! Interactions: what a source asks a person in the middle of a fetch.

mod answer;
mod check;
mod credentials;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Stored, serde_duration};

pub use answer::{AnswerFault, PartValue, Response, Validated};
pub use check::{PartError, QuestionError};
pub use credentials::CredentialField;

/// What a source asks, as a connector poses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What kind of question it is.
    pub code: Code,
    /// A heading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is shown and asked, in order.
    pub parts: Vec<Part>,
    /// How long it can be answered; a persistent one has no end.
    #[serde(with = "optional_duration", default)]
    pub expires_in: Option<Duration>,
}

/// What kind of question it is.
#[expect(
    clippy::enum_variant_names,
    reason = "the names are the domain's, and the clash with `Code` is chance"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The login data themselves.
    Credentials,
    /// A personal number beside the password.
    Pin,
    /// Which branch keeps the account.
    BranchCode,
    /// Which region the account belongs to.
    Region,
    /// A code that was sent to the person just now.
    OneTimeCode,
    /// How such a code is to be sent.
    CodeDelivery,
    /// A secret that only the person knows.
    SecretQuestion,
    /// A picture to be read.
    Captcha,
    /// The person's agreement, given at the source.
    Consent,
    /// Notice: the account gets its statements on paper.
    NotPaperless,
    /// Notice: the source does not support this account.
    NotSupported,
    /// Notice: something has to be done at the source itself.
    UserActionRequired,
    /// Notice: the source has locked the account.
    LockedOut,
    /// Notice: the account has to be set up at the source first.
    SetUpAccount,
    /// Notice: the last question was not answered in time, it is tried again.
    Retry,
}

/// One thing that is shown or asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Part {
    /// A text to read.
    StaticText {
        /// Names it within the question.
        id: String,
        /// The text.
        text: String,
    },
    /// A line to fill in.
    TextInput {
        /// Names it within the question.
        id: String,
        /// What to fill in.
        label: String,
        /// Whether it is a secret: shown as dots, encrypted while it waits, gone once used.
        #[serde(default)]
        sensitive: bool,
        /// What stands there at first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<String>,
        /// A regular expression that the whole value matches.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
        /// The most characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_length: Option<u32>,
    },
    /// One of several.
    Choices {
        /// Names it within the question.
        id: String,
        /// What to choose.
        label: String,
        /// What there is.
        choices: Vec<Choice>,
        /// The id of the one that is chosen at first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<String>,
        /// How it is best shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        widget: Option<Widget>,
    },
    /// A day, `YYYY-MM-DD`.
    Date {
        /// Names it within the question.
        id: String,
        /// Which day.
        label: String,
    },
    /// A decimal number.
    Number {
        /// Names it within the question.
        id: String,
        /// Which number.
        label: String,
        /// The least.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<i64>,
        /// The greatest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<i64>,
    },
    /// A picture to look at: a captcha, a photo-TAN, a flicker code.
    Image {
        /// Names it within the question.
        id: String,
        /// What it shows, for those who cannot see it.
        label: String,
        /// Such as `image/png`.
        media_type: String,
        /// The bytes, in base64.
        data: String,
    },
    /// An address to open.
    Link {
        /// Names it within the question.
        id: String,
        /// What to click on.
        text: String,
        /// Where it leads.
        url: String,
    },
    /// A button beside the usual one that sends the answer.
    Button {
        /// Names it within the question.
        id: String,
        /// What stands on it.
        label: String,
        /// What it does.
        action: ButtonAction,
    },
    /// The source's own page, where the person goes to agree and comes back from.
    Redirect {
        /// Names it within the question.
        id: String,
        /// What to click on.
        label: String,
        /// Where it leads.
        url: String,
    },
}

/// One of several answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The value that is answered.
    pub id: String,
    /// What is shown.
    pub label: String,
}

/// How choices are best shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Widget {
    /// All at once, one of them marked.
    RadioButtons,
    /// A list, one of its lines marked.
    ListBox,
    /// A list that unfolds and takes typing.
    ComboBox,
    /// A list that unfolds.
    DropDown,
}

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ButtonAction {
    /// Nothing is sent: the person answers later.
    Defer,
    /// The answer is sent, and the fetch ends here.
    RespondOnly,
    /// The answer is sent, and the fetch goes on.
    RespondAndContinue,
    /// The answer is sent, and the connection is deleted.
    RespondAndDeleteConnection,
}

/// Why an interaction is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// It was answered.
    Answered,
    /// Its time passed.
    Expired,
    /// It was called off, with its fetch.
    Cancelled,
    /// Another took its place.
    Superseded,
    /// Its connection was deleted.
    ConnectionDeleted,
}

impl Code {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Credentials,
        Self::Pin,
        Self::BranchCode,
        Self::Region,
        Self::OneTimeCode,
        Self::CodeDelivery,
        Self::SecretQuestion,
        Self::Captcha,
        Self::Consent,
        Self::NotPaperless,
        Self::NotSupported,
        Self::UserActionRequired,
        Self::LockedOut,
        Self::SetUpAccount,
        Self::Retry,
    ];

    /// Returns the name used in API, tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Pin => "pin",
            Self::BranchCode => "branch_code",
            Self::Region => "region",
            Self::OneTimeCode => "one_time_code",
            Self::CodeDelivery => "code_delivery",
            Self::SecretQuestion => "secret_question",
            Self::Captcha => "captcha",
            Self::Consent => "consent",
            Self::NotPaperless => "not_paperless",
            Self::NotSupported => "not_supported",
            Self::UserActionRequired => "user_action_required",
            Self::LockedOut => "locked_out",
            Self::SetUpAccount => "set_up_account",
            Self::Retry => "retry",
        }
    }

    /// Returns whether it only has to be acknowledged.
    pub const fn is_notice(self) -> bool {
        match self {
            Self::NotPaperless
            | Self::NotSupported
            | Self::UserActionRequired
            | Self::LockedOut
            | Self::SetUpAccount
            | Self::Retry => true,
            Self::Credentials
            | Self::Pin
            | Self::BranchCode
            | Self::Region
            | Self::OneTimeCode
            | Self::CodeDelivery
            | Self::SecretQuestion
            | Self::Captcha
            | Self::Consent => false,
        }
    }
}

impl Part {
    /// Returns what names it within the question.
    pub fn id(&self) -> &str {
        match self {
            Self::StaticText { id, .. }
            | Self::TextInput { id, .. }
            | Self::Choices { id, .. }
            | Self::Date { id, .. }
            | Self::Number { id, .. }
            | Self::Image { id, .. }
            | Self::Link { id, .. }
            | Self::Button { id, .. }
            | Self::Redirect { id, .. } => id,
        }
    }

    /// Returns whether a value is asked for; a button is clicked, which is another thing.
    pub const fn is_input(&self) -> bool {
        match self {
            Self::TextInput { .. }
            | Self::Choices { .. }
            | Self::Date { .. }
            | Self::Number { .. } => true,
            Self::StaticText { .. }
            | Self::Image { .. }
            | Self::Link { .. }
            | Self::Button { .. }
            | Self::Redirect { .. } => false,
        }
    }

    /// Returns whether what is asked for is a secret.
    pub const fn is_sensitive(&self) -> bool {
        match self {
            Self::TextInput { sensitive, .. } => *sensitive,
            Self::StaticText { .. }
            | Self::Choices { .. }
            | Self::Date { .. }
            | Self::Number { .. }
            | Self::Image { .. }
            | Self::Link { .. }
            | Self::Button { .. }
            | Self::Redirect { .. } => false,
        }
    }
}

impl ButtonAction {
    /// Returns the name used in API and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::RespondOnly => "respond_only",
            Self::RespondAndContinue => "respond_and_continue",
            Self::RespondAndDeleteConnection => "respond_and_delete_connection",
        }
    }
}

impl Closed {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Answered,
        Self::Expired,
        Self::Cancelled,
        Self::Superseded,
        Self::ConnectionDeleted,
    ];

    /// Returns the name used in API, tables and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::ConnectionDeleted => "connection_deleted",
        }
    }
}

impl Stored for Code {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

impl Stored for Closed {
    const MEMBERS: &'static [Self] = &Self::ALL;
}

mod optional_duration {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Duration, serde_duration};

    #[derive(Serialize, Deserialize)]
    struct Wrapped(#[serde(with = "serde_duration")] Duration);

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Wrapped).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
    }
}

#[cfg(test)]
mod tests;
