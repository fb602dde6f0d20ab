//! What is to change of the settings.

use std::time::Duration;

use http::Uri;
use serde_json::Value;
use wellspring_core::{Ask, parse_duration};
use wellspring_engine::Settings;

use super::SettingsError;
use crate::Intake;
use crate::body::{Fields, pointer};
use crate::problem::Fault;

/// What is to change; the inner `None` is the default.
#[derive(Debug, Default)]
pub(super) struct Patch {
    keep: Vec<(&'static str, Option<Duration>)>,
    contact: Option<Option<String>>,
    legacy_waiting: Option<bool>,
    ask: Option<Ask>,
    frame_origins: Option<Vec<String>>,
    return_urls: Option<Vec<String>>,
    document_receiver: Option<Option<String>>,
}

impl Patch {
    pub(super) async fn read(body: &[u8], intake: &dyn Intake) -> Result<Self, SettingsError> {
        let mut faults = Vec::new();
        let mut fields = Fields::read(body, &mut faults)?;
        let mut patch = Self::default();
        match fields.take("retention", &mut faults) {
            None => {}
            Some(Value::Null) => patch.keep = KINDS.map(|kind| (kind, None)).into(),
            Some(Value::Object(members)) => {
                for (name, value) in members {
                    patch.retention(&name, &value, &mut faults);
                }
            }
            Some(_other) => faults.push(Fault::at("/retention", "must be an object or null")),
        }
        match fields.take("contact", &mut faults) {
            None => {}
            Some(Value::Null) => patch.contact = Some(None),
            Some(Value::String(text)) if is_contact(&text) => patch.contact = Some(Some(text)),
            Some(_other) => faults.push(Fault::at(
                "/contact",
                "must be null or 1 to 320 characters without control characters",
            )),
        }
        match fields.take("legacy_waiting", &mut faults) {
            None => {}
            Some(Value::Null) => patch.legacy_waiting = Some(false),
            Some(Value::Bool(on)) => patch.legacy_waiting = Some(on),
            Some(_other) => faults.push(Fault::at("/legacy_waiting", "must be true or false")),
        }
        patch.ask = fields
            .take("ask", &mut faults)
            .and_then(|value| ask(value, &mut faults));
        patch.frame_origins = list(&mut fields, "frame_origins", is_origin, &mut faults);
        patch.return_urls = list(&mut fields, "return_urls", is_return_url, &mut faults);
        match fields.take("document_receiver", &mut faults) {
            None => {}
            Some(Value::Null) => patch.document_receiver = Some(None),
            Some(Value::String(url)) => match receiver(&url, intake).await {
                Ok(()) => patch.document_receiver = Some(Some(url)),
                Err(detail) => faults.push(Fault::at("/document_receiver", detail)),
            },
            Some(_other) => {
                faults.push(Fault::at(
                    "/document_receiver",
                    "must be an address or null",
                ));
            }
        }
        fields.finish(&mut faults);
        if faults.is_empty() {
            Ok(patch)
        } else {
            Err(SettingsError::Invalid(faults))
        }
    }

    fn retention(&mut self, name: &str, value: &Value, faults: &mut Vec<Fault>) {
        let place = pointer("/retention", name);
        let Some(kind) = KINDS.into_iter().find(|kind| *kind == name) else {
            faults.push(Fault::at(place, "is not known here"));
            return;
        };
        let duration = match value {
            Value::Null => Ok(None),
            Value::String(text) => parse_duration(text).map(Some),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err("must be a duration such as 720h, or null".to_owned())
            }
        };
        match duration {
            Ok(Some(duration)) if duration < SHORTEST => {
                faults.push(Fault::at(place, "must be at least 1h"));
            }
            Ok(Some(duration)) if duration > LONGEST => {
                faults.push(Fault::at(place, "must be at most 87600h"));
            }
            Ok(duration) => self.keep.push((kind, duration)),
            Err(detail) => faults.push(Fault::at(place, detail)),
        }
    }

    pub(super) fn apply(self, settings: &mut Settings) {
        let defaults = Settings::default();
        for (kind, duration) in self.keep {
            let (place, default) = match kind {
                CHANGES => (&mut settings.keep_changes, defaults.keep_changes),
                COLLECTIONS => (&mut settings.keep_collections, defaults.keep_collections),
                PAYLOADS => (&mut settings.keep_payloads, defaults.keep_payloads),
                _attempts => (&mut settings.keep_attempts, defaults.keep_attempts),
            };
            *place = duration.unwrap_or(default);
        }
        set(&mut settings.contact, self.contact);
        set(&mut settings.legacy_waiting, self.legacy_waiting);
        set(&mut settings.ask, self.ask);
        set(&mut settings.frame_origins, self.frame_origins);
        set(&mut settings.return_urls, self.return_urls);
        set(&mut settings.document_receiver, self.document_receiver);
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn ask(value: Value, faults: &mut Vec<Fault>) -> Option<Ask> {
    let read = if value.is_null() {
        Some(Ask::default())
    } else {
        serde_json::from_value(value).ok()
    };
    let read = read.filter(|ask| match ask {
        Ask::UserPresent | Ask::Always => true,
        Ask::Hours { from, to } => *from < 24 && (1..=24).contains(to) && from != to,
    });
    if read.is_none() {
        let detail = r#"must be "user_present", "always" or {"hours": {"from": 8, "to": 20}} with hours of the day"#;
        faults.push(Fault::at("/ask", detail));
    }
    read
}

/// Reads a list of texts, each of which `judge` takes.
fn list(
    fields: &mut Fields,
    name: &str,
    judge: fn(&str) -> Result<(), &'static str>,
    faults: &mut Vec<Fault>,
) -> Option<Vec<String>> {
    let at = pointer("", name);
    let items = match fields.take(name, faults)? {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => Some(items).filter(|items| items.len() <= MOST),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    };
    let Some(items) = items else {
        faults.push(Fault::at(at, "must be null or a list of at most 20 texts"));
        return None;
    };
    let before = faults.len();
    let mut texts = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let judged = if let Value::String(text) = item {
            judge(&text).map(|()| texts.push(text))
        } else {
            Err("must be a string")
        };
        if let Err(detail) = judged {
            faults.push(Fault::at(format!("{at}/{place}"), detail));
        }
    }
    (faults.len() == before).then_some(texts)
}

/// An origin as browsers write it: it goes into a policy header as it is.
fn is_origin(text: &str) -> Result<(), &'static str> {
    let detail = "must be an origin such as https://app.example.com";
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let host = rest.ok_or(detail)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = host
        .bytes()
        .all(|byte| plain(byte) || b".-:[]".contains(&byte));
    let is_host = allowed
        && text.len() <= LONGEST_URL
        && text
            .parse::<Uri>()
            .is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if is_host { Ok(()) } else { Err(detail) }
}

fn is_return_url(text: &str) -> Result<(), &'static str> {
    let detail = "must be an http(s) address without credentials and fragment";
    let plain = text.len() <= LONGEST_URL && text.bytes().all(|byte| byte.is_ascii_graphic());
    let uri = text.parse::<Uri>().ok().filter(|_| plain).ok_or(detail)?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let credentials = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if web && host && !credentials && !text.contains(['#', '\\']) {
        Ok(())
    } else {
        Err(detail)
    }
}

async fn receiver(url: &str, intake: &dyn Intake) -> Result<(), String> {
    if url.len() > LONGEST_URL {
        return Err(format!("is longer than {LONGEST_URL} bytes"));
    }
    intake.check_url(url).await
}

fn is_contact(text: &str) -> bool {
    (1..=320).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

const CHANGES: &str = "changes";
const COLLECTIONS: &str = "collections";
const PAYLOADS: &str = "payloads";
const KINDS: [&str; 4] = [CHANGES, COLLECTIONS, PAYLOADS, "attempts"];
const SHORTEST: Duration = Duration::from_secs(3_600);
const LONGEST: Duration = Duration::from_secs(87_600 * 3_600);
const LONGEST_URL: usize = 2_048;
/// How many origins or addresses a tenant names.
const MOST: usize = 20;
