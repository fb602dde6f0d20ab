//! The only place that names concrete parts and puts them together.

use std::sync::Arc;

use anyhow::{Context, Result};
use secrecy::ExposeSecret;
use wellspring_connectors::{Connectors, SourceFolder, Sources};
use wellspring_delivery::{
    Deliveries, DeliveryOptions, DeliveryParts, NoticeParts, Notices, StoredFiles,
};
use wellspring_engine::traces::{Tracing, set_tracing};
use wellspring_engine::{
    Backend, Blobs, Clock, Engine, EngineHandle, EngineParts, Notifier, NotifierHandle,
    NotifierParts, StoreError, SystemClock, Tasks, random_seed,
};
use wellspring_outbound::{AddressPolicy, ClientOptions};
use wellspring_server::{Access, AccessError, SealedAddresses, open_vault};
use wellspring_store::{
    FolderBlobs, PostgresBlobs, PostgresOptions, PostgresStore, SealedBlobs, SqliteOptions,
    SqliteStore,
};
use wellspring_telemetry::Exporter;
use wellspring_vault::{MasterKey, Vault};

use crate::config::Config;
use crate::data_dir::{self, Lock};
use crate::error::{Code, coded};
use crate::intake::{CallbackSecrets, Checks};
use crate::master_key::{self, Keeper};

/// An opened database with what belongs to it.
pub(crate) struct Opened {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) sqlite: Option<SqliteStore>,
    /// The documents' bytes, where they are files.
    pub(crate) blob_folder: Option<FolderBlobs>,
    /// The documents' bytes, sealed on their way.
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) access: Arc<Access>,
    /// Shared with everything that seals.
    pub(crate) vault: Vault,
    pub(crate) keeper: Keeper,
    /// One rotation of the master key at a time.
    pub(crate) rotating: tokio::sync::Mutex<()>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Held for as long as the database is used.
    pub(crate) lock: Option<Lock>,
}

/// Opens the configured database, taking the data folder where it is SQLite.
pub(crate) async fn open(config: &Config) -> Result<Opened> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opened = match &config.database {
        Some(url) => {
            if config.master_key.is_none() {
                return Err(coded(
                    Code::MasterKeyMissing,
                    "with PostgreSQL, WELLSPRING_MASTER_KEY (or WELLSPRING_MASTER_KEY_FILE) must be set",
                ));
            }
            let keys = master_key::read(&config.data_dir, config.master_key.as_ref(), false)?;
            let store =
                PostgresStore::connect(url.expose_secret(), PostgresOptions::default()).await;
            let store = store.map_err(database_error)?;
            let blobs = Place::Database(PostgresBlobs::new(&store));
            (Arc::new(store) as Arc<dyn Backend>, None, None, keys, blobs)
        }
        None => {
            let lock = data_dir::lock(&config.data_dir)?;
            let is_new = !config.sqlite_path().exists();
            let keys = master_key::read(&config.data_dir, config.master_key.as_ref(), is_new)?;
            let store = SqliteStore::open(&config.sqlite_path(), &SqliteOptions::default())
                .map_err(database_error)?;
            let folder = FolderBlobs::open(&data_dir::blobs(&config.data_dir))
                .map_err(|error| coded(Code::DatabaseUnavailable, error))?;
            let backend = Arc::new(store.clone()) as Arc<dyn Backend>;
            (
                backend,
                Some(store),
                Some(lock),
                keys,
                Place::Folder(folder),
            )
        }
    };
    let (backend, sqlite, lock, (keeper, keys), place) = opened;
    let vault = open_vault(backend.as_ref(), &keys, clock.now()).await;
    let vault = vault.map_err(vault_error)?;
    if let Keeper::Folder(folder) = &keeper {
        master_key::settle(folder, &vault.fingerprint())?;
    }
    let life = random_seed() >> 1;
    backend
        .put_meta("log_life", life.to_string())
        .await
        .map_err(database_error)?;
    let access = Access::load(Arc::clone(&backend), vault.clone(), Arc::clone(&clock)).await?;
    let (blobs, blob_folder) = place.sealed(&vault);
    Ok(Opened {
        backend,
        sqlite,
        blob_folder,
        blobs,
        access: Arc::new(access),
        vault,
        keeper,
        rotating: tokio::sync::Mutex::default(),
        clock,
        lock,
    })
}

/// Where the documents' bytes are.
enum Place {
    Folder(FolderBlobs),
    Database(PostgresBlobs),
}

impl Place {
    fn sealed(self, vault: &Vault) -> (Arc<dyn Blobs>, Option<FolderBlobs>) {
        match self {
            Self::Folder(folder) => {
                let blobs = SealedBlobs::new(folder.clone(), vault.clone());
                (Arc::new(blobs), Some(folder))
            }
            Self::Database(blobs) => (Arc::new(SealedBlobs::new(blobs, vault.clone())), None),
        }
    }
}

/// The parts of a running node.
pub(crate) struct Node {
    pub(crate) engine: EngineHandle,
    pub(crate) connectors: Arc<Connectors>,
    pub(crate) checks: Arc<Checks>,
}

/// Makes the channels over which people are told.
pub(crate) fn notices(config: &Config, opened: &Opened) -> Result<Notices> {
    let parts = NoticeParts {
        policy: policy(config),
        secrets: Arc::new(CallbackSecrets::new(Arc::clone(&opened.access))),
        clock: Arc::clone(&opened.clock),
    };
    Notices::new(config.notifications.clone(), parts).context("`notifications`")
}

/// Starts what tells people.
pub(crate) fn notifier(
    config: &Config,
    opened: &Opened,
    engine: &EngineHandle,
    public_url: &str,
    tasks: &Tasks,
) -> Result<NotifierHandle> {
    let parts = NotifierParts {
        store: Arc::<dyn Backend>::clone(&opened.backend),
        transport: Arc::new(notices(config, opened)?),
        addresses: Arc::new(SealedAddresses::new(&opened.access, public_url)),
        clock: Arc::clone(&opened.clock),
    };
    Ok(Notifier::start(parts, engine, tasks))
}

/// Makes what takes spans to the collector, where one is configured.
pub(crate) fn exporter(config: &Config) -> Result<Option<Exporter>> {
    let Some(traces) = &config.traces else {
        return Ok(None);
    };
    let exporter = Exporter::new(traces.otlp.clone(), ClientOptions::default());
    exporter.context("`telemetry`").map(Some)
}

/// Has spans made and taken to the collector, where one is configured.
///
/// Spans come until the last call ends, so that [`Exporter::run`] is to be stopped after that.
pub(crate) fn trace(config: &Config, opened: &Opened) -> Result<Option<Exporter>> {
    let Some((exporter, traces)) = exporter(config)?.zip(config.traces.as_ref()) else {
        return Ok(None);
    };
    set_tracing(Tracing {
        sink: Arc::new(exporter.clone()),
        clock: Arc::clone(&opened.clock),
        sample_ratio: traces.sample_ratio,
        propagate: traces.propagate,
    });
    Ok(Some(exporter))
}

/// Starts the engine on an opened database.
pub(crate) fn start(
    config: &Config,
    opened: &Opened,
    sources: Sources,
    tasks: &Tasks,
) -> Result<Node> {
    let table = Arc::new(sources.table());
    let connectors = connectors(sources, &opened.clock, &opened.vault)?;
    let parts = EngineParts {
        store: Arc::clone(&opened.backend),
        connector: Arc::<Connectors>::clone(&connectors),
        channel: Arc::new(deliveries(config, opened)?),
        clock: Arc::clone(&opened.clock),
        limits: config.limits,
        sources: table,
        tenants: Arc::new(opened.access.tenant_rules()),
        blobs: Arc::clone(&opened.blobs),
    };
    let checks = Arc::new(Checks::new(Arc::clone(&connectors), policy(config)));
    Ok(Node {
        engine: Engine::start(parts, tasks),
        connectors,
        checks,
    })
}

/// Makes the client of sources.
pub(crate) fn connectors(
    sources: Sources,
    clock: &Arc<dyn Clock>,
    vault: &Vault,
) -> Result<Arc<Connectors>> {
    let options = ClientOptions {
        max_idle_per_host: 512,
        ..ClientOptions::default()
    };
    Ok(Arc::new(Connectors::new(
        Arc::new(sources),
        options,
        Arc::clone(clock),
        vault.clone(),
    )?))
}

/// Makes a vault for commands that try sources and open nothing that is kept.
pub(crate) fn passing_vault(clock: &Arc<dyn Clock>) -> Vault {
    Vault::create(MasterKey::generate(), clock.now().as_millis())
}

/// Makes the client of callbacks, webhooks and receivers of documents.
pub(crate) fn deliveries(config: &Config, opened: &Opened) -> Result<Deliveries> {
    let files = StoredFiles::new(Arc::clone(&opened.backend) as _, Arc::clone(&opened.blobs));
    let parts = DeliveryParts {
        secrets: Arc::new(CallbackSecrets::new(Arc::clone(&opened.access))),
        vault: opened.vault.clone(),
        files: Arc::new(files),
        clock: Arc::clone(&opened.clock),
    };
    Ok(Deliveries::new(
        policy(config),
        DeliveryOptions::default(),
        parts,
    )?)
}

/// Returns where callbacks may go.
pub(crate) fn policy(config: &Config) -> AddressPolicy {
    AddressPolicy::public_and(config.outbound_allow.clone())
}

/// Reads the source files.
pub(crate) fn load_sources(config: &Config) -> Result<Sources> {
    SourceFolder::new(&config.sources)
        .load()
        .map_err(|errors| coded(Code::Sources, errors))
}

/// Puts the code of its page before an error of the database.
pub(crate) fn database_error(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Refused(_) | StoreError::Inconsistent { .. } => {
            coded(Code::DatabaseRefused, error)
        }
        StoreError::Unavailable(_) | StoreError::Fenced => coded(Code::DatabaseUnavailable, error),
    }
}

fn vault_error(error: AccessError) -> anyhow::Error {
    match error {
        AccessError::Store(error) => database_error(error),
        AccessError::MasterKey => coded(
            Code::MasterKeyMismatch,
            "the master key is not the one that this database was made with: nothing in it could be decrypted",
        ),
        AccessError::Keyring(_)
        | AccessError::Sealed { .. }
        | AccessError::Decode { .. }
        | AccessError::UnknownTenant(_)
        | AccessError::NameTaken(_)
        | AccessError::Name
        | AccessError::Secret
        | AccessError::Key
        | AccessError::KeyTaken => error.into(),
    }
}

/// Creates the first tenant and its key where there is none; returns the key if it was made up just now.
///
/// A kill between the two leaves a tenant without key, which the next start mends.
pub(crate) async fn bootstrap(config: &Config, opened: &Opened) -> Result<Option<String>> {
    if opened.access.tenant_count() == 0 {
        let secret = config
            .bootstrap_callback_secret
            .as_ref()
            .map(|secret| secret.expose_secret().to_owned());
        opened
            .access
            .create_tenant(DEFAULT_TENANT, secret)
            .await
            .context("WELLSPRING_BOOTSTRAP_CALLBACK_SECRET")?;
    }
    if !opened.access.list_keys(None).is_empty() {
        return Ok(None);
    }
    let given = config
        .bootstrap_api_key
        .as_ref()
        .map(|key| key.expose_secret().to_owned());
    let fresh = given.is_none();
    let (_, key) = opened
        .access
        .create_key(DEFAULT_TENANT, given)
        .await
        .context("WELLSPRING_BOOTSTRAP_API_KEY")?;
    Ok(fresh.then_some(key))
}

/// The tenant of the first start.
pub(crate) const DEFAULT_TENANT: &str = "default";
