//! What is to happen when, in one total order.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use wellspring_core::budget::{BudgetName, Spent};
use wellspring_core::source::Source;
use wellspring_core::{
    AccountId, ConnectionId, IncarnationId, InteractionId, Shard, SubscriptionId,
};
use wellspring_engine::{
    Aggregate, Batch, DispatchQuery, Event, InboxRow, Lease, Live, Membership, Request, RunInputs,
    StoreError, SubscriptionTable,
};

use crate::caller::Ask;

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Occurrence {
    /// The next action or fault is drawn.
    Step,
    /// Retention runs.
    Sweep,
    /// A node is started.
    Start(usize),
    /// A node is told to stop, and is back so much later.
    Stop { node: usize, back_in: i64 },
    /// The grace of a node's shutdown is over.
    Halt { node: usize, boot: u64 },
    /// A caller sends a request.
    Send(Box<Ask>),
    /// The database gets a request.
    Exec { node: usize, boot: u64, op: StoreOp },
    /// An attempt goes on.
    Act(u64),
    /// Every node hears what subscriptions there are.
    Announce,
    /// A tenant enables a subscription again.
    Enable(SubscriptionId),
    /// A person looks at a question.
    Look(ConnectionId, InteractionId),
    /// The notifiers look at what there is to tell.
    TellPeople,
    /// Something in a node's notifier has waited long enough.
    Gate {
        node: usize,
        boot: u64,
        gate: oneshot::Sender<()>,
    },
    /// A node hears something.
    Tell { node: usize, boot: u64, news: News },
}

/// Shards that were taken, and what was read after.
pub(crate) type Taken = (
    Vec<Lease>,
    Arc<SubscriptionTable>,
    Vec<Source>,
    (Vec<BudgetName>, Spent),
);

/// A request to the database.
#[derive(Debug)]
pub(crate) enum StoreOp {
    Join(IncarnationId),
    Renew(IncarnationId),
    /// What is kept of sources.
    Sources(IncarnationId),
    /// What was seen of a source, for its owner.
    Leave(Request),
    Acquire(IncarnationId, Vec<Shard>),
    Scan(IncarnationId, Vec<Shard>, Option<Aggregate>),
    Inbox(IncarnationId, Vec<Shard>),
    Release(IncarnationId, Vec<Shard>),
    Commit(Arc<Batch>),
    Resolve(IncarnationId, u64),
    Load(IncarnationId, Vec<Aggregate>),
    /// What an attempt begins with.
    Inputs(u64),
    Children(IncarnationId, AccountId),
    /// What the dispatcher wants to know.
    Read(IncarnationId, u64, DispatchQuery),
}

/// What a node's shell hears.
#[derive(Debug)]
pub(crate) enum News {
    /// For the driver; from the store with the incarnation that asked, from outside with none.
    Driver(Option<IncarnationId>, Event<u64>),
    Joined(IncarnationId),
    Membership(IncarnationId, Result<Membership, StoreError>),
    /// With the subscriptions as of after the leases were taken.
    Leased(IncarnationId, Result<Taken, StoreError>),
    Page {
        incarnation: IncarnationId,
        shards: Vec<Shard>,
        after: Option<Aggregate>,
        rows: Option<Vec<Live>>,
    },
    Inbox(IncarnationId, Option<Vec<InboxRow>>),
    Released(IncarnationId),
    Again(IncarnationId, Again),
    /// What an attempt begins with; nothing where it could not be read.
    Inputs(u64, Option<RunInputs>),
}

/// What is done again after a pause.
#[derive(Debug)]
pub(crate) enum Again {
    Scan(Vec<Shard>, Option<Aggregate>),
    Renew,
    Inbox,
}

/// A queue by time, then by order of entry.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entered: u64,
    due: BTreeMap<(i64, u64), Occurrence>,
}

impl Agenda {
    pub(crate) fn push(&mut self, at: i64, occurrence: Occurrence) {
        self.entered += 1;
        self.due.insert((at, self.entered), occurrence);
    }

    pub(crate) fn first_at(&self) -> Option<i64> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<(i64, Occurrence)> {
        self.due
            .pop_first()
            .map(|((at, _), occurrence)| (at, occurrence))
    }

    /// Puts everything off by the same time.
    pub(crate) fn put_off(&mut self, millis: i64) {
        let due = std::mem::take(&mut self.due);
        self.due = due
            .into_iter()
            .map(|((at, entered), occurrence)| ((at + millis, entered), occurrence))
            .collect();
    }
}
