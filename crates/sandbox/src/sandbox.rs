use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::control::{Control, Counts, Fault, Outage, Patch, Settings, Unreadable, Verdict};
use crate::providers::Source;
use crate::serve::{Aborted, Body, Handler, Link, listen, serve};

/// The pretend sources.
#[derive(Debug)]
pub struct Sandbox {
    listener: TcpListener,
    local_addr: SocketAddr,
    control: Control,
}

impl Sandbox {
    /// Listens on `addr`; must be called within a Tokio runtime.
    ///
    /// Two sandboxes with one seed that get the same calls give the same answers.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub fn bind(addr: SocketAddr, seed: u64) -> io::Result<Self> {
        let (listener, local_addr) = listen(addr)?;
        Ok(Self {
            listener,
            local_addr,
            control: Control::new(seed),
        })
    }

    /// Returns the address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns a handle to the settings and counts.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `shutdown` resolves and the requests in flight are answered, or a second later.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let routes = Arc::new(Routes {
            control: self.control,
        });
        serve(self.listener, routes, shutdown).await;
    }
}

struct Routes {
    control: Control,
}

impl Handler for Routes {
    async fn handle(
        &self,
        request: Request<Incoming>,
        link: &Link,
    ) -> Result<Response<Body>, Aborted> {
        let path = request.uri().path();
        if let Some(provider) = path.strip_prefix("/providers/") {
            if request.method() != Method::GET {
                return Ok(method_not_allowed("GET"));
            }
            return self.provide(Source::of_provider(provider), link).await;
        }
        if path == "/control" {
            if request.method() == Method::GET {
                return Ok(self.show());
            }
            if request.method() == Method::DELETE {
                self.control.reset();
                return Ok(self.show());
            }
            return Ok(method_not_allowed("GET, DELETE"));
        }
        if let Some(name) = path.strip_prefix("/control/") {
            let Some(source) = Source::from_name(name) else {
                return Ok(problem(StatusCode::NOT_FOUND, "No such source", &[]));
            };
            if request.method() != Method::PUT {
                return Ok(method_not_allowed("PUT"));
            }
            return Ok(self.change(source, request.into_body()).await);
        }
        Ok(empty(StatusCode::NOT_FOUND))
    }
}

impl Routes {
    async fn provide(&self, source: Source, link: &Link) -> Result<Response<Body>, Aborted> {
        let decision = self.control.decide(source);
        link.hold(decision.latency).await?;
        let answer = match decision.verdict {
            Verdict::Data | Verdict::NotFound => usual(source),
            Verdict::Fail | Verdict::Outage(Outage::ServerError) => fail(),
            Verdict::Junk => full(StatusCode::OK, "text/html", Bytes::from_static(JUNK)),
            Verdict::Throttled { retry_after } => {
                let mut answer = empty(StatusCode::TOO_MANY_REQUESTS);
                set_retry_after(&mut answer, retry_after);
                answer
            }
            Verdict::Maintenance { until, retry_after } => {
                let body = json!({ "error": "maintenance", "until": until });
                let mut answer = json_answer(StatusCode::SERVICE_UNAVAILABLE, JSON, &body);
                set_retry_after(&mut answer, retry_after);
                answer
            }
            Verdict::Outage(Outage::Reset) => return Err(link.reset()),
            Verdict::Outage(Outage::Timeout) => {
                link.hold(TOO_LATE).await?;
                usual(source)
            }
            Verdict::Outage(Outage::Truncate) => truncated(source),
        };
        Ok(answer)
    }

    async fn change(&self, source: Source, body: Incoming) -> Response<Body> {
        let Ok(body) = Limited::new(body, MAX_CONTROL_BODY).collect().await else {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "Body unreadable", &[]);
        };
        match Patch::parse(&body.to_bytes()) {
            Ok(patch) => {
                self.control
                    .update(source, |settings| patch.apply(settings));
                json_answer(StatusCode::OK, JSON, &self.view(source))
            }
            Err(Unreadable::NotJson) => problem(StatusCode::BAD_REQUEST, "Body is not JSON", &[]),
            Err(Unreadable::Faults(faults)) => problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Settings not understood",
                &faults,
            ),
        }
    }

    fn show(&self) -> Response<Body> {
        let sources: serde_json::Map<_, _> = Source::ALL
            .into_iter()
            .map(|source| (source.name().to_owned(), json!(self.view(source))))
            .collect();
        let body = json!({ "seed": self.control.seed(), "sources": sources });
        json_answer(StatusCode::OK, JSON, &body)
    }

    fn view(&self, source: Source) -> View {
        View {
            settings: self.control.settings(source),
            calls: self.control.counts(source),
        }
    }
}

#[derive(Serialize)]
struct View {
    settings: Settings,
    calls: Counts,
}

fn usual(source: Source) -> Response<Body> {
    match source.payload() {
        Some(payload) => full(StatusCode::OK, JSON, Bytes::from_static(payload.as_bytes())),
        None => empty(StatusCode::NOT_FOUND),
    }
}

fn truncated(source: Source) -> Response<Body> {
    let payload = source.payload().unwrap_or(FAIL).as_bytes();
    let mut answer = Response::new(Body::cut(Bytes::from_static(&payload[..payload.len() / 2])));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.len()));
    answer
}

fn fail() -> Response<Body> {
    full(
        StatusCode::INTERNAL_SERVER_ERROR,
        "text/plain",
        Bytes::from_static(FAIL.as_bytes()),
    )
}

fn problem(status: StatusCode, title: &str, errors: &[Fault]) -> Response<Body> {
    let body = json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "errors": errors,
    });
    json_answer(status, "application/problem+json", &body)
}

fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn json_answer(
    status: StatusCode,
    content_type: &'static str,
    body: &impl Serialize,
) -> Response<Body> {
    let body = serde_json::to_vec(body).expect("our own types have string keys only");
    full(status, content_type, Bytes::from(body))
}

fn full(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::whole(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

fn set_retry_after(answer: &mut Response<Body>, seconds: u64) {
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
}

const JSON: &str = "application/json";
const FAIL: &str = "#fail";
const JUNK: &[u8] = b"<!doctype html><title>One moment, please</title>";
const TOO_LATE: Duration = Duration::from_secs(60);
const MAX_CONTROL_BODY: usize = 64 * 1024;
