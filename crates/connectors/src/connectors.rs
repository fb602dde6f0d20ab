use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::StatusCode;
use tokio::time::Instant;
use wellspring_core::{Error, ErrorClass, SourceName, Timestamp};
use wellspring_engine::{Clock, Connector, FetchOrder, FetchResult};
use wellspring_outbound::{AddressPolicy, Client, ClientError, ClientOptions};

use crate::{CheckReport, ConnectorKind, SourceConfig, Sources, http_json};

/// Asks the configured sources, each in its own way.
#[derive(Debug)]
pub struct Connectors {
    sources: RwLock<Arc<Sources>>,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Connectors {
    /// Begins with `sources`, which may be replaced at any time.
    ///
    /// Every address may be reached, since the operator wrote the URLs.
    ///
    /// # Errors
    ///
    /// When the options make no client.
    pub fn new(
        sources: Arc<Sources>,
        options: ClientOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            sources: RwLock::new(sources),
            client: Client::new(AddressPolicy::unrestricted(), options)?,
            clock,
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
    /// It takes no part in budgets, breakers or concurrency.
    pub async fn check(&self, name: &SourceName) -> Option<CheckReport> {
        let source = self.source(name)?;
        let started = Instant::now();
        let asked = self.ask(&source).await;
        Some(CheckReport::new(name.clone(), &asked, started.elapsed()))
    }

    fn source(&self, name: &SourceName) -> Option<Arc<SourceConfig>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.get(name).map(Arc::clone)
    }

    async fn ask<'s>(&self, source: &'s SourceConfig) -> Asked<'s> {
        match source.connector {
            ConnectorKind::HttpJson => {
                http_json::ask(&self.client, source, self.clock.as_ref()).await
            }
        }
    }

    async fn fetch(&self, name: &SourceName) -> FetchResult {
        let Some(source) = self.source(name) else {
            return FetchResult::Failed {
                error: Error {
                    // Its file may be back in a moment, so this ends nothing at once.
                    class: ErrorClass::ConnectionFailure,
                    code: "source_not_configured".to_owned(),
                    message: "the source is not configured".to_owned(),
                },
                retry_at: None,
            };
        };
        match self.ask(&source).await.outcome {
            Ok(data) => FetchResult::Fetched(data),
            Err(failed) => {
                tracing::debug!(
                    source.name = %name,
                    rule = failed.rule,
                    detail = failed.detail,
                    "Source gave no data"
                );
                FetchResult::Failed {
                    error: failed.error,
                    retry_at: failed.retry_at,
                }
            }
        }
    }
}

impl Connector for Connectors {
    fn fetch(&self, order: FetchOrder) -> BoxFuture<'_, FetchResult> {
        Box::pin(async move { Self::fetch(self, &order.source).await })
    }
}

/// What came of one call.
#[derive(Debug)]
pub(crate) struct Asked<'s> {
    pub(crate) status: Option<StatusCode>,
    pub(crate) body_bytes: usize,
    pub(crate) outcome: Result<Bytes, Failed<'s>>,
}

/// Why a call brought no data.
#[derive(Debug)]
pub(crate) struct Failed<'s> {
    pub(crate) error: Error,
    pub(crate) retry_at: Option<Timestamp>,
    /// The rule that gave the class.
    pub(crate) rule: Option<&'s str>,
    /// What the client said, for operators only.
    pub(crate) detail: Option<String>,
}
