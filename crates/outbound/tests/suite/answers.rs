use std::time::Duration;

use wellspring_outbound::{Request, SendError, TimeoutPhase};

use crate::server::{After, Server, client, echo_heads, get, post};

#[tokio::test]
async fn request_arrives_framed_and_named() {
    let server = Server::start(echo_heads).await;
    let mut request = post(&server.url(), "hello");
    request.headers.insert("x-test", "1".parse().unwrap());
    request
        .headers
        .insert("content-length", "99".parse().unwrap());
    request
        .headers
        .insert("transfer-encoding", "chunked".parse().unwrap());

    let response = client().send(request).await.unwrap();

    let seen = String::from_utf8(response.body.to_vec()).unwrap();
    assert_eq!(response.status, 200);
    assert!(seen.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
    for line in [
        format!("host: {}", server.address),
        format!("user-agent: Wellspring/{}", env!("CARGO_PKG_VERSION")),
        "x-test: 1".to_owned(),
        "content-length: 5".to_owned(),
    ] {
        assert_eq!(
            seen.matches(&format!("{line}\r\n")).count(),
            1,
            "{line} in {seen}"
        );
    }
    assert!(!seen.contains("transfer-encoding"), "{seen}");

    let empty = client().send(post(&server.url(), "")).await.unwrap();
    let seen = String::from_utf8(empty.body.to_vec()).unwrap();
    assert!(seen.contains("content-length: 0\r\n"), "{seen}");
}

#[tokio::test]
async fn redirect_is_returned_and_not_followed() {
    let elsewhere = Server::start(echo_heads).await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        elsewhere.url()
    );
    let server = Server::answering(answer.leak(), After::Hold).await;

    let response = client().send(get(&server.url())).await.unwrap();

    assert_eq!(response.status, 302);
    assert_eq!(response.headers["location"], elsewhere.url());
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn bodies_are_read_whole_up_to_the_limit() {
    let cases = [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            After::Hold,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            After::Hold,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhello", After::Close),
        ("HTTP/1.0 200 OK\r\n\r\nhello", After::Close),
    ];
    for (answer, after) in cases {
        let server = Server::answering(answer, after).await;
        let fits = Request {
            max_body: 5,
            ..get(&server.url())
        };
        let over = Request {
            max_body: 4,
            ..get(&server.url())
        };

        assert_eq!(client().send(fits).await.unwrap().body, "hello", "{answer}");
        let error = client().send(over).await.unwrap_err();
        assert_eq!(error, SendError::BodyTooLarge { limit: 4 }, "{answer}");
        assert_eq!(error.code(), "body_too_large");
    }
}

#[tokio::test]
async fn announced_size_over_the_limit_is_refused_before_any_byte() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n";
    let server = Server::answering(answer, After::Hold).await;

    let outcome = client().send(get(&server.url())).await;
    let head = Request {
        method: http::Method::HEAD,
        ..get(&server.url())
    };

    assert_eq!(
        outcome.unwrap_err(),
        SendError::BodyTooLarge { limit: 1024 }
    );
    assert_eq!(client().send(head).await.unwrap().status, 200);
}

#[tokio::test]
async fn broken_answers_map_to_their_codes() {
    let cases = [
        ("", After::Close, "connection_reset"),
        ("", After::Reset, "connection_reset"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            After::Reset,
            "connection_reset",
        ),
        ("HTTP/1.1 200 OK\r\nx", After::Close, "connection_reset"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            After::Close,
            "body_truncated",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello",
            After::Close,
            "body_truncated",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            After::Close,
            "body_truncated",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello",
            After::Hold,
            "protocol_error",
        ),
        ("SSH-2.0-OpenSSH\r\n", After::Hold, "protocol_error"),
        (
            "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
            After::Hold,
            "protocol_error",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
            After::Hold,
            "protocol_error",
        ),
    ];
    for (answer, after, code) in cases {
        let server = Server::answering(answer, after).await;

        let error = client().send(get(&server.url())).await.unwrap_err();

        assert_eq!(error.code(), code, "{answer:?} gave {error:?}");
    }
}

#[tokio::test]
async fn deadline_covers_head_and_body() {
    let cases = [
        ("", TimeoutPhase::Headers),
        ("HTTP/1.1 200 OK\r\n", TimeoutPhase::Headers),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            TimeoutPhase::Body,
        ),
    ];
    for (answer, phase) in cases {
        let server = Server::answering(answer, After::Hold).await;
        for request in [get(&server.url()), post(&server.url(), "hello")] {
            let deadline = Duration::from_millis(300);

            let error = client()
                .send(Request {
                    deadline,
                    ..request
                })
                .await
                .unwrap_err();

            assert_eq!(error, SendError::Timeout { phase }, "{answer:?}");
            assert_eq!(error.code(), "timeout");
        }
    }
}
