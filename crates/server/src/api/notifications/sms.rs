//! `/v1/sms/inbound`: what people answer by SMS, as a gateway passes it on in Twilio's form.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use wellspring_core::AccountId;
use wellspring_core::notification::Channel;
use wellspring_engine::PhoneMark;

use crate::body::{self, bytes};
use crate::problem::Problem;
use crate::router::{App, within};

/// Takes in what a person answers by SMS: after STOP their number gets none, until it says START.
///
/// The gateway signs its requests with `X-Twilio-Signature`; what it says twice under one
/// `MessageSid` is done once.
#[utoipa::path(
    post, path = "/v1/sms/inbound", tag = "notifications", operation_id = "inboundSms",
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`From`, `Body`, `MessageSid` and whatever else the gateway says"),
    responses(
        (status = 200, description = "It is done; the answer in TwiML, which is empty but for HELP", body = String, content_type = "text/xml"),
        (status = 400, description = "`From`, `Body` or `MessageSid` is missing"),
        (status = 403, description = "`signature_invalid`: the request is not the gateway's"),
        (status = 404, description = "Answers by SMS are not configured"),
    ),
)]
pub(crate) async fn inbound(app: Arc<App>, request: Request) -> Result<Response, Problem> {
    let Some(secret) = &app.sms_secret else {
        return Err(Problem::nothing());
    };
    let (parts, body) = request.into_parts();
    let body = body::read(body).await?;
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let query = parts.uri.query().map(|query| format!("?{query}"));
    let url = format!("{}{PATH}{}", app.public_url, query.unwrap_or_default());
    if !is_signed(secret, &url, &fields, &parts.headers) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "signature_invalid",
            "The request is not signed with the gateway's secret for this address",
        ));
    }
    let field = |name: &str| {
        let mut values = fields.iter().filter(|(named, _)| named == name);
        values.next().map(|(_, value)| value.as_str())
    };
    let (Some(from), Some(text), Some(sid)) = (field("From"), field("Body"), field("MessageSid"))
    else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "field_missing",
            "`From`, `Body` and `MessageSid` are needed",
        ));
    };
    // A gateway that understands the words itself says so, and has answered them.
    let by_gateway = field("OptOutType");
    let addresses = app.notifier.addresses();
    let answer = match Word::of(by_gateway.unwrap_or(text)) {
        Some(Word::Stop) => hear(&app, from, addresses.mark(sid), true).await?,
        Some(Word::Start) => hear(&app, from, addresses.mark(sid), false).await?,
        Some(Word::Help) if by_gateway.is_none() => HELP,
        Some(Word::Help) | None => NOTHING,
    };
    Ok(bytes(
        StatusCode::OK,
        "text/xml",
        Bytes::from_static(answer.as_bytes()),
    ))
}

/// What a person may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Stop,
    Start,
    Help,
}

impl Word {
    /// Reads a message; only one that says nothing else is a word.
    fn of(text: &str) -> Option<Self> {
        let is_edge = |c: char| !c.is_alphanumeric();
        let word = text.trim_matches(is_edge).to_uppercase();
        match word.as_str() {
            "STOP" | "STOPALL" | "STOP ALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT"
            | "REVOKE" | "OPTOUT" | "STOPP" | "ARRET" | "ARRÊT" | "ABMELDEN" | "ENDE" => {
                Some(Self::Stop)
            }
            "START" | "UNSTOP" | "YES" | "JA" | "OUI" => Some(Self::Start),
            "HELP" | "INFO" | "HILFE" | "AIDE" => Some(Self::Help),
            _ => None,
        }
    }
}

/// Notes that the number wants no SMS, whoever is reached by it now or later, or wants them again.
async fn hear(
    app: &App,
    from: &str,
    sid: PhoneMark,
    stopped: bool,
) -> Result<&'static str, Problem> {
    let mark = app.notifier.addresses().mark(from);
    if !stopped {
        // Who says START means it, whatever was switched off elsewhere.
        let people = within(app.backend.people_called(mark)).await?;
        for person in people {
            switch_on(app, person.account, (mark, sid)).await?;
        }
    }
    within(app.backend.hear_phone(mark, Some(sid), stopped)).await?;
    Ok(NOTHING)
}

async fn switch_on(
    app: &App,
    account: AccountId,
    (mark, sid): (PhoneMark, PhoneMark),
) -> Result<(), Problem> {
    for _ in 0..TRIES {
        let people = within(app.backend.people(vec![account])).await?;
        let person = people.into_iter().next();
        let person = person.filter(|person| person.phone == Some(mark));
        // The number is not theirs any more, or this was said before.
        let Some(mut person) = person.filter(|person| !person.heard.contains(&sid)) else {
            return Ok(());
        };
        person.preferences.channels_off.remove(&Channel::Sms);
        person.heard.push(sid);
        let too_many = person.heard.len().saturating_sub(REMEMBERED);
        person.heard.drain(..too_many);
        let version = person.version;
        person.version = version.saturating_add(1);
        if within(app.backend.put_person(person, version)).await? {
            return Ok(());
        }
    }
    // The gateway says it again.
    Err(Problem::busy(
        "changed_meanwhile",
        "Somebody else changes the same at this moment",
    ))
}

/// Returns whether the gateway has signed the request: HMAC-SHA1 over the URL and the sorted fields.
fn is_signed(
    secret: &SecretString,
    url: &str,
    fields: &[(String, String)],
    headers: &HeaderMap,
) -> bool {
    let given = headers.get("x-twilio-signature");
    let given = given.and_then(|value| STANDARD.decode(value.as_bytes()).ok());
    let (Some(given), Ok(mut mac)) = (
        given,
        Hmac::<Sha1>::new_from_slice(secret.expose_secret().as_bytes()),
    ) else {
        return false;
    };
    let mut sorted: Vec<&(String, String)> = fields.iter().collect();
    sorted.sort();
    mac.update(url.as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    // In constant time.
    mac.verify_slice(&given).is_ok()
}

const PATH: &str = "/v1/sms/inbound";
const NOTHING: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>";
const HELP: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Message>\
    Reply STOP to get no more messages, START to get them again. \
    STOP: keine Nachrichten mehr, START: wieder Nachrichten.\
    </Message></Response>";
const TRIES: usize = 5;
/// How many of a person's messages are remembered: a gateway repeats one within minutes.
const REMEMBERED: usize = 16;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_says_nothing_else_is_a_word() {
        for stop in [
            "STOP",
            " stop. ",
            "Stopp!",
            "arrêt",
            "Unsubscribe",
            "STOP ALL",
            "quit\n",
        ] {
            assert_eq!(Word::of(stop), Some(Word::Stop), "{stop}");
        }
        for other in ["", "please stop by", "stop it", "non-stop", "nostop", "?"] {
            assert_eq!(Word::of(other), None, "{other}");
        }
        assert_eq!(Word::of("Start"), Some(Word::Start));
        assert_eq!(Word::of("help?"), Some(Word::Help));
    }

    /// The worked example of Twilio's documentation.
    #[test]
    fn the_signature_is_twilios() {
        let fields = [
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675310"),
            ("Caller", "+14158675310"),
            ("CallSid", "CA1234567890ABCDE"),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        let secret = SecretString::from("12345");
        let mut headers = HeaderMap::new();
        assert!(!is_signed(&secret, url, &fields, &headers));
        let signature = HeaderValue::from_static("L/OH5YylLD5NRKLltdqwSvS0BnU=");
        headers.insert("x-twilio-signature", signature);
        assert!(is_signed(&secret, url, &fields, &headers));
        assert!(!is_signed(&secret, url, &fields[1..], &headers));
        assert!(!is_signed(&"12346".into(), url, &fields, &headers));
    }
}
