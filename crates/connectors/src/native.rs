//! What a connector is that fetches connections.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use wellspring_core::Rule;
use wellspring_core::interaction::CredentialField;

use crate::Session;
use crate::failure::Failed;

/// Fetches connections of one kind of source.
///
/// It reports facts through its session and decides nothing about schedules, retries or states.
pub trait Native: Debug + Send + Sync {
    /// Returns what the source wants to log in.
    fn credential_fields(&self) -> Vec<CredentialField>;

    /// Returns the names of what it calls, each of which it asks leave for, as budgets name it.
    fn endpoints(&self) -> &'static [&'static str];

    /// Returns the rules for the source's own errors, tried before those for HTTP in general.
    fn rules(&self) -> Vec<Rule>;

    /// Returns what a refusal calls itself, for rules to look at, where that is not in a common form.
    fn words(&self, _body: &[u8]) -> Words {
        Words::default()
    }

    /// Makes one attempt.
    ///
    /// The future may be dropped at any await. What the session took is durable; the next attempt
    /// begins with it, and with what a question left.
    fn run<'s>(&'s self, session: &'s Session) -> BoxFuture<'s, Result<Finished, Stop>>;
}

/// What a refusal calls itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// The source's word for the kind of error.
    pub error_type: Option<String>,
    /// The source's error code.
    pub error_code: Option<String>,
}

/// All that is new is here, or all but what failed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finished {
    /// What failed, where only some of it did.
    pub partial: Option<Failed>,
}

/// Why an attempt ends before it is finished.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// It failed.
    Failed(Box<Failed>),
    /// The source asks something, which was posed.
    Asked,
    /// The fetch is no longer this attempt's.
    Ended,
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Failed(Box::new(failed))
    }
}
