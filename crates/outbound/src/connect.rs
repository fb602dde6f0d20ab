use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::resolve::{Picked, pick};
use crate::target::port_of;
use crate::{AddressPolicy, SendError, TimeoutPhase};

mod tls;

pub(crate) use tls::Tls;

/// Opens connections to allowed addresses, encrypted where the scheme says so.
#[derive(Clone)]
pub(crate) struct Connector {
    dialer: Dialer,
    tls: Arc<Tls>,
}

impl Connector {
    pub(crate) fn new(policy: AddressPolicy, connect_timeout: Duration, tls: Tls) -> Self {
        Self {
            dialer: Dialer {
                policy,
                connect_timeout,
            },
            tls: Arc::new(tls),
        }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, SendError> {
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return self.dialer.dial(&uri).await.map(MaybeHttpsStream::Http);
        }
        let config = self.tls.config().await?;
        HttpsConnector::from((self.dialer.clone(), config))
            .call(uri)
            .await
            .map_err(|error| match error.downcast::<SendError>() {
                Ok(dialling) => *dialling,
                Err(handshake) => SendError::Tls {
                    detail: handshake.to_string(),
                },
            })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, SendError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            // The pool may finish a connection that no request waits for any
            // longer, so this limit covers the handshake too.
            let limit = connector.dialer.connect_timeout;
            timeout(limit, connector.connect(uri))
                .await
                .unwrap_or(Err(TIMED_OUT))
        })
    }
}

pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Resolves a host, keeps what the policy allows, and connects to just that.
#[derive(Clone)]
struct Dialer {
    policy: AddressPolicy,
    connect_timeout: Duration,
}

impl Dialer {
    async fn dial(&self, uri: &Uri) -> Result<TokioIo<TcpStream>, SendError> {
        let started = Instant::now();
        let candidates = self.candidates(uri).await?;
        let mut left = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        let mut last = SendError::Resolve;
        for address in candidates {
            // Each address gets its share of what time is left, so that a
            // silent first one does not starve the others.
            let remaining = self.connect_timeout.saturating_sub(started.elapsed());
            match timeout(remaining / left.max(1), open(address)).await {
                Ok(Ok(stream)) => return Ok(TokioIo::new(stream)),
                Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => last = TIMED_OUT,
                Ok(Err(error)) => last = SendError::Connect { kind: error.kind() },
                Err(_) => last = TIMED_OUT,
            }
            left = left.saturating_sub(1);
        }
        Err(last)
    }

    async fn candidates(&self, uri: &Uri) -> Result<Vec<SocketAddr>, SendError> {
        let host = uri.host().unwrap_or_default();
        let port = port_of(uri);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return if self.policy.allows(ip) {
                Ok(vec![SocketAddr::new(ip, port)])
            } else {
                Err(SendError::Refused { ip })
            };
        }
        let Ok(found) = lookup_host((host, port)).await else {
            return Err(SendError::Resolve);
        };
        match pick(found, &self.policy) {
            Picked::Allowed(mut addresses) => {
                addresses.truncate(MAX_ADDRESSES);
                Ok(addresses)
            }
            Picked::Refused(first) => Err(SendError::Refused { ip: first.ip() }),
            Picked::Nothing => Err(SendError::Resolve),
        }
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, SendError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial(&uri).await })
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

const TIMED_OUT: SendError = SendError::Timeout {
    phase: TimeoutPhase::Connect,
};

const MAX_ADDRESSES: usize = 8;
