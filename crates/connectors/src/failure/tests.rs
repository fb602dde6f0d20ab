use bytes::Bytes;
use http::HeaderMap;
use wellspring_core::ErrorClass;
use wellspring_outbound::TimeoutPhase;

use super::*;

#[test]
fn an_exchange_without_an_answer_is_classified_and_told_without_addresses() {
    let source = source("");
    for (error, class, code, message) in [
        (
            SendError::Refused {
                ip: [10, 1, 2, 3].into(),
            },
            ErrorClass::InvalidRequest,
            "address_refused",
            "the address of the source is refused",
        ),
        (
            SendError::Resolve,
            ErrorClass::ConnectionFailure,
            "dns_failure",
            "the source gave no answer: host name could not be resolved",
        ),
        (
            SendError::Connect {
                kind: std::io::ErrorKind::ConnectionRefused,
            },
            ErrorClass::ConnectionFailure,
            "connection_refused",
            "the source gave no answer: connection could not be opened: connection refused",
        ),
        (
            SendError::Tls {
                detail: "certificate of db.internal".to_owned(),
            },
            ErrorClass::ConnectionFailure,
            "tls_failure",
            "the source gave no answer: TLS failed",
        ),
        (
            SendError::Timeout {
                phase: TimeoutPhase::Headers,
            },
            ErrorClass::ConnectionFailure,
            "timeout",
            "the source gave no answer: timed out while waiting for the response",
        ),
        (
            SendError::Truncated,
            ErrorClass::ConnectionFailure,
            "body_truncated",
            "the source gave no complete answer: response body ended early",
        ),
        (
            SendError::BodyTooLarge { limit: 9 },
            ErrorClass::InstitutionError,
            "body_too_large",
            "the source gave no complete answer: response body is larger than 9 bytes",
        ),
        (
            SendError::Protocol {
                detail: "odd".to_owned(),
            },
            ErrorClass::ConnectionFailure,
            "protocol_error",
            "the answer of the source is not valid HTTP",
        ),
    ] {
        let failed = Failed::no_answer(&source, "fetch", &error);
        assert_eq!(failed.error, expected(class, code, message));
        assert_eq!(failed.retry_at, None);
        assert!(failed.rule.is_some());
    }
}

#[test]
fn an_answer_is_classified_by_its_status_and_told_without_its_body() {
    let source = source("");
    for (status, class, code, message) in [
        (
            500,
            ErrorClass::ConnectionFailure,
            "http_500",
            "the source answered 500 Internal Server Error",
        ),
        (
            599,
            ErrorClass::ConnectionFailure,
            "http_599",
            "the source answered 599",
        ),
        (
            302,
            ErrorClass::InvalidRequest,
            "http_302",
            "the source answered 302 Found",
        ),
        (
            401,
            ErrorClass::AuthenticationError,
            "http_401",
            "the source answered 401 Unauthorized",
        ),
        (
            429,
            ErrorClass::RateLimitExceeded,
            "http_429",
            "the source answered 429 Too Many Requests",
        ),
        (
            200,
            ErrorClass::InstitutionError,
            "body_not_json",
            "the source answered 200 OK without JSON",
        ),
        (
            204,
            ErrorClass::InstitutionError,
            "body_not_json",
            "the source answered 204 No Content without JSON",
        ),
    ] {
        let failed = bad_answer(&source, &answer(status, &[], b"personal data"));
        assert_eq!(failed.error, expected(class, code, message));
        assert_eq!((failed.retry_at, failed.detail), (None, None));
    }
}

#[test]
fn retry_after_is_read_from_any_answer() {
    let source = source("");
    let later = NOW.after(std::time::Duration::from_secs(120));
    let date = "Wed, 18 Nov 2026 11:08:40 GMT";
    for (status, value, expected) in [
        (429, "120", Some(later)),
        (503, date, Some(later)),
        (500, "120", Some(later)),
        (200, "120", Some(later)),
        (429, "soon", None),
    ] {
        let answer = answer(status, &[("retry-after", value)], b"");
        assert_eq!(
            bad_answer(&source, &answer).retry_at,
            expected,
            "{status} {value}"
        );
    }
}

#[test]
fn a_source_that_throttles_says_when_in_other_headers_and_in_words_too() {
    let source = source("");
    let reset = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "90")];
    let both = [reset[0], reset[1], ("retry-after", "5")];
    let after = |seconds| Some(NOW.after(std::time::Duration::from_secs(seconds)));
    let midnight = Some("2026-11-19T00:00:00Z".parse().unwrap());
    let daily: &[u8] = b"{\"detail\": \"Daily request limit exceeded\"}";
    for (status, headers, body, expected) in [
        (429, &reset[..], &b""[..], after(90)),
        (429, &both, daily, after(5)),
        (429, &[], daily, midnight),
        (429, &[], b"slow down", None),
        // What is left says nothing of a failure of another kind.
        (500, &reset, daily, None),
    ] {
        let answer = answer(status, headers, body);
        assert_eq!(bad_answer(&source, &answer).retry_at, expected, "{status}");
    }
}

#[test]
fn a_source_of_its_own_words_for_a_quota_of_a_day_waits_for_its_own_midnight() {
    let source = source(
        "
rules:
  - name: spent
    match: { status: 402, message: 'Tageskontingent' }
    class: rate_limit_exceeded
    until: next_day/Europe/Berlin
",
    );
    let spent = bad_answer(
        &source,
        &answer(402, &[], b"Das Tageskontingent ist verbraucht"),
    );
    assert_eq!(spent.rule.as_deref(), Some("spent"));
    assert_eq!(
        spent.retry_at,
        Some("2026-11-18T23:00:00Z".parse().unwrap())
    );
    let sooner = answer(402, &[("retry-after", "60")], b"Tageskontingent");
    let minute = NOW.after(std::time::Duration::from_secs(60));
    assert_eq!(bad_answer(&source, &sooner).retry_at, Some(minute));
}

#[test]
fn rules_see_headers_and_the_start_of_the_body() {
    let source = source(
        "
rules:
  - name: closed
    match: { status: 200, error_code: body_not_json, message: 'closed\\W+for the night' }
    class: bank_maintenance
  - name: locked
    match: { header: X-Locked }
    class: item_error
",
    );
    let rule = |answer: &Response| bad_answer(&source, answer).rule;

    let page = b"<p>\xff We are closed\n for the night";
    assert_eq!(rule(&answer(200, &[], page)).as_deref(), Some("closed"));
    let mut late = vec![b' '; MATCHED_BODY];
    late.extend_from_slice(page);
    assert_eq!(
        rule(&answer(200, &[], &late)).as_deref(),
        Some("body unusable")
    );
    let locked = answer(403, &[("x-locked", "1")], b"");
    assert_eq!(rule(&locked).as_deref(), Some("locked"));
}

fn bad_answer(source: &SourceConfig, response: &Response) -> Failed {
    if response.status.is_success() {
        let lack = (BODY_NOT_JSON, "without JSON");
        Failed::unusable(source, "fetch", response, NOW, lack)
    } else {
        Failed::refused(source, "fetch", response, NOW, &Said::default())
    }
}

fn source(more: &str) -> SourceConfig {
    let text = format!("name: gas\nconnector: http_json\nurl: http://127.0.0.1/\n{more}");
    SourceConfig::from_yaml(&text).unwrap()
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
        body: Bytes::copy_from_slice(body),
    }
}

fn expected(class: ErrorClass, code: &str, message: &str) -> Error {
    Error {
        class,
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
