//! What goes wrong, by name.

use std::fmt;

/// A fault that the simulator injects and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node dies while a commit is on its way; nothing of it was written.
    CrashBeforeCommit,
    /// A node dies when a commit is durable, before it acts on it.
    CrashAfterCommit,
    /// The answer to a commit that was written is lost.
    CommitUnknownCommitted,
    /// A commit is lost, and nobody knows.
    CommitUnknownLost,
    /// The database takes no commits for a while.
    CommitRefused,
    /// A node stands still past its lease while calls of it are in flight.
    LeaseLostMidCall,
    /// A node joins or leaves, and shards change hands.
    ShardHandover,
    /// The same result is reported twice.
    ResponseDuplicated,
    /// The result of a call never comes, or comes as a timeout although the far side acted.
    ResponseLost,
    /// The result of a call comes minutes late.
    ResponseDelayed,
    /// A node's clock jumps ahead.
    ClockForward,
    /// A node's clock jumps back.
    ClockBackward,
    /// A source is down for hours.
    SourceOutage,
    /// A source throttles, with or without a time.
    SourceThrottles,
    /// A receiver is down for days.
    ReceiverDown,
    /// A receiver answers 410.
    ReceiverGone,
    /// Rows cannot be read.
    LoadFailed,
    /// A node is stopped and started again.
    Restart,
    /// A connector's report comes minutes late.
    ReportDelayed,
    /// Somebody ends an attempt: its connection is disabled, deleted or given other credentials.
    AttemptEnded,
    /// A person's answer is left in the inbox of another node.
    AnswerPosted,
    /// A subscription's endpoint is down for days, or throttles.
    EndpointDown,
    /// A subscription's endpoint answers 410, and the subscription is disabled.
    EndpointGone,
    /// A node dies while its notifier waits for an answer.
    CrashWhileTelling,
    /// Whether a message to a person was taken is not known.
    NoticeUnknown,
    /// The operator switches a source off.
    SwitchedOff,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 26] = [
        Self::CrashBeforeCommit,
        Self::CrashAfterCommit,
        Self::CommitUnknownCommitted,
        Self::CommitUnknownLost,
        Self::CommitRefused,
        Self::LeaseLostMidCall,
        Self::ShardHandover,
        Self::ResponseDuplicated,
        Self::ResponseLost,
        Self::ResponseDelayed,
        Self::ClockForward,
        Self::ClockBackward,
        Self::SourceOutage,
        Self::SourceThrottles,
        Self::ReceiverDown,
        Self::ReceiverGone,
        Self::LoadFailed,
        Self::Restart,
        Self::ReportDelayed,
        Self::AttemptEnded,
        Self::AnswerPosted,
        Self::EndpointDown,
        Self::EndpointGone,
        Self::CrashWhileTelling,
        Self::NoticeUnknown,
        Self::SwitchedOff,
    ];

    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CrashBeforeCommit => "crash_before_commit",
            Self::CrashAfterCommit => "crash_after_commit",
            Self::CommitUnknownCommitted => "commit_unknown_committed",
            Self::CommitUnknownLost => "commit_unknown_lost",
            Self::CommitRefused => "commit_refused",
            Self::LeaseLostMidCall => "lease_lost_mid_call",
            Self::ShardHandover => "shard_handover",
            Self::ResponseDuplicated => "response_duplicated",
            Self::ResponseLost => "response_lost",
            Self::ResponseDelayed => "response_delayed",
            Self::ClockForward => "clock_forward",
            Self::ClockBackward => "clock_backward",
            Self::SourceOutage => "source_outage",
            Self::SourceThrottles => "source_throttles",
            Self::ReceiverDown => "receiver_down",
            Self::ReceiverGone => "receiver_gone",
            Self::LoadFailed => "load_failed",
            Self::Restart => "restart",
            Self::ReportDelayed => "report_delayed",
            Self::AttemptEnded => "attempt_ended",
            Self::AnswerPosted => "answer_posted",
            Self::EndpointDown => "endpoint_down",
            Self::EndpointGone => "endpoint_gone",
            Self::CrashWhileTelling => "crash_while_telling",
            Self::NoticeUnknown => "notice_unknown",
            Self::SwitchedOff => "switched_off",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
