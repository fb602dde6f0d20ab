//! What templates are filled with, made safe to show.

use minijinja::value::{Serde, merge_maps};
use minijinja::{Value, context};
use serde_json::{Map, Value as Json};
use wellspring_core::notification::{Channel, NotificationKind};
use wellspring_core::{AccountId, NotificationId, TenantId, Timestamp};
use wellspring_engine::{NoticeAddress, NoticeOrder};

/// The facts of one event.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    values: Map<String, Json>,
    pub(super) link: Option<String>,
    pub(super) app: Option<String>,
    /// Whether the message only shows what messages look like.
    pub(super) is_test: bool,
}

impl Facts {
    /// Leaves out what is empty, cannot be a link or is no moment, so that templates only ask what is there.
    pub(super) fn new(given: &Map<String, Json>) -> Self {
        let mut values = Map::new();
        for (name, value) in given {
            let kept = match value {
                Json::Null => None,
                Json::String(text) => clean(name, text).map(Json::String),
                Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                    Some(value.clone())
                }
            };
            if let Some(kept) = kept {
                values.insert(name.clone(), kept);
            }
        }
        let text = |name: &str| values.get(name).and_then(Json::as_str).map(str::to_owned);
        Self {
            link: text("link"),
            app: text("app"),
            is_test: values.get("test").and_then(Json::as_bool) == Some(true),
            values,
        }
    }

    /// Returns the facts as a template sees them, with what it is told besides.
    pub(super) fn context(&self, order: &NoticeOrder, language: &str, more: Value) -> Value {
        let about = context! {
            language,
            kind => order.kind.as_str(),
            channel => order.channel.as_str(),
        };
        merge_maps([Value::from(Serde(self.values.clone())), about, more])
    }
}

fn clean(name: &str, text: &str) -> Option<String> {
    let text = match name {
        "link" => text.trim().to_owned(),
        "text" => paragraphs(text),
        _ => one_line(text, LINE),
    };
    let good = match name {
        "link" => is_link(&text),
        "until" => text.parse::<Timestamp>().is_ok(),
        _ => !text.is_empty(),
    };
    good.then_some(text)
}

/// Returns whether a person may be sent there.
pub(super) fn is_link(url: &str) -> bool {
    let web = url.starts_with("https://") || url.starts_with("http://");
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
    web && url.len() <= MAX_LINK && url.bytes().all(plain)
}

/// Returns the text on one line without control characters, cut to `most` characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let is_gap = |c: char| c.is_whitespace() || c.is_control() || is_invisible(c);
    let words = text.split(is_gap).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let mut cut: String = line.chars().take(most - 1).collect();
    cut.push('…');
    cut
}

/// Keeps the breaks between lines, and no other control character.
fn paragraphs(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let kept = text
        .chars()
        .filter(|&c| c == '\n' || !(c.is_control() || is_invisible(c)));
    kept.take(MAX_TEXT).collect::<String>().trim().to_owned()
}

/// Marks that turn the direction of writing, with which a name could pretend to be another.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// A message to nobody, to try templates with.
pub(super) fn blank(kind: NotificationKind, channel: Channel, events: usize) -> NoticeOrder {
    NoticeOrder {
        id: NotificationId::from_bytes([0; 16]),
        tenant: TenantId::from_bytes([0; 16]),
        account: AccountId::from_bytes([0; 16]),
        kind,
        channel,
        to: NoticeAddress::Webhook(String::new()),
        language: String::new(),
        events: vec![Map::new(); events],
        at: Timestamp::from_millis(0),
        unsubscribe_url: None,
    }
}

/// The longest fact other than the text, in characters.
const LINE: usize = 200;
const MAX_LINK: usize = 2_000;
const MAX_TEXT: usize = 4_000;
