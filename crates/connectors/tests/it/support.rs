use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wellspring_connectors::{Connectors, SourceConfig, Sources};
use wellspring_core::{CollectionId, TenantId, Timestamp};
use wellspring_engine::{Clock, Connector, FetchOrder, FetchResult, Nobody};
use wellspring_outbound::ClientOptions;
use wellspring_sandbox::{Control, Sandbox, Settings, Source};
use wellspring_vault::{MasterKey, Vault};

/// A sandbox in which nothing goes wrong unless told; it ends when dropped.
pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) address: SocketAddr,
    _running: JoinSet<()>,
}

impl World {
    pub(crate) fn start() -> Self {
        let sandbox = Sandbox::bind(LOOPBACK, 7).unwrap();
        let (control, address) = (sandbox.control(), sandbox.local_addr());
        for source in Source::ALL {
            control.set(source, Settings::reliable());
        }
        let mut running = JoinSet::new();
        running.spawn(sandbox.run(std::future::pending()));
        Self {
            control,
            address,
            _running: running,
        }
    }

    pub(crate) fn bank(&self, more: &str) -> SourceConfig {
        bank(&format!("http://{}/bank", self.address), more)
    }

    pub(crate) fn gas(&self, more: &str) -> SourceConfig {
        config(&format!("http://{}/providers/gas", self.address), more)
    }
}

/// Answers every connection with `answer`, notes the first request, and ends when dropped.
pub(crate) struct Fixed {
    pub(crate) address: SocketAddr,
    running: JoinSet<String>,
}

impl Fixed {
    pub(crate) async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            // What is left unread would reset the connection.
            for _ in 0..content_length(&head) {
                stream.read_u8().await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        Self { address, running }
    }

    pub(crate) fn source(&self, more: &str) -> SourceConfig {
        config(&format!("http://{}/a?b=1", self.address), more)
    }

    pub(crate) async fn request(mut self) -> String {
        self.running.join_next().await.unwrap().unwrap()
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split_once("content-length: ");
    length.map_or(0, |(_, rest)| rest.lines().next().unwrap().parse().unwrap())
}

#[derive(Debug)]
pub(crate) struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

pub(crate) fn config(url: &str, more: &str) -> SourceConfig {
    let text = format!("name: gas\nconnector: http_json\nurl: {url}\n{more}\n");
    SourceConfig::from_yaml(&text).unwrap()
}

pub(crate) fn bank(url: &str, more: &str) -> SourceConfig {
    let text = format!("name: bank\nconnector: sandbox_bank\nurl: {url}\n{more}\n");
    SourceConfig::from_yaml(&text).unwrap()
}

pub(crate) fn connectors(source: SourceConfig) -> Connectors {
    let sources = Arc::new(Sources::new([source]));
    connectors_of(sources, vault())
}

pub(crate) fn connectors_of(sources: Arc<Sources>, vault: Vault) -> Connectors {
    Connectors::new(sources, ClientOptions::default(), Arc::new(Stopped), vault).unwrap()
}

pub(crate) fn vault() -> Vault {
    Vault::create(MasterKey::new([1; 32]), NOW.as_millis())
}

pub(crate) async fn fetch(source: SourceConfig) -> FetchResult {
    connectors(source)
        .fetch(order("gas"), Arc::new(Nobody))
        .await
}

pub(crate) fn order(source: &str) -> FetchOrder {
    FetchOrder {
        source: source.parse().unwrap(),
        id: CollectionId::from_bytes([1; 16]),
        tenant: TenantId::from_bytes([2; 16]),
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
