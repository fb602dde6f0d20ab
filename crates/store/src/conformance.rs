//! What every store must do, as one suite that all of them run.
//!
//! `conformance!` makes a test of each case; a store gives a [`Harness`] that opens it,
//! opens it again as after a crash, and lets an incarnation's lease end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wellspring_core::budget::Spends;
use wellspring_core::{
    Actor, Change, Collection, CollectionId, CollectionPolicy, CollectionStep, Error, ErrorClass,
    IncarnationId, Input, Shard, TenantId, Timestamp,
};
use wellspring_engine::{
    Backend, Batch, Before, CollectionWrite, DispatchWrites, Entry, Lease, Loaded,
    LoadedCollection, Write,
};

pub mod account;
pub mod admin;
pub mod alert;
pub mod blobs;
pub mod budget;
pub mod commit;
pub mod connection;
pub mod dispatch;
pub mod document;
pub mod lease;
pub mod log;
pub mod notices;
pub mod source;
pub mod statistics;
pub mod steps;
pub mod sweep;
pub mod unclassified;

/// One store under test.
pub trait Harness: Send + Sync {
    /// Opens the same data again, as another process would after a crash; earlier handles are
    /// not closed first where the store allows several.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Backend>>;

    /// Lets the lease of an incarnation end, where leases end.
    fn expire(&self, incarnation: IncarnationId) -> BoxFuture<'_, ()>;
}

/// Makes a test of each case for the harness that an expression gives.
#[macro_export]
macro_rules! conformance {
    ($harness:expr) => {
        $crate::conformance!($harness, commit: [
            a_step_is_there_after_a_crash,
            the_whole_life_of_a_collection_reads_back,
            a_stale_version_writes_nothing,
            a_stale_epoch_writes_nothing,
            the_outcome_of_a_batch_can_be_asked_for,
            idempotency_keys_are_taken_once,
            erasing_leaves_nothing_but_the_log,
            a_resumed_collection_is_live_again,
            what_a_delivery_needs_is_loaded,
        ]);
        $crate::conformance!($harness, account: [
            accounts_read_back_and_are_listed,
            a_stale_account_writes_nothing,
            an_erased_account_leaves_nothing,
        ]);
        $crate::conformance!($harness, alert: [
            alerts_read_back_and_are_listed,
            alerts_of_all_tenants_are_listed,
            alerts_end_with_what_they_are_about,
        ]);
        $crate::conformance!($harness, unclassified: [
            failures_are_counted_by_kind,
            failures_of_one_source_are_of_so_many_kinds,
        ]);
        $crate::conformance!($harness, budget: [
            budgets_are_spent_once_and_survive_a_crash,
            a_source_that_counts_more_than_is_known_is_believed,
            a_source_that_wants_no_calls_gets_none,
            what_is_spent_is_forgotten_when_it_no_longer_counts,
            what_is_granted_is_counted_for_who_got_it,
            who_spent_is_forgotten_after_a_month,
        ]);
        $crate::conformance!($harness, connection: [
            the_life_of_a_connection_reads_back,
            connections_and_their_fetches_are_listed,
            secrets_are_kept_in_their_slots,
            a_stale_connection_writes_nothing,
            a_deleted_connection_leaves_its_documents,
        ]);
        $crate::conformance!($harness, document: [documents_are_listed_and_known_again]);
        $crate::conformance!($harness, dispatch: [
            what_the_dispatcher_keeps_reads_back,
            deliveries_are_listed_with_their_attempts,
            the_log_is_read_in_slices,
            what_a_deleted_subscription_had_is_gone,
        ]);
        $crate::conformance!($harness, lease: [
            a_later_incarnation_fences_the_earlier,
            the_scan_finds_live_rows_in_pages,
            the_scan_goes_through_all_kinds_in_order,
            the_inbox_keeps_commands_until_they_are_consumed,
            a_released_shard_goes_on_where_it_was,
        ]);
        $crate::conformance!($harness, notices: [
            how_people_are_reached_reads_back,
            messages_to_people_are_written_once_and_listed,
            due_messages_come_by_channel_and_an_erased_person_leaves_none,
            messages_are_streamed_in_the_order_in_which_they_come,
            people_at_a_source_are_told_in_pages,
            a_message_that_is_asked_for_twice_is_written_once,
            an_allowance_is_used_so_often_and_no_oftener,
            a_number_that_wants_no_messages_is_known_until_it_wants_them_again,
        ]);
        $crate::conformance!($harness, log: [
            readers_see_their_tenants_entries_in_order,
            a_cursor_from_elsewhere_is_refused,
            lists_page_through_what_there_is,
            who_begins_at_the_start_never_expires,
        ]);
        $crate::conformance!($harness, source: [
            the_life_of_a_source_reads_back,
            incidents_are_listed_and_kept_for_two_years,
            a_source_alerts_each_tenant_in_its_own_log,
        ]);
        $crate::conformance!($harness, statistics: [
            fetches_that_ended_are_added_up,
            statistics_outlive_the_fetch_log,
        ]);
        $crate::conformance!($harness, sweep: [
            retention_removes_what_is_old_and_says_so,
            what_can_be_resumed_keeps_its_data,
            idempotency_keys_are_forgotten_after_a_day,
            what_is_over_on_connections_is_swept,
            deliveries_that_ended_are_swept,
        ]);
        $crate::conformance!($harness, admin: [
            tenants_keys_and_meta_read_back,
            subscriptions_begin_at_the_end_of_the_log,
            a_token_is_exchanged_once,
        ]);
    };
    ($harness:expr, $area:ident: [$($case:ident),* $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let harness = $harness;
                $crate::conformance::$area::$case(&harness).await;
            }
        )*
    };
}

/// One node of the suite: it joins, leases what there is, and numbers its batches and entries.
#[expect(missing_debug_implementations, reason = "a fixture")]
pub struct Node {
    /// The store.
    pub store: Arc<dyn Backend>,
    /// The incarnation.
    pub incarnation: IncarnationId,
    pub(crate) leases: Vec<Lease>,
    number: u64,
    rng: ChaCha8Rng,
}

/// When the suite's time begins.
pub const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// The tenant that most cases use.
pub const TENANT: TenantId = TenantId::from_bytes([1; 16]);

static SEED: AtomicI64 = AtomicI64::new(1);

impl Node {
    /// Joins and takes every shard that is free.
    ///
    /// # Panics
    ///
    /// As the whole suite does, when the store fails.
    pub async fn join(store: Arc<dyn Backend>) -> Self {
        let seed = SEED.fetch_add(1, Ordering::Relaxed);
        let mut rng = ChaCha8Rng::seed_from_u64(u64::try_from(seed).expect("counts up from 1"));
        let incarnation = IncarnationId::mint(
            START.after(Duration::from_millis(seed.unsigned_abs())),
            &mut rng,
        );
        store.join(incarnation).await.expect("joins");
        let shards = store.shards();
        let leases = store.acquire(incarnation, shards).await.expect("acquires");
        Self {
            store,
            incarnation,
            leases,
            number: 0,
            rng,
        }
    }

    /// Returns the shards it has.
    pub fn shards(&self) -> Vec<Shard> {
        self.leases.iter().map(|lease| lease.shard).collect()
    }

    /// Returns the shards it has, each with its epoch.
    pub fn holds(&self) -> Vec<(Shard, u64)> {
        let leases = self.leases.iter();
        leases.map(|lease| (lease.shard, lease.epoch)).collect()
    }

    /// Makes a step that accepts a collection at `now` in the first shard it has.
    pub fn accept(&mut self, now: Timestamp, tenant: TenantId) -> (CollectionId, CollectionStep) {
        self.accept_in(self.leases[0].shard, now, tenant)
    }

    /// Makes a step that accepts a collection at `now` in a shard.
    pub fn accept_in(
        &mut self,
        shard: Shard,
        now: Timestamp,
        tenant: TenantId,
    ) -> (CollectionId, CollectionStep) {
        let id = CollectionId::mint_in(now, shard, &mut self.rng);
        let source = "gas".parse().expect("a name");
        let url = "http://127.0.0.1:9/callback".into();
        (
            id,
            Collection::accept(now, id, tenant, source, url, Actor::Operator),
        )
    }

    /// Steps a collection under the default policy.
    pub fn step(&mut self, collection: Collection, now: Timestamp, input: Input) -> CollectionStep {
        collection
            .handle(now, input, &CollectionPolicy::default(), &mut self.rng)
            .expect("takes the input")
    }

    /// Makes a batch of one step; the payload goes where the step wants one.
    pub fn batch(
        &mut self,
        now: Timestamp,
        before: Before,
        id: CollectionId,
        step: CollectionStep,
    ) -> Batch {
        self.batch_with(now, before, id, step, None)
    }

    /// Makes a batch of one step with a payload.
    pub fn batch_with(
        &mut self,
        now: Timestamp,
        before: Before,
        id: CollectionId,
        step: CollectionStep,
        payload: Option<Bytes>,
    ) -> Batch {
        let tenant = step.next.as_ref().map_or(TENANT, |next| next.tenant);
        let write = CollectionWrite {
            id,
            before,
            next: step.next,
            attempt: step.attempt,
            payload,
        };
        let write = Write::Collection(Box::new(write));
        self.batch_of(now, tenant, write, step.change)
    }

    /// Makes a batch of one write and what the log says of it.
    ///
    /// # Panics
    ///
    /// When the aggregate is in a shard that the node does not have.
    pub fn batch_of(
        &mut self,
        now: Timestamp,
        tenant: TenantId,
        write: Write,
        changes: impl IntoIterator<Item = Change>,
    ) -> Batch {
        let lease = self.lease(write.id().shard());
        let mut batch = self.batch_in(lease.shard);
        let entries = (lease.next_seq..).zip(changes).map(|(seq, change)| Entry {
            shard: lease.shard,
            seq,
            at: now,
            tenant,
            change,
        });
        batch.entries = entries.collect();
        batch.writes.push(write);
        batch
    }

    /// Makes an empty batch in a shard.
    ///
    /// # Panics
    ///
    /// When the node does not have it.
    pub fn batch_in(&mut self, shard: Shard) -> Batch {
        let lease = self.lease(shard);
        Batch {
            epochs: vec![(lease.shard, lease.epoch)],
            ..self.batch_in_none()
        }
    }

    /// Makes an empty batch that touches no shard.
    pub fn batch_in_none(&mut self) -> Batch {
        self.number += 1;
        Batch {
            incarnation: self.incarnation,
            number: self.number,
            epochs: Vec::new(),
            writes: Vec::new(),
            entries: Vec::new(),
            keys: Vec::new(),
            consumed: Vec::new(),
            unclassified: Vec::new(),
            dispatch: DispatchWrites::default(),
            spends: Spends::default(),
        }
    }

    fn lease(&self, shard: Shard) -> Lease {
        let mut leases = self.leases.iter();
        *leases
            .find(|lease| lease.shard == shard)
            .expect("owns the shard")
    }

    /// Commits a batch and notes where its entries ended.
    ///
    /// # Panics
    ///
    /// When the store does not commit it.
    pub async fn commit(&mut self, batch: Batch) {
        self.advance(&batch);
        self.store.commit(Arc::new(batch)).await.expect("commits");
    }

    /// Notes where a batch's entries ended.
    ///
    /// # Panics
    ///
    /// When an entry is in a shard that the node does not have.
    pub fn advance(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            let lease = self
                .leases
                .iter_mut()
                .find(|lease| lease.shard == entry.shard)
                .expect("owns the shard");
            lease.next_seq = lease.next_seq.max(entry.seq + 1);
        }
    }

    /// Accepts a collection and returns it.
    ///
    /// # Panics
    ///
    /// When the store does not commit it.
    pub async fn accepted(&mut self, now: Timestamp, tenant: TenantId) -> Collection {
        let (id, step) = self.accept(now, tenant);
        let next = step.next.clone().expect("accepted");
        let batch = self.batch(now, Before::New, id, step);
        self.commit(batch).await;
        next
    }

    /// Steps a live collection, commits the step and returns the collection.
    ///
    /// # Panics
    ///
    /// When the store does not commit it.
    pub async fn stepped(
        &mut self,
        collection: Collection,
        now: Timestamp,
        input: Input,
        payload: Option<Bytes>,
    ) -> Collection {
        let (id, before) = (collection.id, Before::Live(collection.version));
        let step = self.step(collection, now, input);
        let next = step.next.clone().expect("not erased");
        let batch = self.batch_with(now, before, id, step, payload);
        self.commit(batch).await;
        next
    }

    /// Takes a collection all the way to the tenant.
    ///
    /// # Panics
    ///
    /// When the store does not commit a step.
    pub async fn delivered(&mut self, now: Timestamp, tenant: TenantId) -> Collection {
        let accepted = self.accepted(now, tenant).await;
        let payload = Some(Bytes::from_static(b"[1]"));
        let fetched = self
            .stepped(accepted, now, Input::Fetched { started: now }, payload)
            .await;
        self.stepped(
            fetched,
            now,
            Input::DeliverySucceeded { started: now },
            None,
        )
        .await
    }

    /// Makes a collection whose callback is gone durable, with this payload.
    ///
    /// # Panics
    ///
    /// When the store does not commit a step.
    pub async fn parked(&mut self, now: Timestamp, tenant: TenantId, payload: Bytes) -> Collection {
        let accepted = self.accepted(now, tenant).await;
        let fetched = Input::Fetched { started: now };
        let fetched = self.stepped(accepted, now, fetched, Some(payload)).await;
        let gone = Input::DeliveryFailed {
            started: now,
            error: Error {
                class: ErrorClass::ProductNotAvailable,
                code: "http_410".to_owned(),
                message: "gone".to_owned(),
            },
            gone: true,
            retry_at: None,
            probe: false,
        };
        self.stepped(fetched, now, gone, None).await
    }
}

/// Returns the collection that was read.
///
/// # Panics
///
/// When it is something else.
pub fn collection(loaded: &Loaded) -> &LoadedCollection {
    match loaded {
        Loaded::Collection(loaded) => loaded,
        Loaded::Account(_) | Loaded::Connection(_) | Loaded::Source(_) => {
            panic!("{} is no collection", loaded.id())
        }
    }
}
