use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::interaction::Code;

/// What to do besides what the class says.
///
/// Written as one word, a notice with its code behind a slash: `notice/locked_out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    /// Nothing beyond the class.
    #[default]
    Default,
    /// The access is revoked and the credentials are purged.
    Revoke,
    /// Nothing is tried until the source sends an event or a person asks.
    WaitForEvent,
    /// The page loop starts again from its first cursor.
    RestartStream,
    /// The window that is asked for is narrowed.
    NarrowWindow,
    /// The source cannot do this at all.
    Unsupported,
    /// The person acknowledges a notice of this code.
    Notice(Code),
}

impl Action {
    /// Every action, notices by the code of a bare `notice` first.
    pub const ALL: [Self; 12] = [
        Self::Default,
        Self::Revoke,
        Self::WaitForEvent,
        Self::RestartStream,
        Self::NarrowWindow,
        Self::Unsupported,
        Self::Notice(Code::UserActionRequired),
        Self::Notice(Code::NotPaperless),
        Self::Notice(Code::NotSupported),
        Self::Notice(Code::LockedOut),
        Self::Notice(Code::SetUpAccount),
        Self::Notice(Code::Retry),
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Revoke => "revoke",
            Self::WaitForEvent => "wait_for_event",
            Self::RestartStream => "restart_stream",
            Self::NarrowWindow => "narrow_window",
            Self::Unsupported => "unsupported",
            Self::Notice(_) => "notice",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Notice(code) => write!(f, "/{}", code.as_str()),
            Self::Default
            | Self::Revoke
            | Self::WaitForEvent
            | Self::RestartStream
            | Self::NarrowWindow
            | Self::Unsupported => Ok(()),
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL
            .into_iter()
            .find(|action| action.to_string() == text || action.word() == text);
        known.ok_or_else(|| {
            let words = Self::ALL.map(|action| action.to_string()).join(", ");
            format!("`{text}` is not an action, there are {words}")
        })
    }
}

impl TryFrom<String> for Action {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.to_string()
    }
}
