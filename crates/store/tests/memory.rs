//! The conformance suite on the memory store, with and without leases that end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use wellspring_core::{IncarnationId, Timestamp};
use wellspring_engine::{Backend, Clock};
use wellspring_store::MemoryStore;
use wellspring_store::conformance::{Harness, START};

#[derive(Debug, Default)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        START.after(Duration::from_millis(
            self.0.load(Ordering::Relaxed).unsigned_abs(),
        ))
    }
}

struct Memory {
    store: MemoryStore,
    clock: Arc<ManualClock>,
}

impl Memory {
    fn new(shards: u8, lease: Option<Duration>) -> Self {
        let clock = Arc::new(ManualClock::default());
        let handle: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        Self {
            store: MemoryStore::new(handle, shards, lease),
            clock,
        }
    }
}

impl Harness for Memory {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Backend>> {
        let store: Arc<dyn Backend> = Arc::new(self.store.clone());
        Box::pin(ready(store))
    }

    fn expire(&self, _incarnation: IncarnationId) -> BoxFuture<'_, ()> {
        self.clock.0.fetch_add(10_000, Ordering::Relaxed);
        Box::pin(ready(()))
    }
}

mod single {
    use super::Memory;

    wellspring_store::conformance!(Memory::new(1, None));
}

mod shared {
    use super::Memory;

    wellspring_store::conformance!(Memory::new(4, Some(std::time::Duration::from_secs(5))));
}
