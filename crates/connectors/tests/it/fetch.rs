use std::sync::Arc;
use std::time::Duration;

use wellspring_connectors::Sources;
use wellspring_core::{Error, ErrorClass, Timestamp};
use wellspring_engine::{Connector, FetchResult, Nobody};
use wellspring_sandbox::{Outage, RateLimit, Settings, Source};

use crate::support::{Fixed, NOW, World, config, connectors, fetch, order};

#[tokio::test]
async fn data_comes_through_byte_for_byte() {
    let world = World::start();

    let FetchResult::Fetched(data) = fetch(world.gas("")).await else {
        panic!("no data");
    };

    assert_eq!(
        std::str::from_utf8(&data).unwrap(),
        r#"[{"billedOn":"2026-01-31T09:30:00.000Z","amount":22.27},{"billedOn":"2026-02-28T09:30:00.000Z","amount":30.00}]"#
    );
}

#[tokio::test]
async fn one_plain_get_with_the_configured_headers_is_sent() {
    let server = Fixed::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await;

    let result = fetch(server.source("headers: { Authorization: Bearer s3cret }")).await;

    assert!(matches!(result, FetchResult::Fetched(data) if data == "[]"));
    let request = server.request().await.to_ascii_lowercase();
    assert!(request.starts_with("get /a?b=1 http/1.1\r\n"), "{request}");
    for header in [
        "accept: application/json",
        "accept-encoding: identity",
        "authorization: bearer s3cret",
    ] {
        assert!(request.contains(&format!("{header}\r\n")), "{request}");
    }
    assert!(!request.contains("content-length"), "{request}");
}

#[tokio::test]
async fn whatever_goes_wrong_at_the_source_is_a_classified_failure() {
    let world = World::start();
    let reliable = Settings::reliable;
    let outage = |outage| Settings {
        outage: Some(outage),
        ..reliable()
    };
    let fails = Settings {
        failure_rate: 1.0,
        ..reliable()
    };
    let junk = Settings {
        junk_rate: 1.0,
        ..reliable()
    };
    for (settings, more, class, code) in [
        (fails, "", ErrorClass::ConnectionFailure, "http_500"),
        (junk, "", ErrorClass::InstitutionError, "body_not_json"),
        (
            outage(Outage::Truncate),
            "",
            ErrorClass::ConnectionFailure,
            "body_truncated",
        ),
        (
            outage(Outage::Reset),
            "",
            ErrorClass::ConnectionFailure,
            "connection_reset",
        ),
        (
            outage(Outage::Timeout),
            "timeout: 100ms",
            ErrorClass::ConnectionFailure,
            "timeout",
        ),
        (
            reliable(),
            "max_body: 20",
            ErrorClass::InstitutionError,
            "body_too_large",
        ),
    ] {
        world.control.set(Source::Gas, settings);
        let (error, retry_at) = failure(fetch(world.gas(more)).await);
        assert_eq!((error.class, error.code.as_str()), (class, code));
        assert!(!error.message.contains("#fail"), "{}", error.message);
        assert_eq!(retry_at, None);
    }
    let unknown = format!("http://{}/providers/water", world.address);
    let (error, _) = failure(fetch(config(&unknown, "")).await);
    assert_eq!(
        error,
        Error {
            class: ErrorClass::ProductNotAvailable,
            code: "http_404".to_owned(),
            message: "the source answered 404 Not Found".to_owned(),
        }
    );
}

#[tokio::test]
async fn a_throttling_source_says_when_to_come_back() {
    let world = World::start();
    world.control.update(Source::Gas, |settings| {
        settings.rate_limit = Some(RateLimit::PerMinute(0));
    });
    let later = NOW.after(Duration::from_secs(60));
    let (error, retry_at) = failure(fetch(world.gas("")).await);
    assert_eq!(error.class, ErrorClass::RateLimitExceeded);
    assert_eq!((error.code.as_str(), retry_at), ("http_429", Some(later)));

    let dated = Fixed::answering(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: Wed, 18 Nov 2026 11:07:40 GMT\r\ncontent-length: 11\r\n\r\nmaintenance",
    )
    .await;
    let (error, retry_at) = failure(fetch(dated.source("")).await);
    assert_eq!(error.class, ErrorClass::BankMaintenance);
    assert_eq!((error.code.as_str(), retry_at), ("http_503", Some(later)));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_an_empty_answer_is_no_data() {
    let redirect = Fixed::answering(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let (error, _) = failure(fetch(redirect.source("")).await);
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::InvalidRequest, "http_302")
    );

    let empty = Fixed::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (error, _) = failure(fetch(empty.source("")).await);
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::InstitutionError, "body_not_json")
    );
}

#[tokio::test]
async fn replaced_sources_count_from_the_next_call_on() {
    let world = World::start();
    let connectors = connectors(world.gas(""));
    assert!(matches!(
        connectors.fetch(order("gas"), Arc::new(Nobody)).await,
        FetchResult::Fetched(_)
    ));

    connectors.replace(Arc::new(Sources::default()));

    let (error, retry_at) = failure(connectors.fetch(order("gas"), Arc::new(Nobody)).await);
    assert_eq!(
        (error.class, error.code.as_str(), retry_at),
        (ErrorClass::ConnectionFailure, "source_not_configured", None)
    );
    assert!(connectors.sources().is_empty());
    assert_eq!(world.control.counts(Source::Gas).total, 1);
}

#[tokio::test]
async fn a_check_tells_how_one_call_went() {
    let world = World::start();
    let connectors = connectors(world.gas(""));
    let gas = "gas".parse().unwrap();

    let good = connectors.check(&gas).await.unwrap();
    assert!(good.ok && good.error.is_none() && good.rule.is_none());
    assert_eq!((good.status, good.bytes), (Some(200), 111));

    world.control.update(Source::Gas, |settings| {
        settings.failure_rate = 1.0;
    });
    let bad = connectors.check(&gas).await.unwrap();
    assert_eq!((bad.ok, bad.status, bad.bytes), (false, Some(500), 5));
    assert_eq!(bad.rule.as_deref(), Some("server error"));
    assert_eq!(bad.error.unwrap().code, "http_500");

    world.control.update(Source::Gas, |settings| {
        settings.outage = Some(Outage::Reset);
    });
    let cut = connectors.check(&gas).await.unwrap();
    assert_eq!(cut.status, None);
    assert_eq!(cut.detail.as_deref(), Some("connection was reset"));

    assert!(connectors.check(&"water".parse().unwrap()).await.is_none());
}

fn failure(result: FetchResult) -> (Error, Option<Timestamp>) {
    match result {
        FetchResult::Failed {
            error, retry_at, ..
        } => (error, retry_at),
        FetchResult::Fetched(data) => panic!("fetched {} bytes", data.len()),
    }
}
