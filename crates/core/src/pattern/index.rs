//! Many patterns at once: which of them want a change.

use std::collections::{BTreeMap, BTreeSet};

use super::{Pattern, Segment};
use crate::Verb;

/// Patterns by key, so that finding those that match does not look at the others.
///
/// It is a tree of segments. A look-up goes down every branch that fits the path and
/// no other, so it costs what the fitting branches cost, however many patterns there are.
/// The same key may have several patterns.
#[derive(Debug, Clone)]
pub struct PatternIndex<K> {
    root: Node<K>,
}

#[derive(Debug, Clone)]
struct Node<K> {
    /// Children below a single literal.
    literal: BTreeMap<String, Self>,
    /// The child below `*`.
    any: Option<Box<Self>>,
    /// Children below `a|b`: one for each list of alternatives. A branch for each alternative
    /// would be simpler, but a pattern of many such segments would make more than there is memory for.
    alternatives: BTreeMap<u64, (Vec<String>, Self)>,
    /// Which of `alternatives` have this literal.
    by_alternative: BTreeMap<String, BTreeSet<u64>>,
    /// Who wants the path that ends here.
    here: Ends<K>,
    /// Who wants every path that goes on from here.
    below: Ends<K>,
}

/// Keys by verb; `None` is every verb.
type Ends<K> = BTreeMap<Option<Verb>, BTreeSet<K>>;

impl<K: Copy + Ord> PatternIndex<K> {
    /// Makes an index without patterns.
    pub const fn new() -> Self {
        Self { root: Node::new() }
    }

    /// Adds a pattern for `key`; returns whether it was not there yet.
    pub fn insert(&mut self, key: K, pattern: &Pattern) -> bool {
        let mut node = &mut self.root;
        for segment in &pattern.segments {
            node = node.child_or_new(segment);
        }
        let ends = node.ends(pattern.rest);
        ends.entry(pattern.verb).or_default().insert(key)
    }

    /// Removes a pattern of `key`; returns whether it was there.
    pub fn remove(&mut self, key: K, pattern: &Pattern) -> bool {
        self.root.remove(key, pattern, &pattern.segments)
    }

    /// Puts the keys whose patterns want a change of `verb` at `path` into `found`, each once and in order.
    ///
    /// What was in `found` before is gone; giving the same one again saves its allocation.
    pub fn matching(&self, verb: Verb, path: &str, found: &mut Vec<K>) {
        found.clear();
        if let Some(path) = path.strip_prefix('/') {
            self.root.collect(verb, Some(path), found);
            found.sort_unstable();
            found.dedup();
        }
    }

    /// Returns whether there is no pattern in it.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

impl<K: Copy + Ord> Default for PatternIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Ord> Node<K> {
    const fn new() -> Self {
        Self {
            literal: BTreeMap::new(),
            any: None,
            alternatives: BTreeMap::new(),
            by_alternative: BTreeMap::new(),
            here: BTreeMap::new(),
            below: BTreeMap::new(),
        }
    }

    /// Calls itself no deeper than the longest pattern has segments, which are 512 at most.
    fn collect(&self, verb: Verb, path: Option<&str>, found: &mut Vec<K>) {
        let Some(path) = path else {
            wanting(&self.here, verb, found);
            return;
        };
        wanting(&self.below, verb, found);
        let (text, left) = match path.split_once('/') {
            Some((text, left)) => (text, Some(left)),
            None => (path, None),
        };
        if let Some(child) = self.literal.get(text) {
            child.collect(verb, left, found);
        }
        for place in self.by_alternative.get(text).into_iter().flatten() {
            if let Some((_, child)) = self.alternatives.get(place) {
                child.collect(verb, left, found);
            }
        }
        if let Some(child) = &self.any
            && !text.is_empty()
        {
            child.collect(verb, left, found);
        }
    }

    fn child_or_new(&mut self, segment: &Segment) -> &mut Self {
        match segment {
            Segment::Any => self.any.get_or_insert_with(|| Box::new(Self::new())),
            Segment::OneOf(texts) => match texts.as_slice() {
                [text] => self.literal.entry(text.clone()).or_insert_with(Self::new),
                texts => {
                    let place = self.place_of(texts).unwrap_or_else(|| self.free_place());
                    for text in texts {
                        let places = self.by_alternative.entry(text.clone()).or_default();
                        places.insert(place);
                    }
                    let (_, child) = self
                        .alternatives
                        .entry(place)
                        .or_insert_with(|| (texts.to_vec(), Self::new()));
                    child
                }
            },
        }
    }

    fn remove(&mut self, key: K, pattern: &Pattern, segments: &[Segment]) -> bool {
        let Some((segment, left)) = segments.split_first() else {
            let ends = self.ends(pattern.rest);
            let Some(keys) = ends.get_mut(&pattern.verb) else {
                return false;
            };
            let removed = keys.remove(&key);
            if keys.is_empty() {
                ends.remove(&pattern.verb);
            }
            return removed;
        };
        match segment {
            Segment::Any => {
                let Some(child) = &mut self.any else {
                    return false;
                };
                let removed = child.remove(key, pattern, left);
                if child.is_empty() {
                    self.any = None;
                }
                removed
            }
            Segment::OneOf(texts) => match texts.as_slice() {
                [text] => {
                    let Some(child) = self.literal.get_mut(text) else {
                        return false;
                    };
                    let removed = child.remove(key, pattern, left);
                    if child.is_empty() {
                        self.literal.remove(text);
                    }
                    removed
                }
                texts => {
                    let Some(place) = self.place_of(texts) else {
                        return false;
                    };
                    let Some((_, child)) = self.alternatives.get_mut(&place) else {
                        return false;
                    };
                    let removed = child.remove(key, pattern, left);
                    if child.is_empty() {
                        self.remove_alternatives(place, texts);
                    }
                    removed
                }
            },
        }
    }

    fn remove_alternatives(&mut self, place: u64, texts: &[String]) {
        self.alternatives.remove(&place);
        for text in texts {
            if let Some(places) = self.by_alternative.get_mut(text) {
                places.remove(&place);
                if places.is_empty() {
                    self.by_alternative.remove(text);
                }
            }
        }
    }

    /// Returns where the child below exactly these alternatives is.
    fn place_of(&self, texts: &[String]) -> Option<u64> {
        let places = self.by_alternative.get(texts.first()?)?;
        places.iter().copied().find(|place| {
            self.alternatives
                .get(place)
                .is_some_and(|(have, _)| have == texts)
        })
    }

    fn free_place(&self) -> u64 {
        self.alternatives
            .last_key_value()
            .map_or(0, |(last, _)| last.saturating_add(1))
    }

    const fn ends(&mut self, rest: bool) -> &mut Ends<K> {
        if rest {
            &mut self.below
        } else {
            &mut self.here
        }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.any.is_none()
            && self.alternatives.is_empty()
            && self.by_alternative.is_empty()
            && self.here.is_empty()
            && self.below.is_empty()
    }
}

fn wanting<K: Copy + Ord>(ends: &Ends<K>, verb: Verb, found: &mut Vec<K>) {
    for verb in [None, Some(verb)] {
        found.extend(ends.get(&verb).into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn found(index: &PatternIndex<u32>, verb: Verb, path: &str) -> Vec<u32> {
        let mut found = vec![99];
        index.matching(verb, path, &mut found);
        found
    }

    #[test]
    fn each_key_that_matches_is_found_once_and_in_order() {
        let mut index = PatternIndex::new();
        let state = "/accounts/acct_1/connections/conn_2/state/waiting";
        for (key, text) in [
            (5, "UPDATED /accounts/*/connections/*/state/*"),
            (3, "* /accounts/*/connections/*/state/error|waiting"),
            (3, "* /accounts/acct_1/**"),
            (9, "* /**"),
            (1, "CREATED /accounts/**"),
            (2, "UPDATED /accounts/acct_2/**"),
            (4, "UPDATED /accounts/*/connections/*"),
        ] {
            assert!(index.insert(key, &pattern(text)), "{text}");
            assert!(!index.insert(key, &pattern(text)), "{text}");
        }
        assert_eq!(found(&index, Verb::Updated, state), [3, 5, 9]);
        assert_eq!(found(&index, Verb::Created, state), [1, 3, 9]);
        assert!(found(&index, Verb::Updated, "accounts").is_empty());

        assert!(index.remove(3, &pattern("* /accounts/acct_1/**")));
        assert!(!index.remove(3, &pattern("* /accounts/acct_1/**")));
        assert!(!index.remove(9, &pattern("UPDATED /**")));
        assert_eq!(found(&index, Verb::Updated, state), [3, 5, 9]);
    }

    #[test]
    fn alternatives_in_every_segment_do_not_multiply() {
        let text = format!("* {}", "/a|b".repeat(255));
        let mut index = PatternIndex::new();
        index.insert(1, &pattern(&text));
        assert_eq!(found(&index, Verb::Deleted, &"/b".repeat(255)), [1]);
        assert!(found(&index, Verb::Deleted, &"/b".repeat(254)).is_empty());
        assert!(index.remove(1, &pattern(&text)));
        assert!(index.is_empty());
    }

    fn patterns() -> impl Strategy<Value = Pattern> {
        let segment = "(a|b|ab|\\*|a\\|b|b\\|a|a\\|a|b\\|ab\\|c)";
        let segments = prop::collection::vec(segment, 0..4);
        ("(\\*|CREATED|UPDATED|DELETED)", segments, "(a|\\*\\*)").prop_map(
            |(verb, segments, last)| {
                let path: String = segments
                    .iter()
                    .map(|segment| format!("/{segment}"))
                    .collect();
                format!("{verb} {path}/{last}").parse().unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn the_index_finds_what_the_patterns_match(
            operations in prop::collection::vec((any::<bool>(), 0u32..6, patterns()), 1..60),
            again in any::<prop::sample::Index>(),
            paths in prop::collection::vec("(/(a|b|ab|c)?){0,5}|a/b", 1..20),
        ) {
            let mut index = PatternIndex::new();
            let mut plain: Vec<(u32, Pattern)> = Vec::new();
            // What is removed is mostly what is there.
            let repeated = again.get(&operations).clone();
            for (insert, key, pattern) in operations.into_iter().chain([repeated]) {
                let entry = (key, pattern);
                let known = plain.contains(&entry);
                if insert {
                    prop_assert_eq!(index.insert(entry.0, &entry.1), !known);
                    if !known {
                        plain.push(entry);
                    }
                } else {
                    let entry = plain.last().filter(|_| key < 4).cloned().unwrap_or(entry);
                    let known = plain.contains(&entry);
                    prop_assert_eq!(index.remove(entry.0, &entry.1), known);
                    plain.retain(|other| *other != entry);
                }
                for path in &paths {
                    for verb in [Verb::Created, Verb::Updated, Verb::Deleted] {
                        let wanted: BTreeSet<u32> = plain
                            .iter()
                            .filter(|(_, pattern)| pattern.matches(verb, path))
                            .map(|(key, _)| *key)
                            .collect();
                        prop_assert_eq!(found(&index, verb, path), Vec::from_iter(wanted), "{}", path);
                    }
                }
            }
            for (key, pattern) in &plain {
                prop_assert!(index.remove(*key, pattern));
            }
            prop_assert!(index.is_empty());
        }
    }
}
