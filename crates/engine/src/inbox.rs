//! Commands that other nodes accepted for this one's shards.

use std::collections::BTreeSet;

use crate::InboxRow;

/// Remembers which inbox rows the driver already has, since they stay until they are committed.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    taken: BTreeSet<i64>,
    pub(crate) reading: bool,
}

impl Inbox {
    /// The driver could not take it: the next reading hands it over again.
    pub(crate) fn forget(&mut self, number: i64) {
        self.taken.remove(&number);
    }

    /// Returns the rows that are new, in order.
    ///
    /// `whole` says that the reading reached the end of the inbox.
    pub(crate) fn fresh(&mut self, rows: Vec<InboxRow>, whole: bool) -> Vec<InboxRow> {
        let mut present: BTreeSet<i64> = rows.iter().map(|row| row.number).collect();
        if let (false, Some(last)) = (whole, present.last().copied()) {
            present.extend(self.taken.range(last..));
        }
        let fresh = rows
            .into_iter()
            .filter(|row| !self.taken.contains(&row.number))
            .collect();
        // What is no longer there was committed.
        self.taken = present;
        fresh
    }
}
