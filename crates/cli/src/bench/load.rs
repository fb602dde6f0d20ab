//! The load: callers, a provider and receivers on loopback, in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wellspring_engine::Tasks;
use wellspring_sandbox::{Delivery, Receiver, Sandbox, Settings, Source};

use crate::child::KEY;

/// One case of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) connections: usize,
    /// Requests per second; `None` for as fast as answers come.
    pub(crate) rate: Option<f64>,
    /// Unfinished collections at most, in a closed loop.
    pub(crate) outstanding: usize,
    pub(crate) receivers: u8,
    pub(crate) provider_latency: Duration,
    pub(crate) failure_rate: f64,
}

/// The world around the server.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) provider_url: String,
    callbacks: Vec<String>,
    shared: Arc<Shared>,
}

/// What callers and receivers share.
#[derive(Debug)]
struct Shared {
    base: Instant,
    next: AtomicUsize,
    /// When request n was sent (or was due, in an open loop), in microseconds since `base`, plus one.
    sent: Vec<AtomicU64>,
    /// How long its callback took to come, in microseconds, plus one.
    took: Vec<AtomicU32>,
    accepted: AtomicU64,
    completed: AtomicU64,
    refused: AtomicU64,
    room: Semaphore,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) at: Instant,
    pub(crate) accepted: u64,
    pub(crate) completed: u64,
    pub(crate) refused: u64,
    sent: usize,
}

impl World {
    /// Starts a provider and receivers.
    pub(crate) fn start(case: &Case, tasks: &Tasks) -> Result<Self> {
        let sandbox =
            Sandbox::bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), 1).context("provider")?;
        sandbox
            .control()
            .update(Source::Gas, |settings: &mut Settings| {
                settings.failure_rate = case.failure_rate;
                settings.latency = case.provider_latency;
            });
        let provider_url = format!("http://{}/providers/gas", sandbox.local_addr());
        let stop = tasks.stop_token().clone();
        tasks.spawn(
            "provider",
            sandbox.run(async move { stop.cancelled().await }),
        );

        let shared = Arc::new(Shared {
            base: Instant::now(),
            next: AtomicUsize::new(0),
            sent: (0..MOST).map(|_| AtomicU64::new(0)).collect(),
            took: (0..MOST).map(|_| AtomicU32::new(0)).collect(),
            accepted: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            room: Semaphore::new(case.outstanding),
        });
        let mut callbacks = Vec::new();
        for n in 1..=case.receivers.max(1) {
            // Each loopback address is a host of its own to the server.
            let address = SocketAddr::new(Ipv4Addr::new(127, 0, 0, n).into(), 0);
            let noted = Arc::clone(&shared);
            let receiver = Receiver::bind(address, u64::from(n))
                .with_context(|| format!("receiver on {address}"))?
                .counting_only()
                .on_delivery(Arc::new(move |delivery: &Delivery| noted.note(delivery)));
            callbacks.push(format!("http://{}/cb/", receiver.local_addr()));
            let stop = tasks.stop_token().clone();
            tasks.spawn(
                "receiver",
                receiver.run(async move { stop.cancelled().await }),
            );
        }
        Ok(Self {
            provider_url,
            callbacks,
            shared,
        })
    }

    /// Sends requests until `until`; returns when the callers have ended.
    pub(crate) async fn send(
        &self,
        server: SocketAddr,
        case: &Case,
        until: Instant,
        tasks: &Tasks,
    ) -> Result<()> {
        let begin = Instant::now();
        let (ended, mut ends) = tokio::sync::mpsc::channel(case.connections.max(1));
        for _ in 0..case.connections {
            let caller = Caller {
                shared: Arc::clone(&self.shared),
                callbacks: self.callbacks.clone(),
                rate: case.rate,
                first: self.shared.next.load(Ordering::Relaxed),
                begin,
                until,
            };
            let ended = ended.clone();
            tasks.spawn("caller", async move {
                let outcome = caller.run(server).await;
                drop(ended.send(outcome).await);
            });
        }
        drop(ended);
        while let Some(outcome) = ends.recv().await {
            outcome?;
        }
        Ok(())
    }

    /// Waits until everything accepted has been called back.
    pub(crate) async fn settle(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            let counts = self.counts();
            if counts.completed >= counts.accepted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the counts now.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            at: Instant::now(),
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            completed: self.shared.completed.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
            sent: self.shared.next.load(Ordering::Relaxed).min(MOST),
        }
    }

    /// Returns a percentile, in milliseconds, of the requests sent between two counts.
    pub(crate) fn percentile(&self, from: &Counts, to: &Counts, share: f64) -> f64 {
        let took = self.shared.took.get(from.sent..to.sent).unwrap_or_default();
        let mut took: Vec<u32> = took
            .iter()
            .map(|took| took.load(Ordering::Relaxed))
            .filter(|took| *took > 0)
            .collect();
        took.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place in a list"
        )]
        let place = (took.len().saturating_sub(1) as f64 * share) as usize;
        took.get(place)
            .map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    }
}

impl Shared {
    fn note(&self, delivery: &Delivery) {
        if !delivery.status.is_success() {
            return;
        }
        let Some(n) = delivery
            .path
            .rsplit('/')
            .next()
            .and_then(|n| n.parse::<usize>().ok())
        else {
            return;
        };
        let (Some(sent), Some(took)) = (self.sent.get(n), self.took.get(n)) else {
            return;
        };
        let micros = u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX);
        let since = micros.saturating_sub(sent.load(Ordering::Relaxed).saturating_sub(1)) + 1;
        let first = took.compare_exchange(
            0,
            u32::try_from(since).unwrap_or(u32::MAX),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if first.is_ok() {
            self.completed.fetch_add(1, Ordering::Relaxed);
            self.room.add_permits(1);
        }
    }
}

struct Caller {
    shared: Arc<Shared>,
    callbacks: Vec<String>,
    rate: Option<f64>,
    first: usize,
    begin: Instant,
    until: Instant,
}

impl Caller {
    async fn run(self, server: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(server)
            .await
            .context("cannot reach the server")?;
        stream.set_nodelay(true)?;
        let (mut request, mut answer) = (Vec::new(), Vec::with_capacity(4_096));
        loop {
            if self.rate.is_none() {
                // An outstanding limit that is never given back (a lost callback) ends the run by time.
                match tokio::time::timeout_at(self.until, self.shared.room.acquire()).await {
                    Ok(Ok(permit)) => permit.forget(),
                    Ok(Err(_)) | Err(_) => return Ok(()),
                }
            }
            let n = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let Some(sent) = self.shared.sent.get(n) else {
                bail!("more than {MOST} requests")
            };
            let mut at = Instant::now();
            if let Some(rate) = self.rate {
                at = self.begin + Duration::from_secs_f64((n - self.first) as f64 / rate);
                tokio::time::sleep_until(at).await;
            }
            if at >= self.until {
                return Ok(());
            }
            let micros = u64::try_from(at.saturating_duration_since(self.shared.base).as_micros())
                .unwrap_or(0);
            sent.store(micros + 1, Ordering::Relaxed);
            self.write(&mut request, n);
            stream.write_all(&request).await?;
            let status = read_answer(&mut stream, &mut answer).await?;
            match status {
                202 => {
                    self.shared.accepted.fetch_add(1, Ordering::Relaxed);
                }
                503 => {
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    self.shared.room.add_permits(1);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                _ => bail!(
                    "POST /collect answered {status}: {}",
                    String::from_utf8_lossy(&answer)
                ),
            }
        }
    }

    fn write(&self, request: &mut Vec<u8>, n: usize) {
        use std::io::Write;
        let callback = &self.callbacks[n % self.callbacks.len()];
        let digits = n.checked_ilog10().map_or(1, |log| log as usize + 1);
        let length = r#"{"provider":"gas","callbackUrl":""}"#.len() + callback.len() + digits;
        request.clear();
        let written = write!(
            request,
            "POST /collect HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {{\"provider\":\"gas\",\"callbackUrl\":\"{callback}{n}\"}}"
        );
        // Writing to a vector cannot fail.
        written.unwrap_or_default();
    }
}

/// Reads one answer with a Content-Length and returns its status.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<u16> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the server closed the connection");
        }
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end])?;
        let length = head
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().ok())?
            })
            .context("an answer without Content-Length")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .context("no status")?;
        while answer.len() < end + 4 + length {
            if stream.read_buf(answer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
        return Ok(status);
    }
}

/// Requests that one run can count.
const MOST: usize = 4_000_000;
