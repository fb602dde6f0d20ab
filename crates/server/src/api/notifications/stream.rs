//! `/v1/accounts/{a}/notifications/stream`: messages in the application as Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderValue};
use tokio::sync::watch;
use tokio::time::Instant;
use wellspring_core::notification::Contact;
use wellspring_core::{Account, AccountId, TenantId};
use wellspring_engine::{Notification, StoreError};

use super::NotificationBody;
use crate::Caller;
use crate::api::accounts::{find, present};
use crate::api::seats::Seat;
use crate::api::stream::{ACCEL_BUFFERING, HEARTBEAT, LAST_EVENT_ID, Woken, authority, wait};
use crate::auth::{self, Audience};
use crate::path::Place;
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};

/// Streams messages to a person as they come into the application's list.
///
/// Without a number the stream begins with what is to come, and says at once where that is: who
/// lists the messages after that has missed none. It ends when the server does, or the key or token
/// is no longer valid; a client then comes back with `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/notifications/stream", tag = "notifications", operation_id = "streamNotifications",
    params(
        ("account" = String, Path, description = "The account's id"),
        ("after" = Option<u64>, Query, description = "The `id` of the event to go on after; without it only what is to come is sent"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same as `after`, and stronger"),
    ),
    responses(
        (status = 200, description = "Events named `notification`, each with a message as its data", body = String, content_type = "text/event-stream"),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such account"),
        (status = 429, description = "`too_many_streams`: the token's account, or the tenant's clients, have as many streams as they may"),
        (status = 503, description = "`too_many_streams`: the node streams to as many clients as it can"),
    ),
    security(("key" = []), ("basic" = []), ("token" = [])),
)]
pub(crate) async fn stream(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, _body) = request.into_parts();
    let place = Place::of(&mut parts).await;
    let Account { id, tenant, .. } = find(&app, &caller, &place).await?;
    let mut parameters = Parameters::read(&parts.uri, &["after"], &[]);
    let last = parts.headers.get(&LAST_EVENT_ID).map(HeaderValue::to_str);
    let last = last.and_then(Result::ok).filter(|text| !text.is_empty());
    let after = last
        .or_else(|| parameters.value("after"))
        .filter(|text| !text.is_empty());
    let after = after.map(str::parse::<u64>).transpose();
    let after = after.unwrap_or_else(|_error| {
        parameters.fault("after", "is not the id of an event of this stream");
        None
    });
    parameters.finish()?;
    let seat = app.streams.seat(&caller)?;
    // Interest is noted before anything is read.
    let wrote = app.notifier.wrote();
    let head = within(app.backend.notification_head(id)).await?;
    let tail = Tail {
        wrote,
        of: (tenant, id),
        // A number that was not given yet is one from before the database was restored.
        after: after.map_or(head, |after| after.min(head)),
        has_more: after.is_some_and(|after| after < head),
        is_told: false,
        ready: VecDeque::new(),
        contact: Contact::default(),
        authority: authority(&parts.headers),
        read_at: Instant::now(),
        beat_at: Instant::now() + HEARTBEAT,
        check_at: Instant::now() + HEARTBEAT,
        seat,
        app,
    };
    let mut response = Sse::new(tail.events()).into_response();
    let no = HeaderValue::from_static("no");
    response.headers_mut().insert(ACCEL_BUFFERING, no);
    Ok(response)
}

/// A person's messages as one client follows them.
struct Tail {
    app: Arc<App>,
    of: (TenantId, AccountId),
    authority: HeaderMap,
    wrote: watch::Receiver<u64>,
    /// The number of the last message that was sent.
    after: u64,
    has_more: bool,
    /// Whether the client knows where the stream begins.
    is_told: bool,
    ready: VecDeque<(u64, Notification)>,
    /// In whose language they are written.
    contact: Contact,
    read_at: Instant,
    beat_at: Instant,
    /// When it is looked at again whether the caller may still have it, which events do not put off.
    check_at: Instant,
    seat: Seat,
}

impl Tail {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut tail| async move {
            let event = tail.next().await?;
            Some((Ok(event), tail))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if !self.is_told {
            self.is_told = true;
            return Some(self.place());
        }
        loop {
            if Instant::now() >= self.check_at {
                self.check().await?;
            }
            if let Some((number, one)) = self.ready.pop_front() {
                self.after = number;
                self.beat_at = Instant::now() + HEARTBEAT;
                let event = Event::default().event("notification");
                let event = event.id(number.to_string());
                let body = NotificationBody::new(&self.app, one, &self.contact);
                return event.json_data(body).ok();
            }
            if !self.has_more {
                match self.wait().await {
                    Woken::Grown => {}
                    Woken::Beat => return self.beat().await,
                    Woken::Stop => return None,
                }
            }
            if let Err(error) = self.read().await {
                tracing::debug!(%error, "Messages could not be read for a stream");
                self.has_more = false;
            }
        }
    }

    async fn read(&mut self) -> Result<(), StoreError> {
        self.wrote.mark_unchanged();
        self.read_at = Instant::now();
        let rows = self
            .app
            .backend
            .notifications_since(self.of.1, self.after, PAGE);
        self.ready = within(rows).await?.into();
        self.has_more = self.ready.len() >= PAGE;
        if !self.ready.is_empty() {
            let people = within(self.app.backend.people(vec![self.of.1])).await?;
            let addresses = self.app.notifier.addresses();
            let person = people.first();
            self.contact = person
                .and_then(|person| addresses.open(person))
                .unwrap_or_default();
        }
        Ok(())
    }

    async fn wait(&mut self) -> Woken {
        let times = (self.read_at, self.beat_at);
        wait(&self.app, &mut self.wrote, self.seat.pace(), times).await
    }

    /// Returns nothing where the caller may not have the stream any more, or there is nobody to tell.
    async fn check(&mut self) -> Option<()> {
        let known = auth::caller(&self.app, &self.authority, Audience::Clients).await;
        known.ok()?;
        let (tenant, account) = self.of;
        present(&self.app, tenant, account).await.ok()??;
        self.check_at = Instant::now() + HEARTBEAT;
        Some(())
    }

    /// Shows that the stream lives, if the caller may still have it and there is somebody to tell.
    async fn beat(&mut self) -> Option<Event> {
        self.check().await?;
        self.beat_at = Instant::now() + HEARTBEAT;
        Some(self.place())
    }

    fn place(&self) -> Event {
        Event::default().comment("").id(self.after.to_string())
    }
}

const PAGE: usize = 100;
