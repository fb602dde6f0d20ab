use std::time::Duration;

use futures_util::future::ready;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use wellspring_server::serve;

use crate::lab::{Lab, collect, eventually};

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_closes_what_is_idle() {
    let lab = Lab::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = serve(listener, lab.router.clone(), async { drop(stopped.await) });
    let client = async {
        let mut idle = TcpStream::connect(address).await.unwrap();
        let head = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
        idle.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = vec![0; 4_096];
        let read = idle.read(&mut bytes).await.unwrap();
        assert!(bytes[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));

        lab.store.hold_commits(true);
        let mut busy = TcpStream::connect(address).await.unwrap();
        let body = collect("stuck", "https://receiver.test");
        let head = format!(
            "{} /collect HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            Method::POST,
            lab.key,
            body.len()
        );
        busy.write_all(head.as_bytes()).await.unwrap();
        eventually(|| ready(lab.store.is_holding())).await;
        stop.send(()).unwrap();
        assert_eq!(idle.read(&mut bytes).await.unwrap(), 0);
        lab.store.hold_commits(false);
        let mut answer = Vec::new();
        busy.read_to_end(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 202 Accepted\r\n"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        assert!(TcpStream::connect(address).await.is_err());
    };
    let both = async { tokio::join!(served, client) };
    let (served, ()) = tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .unwrap();
    served.unwrap();
}
