use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use wellspring_outbound::{AddressPolicy, Client, ClientOptions, Request, Target};

/// A server on a free loopback port; it ends when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Server {
    /// Runs `serve` on every accepted connection.
    pub(crate) async fn start<F, S>(serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(TcpStream) -> F + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream));
            }
        });
        Self {
            address,
            accepted,
            _accepting: accepting,
        }
    }

    /// Answers the first request of every connection with `answer`, then does what `after` says.
    pub(crate) async fn answering(answer: &'static str, after: After) -> Self {
        Self::start(move |mut stream| async move {
            if read_head(&mut stream).await.is_none() {
                return;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            match after {
                After::Close => {}
                After::Reset => stream.set_zero_linger().unwrap(),
                After::Hold => std::future::pending().await,
            }
        })
        .await
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?key=1", self.address)
    }
}

#[derive(Clone, Copy)]
pub(crate) enum After {
    Close,
    Reset,
    Hold,
}

/// Reads up to the end of a request head; `None` if the peer closed first.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers `echo` with the head of each request until the peer closes.
pub(crate) async fn echo_heads(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Some(head) = read_head(&mut stream).await {
        let announced = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; announced];
        stream.read_exact(&mut body).await.unwrap();
        let length = head.len() + body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
}

pub(crate) fn client() -> Client {
    client_with(AddressPolicy::unrestricted())
}

pub(crate) fn client_with(policy: AddressPolicy) -> Client {
    Client::new(policy, ClientOptions::default()).unwrap()
}

pub(crate) fn get(url: &str) -> Request {
    Request {
        method: Method::GET,
        target: Target::parse(url, &AddressPolicy::unrestricted()).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        deadline: Duration::from_secs(10),
        max_body: 1024,
    }
}

pub(crate) fn post(url: &str, body: &'static str) -> Request {
    Request {
        method: Method::POST,
        body: Bytes::from_static(body.as_bytes()),
        ..get(url)
    }
}
