//! Who is next at a gate: tenants in turn, and what somebody waits for before the rest.

use std::collections::BTreeSet;

use wellspring_core::{CollectionId, Lane, Timestamp};

use crate::Aggregate;

/// A tenant's line, of what somebody waits for or of the rest; narrow, as each timer has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line(u32);

impl Line {
    const AWAITED: u32 = 1 << 31;

    /// Returns the line of the tenant of this number.
    pub(super) const fn of(tenant: u32, awaited: bool) -> Self {
        let tenant = tenant & !Self::AWAITED;
        Self(if awaited {
            tenant | Self::AWAITED
        } else {
            tenant
        })
    }

    const fn is_awaited(self) -> bool {
        self.0 & Self::AWAITED != 0
    }
}

/// Where something waits, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) lane: Lane,
    pub(super) line: Line,
    pub(super) since: Timestamp,
}

impl Place {
    /// The place of a step that makes no call.
    pub(super) fn alarm(since: Timestamp) -> Self {
        Self {
            lane: Lane::ALARM,
            line: Line::default(),
            since,
        }
    }
}

/// One of those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) line: Line,
    pub(super) since: Timestamp,
    pub(super) id: Aggregate,
}

/// Those who wait at one gate.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Line by line, the oldest of each first.
    waiting: BTreeSet<Entry>,
    /// The first of each line, by age.
    heads: BTreeSet<(Timestamp, Aggregate, Line)>,
    /// Whose turn was last, among those who are awaited and among the others.
    last_awaited: Option<Line>,
    last_other: Option<Line>,
    /// How many were taken before those that nobody waits for.
    preferred: u8,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let head = self.first_of(entry.line);
        self.waiting.insert(entry);
        if head.is_none_or(|head| entry < head) {
            if let Some(head) = head {
                self.heads.remove(&by_age(head));
            }
            self.heads.insert(by_age(entry));
        }
    }

    /// Returns who waits longest.
    pub(super) fn oldest(&self) -> Option<Entry> {
        let (since, id, line) = self.heads.first().copied()?;
        Some(Entry { line, since, id })
    }

    /// Returns since when the connection waits that waits longest, `looks` entries being looked
    /// at; collections wait in the order of their age, not of when they are due.
    pub(super) fn oldest_connection(&self, mut looks: usize) -> Option<Timestamp> {
        let mut oldest: Option<Timestamp> = None;
        for (head, _, line) in &self.heads {
            if oldest.is_some_and(|oldest| oldest <= *head) {
                break;
            }
            for entry in self.from(*line).take_while(|entry| entry.line == *line) {
                if looks == 0 {
                    return oldest;
                }
                looks -= 1;
                if matches!(entry.id, Aggregate::Connection(_)) {
                    oldest = Some(oldest.map_or(entry.since, |oldest| oldest.min(entry.since)));
                    break;
                }
            }
        }
        oldest
    }

    /// Takes out who waits longest.
    pub(super) fn take_oldest(&mut self) -> Option<Entry> {
        let entry = self.oldest()?;
        self.remove(entry);
        Some(entry)
    }

    /// Takes out whose turn it is.
    ///
    /// Tenants take turns, each with its oldest. What somebody waits for goes before the rest, but
    /// for one turn in eight: a person waits an eighth longer for it, and what is scheduled still
    /// has an eighth of the calls where people alone would fill them all.
    pub(super) fn take_next(&mut self) -> Option<Entry> {
        let awaited = self.next_of(true);
        let other = self.next_of(false);
        let entry = match (awaited, other) {
            (Some(_), Some(other)) if self.preferred >= PREFERRED => other,
            (Some(awaited), Some(_)) => {
                self.preferred = self.preferred.saturating_add(1);
                awaited
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        if entry.line.is_awaited() {
            self.last_awaited = Some(entry.line);
        } else {
            self.last_other = Some(entry.line);
            self.preferred = 0;
        }
        self.remove(entry);
        Some(entry)
    }

    /// Returns the oldest of the tenant whose turn it is in one class.
    fn next_of(&self, awaited: bool) -> Option<Entry> {
        let last = if awaited {
            self.last_awaited
        } else {
            self.last_other
        };
        let after = last.and_then(|last| last.0.checked_add(1)).map(Line);
        let of_class = |entry: &&Entry| entry.line.is_awaited() == awaited;
        let following = after.and_then(|line| self.from(line).next());
        following
            .filter(of_class)
            .or_else(|| self.from(Line::of(0, awaited)).next().filter(of_class))
            .copied()
    }

    fn first_of(&self, line: Line) -> Option<Entry> {
        let first = self.from(line).next().copied();
        first.filter(|entry| entry.line == line)
    }

    fn from(&self, line: Line) -> impl Iterator<Item = &Entry> {
        let first = Entry {
            line,
            since: Timestamp::MIN,
            id: FIRST,
        };
        self.waiting.range(first..)
    }

    fn remove(&mut self, entry: Entry) {
        self.waiting.remove(&entry);
        if self.heads.remove(&by_age(entry))
            && let Some(head) = self.first_of(entry.line)
        {
            self.heads.insert(by_age(head));
        }
    }
}

const fn by_age(entry: Entry) -> (Timestamp, Aggregate, Line) {
    (entry.since, entry.id, entry.line)
}

/// How many who are awaited go before one who is not.
const PREFERRED: u8 = 7;
/// Sorts before every other.
const FIRST: Aggregate = Aggregate::Collection(CollectionId::from_bytes([0; 16]));

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};
    use wellspring_core::ConnectionId;

    use super::*;
    use crate::driver::wheel::Timer;

    #[test]
    fn tenants_take_turns_each_with_its_oldest() {
        let mut queue = Queue::default();
        for (number, tenant) in [1, 1, 1, 1, 2, 2, 3].into_iter().enumerate() {
            queue.insert(entry(Line::of(tenant, false), number));
        }
        assert_eq!(taken(&mut queue, 4), [0, 4, 6, 1]);
        // Who comes anew has its turn before anybody has two.
        queue.insert(entry(Line::of(4, false), 9));
        queue.insert(entry(Line::of(1, false), 7));
        assert_eq!(taken(&mut queue, 9), [5, 9, 2, 3, 7]);
        assert!(queue.is_empty() && queue.heads.is_empty());
    }

    #[test]
    fn who_is_awaited_goes_first_and_the_rest_does_not_starve() {
        let mut queue = Queue::default();
        for number in 0..40 {
            queue.insert(entry(Line::of(1, false), number));
            queue.insert(entry(Line::of(2, true), 100 + number));
        }
        queue.insert(entry(Line::of(1, true), 99));
        let order = taken(&mut queue, 24);
        assert_eq!(order[..9], [99, 100, 101, 102, 103, 104, 105, 0, 106]);
        let scheduled = order.iter().filter(|number| **number < 40);
        assert_eq!(scheduled.count(), 3, "{order:?}");
        // Nobody is preferred to those who are not there: the count begins with the first.
        let mut queue = Queue::default();
        for number in 0..20 {
            queue.insert(entry(Line::of(2, true), number));
        }
        taken(&mut queue, 10);
        queue.insert(entry(Line::of(1, false), 50));
        assert_eq!(taken(&mut queue, 8)[7], 50);
    }

    #[test]
    fn the_oldest_of_all_lines_is_known_whoever_is_next() {
        let mut queue = Queue::default();
        let lines = [Line::of(9, false), Line::of(3, true), Line::of(1, false)];
        for number in [7, 2, 5, 1, 8, 3] {
            queue.insert(entry(lines[number % 3], number));
        }
        let mut found = Vec::new();
        while let Some(oldest) = queue.oldest() {
            found.push(oldest.since.as_millis());
            assert_eq!(queue.take_oldest(), Some(oldest));
        }
        assert_eq!(found, [1, 2, 3, 5, 7, 8]);

        let since = |number: i64| Timestamp::from_millis(number);
        for (line, number) in [(0, 1), (0, 4), (1, 2), (1, 6)] {
            queue.insert(Entry {
                id: Aggregate::Collection(CollectionId::from_bytes([1; 16])),
                ..entry(lines[line], number)
            });
        }
        assert_eq!(queue.oldest_connection(9), None);
        queue.insert(entry(lines[0], 9));
        queue.insert(entry(lines[1], 8));
        assert_eq!(queue.oldest_connection(9), Some(since(8)));
        assert_eq!(queue.oldest_connection(2), None, "not looked so far");
    }

    /// Against a list that is searched: whatever comes and goes, nobody waits while another has a
    /// second turn, and of each line the oldest goes first.
    #[test]
    fn nobody_waits_while_another_has_two_turns() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut draw = |below: u32| rng.next_u32() % below;
        let (mut queue, mut list) = (Queue::default(), Vec::<Entry>::new());
        // How often one line was served while another waited.
        let mut passed = BTreeMap::<(Line, Line), u32>::new();
        let mut preferred = 0;
        let mut most = 0;
        for step in 0..20_000 {
            let comes = draw(100) < if step / 500 % 2 == 0 { 60 } else { 40 };
            if comes {
                let line = Line::of(draw(9), draw(3) == 0);
                let since = usize::try_from(draw(1_000)).unwrap();
                let new = entry(line, since);
                if !list.contains(&new) {
                    list.push(new);
                }
                queue.insert(new);
            } else if draw(10) == 0 {
                let oldest = list.iter().copied().min_by_key(|entry| by_age(*entry));
                assert_eq!(queue.take_oldest(), oldest);
                list.retain(|entry| Some(*entry) != oldest);
            } else if let Some(taken) = queue.take_next() {
                let line = |entry: &&Entry| entry.line == taken.line;
                assert_eq!(list.iter().filter(line).min(), Some(&taken));
                list.retain(|entry| *entry != taken);
                let awaited = taken.line.is_awaited();
                for other in &list {
                    let pair = (other.line, taken.line);
                    if other.line.is_awaited() == awaited && other.line != taken.line {
                        passed.entry(pair).or_insert(step);
                    }
                }
                // Whoever waited when it was served before has been served since.
                for ((waits, served), since) in &passed {
                    let again = *served == taken.line && *since != step;
                    assert!(!again, "{waits:?} waits since {since} and {served:?} again");
                }
                passed.retain(|(waits, _), _| *waits != taken.line);
                let kept = list.iter().any(|entry| !entry.line.is_awaited());
                preferred = if awaited && kept { preferred + 1 } else { 0 };
                most = most.max(preferred);
            }
            passed.retain(|(waits, _), _| list.iter().any(|entry| entry.line == *waits));
            let oldest = list.iter().copied().min_by_key(|entry| by_age(*entry));
            assert_eq!((queue.len(), queue.oldest()), (list.len(), oldest));
        }
        assert_eq!(most, u32::from(PREFERRED), "and no more");
    }

    #[test]
    fn who_waits_takes_no_more_memory_than_an_id_with_two_words() {
        assert_eq!(size_of::<Entry>(), 32);
        assert_eq!(size_of::<Timer>(), 48);
    }

    fn entry(line: Line, number: usize) -> Entry {
        Entry {
            line,
            since: Timestamp::from_millis(i64::try_from(number).unwrap()),
            id: Aggregate::Connection(ConnectionId::from_bytes([7; 16])),
        }
    }

    fn taken(queue: &mut Queue, most: usize) -> Vec<i64> {
        let taken = std::iter::from_fn(|| queue.take_next());
        taken
            .take(most)
            .map(|entry| entry.since.as_millis())
            .collect()
    }
}
