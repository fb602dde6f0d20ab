//! What the API asks of sources and of the outbound guard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use wellspring_connectors::Connectors;
use wellspring_core::{SourceName, TenantId, Unclassified};
use wellspring_delivery::{Secrets, SigningSecret};
use wellspring_outbound::{AddressPolicy, Target, check_resolves};
use wellspring_server::{Access, Intake, SourceInfo};

/// Checks what `POST /collect` names.
#[derive(Debug)]
pub(crate) struct Checks {
    connectors: Arc<Connectors>,
    policy: AddressPolicy,
    /// Hosts that resolved well a moment ago; delivery checks the address again in any case.
    resolved: Mutex<HashMap<String, Instant>>,
}

impl Checks {
    pub(crate) fn new(connectors: Arc<Connectors>, policy: AddressPolicy) -> Self {
        Self {
            connectors,
            policy,
            resolved: Mutex::default(),
        }
    }

    async fn check(&self, url: &str) -> Result<(), String> {
        let target = Target::parse(url, &self.policy).map_err(|error| error.to_string())?;
        if target.literal().is_some() {
            return Ok(());
        }
        let now = Instant::now();
        {
            let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            if resolved
                .get(target.host())
                .is_some_and(|until| *until > now)
            {
                return Ok(());
            }
            if resolved.len() >= REMEMBERED_HOSTS {
                resolved.retain(|_, until| *until > now);
            }
            if resolved.len() >= REMEMBERED_HOSTS {
                resolved.clear();
            }
        }
        check_resolves(&target, &self.policy, RESOLVE_WITHIN)
            .await
            .map_err(|error| error.to_string())?;
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.insert(target.host().to_owned(), now + REMEMBERED);
        Ok(())
    }
}

impl Intake for Checks {
    fn knows(&self, source: &SourceName) -> bool {
        self.connectors.sources().get(source).is_some()
    }

    fn check_url<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.check(url))
    }

    fn source(&self, name: &SourceName) -> Option<SourceInfo> {
        let sources = self.connectors.sources();
        let source = sources.get(name)?;
        Some(SourceInfo {
            name: source.name.clone(),
            connector: source.connector.as_str(),
            connections: source.connections.clone(),
            maintenance: Arc::clone(&source.maintenance),
        })
    }

    fn rule_for(&self, kept: &Unclassified) -> Option<String> {
        let sources = self.connectors.sources();
        let source = sources.get(&kept.source)?;
        kept.known_by(&source.rules).map(str::to_owned)
    }

    fn source_names(&self) -> Vec<String> {
        self.connectors
            .sources()
            .iter()
            .map(|source| source.name.to_string())
            .collect()
    }
}

/// Gives delivery the secrets that the API manages, parsed once.
#[derive(Debug)]
pub(crate) struct CallbackSecrets {
    access: Arc<Access>,
    parsed: RwLock<Parsed>,
}

#[derive(Debug, Default)]
struct Parsed {
    version: u64,
    secrets: HashMap<TenantId, (Instant, Arc<[SigningSecret]>)>,
}

impl CallbackSecrets {
    pub(crate) fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            parsed: RwLock::default(),
        }
    }
}

impl Secrets for CallbackSecrets {
    fn callback(&self, tenant: TenantId) -> Option<Arc<[SigningSecret]>> {
        let version = self.access.secrets_version();
        let now = Instant::now();
        {
            let parsed = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
            if parsed.version == version
                && let Some((until, secrets)) = parsed.secrets.get(&tenant)
                && *until > now
            {
                return Some(Arc::clone(secrets));
            }
        }
        let texts = self.access.callback_secrets(tenant);
        let secrets: Arc<[SigningSecret]> =
            texts.iter().filter_map(|text| text.parse().ok()).collect();
        let mut parsed = self.parsed.write().unwrap_or_else(PoisonError::into_inner);
        if parsed.version != version {
            *parsed = Parsed {
                version,
                secrets: HashMap::new(),
            };
        }
        // A previous secret ends by itself, so that nothing is kept for long.
        parsed
            .secrets
            .insert(tenant, (now + REMEMBERED, Arc::clone(&secrets)));
        Some(secrets)
    }
}

/// How long a name may take to resolve before the collection is accepted all the same.
const RESOLVE_WITHIN: Duration = Duration::from_millis(500);
const REMEMBERED: Duration = Duration::from_secs(30);
const REMEMBERED_HOSTS: usize = 10_000;
