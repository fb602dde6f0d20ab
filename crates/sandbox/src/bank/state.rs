use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Call;
use super::session::Sessions;
use crate::control::{BankCounts, BankSettings};

/// What the bank remembers.
#[derive(Debug)]
pub(crate) struct BankState {
    settings: BankSettings,
    pub(super) counts: BankCounts,
    last_minute: VecDeque<Instant>,
    pub(super) sessions: Sessions,
    /// Whether the next session that may be lost is.
    pub(super) loses_next: bool,
}

impl BankState {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            settings: BankSettings::default(),
            counts: BankCounts::default(),
            last_minute: VecDeque::new(),
            sessions: Sessions::new(seed),
            loses_next: true,
        }
    }

    pub(crate) fn settings(&self) -> &BankSettings {
        &self.settings
    }

    pub(crate) fn settings_mut(&mut self) -> &mut BankSettings {
        &mut self.settings
    }

    pub(crate) fn counts(&self) -> BankCounts {
        self.counts
    }

    pub(crate) fn expire_sessions(&mut self) {
        self.sessions.close_all();
    }

    pub(super) fn arrived(&mut self, call: &Call, now: Instant) {
        let counts = &mut self.counts;
        match call {
            Call::Login => {
                counts.logins += 1;
                let minute = &mut self.last_minute;
                while minute
                    .front()
                    .is_some_and(|login| now.duration_since(*login) >= MINUTE)
                {
                    minute.pop_front();
                }
                minute.push_back(now);
                let logins = u64::try_from(minute.len()).unwrap_or(u64::MAX);
                counts.max_logins_per_minute = counts.max_logins_per_minute.max(logins);
            }
            Call::Answer => counts.answers += 1,
            Call::Logout => counts.logouts += 1,
            Call::Account => counts.accounts += 1,
            Call::Documents => counts.document_lists += 1,
            Call::Document(_) => counts.documents += 1,
            Call::Transactions => counts.transactions += 1,
            Call::Nowhere => {}
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
