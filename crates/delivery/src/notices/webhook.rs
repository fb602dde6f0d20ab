//! Messages to the tenant's own sender of messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;
use serde_json::{Map, Value};
use wellspring_core::{AccountId, NotificationId, Timestamp};
use wellspring_engine::{Clock, NoticeOrder, NoticeResult};
use wellspring_outbound::{AddressPolicy, Client, Target};
use wellspring_vault::signatures;

use super::outcome;
use super::template::{Words, message_id};
use crate::Secrets;
use crate::post::{self, Post};

/// Posts messages, signed with the callback secrets of the tenant.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) client: Client,
    pub(super) policy: AddressPolicy,
    pub(super) deadline: Duration,
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Webhook {
    pub(super) async fn send(&self, order: &NoticeOrder, url: &str, words: &Words) -> NoticeResult {
        let Ok(target) = Target::parse(url, &self.policy) else {
            return outcome::refused("the webhook's URL cannot be called", true);
        };
        let secrets = self.secrets.callback(order.tenant).unwrap_or_default();
        if secrets.is_empty() {
            return outcome::failed("the tenant has no callback secret");
        }
        let id = message_id(order.id, order.channel);
        let body = body(order, words);
        let seconds = post::unix_seconds(self.clock.now());
        let signatures = signatures(&*secrets, &id, seconds, &[&body]);
        let json = HeaderValue::from_static("application/json");
        let Some(headers) = post::headers(json, &id, seconds, signatures) else {
            return outcome::failed("the message has no proper id");
        };
        let post = Post {
            target,
            headers,
            body: (body, Vec::new()),
            deadline: self.deadline,
        };
        let attempt = post.send(&self.client, &*self.clock).await;
        let result = attempt.into_result(Duration::ZERO);
        let Some(failure) = result.failure else {
            return NoticeResult::Sent { receipt: None };
        };
        let reason = format!("{}: {}", failure.error.code, failure.error.message);
        if failure.gone {
            return outcome::refused(reason, true);
        }
        // A receiver knows a repeat by its id, so that a broken exchange is no more than a failure.
        NoticeResult::Failed {
            reason,
            retry_at: failure.retry_at,
        }
    }
}

/// The message; every repeat has the same bytes.
fn body(order: &NoticeOrder, words: &Words) -> Bytes {
    let message = Message {
        kind: format!("notification.{}", order.kind),
        timestamp: order.at,
        data: Data {
            id: order.id,
            account: order.account,
            language: &words.language,
            subject: &words.subject,
            text: &words.text,
            short: &words.short,
            link: words.link.as_deref(),
            unsubscribe_url: order.unsubscribe_url.as_deref(),
            events: &order.events,
        },
    };
    serde_json::to_vec(&message)
        .expect("texts, ids and times always serialize")
        .into()
}

#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(rename = "notificationId")]
    id: NotificationId,
    #[serde(rename = "accountId")]
    account: AccountId,
    language: &'a str,
    subject: &'a str,
    text: &'a str,
    short: &'a str,
    link: Option<&'a str>,
    unsubscribe_url: Option<&'a str>,
    events: &'a [Map<String, Value>],
}
