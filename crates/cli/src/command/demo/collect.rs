//! The collect job: half-failing providers, a callback that fails, and a kill in the middle.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::Instant;
use wellspring_delivery::SigningSecret;
use wellspring_engine::{Tasks, random_seed};
use wellspring_outbound::Client;
use wellspring_sandbox::{Control, Delivery, Receiver, ReceiverHandle, Sandbox};

use super::say;
use crate::child::{self, Server};

/// The outside world of the job.
pub(super) struct Stage {
    sandbox: Control,
    sandbox_url: String,
    receiver: ReceiverHandle,
    callback_url: String,
    seen: Arc<Seen>,
}

/// What the callback saw.
#[derive(Default)]
struct Seen {
    secret: Mutex<Option<SigningSecret>>,
    /// When each collection's callback was taken first.
    taken: Mutex<BTreeMap<String, Instant>>,
    unsigned: Mutex<u64>,
}

impl Stage {
    pub(super) fn set(folder: &Path, tasks: &Tasks) -> Result<Self> {
        let loopback = "127.0.0.1:0".parse()?;
        let sandbox = Sandbox::bind(loopback, random_seed()).context("cannot start the sandbox")?;
        let seen = Arc::new(Seen::default());
        let watcher = Arc::clone(&seen);
        let receiver = Receiver::bind(loopback, random_seed())
            .context("cannot start the receiver")?
            .on_delivery(Arc::new(move |delivery: &Delivery| watcher.note(delivery)));
        let handle = receiver.handle();
        handle.set_failure_rate(0.2);
        let stage = Self {
            sandbox: sandbox.control(),
            sandbox_url: format!("http://{}", sandbox.local_addr()),
            callback_url: format!("http://{}/callback", receiver.local_addr()),
            receiver: handle,
            seen,
        };
        let sources = folder.join("sources");
        for source in ["gas", "internet"] {
            let yaml = format!(
                "name: {source}\nconnector: http_json\nurl: {}/providers/{source}\ntimeout: 5s\n\
                 retry: {{ interval: 250ms, rate: 1.5, max_delay: 2s, max_retries: 30, give_up_after: 1h }}\n",
                stage.sandbox_url
            );
            std::fs::write(sources.join(format!("{source}.yaml")), yaml)?;
        }
        let (stop, other) = (tasks.stop_token().clone(), tasks.stop_token().clone());
        tasks.spawn(
            "sandbox",
            sandbox.run(async move { stop.cancelled().await }),
        );
        tasks.spawn(
            "receiver",
            receiver.run(async move { other.cancelled().await }),
        );
        Ok(stage)
    }

    /// Returns where the providers are.
    pub(super) fn url(&self) -> &str {
        &self.sandbox_url
    }

    pub(super) async fn learn_secret(&self, client: &Client, server: &Server) -> Result<()> {
        let response = child::get(client, &server.url("/v1/callback-secret")).await?;
        let body: Value = serde_json::from_slice(&response.body)?;
        let secret = body["secret"]
            .as_str()
            .context("no callback secret")?
            .parse()?;
        *self
            .seen
            .secret
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(secret);
        Ok(())
    }
}

impl Run {
    /// Returns one of them.
    pub(super) fn first(&self) -> &str {
        self.accepted.keys().next().map_or("", String::as_str)
    }
}

impl Seen {
    fn note(&self, delivery: &Delivery) {
        let header = |name: &str| {
            delivery
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or("")
        };
        let id = delivery.webhook_id.as_deref().unwrap_or("");
        let at = header("webhook-timestamp").parse().unwrap_or(0);
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = secret.as_ref().is_some_and(|secret| {
            secret.sign(id, at, &delivery.body) == header("webhook-signature")
        });
        if !signed {
            *self.unsigned.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        if delivery.status.is_success() {
            // msg_<the collection's digits>_<the message's ordinal>
            let digits = id.split('_').nth(1).unwrap_or("");
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken
                .entry(format!("col_{digits}"))
                .or_insert_with(Instant::now);
        }
    }

    fn taken(&self) -> usize {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

/// What was sent.
pub(super) struct Run {
    /// When each collection was accepted.
    accepted: BTreeMap<String, Instant>,
    down: Duration,
}

/// Sends the collections and waits until they are delivered.
pub(super) async fn play(
    count: u64,
    server: Server,
    client: &Client,
    stage: &Stage,
) -> Result<(Server, Run)> {
    let bar = progress(count);
    let mut server = server;
    let mut run = Run {
        accepted: BTreeMap::new(),
        down: Duration::ZERO,
    };
    let pace = Duration::from_secs(5)
        .checked_div(u32::try_from(count)?)
        .unwrap_or_default();
    let mut next = Instant::now();
    for n in 0..count {
        if n == count / 2 {
            bar.set_message("kill -9");
            server.kill().await?;
            let (restarted, down) = server.restart().await?;
            server = restarted;
            run.down = down;
        }
        let provider = if n % 2 == 0 { "gas" } else { "internet" };
        let body = serde_json::json!({"provider": provider, "callbackUrl": stage.callback_url})
            .to_string();
        let key = format!("demo-{n}");
        // A repeat with the same key is the same collection, so that no answer is missed twice.
        let response = loop {
            let url = server.url("/collect");
            let sent = child::send(
                client,
                http::Method::POST,
                &url,
                Some(&key),
                body.clone().into(),
            );
            match sent.await {
                Ok(response) if response.status == http::StatusCode::SERVICE_UNAVAILABLE => {}
                Ok(response) => break response,
                Err(error) => bar.set_message(format!("again: {error:#}")),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        if response.status != http::StatusCode::ACCEPTED {
            bail!(
                "POST /collect answered {}: {}",
                response.status,
                String::from_utf8_lossy(&response.body)
            );
        }
        let answer: Value = serde_json::from_slice(&response.body)?;
        let id = answer["requestId"]
            .as_str()
            .context("no requestId")?
            .to_owned();
        run.accepted.insert(id, Instant::now());
        show(&bar, stage, run.accepted.len());
        next += pace;
        tokio::time::sleep_until(next).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while stage.seen.taken() < run.accepted.len() && Instant::now() < deadline {
        show(&bar, stage, run.accepted.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    show(&bar, stage, run.accepted.len());
    bar.finish_and_clear();
    Ok((server, run))
}

fn progress(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let style = ProgressStyle::with_template("{elapsed:>4} {bar:30} {pos}/{len} delivered  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, stage: &Stage, accepted: usize) {
    let calls = stage.sandbox.total();
    // Where there is no terminal to draw on, a line now and then.
    if bar.is_hidden() && accepted.is_multiple_of(100) && bar.length() != Some(bar.position()) {
        let (delivered, failed) = (stage.seen.taken(), calls.failed);
        let line = format!(
            "{accepted} accepted, {delivered} delivered, {failed} of {} calls to providers failed",
            calls.total
        );
        if bar.message() != line {
            say(&line);
            bar.set_message(line);
        }
        bar.set_position(stage.seen.taken() as u64);
        return;
    }
    bar.set_position(stage.seen.taken() as u64);
    bar.set_message(format!(
        "{accepted} accepted, {} calls to providers, {} failed",
        calls.total, calls.failed
    ));
}

/// What came of it, all of it measured.
pub(super) struct Summary {
    accepted: usize,
    delivered: usize,
    statuses: BTreeMap<String, usize>,
    duplicates: u64,
    repeats: u64,
    unsigned: u64,
    lost: usize,
    attempts: Vec<usize>,
    waits: Vec<Duration>,
    provider_calls: u64,
    provider_failures: u64,
    down: Duration,
}

impl Summary {
    pub(super) async fn measure(
        client: &Client,
        server: &Server,
        stage: &Stage,
        run: &Run,
    ) -> Result<Self> {
        let taken = stage
            .seen
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
        let mut attempts = Vec::new();
        for id in run.accepted.keys() {
            // The receiver answers before the server has heard it.
            let deadline = Instant::now() + Duration::from_secs(5);
            let status = loop {
                let response = child::get(client, &server.url(&format!("/collect/{id}"))).await?;
                let body: Value = serde_json::from_slice(&response.body)?;
                let status = body["status"].as_str().unwrap_or("missing").to_owned();
                if status == "delivered" || Instant::now() > deadline {
                    attempts.push(body["attempts"].as_array().map_or(0, Vec::len));
                    break status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            *statuses.entry(status).or_default() += 1;
        }
        attempts.sort_unstable();
        let mut waits: Vec<Duration> = run
            .accepted
            .iter()
            .filter_map(|(id, at)| {
                taken
                    .get(id)
                    .map(|took| took.saturating_duration_since(*at))
            })
            .collect();
        waits.sort_unstable();
        let counts = stage.receiver.counts();
        let calls = stage.sandbox.total();
        let unsigned = *stage
            .seen
            .unsigned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Self {
            accepted: run.accepted.len(),
            delivered: taken.len(),
            statuses,
            duplicates: counts.duplicates,
            repeats: counts.repeats,
            unsigned,
            lost: run
                .accepted
                .keys()
                .filter(|id| !taken.contains_key(*id))
                .count(),
            attempts,
            waits,
            provider_calls: calls.total,
            provider_failures: calls.failed,
            down: run.down,
        })
    }

    pub(super) fn is_good(&self) -> bool {
        self.lost == 0
            && self.unsigned == 0
            && self.delivered == self.accepted
            && self.statuses.get("delivered") == Some(&self.accepted)
    }

    pub(super) fn table(&self) -> String {
        let at = |values: &[usize], share: usize| {
            values
                .get((values.len().saturating_sub(1)) * share / 100)
                .copied()
                .unwrap_or(0)
        };
        let wait = |share: usize| {
            let place = self.waits.len().saturating_sub(1) * share / 100;
            format!(
                "{:.2} s",
                self.waits
                    .get(place)
                    .copied()
                    .unwrap_or_default()
                    .as_secs_f64()
            )
        };
        let rows = [
            ("accepted", self.accepted.to_string()),
            ("delivered", self.delivered.to_string()),
            ("lost", self.lost.to_string()),
            (
                "duplicates seen by the receiver (same id)",
                self.duplicates.to_string(),
            ),
            (
                "callbacks repeated after a failure (same id)",
                self.repeats.to_string(),
            ),
            (
                "callbacks with a wrong signature",
                self.unsigned.to_string(),
            ),
            (
                "calls to providers, of which failed",
                format!("{}, {}", self.provider_calls, self.provider_failures),
            ),
            (
                "attempts per collection (median, most)",
                format!("{}, {}", at(&self.attempts, 50), at(&self.attempts, 100)),
            ),
            (
                "time to callback (median, p95, longest)",
                format!("{}, {}, {}", wait(50), wait(95), wait(100)),
            ),
            (
                "killed with -9, ready again after",
                format!("{} ms", self.down.as_millis()),
            ),
        ];
        rows.iter()
            .map(|(what, value)| format!("  {what:<46}{value}\n"))
            .collect()
    }
}

/// How long the last collections may take; half-failing calls need a few seconds.
const PATIENCE: Duration = Duration::from_secs(25);
