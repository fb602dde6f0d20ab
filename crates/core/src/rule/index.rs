use std::collections::HashMap;

use super::{Failure, Matcher, StatusRange};

/// Where the rules stand that may match, each in one place only, or at each of its statuses.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    by_code: HashMap<Box<str>, Vec<usize>>,
    by_type: HashMap<Box<str>, Vec<usize>>,
    by_status: HashMap<u16, Vec<usize>>,
    rest: Vec<usize>,
}

impl Index {
    pub(super) fn new<'m>(matchers: impl Iterator<Item = &'m Matcher>) -> Self {
        let mut index = Self::default();
        for (place, matcher) in matchers.enumerate() {
            index.add(place, matcher);
        }
        index
    }

    fn add(&mut self, place: usize, matcher: &Matcher) {
        if let Some(code) = matcher.error_code.as_deref() {
            self.by_code.entry(code.into()).or_default().push(place);
        } else if let Some(kind) = matcher.error_type.as_deref() {
            self.by_type.entry(kind.into()).or_default().push(place);
        } else if let Some((from, to)) = matcher.status.and_then(few) {
            for status in from..=to {
                self.by_status.entry(status).or_default().push(place);
            }
        } else {
            self.rest.push(place);
        }
    }

    /// Iterates over the rules that may match, in the order of the table.
    pub(super) fn candidates(&self, failure: &Failure<'_>) -> impl Iterator<Item = usize> {
        let code = failure.error_code.and_then(|code| self.by_code.get(code));
        let kind = failure.error_type.and_then(|kind| self.by_type.get(kind));
        let status = failure
            .status
            .and_then(|status| self.by_status.get(&status));
        let mut queues = [code, kind, status, Some(&self.rest)]
            .map(|places| places.map_or(&[][..], Vec::as_slice));
        std::iter::from_fn(move || {
            let queue = queues
                .iter_mut()
                .filter(|queue| !queue.is_empty())
                .min_by_key(|queue| queue.first().copied())?;
            let (first, rest) = queue.split_first()?;
            *queue = rest;
            Some(*first)
        })
    }
}

/// Returns the bounds of a range that is worth a place at each of its statuses.
fn few(range: StatusRange) -> Option<(u16, u16)> {
    let (from, to) = match range {
        StatusRange::One(status) => (status, status),
        StatusRange::Range(from, to) => (from, to),
    };
    (to.saturating_sub(from) < WIDEST).then_some((from, to))
}

/// How wide a range of statuses may be.
const WIDEST: u16 = 100;
