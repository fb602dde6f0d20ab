//! Web Push (RFC 8030), encrypted for the browser (RFC 8291).

mod vapid;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use secrecy::SecretString;
use serde::Serialize;
use web_push_native::p256::PublicKey;
use web_push_native::{Auth, encrypt};
use wellspring_core::Timestamp;
use wellspring_core::notification::NotificationKind;
use wellspring_engine::{Clock, NoticeAddress, NoticeOrder, NoticeResult};
use wellspring_outbound::{AddressPolicy, Client, Request, Response, Target};

use super::outcome;
use super::template::{Words, message_id, one_line};
use crate::traced;
use vapid::Vapid;

/// Who sends to push services (RFC 8292).
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// The private key: 32 bytes, base64url.
    pub private_key: SecretString,
    /// Where push services find a person to talk to: `mailto:` or `https:`.
    pub contact: String,
    /// How long a push service keeps a message for a browser that is away.
    pub ttl: Duration,
}

/// Says what is wrong with the options of Web Push.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The private key is none.
    #[error("the VAPID private key must be 32 bytes of a P-256 key in base64url")]
    Key,
    /// The contact is no URL that RFC 8292 allows.
    #[error("the VAPID contact must begin with mailto: or https:")]
    Contact,
}

/// Sends to push services.
#[derive(Debug)]
pub(super) struct Push {
    vapid: Vapid,
    ttl: Duration,
    client: Client,
    policy: AddressPolicy,
    clock: Arc<dyn Clock>,
    deadline: Duration,
}

impl Push {
    pub(super) fn new(
        options: &PushOptions,
        client: Client,
        policy: AddressPolicy,
        clock: Arc<dyn Clock>,
        deadline: Duration,
    ) -> Result<Self, PushError> {
        Ok(Self {
            vapid: Vapid::new(&options.private_key, &options.contact)?,
            ttl: options.ttl,
            client,
            policy,
            clock,
            deadline,
        })
    }

    /// Returns the key that browsers subscribe with.
    pub(super) fn public_key(&self) -> &str {
        self.vapid.public_key()
    }

    pub(super) async fn send(&self, order: &NoticeOrder, words: &Words) -> NoticeResult {
        let request = match self.request(order, words) {
            Ok(request) => request,
            Err(result) => return result,
        };
        let exchange = traced::begin(&request);
        let answer = self.client.send_for_status(request).await;
        traced::end(exchange, &answer);
        match answer {
            Ok(answer) => judge(&answer, self.clock.now()),
            Err(error) => {
                tracing::debug!(detail = %error, "Push service gave no answer");
                outcome::no_answer("the push service", &error)
            }
        }
    }

    fn request(&self, order: &NoticeOrder, words: &Words) -> Result<Request, NoticeResult> {
        let bad = |reason: &str| outcome::refused(reason, true);
        let NoticeAddress::Push {
            endpoint,
            p256dh,
            auth,
        } = &order.to
        else {
            return Err(bad("the address is no push subscription"));
        };
        let Ok(target) = Target::parse(endpoint, &self.policy) else {
            return Err(bad("the push service's URL cannot be called"));
        };
        // Who signs is shown to whoever listens, so it is not sent in the clear beyond this machine.
        let is_here = target.literal().is_some_and(|ip| ip.is_loopback());
        if !target.is_https() && !is_here {
            return Err(bad("the push service's URL is not https"));
        }
        let key = decode(p256dh).and_then(|bytes| PublicKey::from_sec1_bytes(&bytes).ok());
        let secret = decode(auth).filter(|bytes| bytes.len() == AUTH);
        let (Some(key), Some(secret)) = (key, secret) else {
            return Err(bad("the keys of the push subscription are no keys"));
        };
        let ours = |_error| outcome::failed("the push message cannot be encrypted");
        let plain = payload(order, words);
        let body = encrypt(plain, &key, Auth::from_slice(&secret)).map_err(ours)?;
        let token = self.vapid.authorization(&target, self.clock.now());
        let headers = self.headers(order, token.as_deref());
        let Some(headers) = headers else {
            return Err(outcome::failed("the push message cannot be signed"));
        };
        Ok(Request {
            method: Method::POST,
            target,
            headers,
            body: Bytes::from(body),
            deadline: self.deadline,
            max_body: MAX_ANSWER,
        })
    }

    fn headers(&self, order: &NoticeOrder, authorization: Option<&str>) -> Option<HeaderMap> {
        let mut authorization = HeaderValue::from_str(authorization?).ok()?;
        authorization.set_sensitive(true);
        let topic = URL_SAFE_NO_PAD.encode(order.id.as_bytes());
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        headers.insert(TTL, HeaderValue::from(self.ttl.as_secs()));
        headers.insert(URGENCY, HeaderValue::from_static(urgency(order.kind)));
        // A repeat takes the place of the message that is still waiting for the browser.
        headers.insert(TOPIC, HeaderValue::from_str(&topic).ok()?);
        Some(headers)
    }
}

/// What a service worker gets.
#[derive(Serialize)]
struct Payload<'a> {
    id: String,
    kind: &'static str,
    title: &'a str,
    body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    lang: &'a str,
    /// The browser shows one message of a tag, so repeats are not seen twice.
    tag: String,
    timestamp: Timestamp,
}

/// Writes the message so that it fits what push services take, which is 4 KiB encrypted.
fn payload(order: &NoticeOrder, words: &Words) -> Vec<u8> {
    let id = message_id(order.id, order.channel);
    let body = one_line(&words.short, BODY);
    let payload = Payload {
        id: order.id.to_string(),
        kind: order.kind.as_str(),
        title: &words.subject,
        body: &body,
        url: words.link.as_deref().filter(|link| link.len() <= LINK),
        lang: &words.language,
        tag: id,
        timestamp: order.at,
    };
    serde_json::to_vec(&payload).expect("texts and times always serialize")
}

const fn urgency(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::SecurityAlert => "high",
        NotificationKind::PlaidConnectionIssue
        | NotificationKind::BankMaintenance
        | NotificationKind::ComplianceUpdate
        | NotificationKind::SystemMaintenance
        | NotificationKind::AccountUpdate => "normal",
        NotificationKind::DataSyncStatus | NotificationKind::FeatureUpdate => "low",
    }
}

fn judge(answer: &Response, now: Timestamp) -> NoticeResult {
    let status = answer.status;
    if status.is_success() {
        let receipt = answer.headers.get(LOCATION);
        let receipt = receipt.and_then(|value| value.to_str().ok());
        return NoticeResult::Sent {
            receipt: receipt.map(str::to_owned),
        };
    }
    let reason = format!("the push service answered {}", status.as_u16());
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => outcome::refused(reason, true),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => NoticeResult::Failed {
            reason,
            retry_at: outcome::retry_at(answer, now),
        },
        status if status.is_server_error() => NoticeResult::Failed {
            reason,
            retry_at: outcome::retry_at(answer, now),
        },
        _ => outcome::refused(reason, false),
    }
}

/// Reads what browsers write without padding, and some applications with it.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text));
    bytes.ok()
}

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");
/// The length of a browser's secret, in bytes.
const AUTH: usize = 16;
/// The longest text, in characters; at three bytes each it leaves room for all else.
const BODY: usize = 400;
/// The longest link, in bytes.
const LINK: usize = 1_500;
const MAX_ANSWER: usize = 4 * 1024;
