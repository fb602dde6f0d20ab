//! The dispatcher inside the driver: what it has to write joins the driver's commits.

use wellspring_core::{Shard, Timestamp};

use super::{Answer, Busy, Command, DispatchView, Driver, Origin, Step};
use crate::{Batch, SubscriptionTable};

impl<T> Driver<T> {
    /// Returns what an operator sees of subscriptions.
    pub fn dispatch_view(&self) -> DispatchView {
        self.dispatcher.view()
    }

    pub(super) fn subscriptions(&mut self, now: Timestamp, table: &SubscriptionTable, whole: bool) {
        self.dispatcher.replace(now, table, whole);
    }

    pub(super) fn subscription_wish(&mut self, now: Timestamp, command: Command<T>) {
        self.dispatcher.wish(now, command);
    }

    /// Returns whether anything of a shard's dispatching is under way or not durable.
    pub(super) fn is_dispatching(&self, shard: Shard) -> bool {
        let committing = self.committing.as_ref();
        self.dispatcher.is_busy(shard)
            || committing.is_some_and(|batch| batch.batch.dispatch.shards().contains(&shard))
    }

    /// Answers the commands that the dispatcher is done with, once what they changed is durable.
    pub(super) fn settle_dispatched(&mut self) {
        let now = self.now;
        for settled in self.dispatcher.settled() {
            let (command, answer) = (settled.command, settled.answer);
            match answer {
                Answer::Dispatched => self.pending.push_back(Step {
                    write: None,
                    tenant: command.request.tenant(),
                    at: now,
                    changes: Vec::new(),
                    told: Vec::new(),
                    unclassified: None,
                    key: None,
                    origin: Some(command.origin),
                    wanted: None,
                }),
                Answer::Busy(_) | Answer::Elsewhere => self.answer(command.origin, answer),
                Answer::Done(_)
                | Answer::Tried(_)
                | Answer::NotFound
                | Answer::Rejected(_)
                | Answer::Refused(_)
                | Answer::Ended
                | Answer::Leave(_)
                | Answer::KeyTaken
                | Answer::KeyBusy
                | Answer::Unknown => self.settle(now, command, answer),
            }
        }
    }

    /// Tells whoever waits for the dispatcher that this life of the node is over.
    pub(super) fn end_dispatching(&mut self) {
        self.dispatcher.end();
        for settled in self.dispatcher.settled() {
            self.answer(settled.command.origin, Answer::Busy(Busy::NotReady));
        }
    }

    /// A step that wrote nothing is durable together with what the dispatcher wrote for it.
    pub(super) fn dispatched(&mut self, origin: Option<Origin<T>>) {
        match origin {
            Some(origin @ Origin::Caller(_)) => self.answer(origin, Answer::Dispatched),
            Some(Origin::Inbox(_) | Origin::Erasure(_) | Origin::Fact) | None => {}
        }
    }

    /// What was to be written with a batch is, or has to be once more.
    pub(super) fn dispatch_committed(&mut self, now: Timestamp, batch: &Batch, durable: bool) {
        if durable {
            self.dispatcher.saved(now, &batch.dispatch);
            self.dispatcher.entries(now, &batch.entries);
        } else {
            self.dispatcher.not_saved(now, &batch.dispatch);
        }
    }
}

impl crate::DispatchWrites {
    /// Returns the shards that it writes to.
    pub(super) fn shards(&self) -> std::collections::BTreeSet<Shard> {
        let cursors = self.cursors.iter().map(|(shard, _)| *shard);
        let positions = self.positions.iter().map(|position| position.shard);
        let caught_up = self.caught_up.iter().map(|(_, shard)| *shard);
        let deliveries = self.deliveries.iter().map(|row| row.shard);
        let attempts = self.attempts.iter().map(|attempt| attempt.shard);
        cursors
            .chain(positions)
            .chain(caught_up)
            .chain(deliveries)
            .chain(attempts)
            .collect()
    }

    /// Returns roughly how many bytes it adds to its batch, rows of usual size aside.
    pub(super) fn bytes(&self) -> usize {
        let snippets = self.attempts.iter().map(|attempt| attempt.snippet.len());
        snippets.sum()
    }
}
