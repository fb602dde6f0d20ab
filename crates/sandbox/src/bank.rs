mod account;
mod answers;
mod captcha;
mod consent;
mod document;
mod home;
mod library;
mod login;
mod pdf;
mod question;
mod refusal;
mod script;
mod session;
mod state;
mod step;
mod transaction;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

use crate::Source;
use crate::answer::{empty, method_not_allowed};
use crate::control::Control;
use crate::gate;
use crate::serve::{Aborted, Body, Link};

pub(crate) use captcha::is_captcha;
use library::Library;
pub(crate) use refusal::Refusal;
use script::Script;
use session::SessionId;
pub(crate) use state::BankState;

/// The pretend bank.
pub(crate) struct Bank {
    control: Control,
    library: Library,
}

/// What is under an address of the bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// What the passwords do, for a person to read.
    Home,
    /// Where a person agrees, under a session's id.
    Consent(String),
    /// What a connector calls.
    Call(Call),
}

/// What a connector calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Login,
    Answer,
    Logout,
    Account,
    Documents,
    Document(String),
    Transactions,
    /// There is nothing at this address.
    Nowhere,
}

impl Bank {
    pub(crate) fn new(control: Control) -> Self {
        Self {
            control,
            library: Library::default(),
        }
    }

    /// Returns what is under `path`, if that is the bank's at all.
    pub(crate) fn page(path: &str) -> Option<Page> {
        let rest = path.strip_prefix("/bank")?;
        let call = match rest {
            "" | "/" => return Some(Page::Home),
            "/login" => Call::Login,
            "/challenge" => Call::Answer,
            "/session" => Call::Logout,
            "/account" => Call::Account,
            "/documents" => Call::Documents,
            "/transactions" => Call::Transactions,
            _ => {
                if let Some(session) = rest.strip_prefix("/consent/") {
                    return Some(Page::Consent(session.to_owned()));
                }
                if let Some(id) = rest.strip_prefix("/documents/") {
                    Call::Document(id.to_owned())
                } else if rest.starts_with('/') {
                    Call::Nowhere
                } else {
                    return None;
                }
            }
        };
        Some(Page::Call(call))
    }

    pub(crate) async fn handle(
        &self,
        page: Page,
        request: Request<Incoming>,
        link: &Link,
    ) -> Result<Response<Body>, Aborted> {
        let (head, body) = request.into_parts();
        match page {
            Page::Home if head.method == Method::GET => Ok(home::page()),
            Page::Home => Ok(method_not_allowed("GET")),
            Page::Consent(session) => Ok(self.consent(&session, &head, body).await),
            Page::Call(call) => {
                if let Some((method, name)) = call.method()
                    && head.method != method
                {
                    return Ok(method_not_allowed(name));
                }
                self.control.bank().arrived(&call, Instant::now());
                let asked = (call.name(), call != Call::Nowhere);
                let usual = self.answer(call, head, body, link);
                gate::pass(&self.control, Source::SandboxBank, asked, link, usual).await
            }
        }
    }

    async fn answer(
        &self,
        call: Call,
        head: request::Parts,
        body: Incoming,
        link: &Link,
    ) -> Result<Response<Body>, Aborted> {
        let session = bearer(&head.headers);
        let query = head.uri.query().unwrap_or_default();
        let answer = match call {
            Call::Login => match whole(body).await {
                Ok(body) => self.login(&body, host(&head.headers)),
                Err(refusal) => refusal.answer(),
            },
            Call::Answer => match whole(body).await {
                Ok(body) => self.answer_question(&body, host(&head.headers)),
                Err(refusal) => refusal.answer(),
            },
            Call::Logout => {
                if let Some(session) = session {
                    self.control.bank().sessions.close(session);
                }
                empty(StatusCode::NO_CONTENT)
            }
            Call::Account => match self.who(session) {
                Ok(script) => account::answer(script),
                Err(refusal) => refusal.answer(),
            },
            Call::Documents => match self.who_may_read(session) {
                Ok(script) => self.list(script, query),
                Err(refusal) => refusal.answer(),
            },
            Call::Document(id) => match self.who_may_read(session) {
                Ok(script) => self.document(script, &id, link).await?,
                Err(refusal) => refusal.answer(),
            },
            Call::Transactions => match self.who_may_read(session) {
                Ok(script) => {
                    let booked = self.control.bank().settings().new_transactions;
                    transaction::answer(script, query, booked)
                }
                Err(refusal) => refusal.answer(),
            },
            Call::Nowhere => Refusal::NotFound.answer(),
        };
        Ok(answer)
    }

    fn who(&self, session: Option<SessionId>) -> Result<&'static Script, Refusal> {
        let session = session.ok_or(Refusal::SessionExpired)?;
        let mut state = self.control.bank();
        let session = state.sessions.find(session, Instant::now());
        session.ok_or(Refusal::SessionExpired)?.logged_in()
    }

    fn who_may_read(&self, session: Option<SessionId>) -> Result<&'static Script, Refusal> {
        let script = self.who(session)?;
        match script.flaw {
            script::Flaw::Revoked => Err(Refusal::ConsentRevoked),
            script::Flaw::None
            | script::Flaw::SlowDocuments
            | script::Flaw::NoBills
            | script::Flaw::Junk
            | script::Flaw::DocumentsThrottled
            | script::Flaw::LosesSession
            | script::Flaw::FewAtOnce => Ok(script),
        }
    }
}

impl Call {
    /// Returns how a budget calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Login => ENDPOINTS[0],
            Self::Answer => ENDPOINTS[1],
            Self::Logout => ENDPOINTS[2],
            Self::Account => ENDPOINTS[3],
            Self::Documents => ENDPOINTS[4],
            Self::Document(_) => ENDPOINTS[5],
            Self::Transactions => ENDPOINTS[6],
            Self::Nowhere => "nowhere",
        }
    }

    /// Returns the one method it is called with, if there is one.
    fn method(&self) -> Option<(Method, &'static str)> {
        match self {
            Self::Login | Self::Answer => Some((Method::POST, "POST")),
            Self::Logout => Some((Method::DELETE, "DELETE")),
            Self::Account | Self::Documents | Self::Document(_) | Self::Transactions => {
                Some((Method::GET, "GET"))
            }
            Self::Nowhere => None,
        }
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => Err(Refusal::TooLarge),
    }
}

fn bearer(headers: &HeaderMap) -> Option<SessionId> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        SessionId::parse(token)
    } else {
        None
    }
}

/// Returns how the caller names this server, for addresses that a person is sent to.
fn host(headers: &HeaderMap) -> &str {
    headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1:4010")
}

/// How a budget calls what a connector calls.
pub(crate) const ENDPOINTS: [&str; 7] = [
    "login",
    "challenge",
    "session",
    "account",
    "documents",
    "document",
    "transactions",
];
const MAX_BODY: usize = 64 * 1024;
