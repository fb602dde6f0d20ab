use std::net::Ipv4Addr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wellspring_outbound::{AddressPolicy, Client, ClientError, ClientOptions, SendError};

use crate::server::{Server, client, client_with, echo_heads, get, post, read_head};

#[tokio::test]
async fn connections_are_kept_and_reused() {
    let server = Server::start(echo_heads).await;
    let client = client();

    for _ in 0..20 {
        let response = client.clone().send(post(&server.url(), "x")).await.unwrap();
        assert_eq!(response.status, 200);
    }
    assert_eq!(server.accepted(), 1);

    let mut together = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        let request = get(&server.url());
        together.spawn(async move { client.send(request).await });
    }
    for outcome in together.join_all().await {
        assert_eq!(outcome.unwrap().status, 200);
    }
    assert!(server.accepted() <= 8);
}

#[tokio::test]
async fn connection_the_server_closed_is_replaced() {
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let client = client();

    for _ in 0..5 {
        assert_eq!(client.send(get(&server.url())).await.unwrap().status, 200);
    }
    assert_eq!(server.accepted(), 5);
}

#[tokio::test]
async fn name_is_judged_again_when_connecting() {
    let server = Server::start(echo_heads).await;
    let url = format!("http://localhost:{}/", server.address.port());

    let refused = client_with(AddressPolicy::public_only())
        .send(get(&url))
        .await;
    let other = AddressPolicy::public_and(vec!["10.0.0.0/8".parse().unwrap()]);
    let refused_too = client_with(other).send(get(&url)).await;
    let policy = AddressPolicy::public_and(vec!["127.0.0.0/8".parse().unwrap()]);
    let allowed = client_with(policy).send(get(&url)).await;

    for error in [refused.unwrap_err(), refused_too.unwrap_err()] {
        assert!(
            matches!(error, SendError::Refused { ip } if ip.is_loopback()),
            "{error:?}"
        );
        assert_eq!(error.code(), "address_refused");
    }
    assert_eq!(allowed.unwrap().status, 200);
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn literal_is_judged_again_when_connecting() {
    let server = Server::start(echo_heads).await;
    let client = client_with(AddressPolicy::public_only());

    for url in [
        server.url(),
        "http://[::1]:9/".to_owned(),
        "https://[::ffff:127.0.0.1]:9/".to_owned(),
    ] {
        let error = client.send(get(&url)).await.unwrap_err();
        assert_eq!(error.code(), "address_refused", "{url}");
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn next_address_is_tried_after_a_refused_connection() {
    // `localhost` may resolve to ::1 first, where nothing listens.
    let server = Server::start(echo_heads).await;
    let url = format!("http://localhost:{}/", server.address.port());

    assert_eq!(client().send(get(&url)).await.unwrap().status, 200);
}

#[tokio::test]
async fn closed_port_maps_to_connection_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    let error = client()
        .send(get(&format!("http://{address}/")))
        .await
        .unwrap_err();

    assert_eq!(error.code(), "connection_refused", "{error:?}");
}

#[tokio::test]
async fn user_agent_must_be_a_header_value() {
    let user_agent = "a\nb".to_owned();
    let options = ClientOptions {
        user_agent,
        ..ClientOptions::default()
    };

    let outcome = Client::new(AddressPolicy::public_only(), options);

    assert_eq!(outcome.unwrap_err(), ClientError::UserAgent);
}
