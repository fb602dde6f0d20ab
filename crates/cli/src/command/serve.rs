//! `wellspring serve`: the API and the workers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use wellspring_connectors::{Connectors, Fingerprint, SourceFolder};
use wellspring_engine::{EngineHandle, Tasks};
use wellspring_server::{AppParts, Subscriptions, metrics_router, router};
use wellspring_store::SqliteStore;

use crate::admin;
use crate::config::Config;
use crate::error::{Code, coded};
use crate::wiring::{self, Opened};

/// Runs until the first SIGTERM or SIGINT, then drains; a second one ends it at once.
pub(crate) async fn run(config: Config, end_with_stdin: bool) -> Result<()> {
    crate::logging::init(&config)?;
    let prometheus = wellspring_server::gather_metrics().context("metrics")?;
    let sources = wiring::load_sources(&config)?;
    let opened = Arc::new(wiring::open(&config).await?);
    let tasks = Tasks::default();
    // Whatever may fail comes before the key, which is printed only once.
    let listener = listen(config.listen).await?;
    let metrics_listener = match config
        .metrics_listen
        .filter(|metrics| *metrics != config.listen)
    {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    // Without the lock there is PostgreSQL, to which commands go by themselves.
    if opened.lock.is_some() {
        admin::listen(&config.data_dir, Arc::clone(&opened), &tasks)?;
    }
    if let Some(key) = wiring::bootstrap(&config, &opened).await? {
        print_key(&key);
    }
    // It has a token of its own: spans come until the last call has ended.
    let exporting = Tasks::default();
    if let Some(exporter) = wiring::trace(&config, &opened)? {
        let stop = exporting.stop_token().clone();
        exporting.spawn("traces", async move { exporter.run(stop).await });
    }
    let node = wiring::start(&config, &opened, sources, &tasks)?;

    let subscriptions = Subscriptions::load(
        Arc::clone(&opened.backend),
        &opened.access,
        node.engine.clone(),
        Arc::clone(&opened.clock),
    );
    let subscriptions = Arc::new(subscriptions.await?);

    let address = listener.local_addr()?;
    let public_url = config
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    let notifier = wiring::notifier(&config, &opened, &node.engine, &public_url, &tasks)?;
    let parts = |separate_metrics| AppParts {
        engine: node.engine.clone(),
        notifier: notifier.clone(),
        backend: Arc::clone(&opened.backend),
        access: Arc::clone(&opened.access),
        subscriptions: Arc::clone(&subscriptions),
        blobs: Arc::clone(&opened.blobs),
        intake: Arc::clone(&node.checks) as Arc<dyn wellspring_server::Intake>,
        clock: Arc::clone(&opened.clock),
        public_url: public_url.clone(),
        metrics: Some(prometheus.clone()),
        sms_secret: config.sms_secret.clone(),
        version: env!("CARGO_PKG_VERSION"),
        separate_metrics,
    };
    let separate = metrics_listener.is_some();
    if let Some(listener) = metrics_listener {
        let router = metrics_router(&parts(true));
        let stop = tasks.stop_token().clone();
        tasks.spawn("metrics", async move {
            let served =
                wellspring_server::serve(listener, router, async move { stop.cancelled().await });
            if let Err(error) = served.await {
                tracing::error!(%error, "Metrics server ended");
            }
        });
    }
    watch_sources(
        &config,
        Arc::clone(&node.connectors),
        node.engine.clone(),
        &tasks,
    );
    if let Some(sqlite) = &opened.sqlite {
        publish_gauges(sqlite.clone(), &tasks);
    } else {
        refresh_access(Arc::clone(&opened), node.engine.clone(), &tasks);
        refresh_subscriptions(Arc::clone(&subscriptions), &tasks);
    }
    let upkeep = tasks.stop_token().clone();
    tasks.spawn(
        "metrics upkeep",
        wellspring_server::keep_metrics(
            prometheus.clone(),
            async move { upkeep.cancelled().await },
        ),
    );
    stop_at_signals(&tasks)?;
    if end_with_stdin {
        stop_with_stdin(&tasks);
    }
    tracing::info!(address = %address, sources = node.connectors.sources().len(), "Listening");

    let stop = tasks.stop_token().clone();
    let served = wellspring_server::serve(listener, router(parts(separate)), async move {
        stop.cancelled().await
    });
    served.await.context("the HTTP server ended")?;
    tasks.stop();
    // The engine has waited its grace for calls in flight; what is left of them runs again.
    if tokio::time::timeout(AFTER_GRACE, tasks.ended())
        .await
        .is_err()
    {
        tracing::warn!("Some calls did not end in time; they are made again at the next start");
    }
    exporting.stop();
    if tokio::time::timeout(LAST_EXPORT, exporting.ended())
        .await
        .is_err()
    {
        tracing::warn!("The last spans could not be exported in time");
    }
    tracing::info!("Stopped");
    Ok(())
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| coded(Code::Listen, format!("cannot listen on {address}: {error}")))
}

#[expect(clippy::print_stdout, reason = "a key is data, printed once")]
fn print_key(key: &str) {
    println!("API key of tenant `default` (it is shown only now): {key}");
}

/// Takes over source files as they change; a broken one leaves everything as it was.
fn watch_sources(
    config: &Config,
    connectors: Arc<Connectors>,
    engine: EngineHandle,
    tasks: &Tasks,
) {
    let folder = SourceFolder::new(&config.sources);
    let stop = tasks.stop_token().clone();
    tasks.spawn("sources", async move {
        let mut seen = folder.changed(&Fingerprint::default()).unwrap_or_default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SOURCES_POLL) => {}
            }
            let Some(changed) = folder.changed(&seen) else {
                continue;
            };
            seen = changed;
            match folder.load() {
                Ok(sources) => {
                    let table = Arc::new(sources.table());
                    tracing::info!(sources = sources.len(), "Sources reloaded");
                    connectors.replace(Arc::new(sources));
                    engine.set_sources(table).await;
                }
                Err(errors) => {
                    tracing::error!(%errors, "Sources not reloaded, the earlier ones stay")
                }
            }
        }
    });
}

/// Gives the database's own figures to the metrics.
fn publish_gauges(sqlite: SqliteStore, tasks: &Tasks) {
    let log = metrics::gauge!("wellspring_sqlite_log_bytes");
    let longest = metrics::gauge!("wellspring_sqlite_longest_commit_seconds");
    let stop = tasks.stop_token().clone();
    tasks.spawn("gauges", async move {
        loop {
            let (bytes, commit) = sqlite.gauges();
            log.set(bytes as f64);
            longest.set(commit.as_secs_f64());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GAUGES) => {}
            }
        }
    });
}

/// Keys and secrets may be changed by other nodes.
fn refresh_access(opened: Arc<Opened>, engine: EngineHandle, tasks: &Tasks) {
    let stop = tasks.stop_token().clone();
    tasks.spawn("access", async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ACCESS_POLL) => {}
            }
            match opened.access.reload().await {
                Ok(()) => {
                    let rules = Arc::new(opened.access.tenant_rules());
                    engine.set_tenants(rules).await;
                }
                Err(error) => tracing::warn!(%error, "Keys and tenants could not be read again"),
            }
        }
    });
}

/// Subscriptions may be changed, and found to be gone, by other nodes.
fn refresh_subscriptions(subscriptions: Arc<Subscriptions>, tasks: &Tasks) {
    let stop = tasks.stop_token().clone();
    tasks.spawn("subscriptions", async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SUBSCRIPTIONS_POLL) => {}
            }
            if let Err(error) = subscriptions.reload().await {
                tracing::warn!(%error, "Subscriptions could not be read again");
            }
        }
    });
}

/// Ends with whoever started this process and holds its standard input, however that one ends.
fn stop_with_stdin(tasks: &Tasks) {
    let stopping = tasks.clone();
    let wait = move || {
        // Nothing is ever written: the end, or an error, is what is waited for.
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()).unwrap_or_default();
        stopping.stop();
    };
    if let Err(error) = std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(wait)
    {
        tracing::warn!(%error, "Standard input is not watched");
    }
}

fn stop_at_signals(tasks: &Tasks) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = tasks.clone();
    // A tracked task would be waited for at the end, and this one waits for what may never come.
    let task = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("Stopping: calls in flight may end, a second signal ends them");
        stopping.stop();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("Stopped at once");
        std::process::exit(1);
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "it outlives the tracked tasks on purpose"
    )]
    drop(tokio::spawn(task));
    Ok(())
}

const SOURCES_POLL: Duration = Duration::from_secs(1);
const AFTER_GRACE: Duration = Duration::from_secs(11);
const LAST_EXPORT: Duration = Duration::from_secs(6);
const GAUGES: Duration = Duration::from_secs(1);
const SUBSCRIPTIONS_POLL: Duration = Duration::from_secs(2);
const ACCESS_POLL: Duration = Duration::from_secs(5);
