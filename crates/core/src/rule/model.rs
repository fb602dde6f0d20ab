use serde::{Deserialize, Serialize};

use super::shipped::Shipped;
use super::{Rule, plaid, shipped};

/// Whose words for errors a source uses; a model is a set of rules that ships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorModel {
    /// Statuses of HTTP, and nothing said about bodies.
    #[default]
    Http,
    /// Plaid's types and codes, then HTTP.
    Plaid,
}

impl ErrorModel {
    /// Every model.
    pub const ALL: [Self; 2] = [Self::Http, Self::Plaid];

    /// Returns the name used in source files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Plaid => "plaid",
        }
    }

    /// Returns the rules in the order in which they are tried.
    pub fn rules(self) -> Vec<Rule> {
        let own = match self {
            Self::Http => Vec::new(),
            Self::Plaid => plaid::rules(),
        };
        let http = shipped::HTTP.iter().map(Shipped::rule);
        own.into_iter().chain(http).collect()
    }
}
