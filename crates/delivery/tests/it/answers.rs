use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wellspring_core::ErrorClass;
use wellspring_delivery::{CallbackOptions, Callbacks};
use wellspring_engine::DeliverResult;
use wellspring_outbound::AddressPolicy;
use wellspring_sandbox::Behaviour;

use crate::support::{LOOPBACK, NOW, Stopped, World, deliver, down, failed, order, secrets};

#[tokio::test]
async fn only_2xx_is_a_delivery() {
    let world = World::start();
    let status = |number: u16| Behaviour::status(number.try_into().unwrap());
    for number in [200, 201, 202, 204] {
        world.handle.set_path("/hook", status(number));
        assert_eq!(
            deliver(world.order("/hook")).await,
            DeliverResult::Delivered
        );
    }
    for (number, expected) in [
        (
            302,
            failed(
                ErrorClass::InvalidRequest,
                "http_302",
                "the callback answered 302 Found",
            ),
        ),
        (
            400,
            failed(
                ErrorClass::InvalidRequest,
                "http_400",
                "the callback answered 400 Bad Request",
            ),
        ),
        (
            499,
            failed(
                ErrorClass::InvalidRequest,
                "http_499",
                "the callback answered 499",
            ),
        ),
        (
            429,
            failed(
                ErrorClass::RateLimitExceeded,
                "http_429",
                "the callback answered 429 Too Many Requests",
            ),
        ),
        (
            500,
            down(failed(
                ErrorClass::ConnectionFailure,
                "http_500",
                "the callback answered 500 Internal Server Error",
            )),
        ),
        (
            503,
            down(failed(
                ErrorClass::ConnectionFailure,
                "http_503",
                "the callback answered 503 Service Unavailable",
            )),
        ),
    ] {
        world.handle.set_path("/hook", status(number));
        assert_eq!(deliver(world.order("/hook")).await, expected);
    }
}

#[tokio::test]
async fn a_callback_that_is_gone_says_so() {
    let world = World::start();
    world.handle.set_gone("/hook");

    let DeliverResult::Failed {
        error, gone, down, ..
    } = deliver(world.order("/hook")).await
    else {
        panic!("delivered");
    };
    assert_eq!(
        (error.class, error.code.as_str(), gone, down),
        (ErrorClass::ProductNotAvailable, "http_410", true, false)
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::start();
    let elsewhere = world.order("/elsewhere").callback_url;
    world.handle.set_redirect("/hook", &*elsewhere);

    let result = deliver(world.order("/hook")).await;

    assert_eq!(
        result,
        failed(
            ErrorClass::InvalidRequest,
            "http_302",
            "the callback answered 302 Found"
        )
    );
    let paths: Vec<_> = world.deliveries().into_iter().map(|one| one.path).collect();
    assert_eq!(paths, ["/hook"]);
}

#[tokio::test]
async fn a_callback_says_when_to_come_back() {
    let world = World::start();
    for number in [429_u16, 503, 404] {
        let behaviour = Behaviour {
            retry_after: Some(Duration::from_secs(90)),
            ..Behaviour::status(number.try_into().unwrap())
        };
        world.handle.set_path("/hook", behaviour);
        let DeliverResult::Failed { retry_at, .. } = deliver(world.order("/hook")).await else {
            panic!("delivered");
        };
        assert_eq!(retry_at, Some(NOW.after(Duration::from_secs(90))));
    }
}

#[tokio::test]
async fn a_callback_that_does_not_answer_is_down() {
    let world = World::start();
    world.handle.set_hanging(true);
    let impatient = CallbackOptions {
        deadline: Duration::from_millis(200),
        ..CallbackOptions::default()
    };
    let impatient = Callbacks::new(
        AddressPolicy::unrestricted(),
        impatient,
        secrets([1]),
        Arc::new(Stopped),
    )
    .unwrap();
    assert_eq!(
        impatient.deliver(world.order("/hook")).await,
        down(failed(
            ErrorClass::ConnectionFailure,
            "timeout",
            "the callback gave no answer: timed out while waiting for the response"
        ))
    );

    let free = TcpListener::bind(LOOPBACK).await.unwrap();
    let url = format!("http://{}/hook", free.local_addr().unwrap());
    drop(free);
    assert_eq!(
        deliver(order(&url)).await,
        down(failed(
            ErrorClass::ConnectionFailure,
            "connection_refused",
            "the callback gave no answer: connection could not be opened: connection refused"
        ))
    );
}

#[tokio::test]
async fn the_status_alone_decides_whatever_becomes_of_the_body() {
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 65537\r\n\r\n",
            DeliverResult::Delivered,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
            DeliverResult::Delivered,
        ),
        (
            "hello\r\n\r\n",
            down(failed(
                ErrorClass::ConnectionFailure,
                "protocol_error",
                "the answer of the callback is not valid HTTP",
            )),
        ),
    ] {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}}") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let (result, ()) = tokio::join!(deliver(order(&url)), serve);
        assert_eq!(result, expected, "{answer}");
    }
}
