//! `/v1/changes/stream`: the log as Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use wellspring_engine::{ChangeView, Cursor, CursorError};

use super::changes::{ChangesError, Filter};
use super::seats::Seat;
use crate::Caller;
use crate::auth::{self, Audience};
use crate::problem::Problem;
use crate::query::Parameters;
use crate::router::{App, within};

/// Streams the log as it grows.
///
/// Each event's `id` is the cursor after its entry. Without a cursor the stream begins at the
/// present end of the log. It ends when the server does, or the key or token is no longer valid;
/// a client then comes back with `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/changes/stream", tag = "changes", operation_id = "streamChanges",
    params(
        ("after" = Option<String>, Query, description = "The cursor to go on from; without it only what is to come is sent"),
        ("pattern" = Option<Vec<String>>, Query, description = "Only what matches one of these, such as `UPDATED /collections/*/status/failed`"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same as `after`, and stronger"),
    ),
    responses(
        (status = 200, description = "Events named `change`, each with an entry of the log as its data", body = String, content_type = "text/event-stream"),
        (status = 400, description = "A parameter is wrong"),
        (status = 429, description = "`too_many_streams`: the token's account, or the tenant's clients, have as many streams as they may"),
        (status = 503, description = "`too_many_streams`: the node streams to as many clients as it can"),
        (status = 410, description = "`cursor_expired`: the log no longer reaches back that far; `cursor_unknown`: the log was restored from a backup"),
    ),
    security(("key" = []), ("basic" = [])),
)]
pub(crate) async fn stream(
    app: Arc<App>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let mut parameters = Parameters::read(request.uri(), &["after"], &["pattern"]);
    let filter = Filter::read(&caller, &mut parameters);
    let last = headers.get(&LAST_EVENT_ID).map(HeaderValue::to_str);
    let last = last.and_then(Result::ok).filter(|text| !text.is_empty());
    let after = last
        .or_else(|| parameters.value("after"))
        .filter(|text| !text.is_empty());
    let after = after.map(Cursor::parse).transpose();
    if after.is_err() {
        parameters.fault("after", "is not a cursor of this log");
    }
    parameters.finish().map_err(Problem::from)?;
    let seat = app.streams.seat(&caller)?;
    let mut tail = Tail {
        grew: app.engine.log_grew(),
        cursor: Cursor::start(0),
        has_more: true,
        ready: VecDeque::new(),
        filter,
        authority: authority(headers),
        caller,
        read_at: Instant::now(),
        beat_at: Instant::now() + HEARTBEAT,
        check_at: Instant::now() + HEARTBEAT,
        seat,
        app,
    };
    tail.cursor = match after.map_err(ChangesError::from)? {
        Some(cursor) => cursor,
        None => within(tail.app.backend.head())
            .await
            .map_err(Problem::from)?,
    };
    // A cursor that leads nowhere is told with a status, which is over once events are sent.
    tail.read().await.map_err(ChangesError::from)?;
    let mut response = Sse::new(tail.events()).into_response();
    // Proxies that gather an answer before they pass it on would hold events back.
    let no = HeaderValue::from_static("no");
    response.headers_mut().insert(ACCEL_BUFFERING, no);
    Ok(response)
}

/// The end of the log as one client follows it.
struct Tail {
    app: Arc<App>,
    caller: Caller,
    /// What the caller showed, for it may end before the stream does.
    authority: HeaderMap,
    filter: Filter,
    grew: watch::Receiver<u64>,
    /// The place after the last entry that was sent, or looked at where nothing waits to be sent.
    cursor: Cursor,
    has_more: bool,
    /// Entries that were read and not sent, and where the read ended.
    ready: VecDeque<Read>,
    read_at: Instant,
    beat_at: Instant,
    /// When it is looked at again whether the caller may still have it, which events do not put off.
    check_at: Instant,
    seat: Seat,
}

enum Read {
    Entry(Box<ChangeView>),
    End(Cursor),
}

/// What ended a wait.
pub(crate) enum Woken {
    Grown,
    Beat,
    Stop,
}

/// Waits for what a stream shows to grow, as `grew` tells of this node; other nodes' growth is
/// noticed by looking. Nothing is read sooner than the seat's pace after `read_at`.
pub(crate) async fn wait(
    app: &App,
    grew: &mut watch::Receiver<u64>,
    pace: Duration,
    (read_at, beat_at): (Instant, Instant),
) -> Woken {
    let grown = async {
        tokio::select! {
            changed = grew.changed() => if changed.is_err() {
                // Who tells has ended.
                sleep(LOOK).await;
            },
            () = sleep(pace.max(LOOK)) => {}
        }
        sleep_until(read_at + pace).await;
    };
    tokio::select! {
        biased;
        () = app.engine.stopping() => Woken::Stop,
        () = sleep_until(beat_at) => Woken::Beat,
        () = grown => Woken::Grown,
    }
}

impl Tail {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut tail| async move {
            let event = tail.next().await?;
            Some((Ok(event), tail))
        })
    }

    /// Returns the next event; nothing is read ahead of a client that is slow to take them.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if Instant::now() >= self.check_at {
                self.check().await?;
            }
            match self.ready.pop_front() {
                Some(Read::Entry(entry)) => {
                    self.cursor.seen.insert(entry.shard, entry.seq);
                    self.beat_at = Instant::now() + HEARTBEAT;
                    let event = Event::default().event("change").id(self.cursor.to_text());
                    return event.json_data(&*entry).ok();
                }
                Some(Read::End(cursor)) => {
                    self.cursor = cursor;
                    continue;
                }
                None if self.has_more => {}
                None => match self.wait().await {
                    Woken::Grown => {}
                    Woken::Beat => return self.beat().await,
                    Woken::Stop => return None,
                },
            }
            match self.read().await {
                Ok(()) => {}
                Err(CursorError::Store(error)) => {
                    tracing::debug!(%error, "The log could not be read for a stream");
                    self.has_more = false;
                }
                // The client comes back with it and is told.
                Err(CursorError::Expired | CursorError::Unknown | CursorError::Malformed) => {
                    return None;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), CursorError> {
        self.grew.mark_unchanged();
        self.read_at = Instant::now();
        let cursor = self.cursor.clone();
        let page = within(self.app.backend.changes(self.caller.tenant, cursor, PAGE)).await?;
        let wanted = page.entries.into_iter();
        let wanted = wanted.filter(|entry| self.filter.wants(entry));
        self.ready
            .extend(wanted.map(|entry| Read::Entry(Box::new(entry))));
        self.ready.push_back(Read::End(page.next));
        self.has_more = page.has_more;
        Ok(())
    }

    async fn wait(&mut self) -> Woken {
        let times = (self.read_at, self.beat_at);
        wait(&self.app, &mut self.grew, self.seat.pace(), times).await
    }

    /// Returns nothing where the caller may not have the stream any more.
    async fn check(&mut self) -> Option<()> {
        let known = auth::caller(&self.app, &self.authority, Audience::Pages).await;
        known.ok()?;
        self.check_at = Instant::now() + HEARTBEAT;
        Some(())
    }

    /// Shows that the stream lives and how far it has looked, if the caller may still have it.
    async fn beat(&mut self) -> Option<Event> {
        self.check().await?;
        self.beat_at = Instant::now() + HEARTBEAT;
        Some(Event::default().comment("").id(self.cursor.to_text()))
    }
}

/// Returns what a caller shows, to show it again.
pub(crate) fn authority(headers: &HeaderMap) -> HeaderMap {
    let values = headers.get_all(AUTHORIZATION).iter();
    values.map(|value| (AUTHORIZATION, value.clone())).collect()
}

/// After which event a client comes back.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Whether proxies gather an answer.
pub(crate) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Entries that one read looks at.
const PAGE: usize = 200;
/// How often a stream shows that it lives.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a stream looks without having been told.
const LOOK: Duration = Duration::from_secs(1);
