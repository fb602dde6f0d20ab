use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use wellspring_core::{Action, Error, ErrorClass, SourceName};
use wellspring_engine::{
    Clock, Connector, FetchOrder, FetchResult, Listener, Nobody, RunInputs, RunOrder, RunResult,
};
use wellspring_outbound::{AddressPolicy, Client, ClientError, ClientOptions};
use wellspring_vault::Vault;

use crate::http::Http;
use crate::{
    CheckReport, ConnectorKind, Failed, Finished, Session, SourceConfig, Sources, Stop, http_json,
};

/// Asks the configured sources, each in its own way.
#[derive(Debug)]
pub struct Connectors {
    sources: RwLock<Arc<Sources>>,
    client: Client,
    clock: Arc<dyn Clock>,
    vault: Vault,
}

impl Connectors {
    /// Begins with `sources`, which may be replaced at any time.
    ///
    /// Every address may be reached, since the operator wrote the URLs.
    /// The vault opens and seals what connectors keep.
    ///
    /// # Errors
    ///
    /// When the options make no client.
    pub fn new(
        sources: Arc<Sources>,
        options: ClientOptions,
        clock: Arc<dyn Clock>,
        vault: Vault,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            sources: RwLock::new(sources),
            client: Client::new(AddressPolicy::unrestricted(), options)?,
            clock,
            vault,
        })
    }

    /// Returns the sources as they are.
    pub fn sources(&self) -> Arc<Sources> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&sources)
    }

    /// Takes other sources from the next call on.
    pub fn replace(&self, sources: Arc<Sources>) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// Asks a source once and says how it went; `None` if it is not configured.
    ///
    /// A source of connections is asked whether it answers at all; nobody is logged in.
    /// It takes no part in budgets, breakers or concurrency.
    pub async fn check(&self, name: &SourceName) -> Option<CheckReport> {
        let http = self.http(self.source(name)?, Arc::new(Nobody));
        let started = Instant::now();
        let asked = match http.kind().native() {
            None => http_json::ask(&http).await,
            Some(_) => http.check().await,
        };
        Some(CheckReport::new(name.clone(), &asked, started.elapsed()))
    }

    fn source(&self, name: &SourceName) -> Option<Arc<SourceConfig>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.get(name).map(Arc::clone)
    }

    fn http(&self, source: Arc<SourceConfig>, listener: Arc<dyn Listener>) -> Http {
        let clock = Arc::clone(&self.clock);
        Http::new(self.client.clone(), source, clock, listener)
    }

    async fn collected(
        &self,
        name: &SourceName,
        listener: Arc<dyn Listener>,
    ) -> Result<Bytes, Failed> {
        let source = self.source(name).ok_or_else(not_configured)?;
        match source.connector {
            ConnectorKind::HttpJson => http_json::ask(&self.http(source, listener)).await.outcome,
            ConnectorKind::SandboxBank => Err(Failed::new(
                ErrorClass::InvalidRequest,
                "source_has_no_collections",
                "the source can only be connected to, not collected from",
            )),
        }
    }

    async fn attempt(
        &self,
        order: RunOrder,
        inputs: RunInputs,
        session: wellspring_engine::Session,
    ) -> Result<Finished, Stop> {
        let source = self.source(&order.source).ok_or_else(not_configured)?;
        let Some(native) = source.connector.native() else {
            let message = "the source can only be collected from, not connected to";
            let code = "source_has_no_connections";
            return Err(Failed::new(ErrorClass::InvalidRequest, code, message).into());
        };
        let http = self.http(source, session.listener());
        let mut session = Session::new(session, order, inputs, self.vault.clone(), http);
        loop {
            match native.run(&session).await {
                Err(Stop::Failed(failed)) if session.begins_again(failed.action) => {
                    session.log("The source wants the attempt to begin again");
                }
                ended => return ended,
            }
        }
    }
}

impl Connector for Connectors {
    fn fetch(&self, order: FetchOrder, listener: Arc<dyn Listener>) -> BoxFuture<'_, FetchResult> {
        Box::pin(async move {
            match self.collected(&order.source, listener).await {
                Ok(data) => FetchResult::Fetched(data),
                Err(failed) => {
                    told(&order.source, &failed);
                    FetchResult::Failed {
                        error: failed.error,
                        retry_at: failed.retry_at,
                        unclassified: failed.unclassified,
                    }
                }
            }
        })
    }

    fn run(
        &self,
        order: RunOrder,
        inputs: RunInputs,
        session: wellspring_engine::Session,
    ) -> BoxFuture<'_, RunResult> {
        Box::pin(async move {
            let source = order.source.clone();
            match self.attempt(order, inputs, session).await {
                Ok(Finished { partial }) => {
                    if let Some(failed) = &partial {
                        told(&source, failed);
                    }
                    let (partial, unclassified) = partial
                        .map(|failed| (failed.error, failed.unclassified))
                        .unzip();
                    RunResult::Finished {
                        partial,
                        unclassified: unclassified.flatten(),
                    }
                }
                Err(Stop::Failed(failed)) => {
                    told(&source, &failed);
                    RunResult::Failed {
                        retry_at: failed.retry_at,
                        action: failed.action,
                        unclassified: failed.unclassified,
                        error: failed.error,
                    }
                }
                Err(Stop::Asked) => RunResult::Asked,
                // Nobody waits for it any more.
                Err(Stop::Ended) => RunResult::Failed {
                    error: Error {
                        class: ErrorClass::InternalError,
                        code: "fetch_over".to_owned(),
                        message: "the fetch was over before its attempt was".to_owned(),
                    },
                    retry_at: None,
                    action: Action::Default,
                    unclassified: None,
                },
            }
        })
    }
}

fn told(source: &SourceName, failed: &Failed) {
    tracing::debug!(
        source.name = %source,
        rule = failed.rule,
        detail = failed.detail,
        "Source gave no data"
    );
    if let Some(kept) = &failed.unclassified {
        tracing::info!(
            source.name = %source,
            status = kept.status,
            error_type = kept.error_type,
            error_code = kept.error_code,
            shape = kept.shape,
            "No rule knows this failure"
        );
    }
}

/// Its file may be back in a moment, so this ends nothing at once.
fn not_configured() -> Failed {
    Failed::new(
        ErrorClass::ConnectionFailure,
        "source_not_configured",
        "the source is not configured",
    )
}
