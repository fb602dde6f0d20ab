use hyper::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};
use wellspring_sandbox::{Outage, Settings, Source};

use crate::client::{LOOPBACK, sandbox};

#[tokio::test]
async fn outage_fails_every_call_and_ends_with_the_next_change() {
    let (client, control, running) = sandbox(1);
    control.set(Source::Gas, Settings::reliable());

    for outage in ["true", r#""500""#] {
        let body = format!(r#"{{"outage": {outage}}}"#);
        let set = client.put("/control/gas", &body).await;
        assert_eq!(set.json()["settings"]["outage"], json!(true));
        for _ in 0..5 {
            let answer = client.get("/providers/gas").await;
            assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.body, "#fail");
        }
    }
    client.put("/control/gas", r#"{"outage": false}"#).await;

    assert_eq!(client.get("/providers/gas").await.status, StatusCode::OK);
    assert_eq!(control.counts(Source::Gas).outage, 10);
    assert_eq!(control.counts(Source::Gas).ok, 1);
    running.stop().await;
}

#[tokio::test]
async fn reset_aborts_the_connection_without_a_byte() {
    let sandbox = wellspring_sandbox::Sandbox::bind(LOOPBACK, 1).unwrap();
    let addr = sandbox.local_addr();
    let control = sandbox.control();
    control.update(Source::Gas, |settings| {
        settings.outage = Some(Outage::Reset)
    });

    let call = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream
            .write_all(b"GET /providers/gas HTTP/1.1\r\nhost: sandbox\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        (stream.read_to_end(&mut answer).await, answer)
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ((outcome, answer), ()) = tokio::join!(
        async {
            let outcome = call.await;
            drop(stop);
            outcome
        },
        sandbox.run(async { drop(stopped.await) }),
    );

    assert_eq!(
        outcome.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert!(answer.is_empty());
    assert_eq!(control.counts(Source::Gas).reset, 1);
    assert_eq!(control.counts(Source::Gas).outage, 0);
}

#[tokio::test]
async fn truncated_answer_announces_more_than_it_holds() {
    let sandbox = wellspring_sandbox::Sandbox::bind(LOOPBACK, 1).unwrap();
    let addr = sandbox.local_addr();
    let control = sandbox.control();
    control.update(Source::Gas, |settings| {
        settings.outage = Some(Outage::Truncate)
    });

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (answer, ()) = tokio::join!(
        async {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream
                .write_all(b"GET /providers/gas HTTP/1.1\r\nhost: sandbox\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            drop(stop);
            answer
        },
        sandbox.run(async { drop(stopped.await) }),
    );

    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"));
    let announced: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(!body.is_empty());
    assert!(body.len() < announced, "{} of {announced}", body.len());
    assert_eq!(control.counts(Source::Gas).outage, 1);
}

#[tokio::test]
async fn truncated_and_reset_answers_are_errors_to_an_http_client() {
    let (client, control, running) = sandbox(1);
    for outage in [Outage::Reset, Outage::Truncate] {
        control.update(Source::Internet, |settings| settings.outage = Some(outage));
        let outcome = client
            .send(hyper::Method::GET, "/providers/internet", &[], "")
            .await;
        assert!(outcome.is_err(), "{outage:?}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn timeout_answers_as_usual_but_only_after_a_minute() {
    let (client, control, running) = sandbox(1);
    client
        .put(
            "/control/gas",
            r#"{"outage": "timeout", "failure_rate": 1}"#,
        )
        .await;

    let asked = Instant::now();
    let answer = client.get("/providers/gas").await;

    assert!(asked.elapsed() >= Duration::from_secs(60));
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(control.counts(Source::Gas).outage, 1);
    running.stop().await;
}

#[tokio::test]
async fn stopping_lets_go_of_calls_that_are_held() {
    let (client, control, running) = sandbox(1);
    control.update(Source::Gas, |settings| {
        settings.outage = Some(Outage::Timeout)
    });

    let call = client.send(hyper::Method::GET, "/providers/gas", &[], "");
    let stop = async {
        control
            .wait_until(Source::Gas, |counts| counts.outage == 1)
            .await;
        running.stop().await;
    };
    let (outcome, ()) = tokio::join!(call, stop);

    assert!(outcome.is_err());
}
