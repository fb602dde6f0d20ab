mod behaviour;
mod book;
mod form;
mod handle;
mod signature;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::serve::{Aborted, Body, Handler, Link, listen, serve};

pub use behaviour::{Answer, Behaviour};
use book::Recording;
pub use book::{DeliveryRecord, ReceiverCounts};
pub use form::Part;
pub use handle::ReceiverHandle;
pub use signature::{KeyError, VerifyingKey};

/// Is called with each delivery, just before it is answered.
pub type OnDelivery = Arc<dyn Fn(&Delivery) + Send + Sync>;

/// A delivery and the status it is answered with.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The path it was posted to.
    pub path: String,
    /// The `webhook-id` header, if it is there and readable.
    pub webhook_id: Option<String>,
    /// All its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The status it is answered with.
    pub status: StatusCode,
}

/// An application's callback endpoint, at which any POST is a delivery.
pub struct Receiver {
    listener: TcpListener,
    local_addr: SocketAddr,
    handle: ReceiverHandle,
    keys: Option<Vec<VerifyingKey>>,
    on_delivery: Option<OnDelivery>,
}

impl Receiver {
    /// Listens on `addr`; must be called within a Tokio runtime.
    ///
    /// Failures are drawn from `seed`.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub fn bind(addr: SocketAddr, seed: u64) -> io::Result<Self> {
        let (listener, local_addr) = listen(addr)?;
        Ok(Self {
            listener,
            local_addr,
            handle: ReceiverHandle::new(seed),
            keys: None,
            on_delivery: None,
        })
    }

    /// Keeps counters and no ids: what depends on ids stays 0.
    #[must_use]
    pub fn counting_only(self) -> Self {
        self.handle.book().recording = Recording::Counters;
        self
    }

    /// Keeps the body of every delivery beside its id.
    #[must_use]
    pub fn keep_bodies(self) -> Self {
        self.handle.book().recording = Recording::Bodies;
        self
    }

    /// Answers 401 to what none of these keys verifies, whatever its behaviour.
    #[must_use]
    pub fn verifying(mut self, keys: Vec<VerifyingKey>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Calls `hook` with every delivery that is about to be answered.
    ///
    /// The hook runs on the connection's task and must not block.
    #[must_use]
    pub fn on_delivery(mut self, hook: OnDelivery) -> Self {
        self.on_delivery = Some(hook);
        self
    }

    /// Returns the address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns a handle to its behaviour and what it received.
    pub fn handle(&self) -> ReceiverHandle {
        self.handle.clone()
    }

    /// Serves until `shutdown` resolves and the requests in flight are answered, or a second later.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let endpoint = Arc::new(Endpoint {
            handle: self.handle,
            keys: self.keys,
            on_delivery: self.on_delivery,
        });
        serve(self.listener, endpoint, shutdown).await;
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("local_addr", &self.local_addr)
            .field("handle", &self.handle)
            .field("on_delivery", &self.on_delivery.is_some())
            .finish_non_exhaustive()
    }
}

struct Endpoint {
    handle: ReceiverHandle,
    keys: Option<Vec<VerifyingKey>>,
    on_delivery: Option<OnDelivery>,
}

impl Handler for Endpoint {
    async fn handle(
        &self,
        request: Request<Incoming>,
        link: &Link,
    ) -> Result<Response<Body>, Aborted> {
        if request.method() != Method::POST {
            let mut answer = bare(StatusCode::METHOD_NOT_ALLOWED);
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("POST"));
            return Ok(answer);
        }
        let (head, body) = request.into_parts();
        let id = head
            .headers
            .get("webhook-id")
            .and_then(|id| id.to_str().ok());
        let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
            return Ok(bare(StatusCode::PAYLOAD_TOO_LARGE));
        };
        let body = body.to_bytes();

        let behaviour = self
            .handle
            .arrived(head.uri.path(), id, &body, Instant::now());
        link.hold(behaviour.latency).await?;
        let answer = match behaviour.answer {
            Answer::Status(status) => with_body(status, behaviour.body),
            Answer::Redirect(location) => redirect(&location),
            Answer::Hang => return Err(link.stopped().await),
        };
        let answer = with_retry_after(answer, behaviour.retry_after);
        let verified = self.keys.as_ref().is_none_or(|keys| {
            let signed = |key: &VerifyingKey| key.verifies(&head.headers, &body);
            keys.iter().any(signed)
        });
        let answer = if verified {
            answer
        } else {
            bare(StatusCode::UNAUTHORIZED)
        };

        self.handle.answered(id, answer.status());
        if let Some(hook) = &self.on_delivery {
            hook(&Delivery {
                path: head.uri.path().to_owned(),
                webhook_id: id.map(str::to_owned),
                status: answer.status(),
                headers: head.headers,
                body,
            });
        }
        Ok(answer)
    }
}

fn redirect(location: &str) -> Response<Body> {
    let mut answer = bare(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

fn with_retry_after(
    mut answer: Response<Body>,
    retry_after: Option<std::time::Duration>,
) -> Response<Body> {
    if let Some(wait) = retry_after
        && !answer.status().is_success()
    {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    answer
}

fn with_body(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::whole(body));
    *answer.status_mut() = status;
    answer
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

const MAX_BODY: usize = 64 * 1024 * 1024;
