//! Known bugs that can be switched on, to see that the invariants find them.

use std::fmt;
use std::str::FromStr;

pub(crate) mod spoil;

/// A bug in the simulator's own shell and store layers; no product code knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plant {
    /// Effects run when a batch is handed over, whatever becomes of it.
    ActBeforeCommit,
    /// A late result is taken for the answer to the latest call.
    IgnoreStaleVersion,
    /// The scan at start drops rows that are due later.
    ForgetTimersAtRestart,
    /// The scan at start drops rows that are due already.
    ForgetInflightAtRestart,
    /// Each attempt bears a message id of its own.
    NewIdOnRepeat,
    /// Fetched data is not written.
    LosePayload,
    /// Idempotency keys are not written.
    DoubleAccept,
    /// The commits of a fenced node are applied as if they were the owner's.
    SkipFence,
    /// A caller is answered before the commit.
    AckBeforeCommit,
    /// An entry of the log is not written.
    SwallowLog,
    /// A commit of unknown outcome is taken for written.
    ReuseUnknown,
    /// Retention removes unfinished collections.
    RetentionEatsLive,
    /// An erasure is answered and not written.
    EraseNothing,
    /// The result of a call is dropped now and then.
    DropResult,
    /// Inbox rows are handed over at every reading until they are gone.
    InboxTwice,
    /// Failures of a source that is down are not told to its breaker.
    IgnoreBreaker,
    /// A document that is here already is reported again.
    DocumentTwice,
    /// The connections of an account that is erased are not found.
    ForgetChildren,
    /// The scan at start drops what wakes up without a call: open questions, and accounts that are being erased.
    ForgetQuestions,
    /// What an ended attempt tells is taken for the word of the present one.
    StaleIsCurrent,
    /// A fetch that was throttled counts as failed.
    CountThrottled,
    /// What the connector needs to go on after a question is not written.
    DropResume,
    /// An answer is kept after its use.
    KeepAnswer,
    /// A cursor moves on without its records.
    CursorAlone,
    /// A connection's end is said before that of its question.
    ParentFirst,
    /// An attempt that was lost with its node counts as a failed fetch.
    SpendOnLoss,
    /// A repair that was abandoned leaves its credentials behind.
    KeepRepair,
    /// The driver is not told how many calls a minute a source allows.
    IgnoreRate,
    /// The closing of a question is not written.
    LoseClose,
    /// A message that its endpoint did not get is taken for taken.
    LoseMessage,
    /// Deliveries that have to be tried again are not written.
    ForgetRows,
    /// What a person has been told is not written.
    ForgetTold,
    /// A message to a person is not marked before it leaves.
    SendUnmarked,
    /// A message whose fate is not known is taken for one that failed.
    UnknownIsFailed,
    /// Entries of the log are read and passed over.
    MissEntries,
    /// Fetches that were throttled or met maintenance count for the score.
    CountKeptOut,
    /// A fetch that met maintenance counts as failed.
    SpendInMaintenance,
    /// A node is not told that sources are switched off.
    ForgetSwitch,
    /// Each life of a node spends from budgets of its own.
    SpendAlone,
    /// The opening of an alert about a source is said and not written.
    ForgetAlert,
    /// The driver is told that failed attempts may be repeated without end.
    RepeatTooOften,
    /// How a connection fares is told without the incidents of its source.
    MissIncidents,
    /// A notifier does not know of quiet hours.
    DisturbAtNight,
    /// A call is made although its windows are spent.
    LeaveWhenSpent,
    /// What a connection spends is counted for another one.
    SpendOnStranger,
    /// An attempt that was ended is given leave to call.
    LeaveToEnded,
    /// A call counts from when it was granted on, not from when it goes out at the latest.
    CountTooEarly,
    /// What our own budget holds back is taken for a word of the source.
    BudgetIsItsWord,
    /// A fetch that our own budget holds back counts as failed.
    SpendOnBudget,
    /// What a source says of its own count is not heard.
    DeafToFigures,
}

impl Plant {
    /// Every bug.
    pub const ALL: [Self; 50] = [
        Self::ActBeforeCommit,
        Self::IgnoreStaleVersion,
        Self::ForgetTimersAtRestart,
        Self::ForgetInflightAtRestart,
        Self::NewIdOnRepeat,
        Self::LosePayload,
        Self::DoubleAccept,
        Self::SkipFence,
        Self::AckBeforeCommit,
        Self::SwallowLog,
        Self::ReuseUnknown,
        Self::RetentionEatsLive,
        Self::EraseNothing,
        Self::DropResult,
        Self::InboxTwice,
        Self::IgnoreBreaker,
        Self::DocumentTwice,
        Self::ForgetChildren,
        Self::ForgetQuestions,
        Self::StaleIsCurrent,
        Self::CountThrottled,
        Self::DropResume,
        Self::KeepAnswer,
        Self::CursorAlone,
        Self::ParentFirst,
        Self::SpendOnLoss,
        Self::KeepRepair,
        Self::IgnoreRate,
        Self::LoseClose,
        Self::LoseMessage,
        Self::ForgetRows,
        Self::ForgetTold,
        Self::SendUnmarked,
        Self::UnknownIsFailed,
        Self::MissEntries,
        Self::CountKeptOut,
        Self::SpendInMaintenance,
        Self::ForgetSwitch,
        Self::SpendAlone,
        Self::ForgetAlert,
        Self::RepeatTooOften,
        Self::MissIncidents,
        Self::DisturbAtNight,
        Self::LeaveWhenSpent,
        Self::SpendOnStranger,
        Self::LeaveToEnded,
        Self::CountTooEarly,
        Self::BudgetIsItsWord,
        Self::SpendOnBudget,
        Self::DeafToFigures,
    ];

    /// Returns the name used at the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActBeforeCommit => "act_before_commit",
            Self::IgnoreStaleVersion => "ignore_stale_version",
            Self::ForgetTimersAtRestart => "forget_timers_at_restart",
            Self::ForgetInflightAtRestart => "forget_inflight_at_restart",
            Self::NewIdOnRepeat => "new_id_on_repeat",
            Self::LosePayload => "lose_payload",
            Self::DoubleAccept => "double_accept",
            Self::SkipFence => "skip_fence",
            Self::AckBeforeCommit => "ack_before_commit",
            Self::SwallowLog => "swallow_log",
            Self::ReuseUnknown => "reuse_unknown",
            Self::RetentionEatsLive => "retention_eats_live",
            Self::EraseNothing => "erase_nothing",
            Self::DropResult => "drop_result",
            Self::InboxTwice => "inbox_twice",
            Self::IgnoreBreaker => "ignore_breaker",
            Self::DocumentTwice => "document_twice",
            Self::ForgetChildren => "forget_children",
            Self::ForgetQuestions => "forget_questions",
            Self::StaleIsCurrent => "stale_is_current",
            Self::CountThrottled => "count_throttled",
            Self::DropResume => "drop_resume",
            Self::KeepAnswer => "keep_answer",
            Self::CursorAlone => "cursor_alone",
            Self::ParentFirst => "parent_first",
            Self::SpendOnLoss => "spend_on_loss",
            Self::KeepRepair => "keep_repair",
            Self::IgnoreRate => "ignore_rate",
            Self::LoseClose => "lose_close",
            Self::LoseMessage => "lose_message",
            Self::ForgetRows => "forget_rows",
            Self::ForgetTold => "forget_told",
            Self::SendUnmarked => "send_unmarked",
            Self::UnknownIsFailed => "unknown_is_failed",
            Self::MissEntries => "miss_entries",
            Self::CountKeptOut => "count_kept_out",
            Self::SpendInMaintenance => "spend_in_maintenance",
            Self::ForgetSwitch => "forget_switch",
            Self::SpendAlone => "spend_alone",
            Self::ForgetAlert => "forget_alert",
            Self::RepeatTooOften => "repeat_too_often",
            Self::MissIncidents => "miss_incidents",
            Self::DisturbAtNight => "disturb_at_night",
            Self::LeaveWhenSpent => "leave_when_spent",
            Self::SpendOnStranger => "spend_on_stranger",
            Self::LeaveToEnded => "leave_to_ended",
            Self::CountTooEarly => "count_too_early",
            Self::BudgetIsItsWord => "budget_is_its_word",
            Self::SpendOnBudget => "spend_on_budget",
            Self::DeafToFigures => "deaf_to_figures",
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|plant| plant.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not a planted bug; see --list-plants"))
    }
}
