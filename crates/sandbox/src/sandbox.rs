use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::answer::{JSON, empty, full, json_answer, method_not_allowed, problem};
use crate::bank::Bank;
use crate::control::{
    BankCounts, BankSettings, Control, Counts, Patch, Settings, Unreadable, WindowCount,
};
use crate::gate;
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
            bank: Bank::new(self.control.clone()),
            control: self.control,
        });
        serve(self.listener, routes, shutdown).await;
    }
}

struct Routes {
    control: Control,
    bank: Bank,
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
            let source = Source::of_provider(provider);
            let known = source.payload().is_some();
            let usual = async move { Ok(provide(source)) };
            return gate::pass(&self.control, source, (source.name(), known), link, usual).await;
        }
        if let Some(page) = Bank::page(path) {
            return self.bank.handle(page, request, link).await;
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
    async fn change(&self, source: Source, body: Incoming) -> Response<Body> {
        let Ok(body) = Limited::new(body, MAX_CONTROL_BODY).collect().await else {
            return problem(StatusCode::PAYLOAD_TOO_LARGE, "Body unreadable", &[]);
        };
        match Patch::parse(&body.to_bytes(), source) {
            Ok(patch) => {
                self.control.apply(source, patch);
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
        let bank = match source {
            Source::Gas | Source::Internet | Source::Other => None,
            Source::SandboxBank => Some(self.control.bank()),
        };
        let (bank_settings, bank_calls) = bank
            .map(|bank| (bank.settings().clone(), bank.counts()))
            .unzip();
        View {
            settings: Both {
                common: self.control.settings(source),
                bank: bank_settings,
            },
            calls: Both {
                common: self.control.counts(source),
                bank: bank_calls,
            },
            windows: self.control.windows(source),
        }
    }
}

#[derive(Serialize)]
struct View {
    settings: Both<Settings, BankSettings>,
    calls: Both<Counts, BankCounts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    windows: Vec<WindowCount>,
}

/// What every source has, and beside it what only the bank has.
#[derive(Serialize)]
struct Both<C, B> {
    #[serde(flatten)]
    common: C,
    #[serde(flatten)]
    bank: Option<B>,
}

fn provide(source: Source) -> Response<Body> {
    match source.payload() {
        Some(payload) => full(StatusCode::OK, JSON, Bytes::from_static(payload.as_bytes())),
        None => empty(StatusCode::NOT_FOUND),
    }
}

const MAX_CONTROL_BODY: usize = 64 * 1024;
