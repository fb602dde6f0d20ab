//! The connect job: the scenarios of a connection's life, each on a connection of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wellspring_engine::{Tasks, random_seed};
use wellspring_outbound::Client;
use wellspring_sandbox::{Control, Delivery, Outage, Receiver, Sandbox};
use wellspring_vault::SigningSecret;

use super::{call, say};
use crate::child::{self, Server};

/// The banks and the endpoint that the changes are told to.
pub(super) struct Stage {
    steady: Control,
    shaky: Control,
    hook: String,
    seen: Arc<Seen>,
    changes: tokio::sync::Mutex<mpsc::Receiver<Change>>,
}

/// What the endpoint checks of each webhook.
#[derive(Default)]
struct Seen {
    secret: Mutex<Option<SigningSecret>>,
    unsigned: Mutex<u64>,
}

/// A change as a webhook tells it.
struct Change {
    verb: String,
    path: String,
    body: Value,
}

impl Stage {
    pub(super) fn set(folder: &Path, tasks: &Tasks) -> Result<Self> {
        let loopback = "127.0.0.1:0".parse()?;
        let steady = Sandbox::bind(loopback, random_seed()).context("cannot start a bank")?;
        let shaky = Sandbox::bind(loopback, random_seed()).context("cannot start a bank")?;
        for (name, bank) in [("steady-bank", &steady), ("shaky-bank", &shaky)] {
            let yaml = format!(
                "name: {name}\nconnector: sandbox_bank\nurl: http://{}/bank\ntimeout: 5s\n\
                 retry: {{ interval: 200ms, rate: 1.5, max_delay: 1s, max_retries: 2 }}\n\
                 slow_plan: [1s, 1s]\n",
                bank.local_addr()
            );
            std::fs::write(folder.join("sources").join(format!("{name}.yaml")), yaml)?;
        }
        let seen = Arc::new(Seen::default());
        let (told, changes) = mpsc::channel(MOST_CHANGES);
        let watcher = Arc::clone(&seen);
        let receiver = Receiver::bind(loopback, random_seed())
            .context("cannot start the endpoint")?
            .on_delivery(Arc::new(move |delivery: &Delivery| {
                if let Some(change) = watcher.read(delivery) {
                    told.try_send(change).ok();
                }
            }));
        let stage = Self {
            steady: steady.control(),
            shaky: shaky.control(),
            hook: format!("http://{}/changes", receiver.local_addr()),
            seen,
            changes: tokio::sync::Mutex::new(changes),
        };
        for (name, bank) in [("steady bank", steady), ("shaky bank", shaky)] {
            let stop = tasks.stop_token().clone();
            tasks.spawn(name, bank.run(async move { stop.cancelled().await }));
        }
        let stop = tasks.stop_token().clone();
        tasks.spawn(
            "endpoint",
            receiver.run(async move { stop.cancelled().await }),
        );
        Ok(stage)
    }
}

impl Seen {
    fn read(&self, delivery: &Delivery) -> Option<Change> {
        let header = |name: &str| {
            let value = delivery.headers.get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or("")
        };
        let at = header("webhook-timestamp").parse().unwrap_or(0);
        let id = delivery.webhook_id.as_deref().unwrap_or("");
        let secret = self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = secret.as_ref().is_some_and(|secret| {
            secret.sign(id, at, &delivery.body) == header("webhook-signature")
        });
        if !signed {
            *self.unsigned.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            return None;
        }
        let message: Value = serde_json::from_slice(&delivery.body).ok()?;
        let data = &message["data"];
        Some(Change {
            verb: data["verb"].as_str()?.to_owned(),
            path: data["path"].as_str()?.to_owned(),
            body: data["body"].clone(),
        })
    }
}

/// One connection and what has to become of it.
struct Scene {
    name: &'static str,
    source: &'static str,
    password: &'static str,
    /// How the person answers, by the part; nothing leaves a question alone.
    answers: BTreeMap<&'static str, &'static str>,
    /// The states that it goes through.
    expected: &'static [&'static str],
    seen: Vec<String>,
    documents: u64,
    /// Why its last question was closed.
    closed: Option<String>,
    bar: ProgressBar,
}

/// What came of it.
pub(super) struct Summary {
    pub(super) account: String,
    scenes: Vec<Scene>,
    unsigned: u64,
    uploaded: bool,
}

/// Makes the connections and reacts to what is told until each has come to its end.
pub(super) async fn play(server: &Server, client: &Client, stage: &Stage) -> Result<Summary> {
    stage.steady.update_bank(|bank| {
        bank.code_expires_in = Duration::from_secs(2);
    });
    let source = wellspring_sandbox::Source::SandboxBank;
    stage
        .shaky
        .update(source, |bank| bank.outage = Some(Outage::ServerError));
    let body = json!({"url": stage.hook, "patterns": ["* /accounts/**"]});
    let made = call(
        client,
        Method::POST,
        &server.url("/v1/subscriptions"),
        &body,
    )
    .await?;
    let secret = made["secret"].as_str().context("no secret")?.parse()?;
    *stage
        .seen
        .secret
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(secret);
    let made = call(
        client,
        Method::POST,
        &server.url("/v1/accounts"),
        &json!({}),
    )
    .await?;
    let account = made["id"].as_str().context("no account")?.to_owned();

    let bars = MultiProgress::new();
    let mut scenes = BTreeMap::new();
    for scene in scenes_of(&bars) {
        let url = server.url(&format!("/v1/accounts/{account}/connections"));
        let body = json!({
            "source": scene.source, "label": scene.name,
            "credentials": {"username": "user", "password": scene.password},
        });
        let made = call(client, Method::POST, &url, &body).await?;
        let id = made["id"].as_str().context("no connection")?.to_owned();
        scenes.insert(id, scene);
    }
    let mut uploaded = false;
    let mut changes = stage.changes.lock().await;
    let deadline = Instant::now() + PATIENCE;
    while scenes.values().any(|scene| !scene.is_over()) {
        let Ok(Some(change)) = tokio::time::timeout_at(deadline, changes.recv()).await else {
            break;
        };
        let segments: Vec<&str> = change.path.split('/').skip(1).collect();
        let scene = segments.get(3).and_then(|id| scenes.get_mut(*id));
        // What a scene does after its end is no part of it.
        let Some(scene) = scene.filter(|scene| !scene.is_over()) else {
            continue;
        };
        match (&change.verb[..], &segments[4..]) {
            ("UPDATED", ["state", state]) => {
                scene.seen.push((*state).to_owned());
                if *state == "retrying" && scene.name == RETRYING {
                    // The bank is mended while the connection waits.
                    stage.shaky.update(source, |bank| bank.outage = None);
                }
                if *state == "error" {
                    uploaded = upload(client, server, &change.path).await?;
                }
            }
            ("CREATED", ["interactions", _]) => answer(client, server, scene, &change.path).await?,
            ("DELETED", ["interactions", _]) => {
                scene.closed = change.body["reason"].as_str().map(str::to_owned);
            }
            ("CREATED", ["documents", _]) => scene.documents += 1,
            _ => {}
        }
        scene.show();
    }
    for scene in scenes.values() {
        scene.bar.finish_and_clear();
    }
    let unsigned = *stage
        .seen
        .unsigned
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(Summary {
        account,
        scenes: scenes.into_values().collect(),
        unsigned,
        uploaded,
    })
}

/// Makes a link to the connect page.
pub(super) async fn link(server: &Server, client: &Client, account: &str) -> Result<String> {
    let url = server.url(&format!("/v1/accounts/{account}/tokens"));
    let made = call(client, Method::POST, &url, &json!({"for": "connect"})).await?;
    Ok(made["url"].as_str().context("no link")?.to_owned())
}

impl Scene {
    fn is_over(&self) -> bool {
        self.seen.len() >= self.expected.len()
    }

    fn is_good(&self) -> bool {
        let expired = self.closed.as_deref() == Some("expired");
        self.seen == self.expected && expired == (self.name == TIMEOUT)
    }

    fn show(&self) {
        let line = format!("{} ({} documents)", self.seen.join(" → "), self.documents);
        if self.bar.is_hidden() && self.is_over() {
            say(&format!("  {:<16} {line}", self.name));
        }
        self.bar.set_message(line);
        self.bar.tick();
    }
}

impl Summary {
    pub(super) fn is_good(&self) -> bool {
        self.unsigned == 0 && self.uploaded && self.scenes.iter().all(Scene::is_good)
    }

    pub(super) fn table(&self) -> String {
        let mut table = String::new();
        for scene in &self.scenes {
            let verdict = if scene.is_good() {
                ""
            } else {
                "   NOT AS EXPECTED"
            };
            table.push_str(&format!(
                "  {:<18}{} ({} documents){verdict}\n",
                scene.name,
                scene.seen.join(" → "),
                scene.documents
            ));
        }
        let upload = if self.uploaded { "yes" } else { "no" };
        table.push_str(&format!(
            "  {:<46}{upload}\n  {:<46}{}\n",
            "uploaded by hand after the error", "webhooks with a wrong signature", self.unsigned
        ));
        table
    }
}

/// The person answers, or lets the question pass.
async fn answer(client: &Client, server: &Server, scene: &Scene, path: &str) -> Result<()> {
    let url = server.url(&format!("/v1{path}"));
    let interaction = call(client, Method::GET, &url, &Value::Null).await?;
    let inputs = interaction["parts"].as_array().into_iter().flatten();
    let inputs =
        inputs.filter(|part| matches!(part["kind"].as_str(), Some("text_input" | "choices")));
    let mut parts = Vec::new();
    for part in inputs {
        let id = part["id"].as_str().unwrap_or_default();
        let kind = part["kind"].as_str().unwrap_or_default();
        let value = match scene.answers.get(kind) {
            Some(&"first") => part["choices"][0]["id"].clone(),
            Some(value) => json!(value),
            None => return Ok(()),
        };
        parts.push(json!({"id": id, "value": value}));
    }
    let body = json!({"version": interaction["version"], "parts": parts});
    let url = server.url(&format!("/v1{path}/response"));
    call(client, Method::PUT, &url, &body).await.map(drop)
}

/// The person uploads what the bank did not give.
async fn upload(client: &Client, server: &Server, state_path: &str) -> Result<bool> {
    let connection = state_path.split("/state/").next().unwrap_or_default();
    let url = server.url(&format!("/v1{connection}/documents"));
    let form = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"statement.pdf\"\r\n\
                content-type: application/pdf\r\n\r\n%PDF-1.4 uploaded by hand\r\n--x--\r\n";
    let kind = "multipart/form-data; boundary=x";
    let response = child::send_as(client, Method::POST, &url, kind, form.into()).await?;
    Ok(response.status == http::StatusCode::CREATED)
}

fn scenes_of(bars: &MultiProgress) -> Vec<Scene> {
    let scene = |name, source, password, answers: &[(&'static str, &'static str)], expected| {
        let bar = bars.add(ProgressBar::new_spinner());
        let style = ProgressStyle::with_template("  {prefix:<16} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(name);
        Scene {
            name,
            source,
            password,
            answers: answers.iter().copied().collect(),
            expected,
            seen: Vec::new(),
            documents: 0,
            closed: None,
            bar,
        }
    };
    vec![
        scene("happy path", "steady-bank", "statements", &[], &HAPPY),
        scene(
            "question",
            "steady-bank",
            "mfaquestion",
            &[("text_input", "Smith")],
            &ASKED,
        ),
        scene(RETRYING, "shaky-bank", "bills", &[], &RETRIED),
        scene("error", "steady-bank", "down", &[], &FAILED),
        scene(
            TIMEOUT,
            "steady-bank",
            "onetimeauth",
            &[("choices", "first")],
            &EXPIRED,
        ),
    ]
}

const RETRYING: &str = "retrying";
const TIMEOUT: &str = "question timeout";
const HAPPY: [&str; 5] = ["created", "connecting", "uploading", "completed", "waiting"];
const ASKED: [&str; 8] = [
    "created",
    "connecting",
    "question",
    "answered",
    "connecting",
    "uploading",
    "completed",
    "waiting",
];
const RETRIED: [&str; 7] = [
    "created",
    "connecting",
    "retrying",
    "connecting",
    "uploading",
    "completed",
    "waiting",
];
const FAILED: [&str; 7] = [
    "created",
    "connecting",
    "retrying",
    "connecting",
    "retrying",
    "connecting",
    "error",
];
/// The code's way of delivery is chosen, the code itself never comes.
const EXPIRED: [&str; 7] = [
    "created",
    "connecting",
    "question",
    "answered",
    "connecting",
    "question",
    "retrying",
];
/// More than all scenes together say.
const MOST_CHANGES: usize = 1_000;
/// How long the scenes may take.
const PATIENCE: Duration = Duration::from_secs(25);
