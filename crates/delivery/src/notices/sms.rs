//! SMS through the HTTP gateway of a provider.

mod answer;
mod fit;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use wellspring_engine::{Clock, NoticeOrder, NoticeResult};
use wellspring_outbound::Client;

use super::outcome;
use super::template::Words;
use crate::traced;
use request::Form;

/// How the gateway is asked, and what its answers mean.
#[derive(Debug, Clone)]
pub struct SmsOptions {
    /// The method of the request.
    pub method: String,
    /// Where the gateway is, a template.
    pub url: String,
    /// The headers of the request, templates.
    pub headers: BTreeMap<String, String>,
    /// The body of the request, templates.
    pub body: SmsBody,
    /// The user name for HTTP Basic, and for templates as `username`.
    pub username: Option<String>,
    /// The password for HTTP Basic, and for templates as `password`.
    pub password: Option<SecretString>,
    /// Whether user name and password are sent as HTTP Basic.
    pub basic: bool,
    /// Who writes: a number, a name or a service, for templates as `from`.
    pub from: Option<String>,
    /// Where the answer says what the gateway calls the message, a JSON pointer.
    pub receipt: Option<String>,
    /// Where the answer says what went wrong, a JSON pointer.
    pub error: Option<String>,
    /// What stands there when the number as such is no longer good.
    pub gone: BTreeSet<String>,
    /// What stands there when the person has told the gateway to send them nothing any more.
    pub stopped: BTreeSet<String>,
    /// The statuses of answers to a message that will never be taken.
    pub refused: BTreeSet<u16>,
    /// The statuses of answers to a message that may be taken later.
    pub failed: BTreeSet<u16>,
}

/// The body of a request to a gateway.
#[derive(Debug, Clone)]
pub enum SmsBody {
    /// The fields of a form, each a template.
    Form(BTreeMap<String, String>),
    /// A whole body, a template, and its media type.
    Text {
        /// The template.
        template: String,
        /// The media type.
        media_type: String,
    },
}

/// Says what is wrong with the options of SMS.
#[derive(Debug, thiserror::Error)]
pub enum SmsError {
    /// The method is none.
    #[error("`{0}` is no method of HTTP")]
    Method(String),
    /// A header has a name that no header can have.
    #[error("`{0}` is no name of a header")]
    Header(String),
    /// A template is wrong.
    #[error("the template of `{part}` is wrong: {source}")]
    Template {
        /// Which part of the request it makes.
        part: String,
        /// Why.
        source: minijinja::Error,
    },
    /// What a template makes is not what its place takes.
    #[error("`{0}` does not make a request")]
    Request(String),
    /// A user name or a password is needed and not there.
    #[error("the gateway needs a user name and a password")]
    Credentials,
}

impl SmsOptions {
    /// Twilio's form; `username` is the account's SID, `from` a number or the SID of a messaging service.
    pub fn twilio(username: String, password: SecretString, from: String) -> Self {
        let sender = if from.starts_with("MG") {
            "MessagingServiceSid"
        } else {
            "From"
        };
        let form = [
            (sender, "{{ from }}"),
            ("To", "{{ to }}"),
            ("Body", "{{ text }}"),
        ];
        let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            method: String::from("POST"),
            url: String::from(TWILIO),
            headers: BTreeMap::new(),
            body: SmsBody::Form(form.into()),
            username: Some(username),
            password: Some(password),
            basic: true,
            from: Some(from),
            receipt: Some(String::from("/sid")),
            error: Some(String::from("/code")),
            gone: TWILIO_GONE.map(str::to_owned).into(),
            stopped: [TWILIO_STOPPED.to_owned()].into(),
            refused: DEFAULT_REFUSED.into(),
            failed: DEFAULT_FAILED.into(),
        }
    }
}

impl Default for SmsOptions {
    /// A gateway about which nothing is known but what HTTP says.
    fn default() -> Self {
        Self {
            method: String::from("POST"),
            url: String::new(),
            headers: BTreeMap::new(),
            body: SmsBody::Form(BTreeMap::new()),
            username: None,
            password: None,
            basic: false,
            from: None,
            receipt: None,
            error: None,
            gone: BTreeSet::new(),
            stopped: BTreeSet::new(),
            refused: DEFAULT_REFUSED.into(),
            failed: DEFAULT_FAILED.into(),
        }
    }
}

/// Sends through the gateway.
#[derive(Debug)]
pub(super) struct Sms {
    form: Form,
    client: Client,
    clock: Arc<dyn Clock>,
    deadline: Duration,
}

impl Sms {
    pub(super) fn new(
        options: SmsOptions,
        client: Client,
        clock: Arc<dyn Clock>,
        deadline: Duration,
    ) -> Result<Self, SmsError> {
        Ok(Self {
            form: Form::new(options)?,
            client,
            clock,
            deadline,
        })
    }

    pub(super) async fn send(&self, order: &NoticeOrder, to: &str, words: &Words) -> NoticeResult {
        if !is_number(to) {
            return outcome::refused("the number is not in the form of E.164", true);
        }
        let text = fit::text(&words.short, words.link.as_deref(), &words.stop);
        let request = match self.form.request(order, to, &text, self.deadline) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(detail = %error, "Request to the SMS gateway cannot be made");
                return outcome::failed("the request to the gateway cannot be made");
            }
        };
        let exchange = traced::begin(&request);
        let answer = self.client.send_for_start(request, Vec::new()).await;
        traced::end(exchange, &answer);
        match answer {
            Ok(answer) => answer::judge(self.form.options(), &answer, self.clock.now()),
            Err(error) => {
                tracing::debug!(detail = %error, "SMS gateway gave no answer");
                outcome::no_answer("the SMS gateway", &error)
            }
        }
    }
}

/// Returns whether it is a plus sign and up to 15 digits.
fn is_number(to: &str) -> bool {
    to.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

const TWILIO: &str =
    "https://api.twilio.com/2010-04-01/Accounts/{{ username|urlencode }}/Messages.json";
/// Not a number, not a mobile number, and not reachable by SMS.
const TWILIO_GONE: [&str; 3] = ["21211", "21614", "21217"];
/// The person has answered STOP.
const TWILIO_STOPPED: &str = "21610";
/// Answers that say the message as it is will not do.
const DEFAULT_REFUSED: [u16; 6] = [400, 406, 410, 413, 415, 422];
/// Answers that say nothing was taken for now, be it for our password or for the load.
const DEFAULT_FAILED: [u16; 8] = [401, 402, 403, 404, 405, 425, 429, 503];

#[cfg(test)]
mod tests {
    #![expect(clippy::print_stdout, reason = "prints what it measured")]

    use serde_json::{Map, Value, json};
    use wellspring_core::notification::{Channel, NotificationKind};
    use wellspring_core::{AccountId, NotificationId, TenantId, Timestamp};
    use wellspring_engine::NoticeAddress;

    use super::super::template::Templates;
    use super::*;

    /// What a person reads is whole: with the names and the link that there are, nothing is cut.
    #[test]
    fn every_message_fits_two_parts_of_an_sms_whole() {
        let templates = Templates::load(None, "en").unwrap();
        let link = format!("https://connect.example.com/mend/{}", "x".repeat(75));
        let reasons = [
            "failing",
            "question",
            "reauth_required",
            "consent_expiring",
            "maintenance",
            "outage",
        ];
        for language in ["en", "de"] {
            for kind in NotificationKind::ALL {
                for (state, test) in [("opened", false), ("opened", true), ("mended", false)] {
                    for reason in reasons {
                        let facts = json!({
                            "person": "Jürgen Müller-Lüdenscheidt", "source": "Städtische Sparkasse",
                            "connection": "Girokonto", "app": "Haushaltsbuch", "state": state,
                            "reason": reason, "until": "2026-11-29T04:00:00Z",
                            "zone": "Europe/Berlin", "link": link, "test": test,
                        });
                        let order = order(kind, language, &facts);
                        let words = templates.words(&order);
                        let text = fit::text(&words.short, words.link.as_deref(), &words.stop);
                        let parts = fit::segments(&text);
                        println!("{parts} parts: {text}");
                        assert!(parts <= 2, "{text}");
                        assert!(text.contains(&words.short), "cut: {text}");
                        assert!(
                            text.contains(&link) && text.ends_with(&words.stop),
                            "{text}"
                        );
                    }
                }
            }
        }
    }

    fn order(kind: NotificationKind, language: &str, facts: &Value) -> NoticeOrder {
        NoticeOrder {
            id: NotificationId::from_bytes([1; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            account: AccountId::from_bytes([1; 16]),
            kind,
            channel: Channel::Sms,
            to: NoticeAddress::Sms("+4915112345678".to_owned()),
            language: language.to_owned(),
            events: vec![facts.as_object().cloned().unwrap_or_else(Map::new)],
            at: Timestamp::from_millis(0),
            unsubscribe_url: None,
        }
    }
}
