use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::time::Instant;

/// What a receiver got, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// All deliveries that arrived.
    pub requests: u64,
    /// Deliveries answered.
    pub answered: u64,
    /// Deliveries answered with 2xx.
    pub accepted: u64,
    /// Distinct ids answered with 2xx; 0 when only counting.
    pub distinct_accepted: u64,
    /// 2xx answers beyond the first of an id; 0 when only counting.
    pub duplicates: u64,
    /// Deliveries beyond the first of an id, whatever the answers; 0 when only counting.
    pub repeats: u64,
    /// Deliveries without a readable `webhook-id`.
    pub without_id: u64,
}

/// What a receiver got under one `webhook-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Deliveries that arrived.
    pub requests: u32,
    /// Deliveries answered with 2xx.
    pub accepted: u32,
    /// When the first one arrived.
    pub first_arrival: Instant,
    /// The latest status answered, if any was yet.
    pub last_status: Option<StatusCode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    Counters,
    Ids,
    Bodies,
}

/// The account of everything received.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) recording: Recording,
    counts: ReceiverCounts,
    records: BTreeMap<Box<str>, DeliveryRecord>,
    bodies: BTreeMap<Box<str>, Vec<Bytes>>,
}

impl Book {
    pub(super) fn new(recording: Recording) -> Self {
        Self {
            recording,
            counts: ReceiverCounts::default(),
            records: BTreeMap::new(),
            bodies: BTreeMap::new(),
        }
    }

    pub(super) fn counts(&self) -> ReceiverCounts {
        self.counts
    }

    pub(super) fn record(&self, id: &str) -> Option<&DeliveryRecord> {
        self.records.get(id)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&str, &DeliveryRecord)> {
        self.records.iter().map(|(id, record)| (&**id, record))
    }

    pub(super) fn bodies(&self, id: &str) -> Vec<Bytes> {
        self.bodies.get(id).cloned().unwrap_or_default()
    }

    pub(super) fn arrived(&mut self, id: Option<&str>, body: &Bytes, now: Instant) {
        self.counts.requests += 1;
        let Some(id) = id else {
            self.counts.without_id += 1;
            return;
        };
        match self.recording {
            Recording::Counters => return,
            Recording::Ids => {}
            Recording::Bodies => {
                // A copy of its own, as the original may pin a much larger read buffer.
                let body = Bytes::copy_from_slice(body);
                self.bodies.entry(id.into()).or_default().push(body);
            }
        }
        if let Some(record) = self.records.get_mut(id) {
            record.requests += 1;
            self.counts.repeats += 1;
            return;
        }
        self.records.insert(
            id.into(),
            DeliveryRecord {
                requests: 1,
                accepted: 0,
                first_arrival: now,
                last_status: None,
            },
        );
    }

    pub(super) fn answered(&mut self, id: Option<&str>, status: StatusCode) {
        self.counts.answered += 1;
        if status.is_success() {
            self.counts.accepted += 1;
        }
        let Some(record) = id.and_then(|id| self.records.get_mut(id)) else {
            return;
        };
        record.last_status = Some(status);
        if !status.is_success() {
            return;
        }
        record.accepted += 1;
        if record.accepted == 1 {
            self.counts.distinct_accepted += 1;
        } else {
            self.counts.duplicates += 1;
        }
    }
}
