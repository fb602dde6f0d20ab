//! Calls to one source: each has the source's deadline and limits, and failures are classified.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use wellspring_core::budget::remaining;
use wellspring_core::{ErrorClass, SourceName, Timestamp};
use wellspring_engine::traces::Exchange;
use wellspring_engine::{Clock, Heard, Listener};
use wellspring_outbound::{AddressPolicy, Client, Request, Response, Target};

use crate::failure::{Failed, Said};
use crate::{ConnectorKind, SourceConfig};

/// The way to one source.
///
/// Cookies and bearers are the connector's own affair.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    source: Arc<SourceConfig>,
    clock: Arc<dyn Clock>,
    listener: Arc<dyn Listener>,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// What is being done, as rules name it, such as `login`.
    pub operation: &'static str,
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub target: Target,
    /// What is sent besides, and instead of, the headers that are configured.
    pub headers: HeaderMap,
    /// The body, possibly empty.
    pub body: Bytes,
}

/// What came of one call in a check or a collection.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) status: Option<StatusCode>,
    pub(crate) body_bytes: usize,
    pub(crate) outcome: Result<Bytes, Failed>,
}

impl Http {
    pub(crate) fn new(
        client: Client,
        source: Arc<SourceConfig>,
        clock: Arc<dyn Clock>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        Self {
            client,
            source,
            clock,
            listener,
        }
    }

    /// Returns the source's name.
    pub fn source(&self) -> &SourceName {
        &self.source.name
    }

    pub(crate) fn kind(&self) -> ConnectorKind {
        self.source.connector
    }

    /// Returns the source's own address.
    pub fn base(&self) -> &Target {
        &self.source.target
    }

    /// Returns the address at `path`, which may have a query, below that of the source.
    ///
    /// What comes from outside must be encoded already, and may be neither `.` nor `..`.
    ///
    /// # Errors
    ///
    /// When that is no address.
    pub fn below(&self, path: &str) -> Result<Target, Failed> {
        let base = self.source.target.uri().to_string();
        let address = format!("{}{path}", base.trim_end_matches('/'));
        Target::parse(&address, &AddressPolicy::unrestricted()).map_err(|error| Failed {
            detail: Some(error.to_string().into()),
            ..Failed::new(
                ErrorClass::InternalError,
                "address_unusable",
                "the address to be called is none",
            )
        })
    }

    /// Makes a call and returns the answer, whatever its status.
    ///
    /// # Errors
    ///
    /// Says, classified, what kept the answer away.
    pub async fn send(&self, call: Call) -> Result<Response, Failed> {
        let mut headers = self.source.headers.clone();
        headers.extend(call.headers);
        let request = Request {
            method: call.method,
            target: call.target,
            headers,
            body: call.body,
            deadline: self.source.timeout,
            max_body: self.source.max_body,
        };
        // No source is told of our traces.
        let (method, target) = (request.method.as_str(), &request.target);
        let mut exchange = Exchange::begin(method, target.host(), target.port());
        exchange.operation(call.operation);
        let asked_at = self.clock.now();
        let answer = self.client.send(request).await;
        exchange.end(match &answer {
            Ok(answer) => Ok(answer.status.as_u16()),
            Err(error) => Err(error.code()),
        });
        if let Ok(answer) = &answer {
            self.hear(call.operation, asked_at, &answer.headers);
        }
        answer.map_err(|error| Failed::no_answer(&self.source, call.operation, &error))
    }

    /// Tells what an answer says of the calls that are left, whatever its status.
    fn hear(&self, endpoint: &'static str, asked_at: Timestamp, headers: &HeaderMap) {
        let spoken = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str();
            let is_about = name.starts_with("ratelimit") || name.starts_with("x-rate");
            Some((name, value.to_str().ok()?)).filter(|_| is_about)
        });
        let spoken: Vec<(&str, &str)> = spoken.collect();
        if spoken.is_empty() {
            return;
        }
        let remaining = remaining(&spoken, self.clock.now());
        if !remaining.is_empty() {
            self.listener.hear(Heard {
                endpoint,
                asked_at,
                remaining,
            });
        }
    }

    /// Classifies an answer that refuses.
    pub fn refused(&self, operation: &str, response: &Response, said: &Said<'_>) -> Failed {
        Failed::refused(&self.source, operation, response, self.clock.now(), said)
    }

    /// Classifies an answer whose status is good and whose body is not.
    ///
    /// `lack` says what is wrong with it, such as `without JSON`.
    pub fn unusable(
        &self,
        operation: &str,
        response: &Response,
        code: &'static str,
        lack: &str,
    ) -> Failed {
        let now = self.clock.now();
        Failed::unusable(&self.source, operation, response, now, (code, lack))
    }

    /// Asks at the source's own address and takes any answer of a good status.
    pub(crate) async fn check(&self) -> Asked {
        let call = Call {
            operation: "check",
            method: Method::GET,
            target: self.base().clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        self.ask(call, |response| {
            if response.status.is_success() {
                Ok(response.body)
            } else {
                Err(self.refused("check", &response, &Said::default()))
            }
        })
        .await
    }

    /// Makes a call and judges the answer.
    pub(crate) async fn ask(
        &self,
        call: Call,
        judge: impl FnOnce(Response) -> Result<Bytes, Failed>,
    ) -> Asked {
        match self.send(call).await {
            Ok(response) => Asked {
                status: Some(response.status),
                body_bytes: response.body.len(),
                outcome: judge(response),
            },
            Err(failed) => Asked {
                status: None,
                body_bytes: 0,
                outcome: Err(failed),
            },
        }
    }
}
