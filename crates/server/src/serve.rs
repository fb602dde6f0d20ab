//! Accepts connections and serves them.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves `router` until `stop` ends.
///
/// Then nothing more is accepted, requests under way are answered, idle connections are closed,
/// and what has not ended after a grace of ten seconds is cut off.
///
/// # Errors
///
/// When the listener has no address; a failed accept is tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::debug!(%address, "Serving");
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(connection(stream, router.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "A connection could not be accepted");
                    // Out of file descriptors, most likely: the next try would fail as well.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(());
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::warn!(%address, "Requests were still under way at the end of the shutdown's grace");
    }
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "A connection was gone at once");
        return;
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _stopping = stopped.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection ended early");
    }
}

/// How long requests under way may take after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);
/// How long a client may take for the head of a request; idle connections count too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
