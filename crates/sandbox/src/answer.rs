use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::control::Fault;
use crate::serve::Body;

pub(crate) fn fail() -> Response<Body> {
    full(
        StatusCode::INTERNAL_SERVER_ERROR,
        "text/plain",
        Bytes::from_static(FAIL),
    )
}

pub(crate) fn junk() -> Response<Body> {
    full(StatusCode::OK, "text/html", Bytes::from_static(JUNK))
}

/// Announces all of an answer and sends its first half.
pub(crate) fn cut(answer: Response<Body>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    let mut data = body.into_data();
    if data.is_empty() {
        head.status = StatusCode::OK;
        data = Bytes::from_static(FAIL);
    }
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(data.len()));
    data.truncate(data.len() / 2);
    Response::from_parts(head, Body::cut(data))
}

pub(crate) fn problem(status: StatusCode, title: &str, errors: &[Fault]) -> Response<Body> {
    let body = json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "errors": errors,
    });
    json_answer(status, "application/problem+json", &body)
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

pub(crate) fn json_answer(
    status: StatusCode,
    content_type: &'static str,
    body: &impl Serialize,
) -> Response<Body> {
    let body = serde_json::to_vec(body).expect("our own types have string keys only");
    full(status, content_type, Bytes::from(body))
}

pub(crate) fn full(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::whole(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

pub(crate) fn set_retry_after(answer: &mut Response<Body>, seconds: u64) {
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const FAIL: &[u8] = b"#fail";
const JUNK: &[u8] = b"<!doctype html><title>One moment, please</title>";
