//! `/api/reliability/notifications`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, Uri};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use wellspring_core::notification::{Channel, Reach};
use wellspring_core::{Account, AccountId, NotificationId};
use wellspring_engine::{Allowance, Notice, NoticeRequest, NoticeStatus, RequestMark};

use crate::Caller;
use crate::api::accounts::present;
use crate::api::notifications::{MOST, NotificationBody, channels, filter, kind, person};
use crate::body::{self, Fields, json};
use crate::idempotency::{Once, replayed};
use crate::path::Place;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};

/// Messages to a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationsBody {
    /// Always `true`.
    success: bool,
    /// The messages, newest first.
    notifications: Vec<NotificationBody>,
    /// How many there are here.
    total: usize,
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestBody {
    /// Whether every channel took it.
    success: bool,
    /// The same in words.
    message: &'static str,
    /// What came of each channel.
    delivery_results: Vec<ResultBody>,
}

/// What came of one channel.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResultBody {
    /// Which.
    channel: &'static str,
    /// Whether the message was taken.
    success: bool,
    /// What happened, in words.
    message: String,
}

/// That it is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DoneBody {
    /// Always `true`.
    success: bool,
    /// The same in words.
    message: &'static str,
}

/// Lists messages to a person.
#[utoipa::path(
    get, path = "/api/reliability/notifications", tag = "reliability", operation_id = "reliabilityNotifications",
    params(
        ("account" = Option<String>, Query, description = "Whose, with an API key"),
        ("unread_only" = Option<bool>, Query, description = "`true`: those that are not read"),
        ("type" = Option<String>, Query, description = "Those of one type"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 100; 50 unless told"),
    ),
    responses(
        (status = 200, description = "The messages", body = NotificationsBody),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such account"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn list(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let once = ["account", "unread_only", "type", "limit"];
    let mut parameters = Parameters::read(request.uri(), &once, &[]);
    let limit = parameters.limit(50, MOST);
    let filter = filter(&mut parameters);
    let account = whose(&app, &caller, parameters).await?;
    let rows = within(app.backend.notifications(account.id, filter, limit)).await?;
    let (_, contact) = person(&app, &account).await?;
    let notifications = rows.into_iter();
    let notifications = notifications.map(|row| NotificationBody::new(&app, row, &contact));
    let notifications: Vec<_> = notifications.collect();
    let body = NotificationsBody {
        success: true,
        total: notifications.len(),
        notifications,
    };
    json(StatusCode::OK, &body)
}

/// Notes that the person has read a message.
#[utoipa::path(
    post, path = "/api/reliability/notifications/{notification}/read", tag = "reliability", operation_id = "reliabilityReadNotification",
    params(("notification" = String, Path, description = "The message's id"), ("account" = Option<String>, Query, description = "Whose, with an API key")),
    responses(
        (status = 200, description = "It is read", body = DoneBody),
        (status = 404, description = "There is no such message"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn read(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let account = of(&app, &caller, &parts.uri).await?;
    let id = place.id::<NotificationId>(0)?;
    let read = app
        .backend
        .read_notification(account.id, id, app.clock.now());
    if !within(read).await? {
        return Err(Problem::nothing());
    }
    let body = DoneBody {
        success: true,
        message: "Notification marked as read",
    };
    json(StatusCode::OK, &body)
}

/// Sends a message for a test, and says what really came of it over each channel.
#[utoipa::path(
    post, path = "/api/reliability/notifications/send-test", tag = "reliability", operation_id = "reliabilitySendTest",
    params(
        ("account" = Option<String>, Query, description = "Whose, with an API key"),
        ("Idempotency-Key" = Option<String>, Header, description = "What is sent again under the same key is sent once"),
    ),
    request_body(content = Object, example = json!({"type": "plaid_connection_issue", "channels": ["email", "in_app"]})),
    responses(
        (status = 200, description = "What came of it", body = TestBody),
        (status = 400, description = "Not JSON"),
        (status = 404, description = "There is no such account"),
        (status = 422, description = "The body is not valid, with an entry for each fault, or `idempotency_key_reused`"),
        (status = 429, description = "`too_many_tests`: the account has had its 5 of the hour; `Retry-After` says when there is another"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn send_test(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let account = of(&app, &caller, &parts.uri).await?;
    let body = body::read(body).await?;
    let said: [&[u8]; 3] = [b"send-test", account.id.as_bytes(), &body];
    let once = Once::new(&app, &caller, &parts.headers, &said)?;
    let mut faults = Vec::new();
    let mut fields = Fields::read(&body, &mut faults)?;
    let kind = kind(&mut fields, &mut faults);
    let mut wanted = channels(&mut fields, &mut faults);
    fields.finish(&mut faults);
    let Some(kind) = kind.filter(|_| faults.is_empty()) else {
        return Err(Problem::invalid(faults));
    };
    if wanted.is_empty() {
        wanted = Channel::ALL.to_vec();
    }
    allow(&app, account.id, once.mark()).await?;
    let event = [("test".to_owned(), true.into())].into_iter().collect();
    let asked = NoticeRequest {
        tenant: caller.tenant,
        account: account.id,
        kind,
        event,
        over: wanted.clone(),
        request: once.mark(),
    };
    let told = within(app.notifier.notify(asked)).await?;
    let again = once.is_again(&told)?;
    let notices = outcome(&app, told.notification.id, told.notices).await?;
    let (person, contact) = person(&app, &account).await?;
    let mut delivery_results = Vec::new();
    for channel in wanted {
        let of: Vec<&Notice> = notices
            .iter()
            .filter(|one| one.channel == channel)
            .collect();
        if let Some(one) = of.first() {
            // A person's browsers are one channel: one of them is enough.
            let best = of.iter().find(|one| one.status == NoticeStatus::Sent);
            delivery_results.push(ResultBody::of(best.unwrap_or(one)));
            continue;
        }
        let why = if !app.notifier.has(channel) {
            "The channel is not configured"
        } else if !person.preferences.wants(kind, channel) {
            "The person has switched this off"
        } else if Reach::of(&contact).has(channel) {
            "The message was removed meanwhile"
        } else {
            "The person has no address for this channel"
        };
        delivery_results.push(ResultBody {
            channel: channel.as_str(),
            success: false,
            message: why.to_owned(),
        });
    }
    let success = delivery_results.iter().all(|one| one.success);
    let body = TestBody {
        success,
        message: if success {
            "Test notification sent"
        } else {
            "Test notification not sent over every channel"
        },
        delivery_results,
    };
    let response = json(StatusCode::OK, &body)?;
    Ok(if again { replayed(response) } else { response })
}

/// Takes one of the tests that the account has an hour; one that is asked for again takes none.
async fn allow(app: &App, account: AccountId, mark: Option<RequestMark>) -> Result<(), Problem> {
    let now = app.clock.now();
    if let Some(mark) = mark {
        let recent = app.backend.notifications(account, Default::default(), MOST);
        let mut recent = within(recent).await?.into_iter();
        if recent.any(|one| one.request.is_some_and(|request| request.key == mark.key)) {
            return Ok(());
        }
    }
    let next = within(app.backend.spend(account, Allowance::TestMessages, now)).await?;
    let Some(next) = next else { return Ok(()) };
    let detail = "An account gets 5 test messages an hour, and has had them";
    Err(Problem::too_many("too_many_tests", detail).with_next_allowed(now, next))
}

/// Waits, for a while, until all of it that is due has come to something.
async fn outcome(
    app: &App,
    id: NotificationId,
    planned: Vec<Notice>,
) -> Result<Vec<Notice>, Problem> {
    let until = Instant::now() + PATIENCE;
    let mut wrote = app.notifier.wrote();
    let mut notices = planned;
    loop {
        let busy = notices.iter().any(|one| {
            let held = one.gathers || one.attempts > 0;
            match one.status {
                NoticeStatus::Planned => !held,
                NoticeStatus::Sending => true,
                NoticeStatus::Sent
                | NoticeStatus::Failed
                | NoticeStatus::Unknown
                | NoticeStatus::Dropped => false,
            }
        });
        if !busy || Instant::now() >= until {
            return Ok(notices);
        }
        // Another node may be the one that sends it, so that it is looked for as well.
        let look = (Instant::now() + LOOK).min(until);
        drop(timeout_at(look, wrote.changed()).await);
        notices = within(app.backend.notices(id)).await?;
    }
}

impl ResultBody {
    fn of(notice: &Notice) -> Self {
        let why = notice.reason.as_deref().unwrap_or("no reason given");
        let message = match (notice.status, notice.channel) {
            (NoticeStatus::Sent, Channel::Email) => "Email sent successfully".to_owned(),
            (NoticeStatus::Sent, Channel::InApp) => "In-app notification created".to_owned(),
            (NoticeStatus::Sent, Channel::Push) => "Push notification sent successfully".to_owned(),
            (NoticeStatus::Sent, Channel::Sms) => "SMS sent successfully".to_owned(),
            (NoticeStatus::Sent, Channel::Webhook) => "Webhook sent successfully".to_owned(),
            (NoticeStatus::Planned, _) if notice.attempts > 0 => {
                format!("Failed, tried again at {}: {why}", notice.due)
            }
            (NoticeStatus::Planned, _) => format!("Held back until {}", notice.due),
            (NoticeStatus::Sending, _) => "Still being sent".to_owned(),
            (NoticeStatus::Failed, _) => format!("Failed: {why}"),
            (NoticeStatus::Dropped, _) => format!("Not sent: {why}"),
            (NoticeStatus::Unknown, _) => format!("Whether it was taken is not known: {why}"),
        };
        Self {
            channel: notice.channel.as_str(),
            success: notice.status == NoticeStatus::Sent,
            message,
        }
    }
}

async fn of(app: &App, caller: &Caller, uri: &Uri) -> Result<Account, Problem> {
    let parameters = Parameters::read(uri, &["account"], &[]);
    whose(app, caller, parameters).await
}

/// Returns the account that is meant: the token's, or the one that the query names.
async fn whose(app: &App, caller: &Caller, mut parameters: Parameters) -> Result<Account, Problem> {
    let named = parameters.value("account").map(str::to_owned);
    if named.is_none() && caller.account.is_none() {
        parameters.fault("account", "is needed with an API key");
    }
    parameters.finish()?;
    let named: Option<AccountId> = match named {
        Some(text) => Some(text.parse().map_err(|_error| Problem::nothing())?),
        None => caller.account,
    };
    let id = named.filter(|id| caller.reaches(*id));
    let id = id.ok_or_else(Problem::nothing)?;
    let account = present(app, caller.tenant, id).await?;
    account.ok_or_else(Problem::nothing)
}

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_secs(1);
