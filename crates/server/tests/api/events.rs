//! The events of a stream as they come.

use std::time::Duration;

use axum::Router;
use axum::body::BodyDataStream;
use futures_util::StreamExt;
use http::Method;
use serde_json::Value;
use tower::ServiceExt;

use crate::lab::request;

pub(crate) struct Events {
    name: &'static str,
    body: BodyDataStream,
    rest: String,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    /// Null where it only says the place.
    pub(crate) data: Value,
}

impl Events {
    /// Opens a stream whose events have this name, after the last one that was seen.
    pub(crate) async fn open(
        router: &Router,
        name: &'static str,
        bearer: &str,
        path: &str,
        last: Option<&str>,
    ) -> Self {
        let mut request = request(bearer, Method::GET, path, "");
        if let Some(last) = last {
            let last = last.parse().unwrap();
            request.headers_mut().insert("last-event-id", last);
        }
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            name,
            body: response.into_body().into_data_stream(),
            rest: String::new(),
        }
    }

    /// Returns the next event; nothing when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.rest = rest;
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| {
                        line.strip_prefix(name)?
                            .strip_prefix(": ")
                            .map(str::to_owned)
                    })
                };
                let data = field("data").map_or(Value::Null, |data| {
                    assert_eq!(field("event").as_deref(), Some(self.name));
                    serde_json::from_str(&data).unwrap()
                });
                // A comment keeps the connection open and says nothing.
                if let Some(id) = field("id") {
                    return Some(Event { id, data });
                }
                assert_eq!(data, Value::Null);
                continue;
            }
            let more = tokio::time::timeout(Duration::from_secs(10), self.body.next());
            let more = more.await.expect("nothing came")?.unwrap();
            self.rest.push_str(std::str::from_utf8(&more).unwrap());
        }
    }

    /// Returns the next event that has data.
    pub(crate) async fn next_data(&mut self) -> Option<Event> {
        loop {
            let event = self.next().await?;
            if !event.data.is_null() {
                return Some(event);
            }
        }
    }
}
