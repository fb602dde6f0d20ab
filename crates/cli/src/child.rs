//! A server as a process of its own, for the demo and the benchmarks: it can be killed and measured.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use wellspring_outbound::{AddressPolicy, Client, ClientOptions, Request, Response, Target};

/// A `wellspring serve` on a folder of its own.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    start: Start,
}

/// How a server is started, also again.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) log: PathBuf,
}

/// The key of servers started here; they listen on loopback and live as long as this process.
pub(crate) const KEY: &str = "loopback-demo-key-not-a-secret";

impl Start {
    /// Returns how `program` serves `folder`, its sources and a database.
    pub(crate) fn serve(program: PathBuf, folder: &Path, database: Option<&str>) -> Self {
        let data = folder.join("data").display().to_string();
        let sources = folder.join("sources").display().to_string();
        let mut arguments = vec!["serve".to_owned(), "--data-dir".to_owned(), data];
        arguments.extend([
            "--end-with-stdin".to_owned(),
            "--sources".to_owned(),
            sources,
            "--log".to_owned(),
            "warn".to_owned(),
        ]);
        let mut environment = vec![
            ("WELLSPRING_BOOTSTRAP_API_KEY".to_owned(), KEY.to_owned()),
            (
                "WELLSPRING_OUTBOUND_ALLOW".to_owned(),
                "127.0.0.0/8".to_owned(),
            ),
        ];
        if let Some(url) = database {
            environment.push(("WELLSPRING_DATABASE_URL".to_owned(), url.to_owned()));
            environment.push(("WELLSPRING_MASTER_KEY".to_owned(), "5a".repeat(32)));
        }
        Self {
            program,
            arguments,
            environment,
            log: folder.join("server.log"),
        }
    }
}

impl Server {
    /// Starts a server on a free port and waits until it is ready.
    pub(crate) async fn start(start: Start) -> Result<Self> {
        let address = free_address()?;
        Self::start_at(start, address).await
    }

    async fn start_at(start: Start, address: SocketAddr) -> Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&start.log)?;
        let child = Command::new(&start.program)
            .args(&start.arguments)
            .args(["--listen", &address.to_string()])
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            // Held open by this process: the server ends with it, also when it is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the server")?;
        let mut server = Self {
            child,
            address,
            start,
        };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Kills the server as `kill -9` does.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill the server")
    }

    /// Starts it again where it was; returns how long it took to be ready.
    pub(crate) async fn restart(self) -> Result<(Self, Duration)> {
        let started = Instant::now();
        let server = Self::start_at(self.start.clone(), self.address).await?;
        Ok((server, started.elapsed()))
    }

    /// Returns the URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the CPU seconds that the server has used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        // After the command's name, which may hold spaces, come the fields from the third on.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks = |field: usize| {
            fields
                .get(field)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        (ticks(11) + ticks(12)) / TICKS_PER_SECOND
    }

    /// Returns the most memory that the server has had, in MiB, or its present one.
    pub(crate) fn memory_mib(&self, peak: bool) -> f64 {
        let name = if peak { "VmHWM:" } else { "VmRSS:" };
        let status = self.proc("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("0");
        let kib: f64 = line
            .split_whitespace()
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0);
        kib / 1_024.0
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.child.id().unwrap_or(0);
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let client = client()?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(&self.start.log).unwrap_or_default();
                bail!("the server ended ({status}):\n{log}");
            }
            if get(&client, &self.url("/readyz"))
                .await
                .is_ok_and(|response| response.status.is_success())
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the server was not ready within 60 s; its log is {}",
                    self.start.log.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Makes a client that may call this machine.
pub(crate) fn client() -> Result<Client> {
    Ok(Client::new(
        AddressPolicy::unrestricted(),
        ClientOptions::default(),
    )?)
}

/// Gets a URL with the demo's key.
pub(crate) async fn get(client: &Client, url: &str) -> Result<Response> {
    send(client, http::Method::GET, url, None, bytes::Bytes::new()).await
}

/// Sends a request with the demo's key.
pub(crate) async fn send(
    client: &Client,
    method: http::Method,
    url: &str,
    idempotency_key: Option<&str>,
    body: bytes::Bytes,
) -> Result<Response> {
    let mut headers = http::HeaderMap::new();
    headers.insert(
        http::header::AUTHORIZATION,
        format!("Bearer {KEY}").parse()?,
    );
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    if let Some(key) = idempotency_key {
        headers.insert("idempotency-key", key.parse()?);
    }
    let target = Target::parse(url, &AddressPolicy::unrestricted())?;
    let request = Request {
        method,
        target,
        headers,
        body,
        deadline: Duration::from_secs(10),
        max_body: 16 << 20,
    };
    Ok(client.send(request).await?)
}

/// Sends a body of this type with the demo's key.
pub(crate) async fn send_as(
    client: &Client,
    method: http::Method,
    url: &str,
    content_type: &str,
    body: bytes::Bytes,
) -> Result<Response> {
    let mut headers = http::HeaderMap::new();
    headers.insert(
        http::header::AUTHORIZATION,
        format!("Bearer {KEY}").parse()?,
    );
    headers.insert(http::header::CONTENT_TYPE, content_type.parse()?);
    let target = Target::parse(url, &AddressPolicy::unrestricted())?;
    let request = Request {
        method,
        target,
        headers,
        body,
        deadline: Duration::from_secs(10),
        max_body: 16 << 20,
    };
    Ok(client.send(request).await?)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// `USER_HZ` of Linux on every machine of today.
const TICKS_PER_SECOND: f64 = 100.0;
