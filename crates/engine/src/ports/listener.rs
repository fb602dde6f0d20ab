//! What a source says beside what it was asked for.

use wellspring_core::Timestamp;
use wellspring_core::budget::Remaining;

/// What the headers of an answer say of the calls that are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What was being done, as rules and limits name it.
    pub endpoint: &'static str,
    /// When the call went out that was answered.
    pub asked_at: Timestamp,
    /// What was said, of each window.
    pub remaining: Vec<Remaining>,
}

/// Hears what a source says of its own count.
pub trait Listener: std::fmt::Debug + Send + Sync {
    /// Takes it in if there is room; what gets lost the next answer says again.
    fn hear(&self, heard: Heard);
}

/// Whoever makes a call beside all budgets.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Listener for Nobody {
    fn hear(&self, _heard: Heard) {}
}
