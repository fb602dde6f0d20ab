//! Calls to the outside: each a task of its own, whose end is the driver's next input.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use wellspring_core::{ConnectionId, DocumentId, Error, ErrorClass, Shard, SourceName};

use super::{Caller, Shell};
use crate::driver::{Answer, Event};
use crate::session::PANICKED;
use crate::tasks::{Panicked, contained};
use crate::traces;
use crate::{
    Backend, EffectId, Ended, FetchOrder, FetchResult, Heard, KnownDocuments, Leave, Listener,
    Report, Reporter, Request, RunOrder, RunResult, Session, StoreError,
};

impl Shell {
    pub(super) fn fetch(&mut self, effect: EffectId, order: FetchOrder) {
        let (connector, results) = (Arc::clone(&self.parts.connector), self.results.clone());
        let call = self.meters.fetch(&effect, &order.source);
        let span = traces::collection_call(&effect, &order);
        let listener = Arc::new(Reports {
            effect,
            results: results.clone(),
        });
        self.tasks.spawn("fetch", async move {
            let source = order.source.clone();
            let fetched = span
                .within(contained(async { connector.fetch(order, listener).await }))
                .await;
            let result = fetched.unwrap_or_else(|Panicked| FetchResult::Failed {
                error: crashed(&source),
                retry_at: None,
                unclassified: None,
            });
            call.fetched(&result);
            span.fetched(&result);
            drop(results.send(Event::Fetched(effect, result)).await);
        });
    }

    /// Leaves what was seen of a source to its owner; what gets lost is seen again.
    pub(super) fn leave(&self, request: Request) {
        let Some(id) = request.subject() else { return };
        // Where leases do not end there is no other node.
        if self.parts.store.renewal().is_none() {
            return;
        }
        let store = Arc::clone(&self.parts.store);
        let shard: Shard = id.shard();
        self.tasks.spawn("leave", async move {
            if let Err(error) = store.post(shard, request, None).await {
                tracing::warn!(%error, "What was seen of a source could not be left for its owner");
            }
        });
    }

    pub(super) fn deliver(&self, effect: EffectId, order: crate::DeliverOrder) {
        let (channel, results) = (Arc::clone(&self.parts.channel), self.results.clone());
        let (clock, latency, created_at) = (
            Arc::clone(&self.parts.clock),
            self.latency.clone(),
            order.created_at,
        );
        let call = self.meters.deliver();
        let span = traces::callback(&effect, &order);
        self.tasks.spawn("deliver", async move {
            let result = span.within(channel.deliver(order)).await;
            call.delivered(&result);
            span.delivered(&result);
            if result == crate::DeliverResult::Delivered {
                latency.record(clock.now().since(created_at).as_secs_f64());
            }
            drop(results.send(Event::Delivered(effect, result)).await);
        });
    }

    pub(super) fn run_attempt(&mut self, effect: EffectId, order: RunOrder) {
        let call = self.meters.run(&effect, &order.source);
        let span = traces::attempt(&effect, &order);
        let reporter = Reports {
            effect,
            results: self.results.clone(),
        };
        let parts = &self.parts;
        let session = Session::new(
            order.clone(),
            Arc::new(reporter),
            Arc::new(Rows(Arc::clone(&parts.store))),
            Arc::clone(&parts.blobs),
            Arc::clone(&parts.clock),
        );
        let (connector, store) = (Arc::clone(&parts.connector), Arc::clone(&parts.store));
        let results = self.results.clone();
        let attempt = async move {
            let result = match store.run_inputs(order.connection).await {
                Ok(inputs) => {
                    let source = order.source.clone();
                    let ran = contained(async { connector.run(order, inputs, session).await });
                    span.within(ran)
                        .await
                        .unwrap_or_else(|Panicked| RunResult::Failed {
                            error: crashed(&source),
                            retry_at: None,
                            action: wellspring_core::Action::Default,
                            unclassified: None,
                        })
                }
                Err(error) => {
                    tracing::warn!(%error, "Attempt could not read its credentials, trying again");
                    RunResult::NotBegun
                }
            };
            call.ran(&result);
            span.ran(&result);
            drop(results.send(Event::Ran(effect, result)).await);
        };
        let run = self.tasks.spawn_abortable("attempt", attempt);
        if self.runs.len() >= self.runs_swept_at {
            self.runs.retain(|_, run| !run.is_finished());
            self.runs_swept_at = self.runs.len().saturating_mul(2).max(RUNS_SWEPT_FROM);
        }
        self.runs.insert(effect.number, run);
    }
}

/// Takes reports to the driver and waits until they are durable.
#[derive(Debug)]
struct Reports {
    effect: EffectId,
    results: mpsc::Sender<Event<Caller>>,
}

impl Listener for Reports {
    fn hear(&self, heard: Heard) {
        // Where the driver is that far behind, the next answer has a newer word.
        drop(self.results.try_send(Event::Heard(self.effect, heard)));
    }
}

impl Reporter for Reports {
    fn report(&self, report: Report) -> BoxFuture<'_, Result<(), Ended>> {
        Box::pin(async move {
            let (caller, answer) = oneshot::channel();
            let event = Event::Reported(self.effect, report, caller);
            self.results.send(event).await.map_err(|_closed| Ended)?;
            match answer.await {
                Ok(Answer::Done(_)) => Ok(()),
                Ok(_) | Err(_) => Err(Ended),
            }
        })
    }

    fn call(&self, endpoint: &'static str) -> BoxFuture<'_, Result<Leave, Ended>> {
        Box::pin(async move {
            let (caller, answer) = oneshot::channel();
            let event = Event::Calling(self.effect, endpoint.into(), caller);
            self.results.send(event).await.map_err(|_closed| Ended)?;
            match answer.await {
                Ok(Answer::Leave(leave)) => Ok(leave),
                Ok(_) | Err(_) => Err(Ended),
            }
        })
    }
}

/// Knows the documents that have rows.
struct Rows(Arc<dyn Backend>);

impl KnownDocuments for Rows {
    fn known_document(
        &self,
        connection: ConnectionId,
        source_id: Option<String>,
        hash: Option<[u8; 32]>,
    ) -> BoxFuture<'_, Result<Option<DocumentId>, StoreError>> {
        self.0.known_document(connection, source_id, hash)
    }
}

/// A connector has panicked; only its own attempt is over.
fn crashed(source: &SourceName) -> Error {
    tracing::error!(source.name = %source, "A connector panicked");
    Error {
        class: ErrorClass::InternalError,
        code: PANICKED.to_owned(),
        message: "the connector failed by a fault of its own".to_owned(),
    }
}

/// How many handles of attempts gather before those that have ended are let go.
pub(super) const RUNS_SWEPT_FROM: usize = 1_024;
