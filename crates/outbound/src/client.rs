use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode, response};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::time::{Instant, timeout_at};

use crate::connect::{Connector, Tls};
use crate::{AddressPolicy, SendError, Target};

mod body;
mod fault;
mod progress;

use body::{SentBody, collect};
use progress::Progress;

/// Sends requests to allowed addresses over pooled connections.
///
/// A clone is cheap and shares the pool.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl Client {
    /// Builds a client that connects only to what `policy` allows.
    ///
    /// # Errors
    ///
    /// [`ClientError::UserAgent`] if the user agent is no header value.
    pub fn new(policy: AddressPolicy, options: ClientOptions) -> Result<Self, ClientError> {
        let Ok(user_agent) = HeaderValue::try_from(options.user_agent) else {
            return Err(ClientError::UserAgent);
        };
        let connector = Connector::new(policy, options.connect_timeout, Tls::new(options.roots));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.pool_idle_timeout)
            .pool_max_idle_per_host(options.max_idle_per_host)
            .build(connector);
        Ok(Self {
            inner: Arc::new(Inner { http, user_agent }),
        })
    }

    /// Sends `request` and reads the whole answer, whatever its status.
    ///
    /// A pooled connection that turns out dead before the request was sent is replaced by another.
    ///
    /// # Errors
    ///
    /// Says what kept the answer away, see [`SendError`].
    pub async fn send(&self, request: Request) -> Result<Response, SendError> {
        let deadline = Instant::now() + request.deadline.min(MAX_DEADLINE);
        let max_body = request.max_body;
        let progress = Progress::default();
        let outgoing = self.outgoing(request, Vec::new(), &progress);
        let exchange = async {
            let answer = self.inner.http.request(outgoing).await;
            let (head, body) = answer.map_err(|e| fault::in_head(&e))?.into_parts();
            progress.response_began();
            Ok(Response {
                status: head.status,
                headers: head.headers,
                body: collect(body, max_body).await?,
            })
        };
        // Kept until the phase is read, since dropping the exchange changes it.
        let mut exchange = pin!(exchange);
        match timeout_at(deadline, exchange.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::Timeout {
                phase: progress.phase(),
            }),
        }
    }

    /// Sends `request` and returns the head of the answer, its body left out.
    ///
    /// For callers to whom the status is everything: once it is there, a body that is large,
    /// broken or slow changes nothing. What comes of it within `max_body` bytes and a second is
    /// read and dropped, so that the connection can be used again.
    ///
    /// # Errors
    ///
    /// As [`Client::send`], but only until the head of the answer is there.
    pub async fn send_for_status(&self, request: Request) -> Result<Response, SendError> {
        let deadline = Instant::now() + request.deadline.min(MAX_DEADLINE);
        let max_body = request.max_body;
        let (head, body) = self.head(request, Vec::new(), deadline).await?;
        let patience = deadline.min(Instant::now() + DRAIN);
        // However it ends, the status stands.
        drop(timeout_at(patience, collect(body, max_body)).await);
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: Bytes::new(),
        })
    }

    /// Sends `request`, its body followed by `rest`, and returns the answer with the beginning of its body.
    ///
    /// For callers to whom the status is everything and the body a hint: no more than `max_body`
    /// bytes of it are read, within a second, and what it ends with changes nothing.
    /// The pieces of the request's body are sent one after the other and never put together.
    ///
    /// # Errors
    ///
    /// As [`Client::send`], but only until the head of the answer is there.
    pub async fn send_for_start(
        &self,
        request: Request,
        rest: Vec<Bytes>,
    ) -> Result<Response, SendError> {
        let deadline = Instant::now() + request.deadline.min(MAX_DEADLINE);
        let max_body = request.max_body;
        let (head, body) = self.head(request, rest, deadline).await?;
        let patience = deadline.min(Instant::now() + DRAIN);
        let mut start = BytesMut::new();
        // However it ends, the status stands.
        drop(timeout_at(patience, body::begin(body, max_body, &mut start)).await);
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: start.freeze(),
        })
    }

    /// Sends `request` and returns the head of the answer beside the body that comes after it.
    async fn head(
        &self,
        request: Request,
        rest: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<(response::Parts, Incoming), SendError> {
        let progress = Progress::default();
        let outgoing = self.outgoing(request, rest, &progress);
        let mut exchange = pin!(self.inner.http.request(outgoing));
        let Ok(answer) = timeout_at(deadline, exchange.as_mut()).await else {
            return Err(SendError::Timeout {
                phase: progress.phase(),
            });
        };
        Ok(answer.map_err(|e| fault::in_head(&e))?.into_parts())
    }

    fn outgoing(
        &self,
        request: Request,
        rest: Vec<Bytes>,
        progress: &Progress,
    ) -> http::Request<SentBody> {
        let mut headers = request.headers;
        // The client frames the body itself.
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
        let body = SentBody::new(request.body, rest, progress.clone());
        if body.is_end_stream() && takes_body(&request.method) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        headers
            .entry(USER_AGENT)
            .or_insert_with(|| self.inner.user_agent.clone());
        let mut outgoing = http::Request::new(body);
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = request.target.uri().clone();
        *outgoing.headers_mut() = headers;
        outgoing
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

struct Inner {
    http: legacy::Client<Connector, SentBody>,
    user_agent: HeaderValue,
}

/// How a [`Client`] connects and pools.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The limit for resolving, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// How many unused connections are kept per host.
    pub max_idle_per_host: usize,
    /// The `User-Agent` of requests that name none.
    pub user_agent: String,
    /// The roots that TLS trusts; those of the system if `None`.
    pub roots: Option<Arc<RootCertStore>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(60),
            max_idle_per_host: 64,
            user_agent: concat!("Wellspring/", env!("CARGO_PKG_VERSION")).to_owned(),
            roots: None,
        }
    }
}

/// Says why a client could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The user agent holds characters that a header cannot.
    #[error("user agent is not a valid header value")]
    UserAgent,
}

/// One request.
#[derive(Clone)]
pub struct Request {
    /// The method; `CONNECT` is of no use here.
    pub method: Method,
    /// Where it goes.
    pub target: Target,
    /// The headers; those that frame the body are replaced.
    pub headers: HeaderMap,
    /// The body, possibly empty.
    pub body: Bytes,
    /// The limit for the whole exchange, from resolving to the end of the body; a day at most.
    pub deadline: Duration,
    /// The largest answer that is taken, in bytes of body.
    pub max_body: usize,
}

/// Shows neither headers nor body, for both may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// One complete answer; a redirect is one too.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Shows neither headers nor body, for both may hold secrets.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

fn takes_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

/// How long an answer's body is read that nobody needs.
const DRAIN: Duration = Duration::from_secs(1);
const MAX_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);
