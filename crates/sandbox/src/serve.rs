mod body;
mod socket;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub(crate) use body::Body;
use socket::Socket;

/// Answers the requests of all connections.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(
        &self,
        request: Request<Incoming>,
        link: &Link,
    ) -> impl Future<Output = Result<Response<Body>, Aborted>> + Send;
}

/// The connection a request came on.
pub(crate) struct Link {
    reset: Arc<AtomicBool>,
    stopping: watch::Receiver<bool>,
}

impl Link {
    /// Drops the connection without an answer, with a TCP reset.
    pub(crate) fn reset(&self) -> Aborted {
        self.reset.store(true, Ordering::Relaxed);
        Aborted
    }

    /// Waits for `duration`.
    ///
    /// # Errors
    ///
    /// [`Aborted`] when the server stops first.
    pub(crate) async fn hold(&self, duration: Duration) -> Result<(), Aborted> {
        if duration.is_zero() {
            return Ok(());
        }
        match timeout(duration, self.stopped()).await {
            Ok(aborted) => Err(aborted),
            Err(_elapsed) => Ok(()),
        }
    }

    /// Waits until the server stops.
    pub(crate) async fn stopped(&self) -> Aborted {
        wait_for_stop(self.stopping.clone()).await;
        Aborted
    }
}

/// The request gets no answer and its connection closes.
#[derive(Debug)]
pub(crate) struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request aborted on purpose")
    }
}

impl Error for Aborted {}

/// Listens on `addr`, with a backlog deep enough for a benchmark's first burst.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    let listener = socket.listen(BACKLOG)?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Serves until `shutdown`, then lets requests in flight finish for a moment.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = shutdown.as_mut() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&handler), stopping.clone()));
                }
                // Out of file descriptors, most likely; the connections that end will free some.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection<H: Handler>(
    stream: TcpStream,
    handler: Arc<H>,
    stopping: watch::Receiver<bool>,
) {
    // A peer that is gone already is found out by the first read.
    stream.set_nodelay(true).ok();
    let reset = Arc::new(AtomicBool::new(false));
    let link = Arc::new(Link {
        reset: Arc::clone(&reset),
        stopping: stopping.clone(),
    });
    let service = service_fn(|request| {
        let handler = Arc::clone(&handler);
        let link = Arc::clone(&link);
        async move { handler.handle(request, &link).await }
    });
    let mut connection = pin!(
        http1::Builder::new().serve_connection(TokioIo::new(Socket::new(stream, reset)), service)
    );
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = wait_for_stop(stopping) => connection.as_mut().graceful_shutdown(),
    }
    // Either it ends by itself or it is dropped: nothing is left to do in both cases.
    timeout(GRACE, connection).await.ok();
}

async fn wait_for_stop(mut stopping: watch::Receiver<bool>) {
    // The sender lives until the value is true, so an error means the same.
    stopping.wait_for(|stopped| *stopped).await.ok();
}

const BACKLOG: u32 = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(1);
