use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wellspring_sandbox::{Control, Receiver, ReceiverHandle, Sandbox};

pub(crate) const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    inner: Legacy<HttpConnector, Full<Bytes>>,
}

impl Client {
    fn new(addr: SocketAddr) -> Self {
        Self {
            base: format!("http://{addr}"),
            inner: Legacy::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        self.send(Method::PUT, path, &[], body).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await.unwrap()
    }

    pub(crate) async fn deliver(&self, path: &str, id: &str, body: &str) -> Answer {
        self.send(Method::POST, path, &[("webhook-id", id)], body)
            .await
            .unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned()))?;
        let (head, body) = self.inner.request(request).await?.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}

/// Stops its server when asked to.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test waits for the task itself"
)]
pub(crate) fn sandbox(seed: u64) -> (Client, Control, Running) {
    let sandbox = Sandbox::bind(LOOPBACK, seed).unwrap();
    let client = Client::new(sandbox.local_addr());
    let control = sandbox.control();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(sandbox.run(async move { drop(stopped.await) }));
    (client, control, Running { stop, task })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test waits for the task itself"
)]
pub(crate) fn receiver(
    configure: impl FnOnce(Receiver) -> Receiver,
) -> (Client, ReceiverHandle, Running) {
    let receiver = configure(Receiver::bind(LOOPBACK, 7).unwrap());
    let client = Client::new(receiver.local_addr());
    let handle = receiver.handle();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(receiver.run(async move { drop(stopped.await) }));
    (client, handle, Running { stop, task })
}
