//! A proxy between client and server that cuts, freezes or encrypts connections.

#![expect(clippy::unwrap_used, reason = "a fixture")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Where the next connection that commits is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cut {
    /// The commit does not reach the server.
    Commit = 1,
    /// The server's answer to it does not reach the client.
    AnswerToCommit = 2,
}

/// The proxy; it ends with its handle.
pub(crate) struct Chaos {
    url: String,
    wire: Arc<Wire>,
    _tasks: JoinSet<()>,
}

struct Wire {
    server: String,
    cut: AtomicU8,
    frozen: watch::Sender<bool>,
    tls: Option<TlsAcceptor>,
    connections: Mutex<JoinSet<()>>,
}

impl Chaos {
    /// Starts a proxy for the server of a database's URL.
    pub(crate) async fn start(url: &str) -> Self {
        Self::with(url, None).await
    }

    /// Starts a proxy that encrypts, and writes the certificate to trust.
    pub(crate) async fn start_encrypted(url: &str, authorities: &Path) -> Self {
        let names = vec!["127.0.0.1".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = STANDARD.encode(certified.cert.der());
        let pem =
            format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n");
        std::fs::write(authorities, pem).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        Self::with(url, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn with(url: &str, tls: Option<TlsAcceptor>) -> Self {
        let (_, server) = url.split_once('@').expect("a URL with a user");
        let (server, database) = server.split_once('/').expect("a URL with a database");
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let user = url.split_once('@').map_or("", |(user, _)| user);
        let url = format!("{user}@{}/{database}", listener.local_addr().unwrap());
        let wire = Arc::new(Wire {
            server: server.to_owned(),
            cut: AtomicU8::new(0),
            frozen: watch::Sender::new(false),
            tls,
            connections: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let accepting = Arc::clone(&wire);
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = Arc::clone(&accepting);
                let mut connections = accepting.connections.lock().unwrap();
                connections.spawn(async move { serving.serve(client).await });
            }
        });
        Self {
            url,
            wire,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Cuts the next connection that commits.
    pub(crate) fn cut_at(&self, cut: Cut) {
        self.wire.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// Holds all traffic, or lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.wire.frozen.send_replace(frozen);
    }
}

impl Wire {
    async fn serve(&self, mut client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server).await else {
            return;
        };
        let Some(tls) = &self.tls else {
            return self.join(client, server).await;
        };
        // The request for encryption, eight bytes.
        let mut request = [0; 8];
        if client.read_exact(&mut request).await.is_err() || client.write_all(b"S").await.is_err() {
            return;
        }
        if let Ok(client) = tls.accept(client).await {
            self.join(client, server).await;
        }
    }

    async fn join<C: AsyncRead + AsyncWrite>(&self, client: C, server: TcpStream) {
        let (mut from_client, mut to_client) = split(client);
        let (mut from_server, mut to_server) = split(server);
        let cut_at_answer = watch::Sender::new(false);
        let answered = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Some(bytes) = self.read(&mut from_server, &mut buffer).await {
                if *cut_at_answer.borrow() || to_client.write_all(bytes).await.is_err() {
                    return;
                }
            }
        };
        let asked = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Some(bytes) = self.read(&mut from_client, &mut buffer).await {
                if bytes.windows(COMMIT.len()).any(|window| window == COMMIT) {
                    match self.cut.swap(0, Ordering::SeqCst) {
                        1 => return,
                        2 => drop(cut_at_answer.send_replace(true)),
                        _ => {}
                    }
                }
                if to_server.write_all(bytes).await.is_err() {
                    return;
                }
            }
        };
        // Whichever ends first takes the other with it.
        tokio::select! {
            () = answered => {}
            () = asked => {}
        }
    }

    async fn read<'a>(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        buffer: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let count = from.read(buffer).await.ok().filter(|count| *count > 0)?;
        self.frozen
            .subscribe()
            .wait_for(|frozen| !frozen)
            .await
            .ok()?;
        buffer.get(..count)
    }
}

/// The query `COMMIT` as it goes over the wire.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
