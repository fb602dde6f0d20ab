use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::behaviour::{Answer, Behaviour};
use super::book::{Book, DeliveryRecord, ReceiverCounts, Recording};
use crate::control::{chance, notified_until};

/// A handle to a receiver's behaviour and what it received.
///
/// Clones share one receiver, and work whether or not it runs.
/// A change holds for the next delivery.
#[derive(Clone, Debug)]
pub struct ReceiverHandle {
    shared: Arc<Shared>,
}

impl ReceiverHandle {
    /// Returns what was received, in numbers.
    pub fn counts(&self) -> ReceiverCounts {
        self.book().counts()
    }

    /// Returns what was received under `id`.
    pub fn record(&self, id: &str) -> Option<DeliveryRecord> {
        self.book().record(id).cloned()
    }

    /// Returns what was received under each id, in the order of the ids.
    pub fn records(&self) -> Vec<(String, DeliveryRecord)> {
        self.book()
            .records()
            .map(|(id, record)| (id.to_owned(), record.clone()))
            .collect()
    }

    /// Returns the bodies received under `id`, if they are kept.
    pub fn bodies(&self, id: &str) -> Vec<Bytes> {
        self.book().bodies(id)
    }

    /// Waits until the counts satisfy `predicate`.
    pub async fn wait_until(&self, mut predicate: impl FnMut(&ReceiverCounts) -> bool) {
        notified_until(&self.shared.counted, || predicate(&self.counts())).await;
    }

    /// Forgets what was received; the behaviour stays.
    pub fn clear(&self) {
        let mut book = self.book();
        *book = Book::new(book.recording);
    }

    /// Returns the behaviour on paths that have none of their own.
    pub fn behaviour(&self) -> Behaviour {
        self.rules().common.clone()
    }

    /// Changes the behaviour on paths that have none of their own.
    pub fn update(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.rules().common);
    }

    /// Answers 500 with this probability.
    pub fn set_failure_rate(&self, failure_rate: f64) {
        self.update(|behaviour| behaviour.failure_rate = failure_rate);
    }

    /// Waits this long before every answer.
    pub fn set_latency(&self, latency: Duration) {
        self.update(|behaviour| behaviour.latency = latency);
    }

    /// Stops answering, or answers 200 again; deliveries that hang already go on to.
    pub fn set_hanging(&self, hanging: bool) {
        self.update(|behaviour| {
            behaviour.answer = if hanging {
                Answer::Hang
            } else {
                Answer::Status(StatusCode::OK)
            };
        });
    }

    /// Gives `path` a behaviour of its own.
    pub fn set_path(&self, path: impl Into<String>, behaviour: Behaviour) {
        self.rules().paths.insert(path.into(), behaviour);
    }

    /// Lets `path` behave like all others again.
    pub fn clear_path(&self, path: &str) {
        self.rules().paths.remove(path);
    }

    /// Answers 410 on `path`.
    pub fn set_gone(&self, path: impl Into<String>) {
        self.set_path(path, Behaviour::gone());
    }

    /// Redirects `path` to `location`.
    pub fn set_redirect(&self, path: impl Into<String>, location: impl Into<String>) {
        self.set_path(path, Behaviour::redirect(location));
    }

    pub(super) fn new(seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                rules: Mutex::new(Rules {
                    common: Behaviour::default(),
                    paths: BTreeMap::new(),
                    rng: ChaCha8Rng::seed_from_u64(seed),
                }),
                book: Mutex::new(Book::new(Recording::Ids)),
                counted: Notify::new(),
            }),
        }
    }

    /// Records a delivery and returns how this one is answered.
    pub(super) fn arrived(
        &self,
        path: &str,
        id: Option<&str>,
        body: &Bytes,
        now: Instant,
    ) -> Behaviour {
        self.book().arrived(id, body, now);
        self.shared.counted.notify_waiters();
        self.rules().decide(path)
    }

    pub(super) fn answered(&self, id: Option<&str>, status: StatusCode) {
        self.book().answered(id, status);
        self.shared.counted.notify_waiters();
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.shared
            .book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.shared
            .rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Shared {
    rules: Mutex<Rules>,
    book: Mutex<Book>,
    counted: Notify,
}

#[derive(Debug)]
struct Rules {
    common: Behaviour,
    paths: BTreeMap<String, Behaviour>,
    rng: ChaCha8Rng,
}

impl Rules {
    fn decide(&mut self, path: &str) -> Behaviour {
        let mut behaviour = self.paths.get(path).unwrap_or(&self.common).clone();
        if chance(&mut self.rng, behaviour.failure_rate) {
            behaviour.answer = Answer::Status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        behaviour
    }
}
