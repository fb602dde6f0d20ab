use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use hyper::http::request;
use hyper::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::session::{Consent, SessionId, Stage};
use super::step::Step;
use super::{Bank, whole};
use crate::answer::{empty, full, method_not_allowed};
use crate::serve::Body;

impl Bank {
    /// Shows a person what is asked of them, or takes down what they say to it.
    pub(super) async fn consent(
        &self,
        session: &str,
        head: &request::Parts,
        body: Incoming,
    ) -> Response<Body> {
        if head.method == Method::GET {
            return if self.at_consent(session, |_| ()) {
                html(StatusCode::OK, "Your agreement", FORM)
            } else {
                too_late()
            };
        }
        if head.method != Method::POST {
            return method_not_allowed("GET, POST");
        }
        let form = match whole(body).await {
            Ok(form) => form,
            Err(refusal) => return refusal.answer(),
        };
        let decision = field(&form, "decision");
        let decision = match decision.as_deref() {
            Some("agree") => Consent::Agreed,
            Some("refuse") => Consent::Refused,
            Some(_) | None => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return html(status, "Your agreement", FORM);
            }
        };
        if !self.decide(session, decision) {
            return too_late();
        }
        match return_address(head) {
            Some(location) => {
                let mut answer = empty(StatusCode::SEE_OTHER);
                answer.headers_mut().insert(LOCATION, location);
                answer
            }
            None => html(
                StatusCode::OK,
                "Thank you",
                "<p>The bank has noted it. You can close this page.</p>",
            ),
        }
    }

    fn decide(&self, session: &str, decision: Consent) -> bool {
        let decided = self.at_consent(session, |consent| *consent = Some(decision));
        if decided {
            self.control.bank().counts.consents += 1;
        }
        decided
    }

    /// Does something to the decision of a session that is asked for one, or returns false.
    fn at_consent(&self, session: &str, act: impl FnOnce(&mut Option<Consent>)) -> bool {
        let mut state = self.control.bank();
        let session = SessionId::parse(session)
            .and_then(|session| state.sessions.find(session, Instant::now()));
        let Some(Stage::Asked(asked)) = session.map(|session| &mut session.stage) else {
            return false;
        };
        if asked.step != Step::Consent {
            return false;
        }
        act(&mut asked.consent);
        true
    }
}

fn too_late() -> Response<Body> {
    let nothing = "<p>Nothing is to be agreed here.</p>";
    html(StatusCode::GONE, "Too late", nothing)
}

/// Returns where the person goes afterwards, if the address says so and it is one of the web.
fn return_address(head: &request::Parts) -> Option<HeaderValue> {
    let query = head.uri.query()?;
    let url = field(query.as_bytes(), "return_url")?;
    if url.starts_with("http://") || url.starts_with("https://") {
        HeaderValue::from_str(&url).ok()
    } else {
        None
    }
}

fn field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Returns a page of the bank; title and content must be HTML already.
pub(super) fn html(status: StatusCode, title: &str, content: &str) -> Response<Body> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title} - Sandbox Bank</title>\n<style>{STYLE}</style>\n\
         <h1>Sandbox Bank</h1>\n<h2>{title}</h2>\n{content}\n</html>\n"
    );
    let mut answer = full(status, "text/html; charset=utf-8", Bytes::from(page));
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

// The form goes to the page's own address, so that `return_url` stays with it.
const FORM: &str = "<p>Wellspring asks to fetch your documents and transactions. This is a pretend \
bank: whatever you say, nothing happens to any money.</p>\n\
<form method=\"post\">\n\
<button name=\"decision\" value=\"agree\">Agree</button>\n\
<button name=\"decision\" value=\"refuse\">Refuse</button>\n\
</form>";

const STYLE: &str = "body{font:1rem/1.5 sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem .8rem .2rem 0}\
button{font:inherit;padding:.4rem 1rem}";
