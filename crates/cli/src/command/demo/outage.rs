//! The reliability job: a bank in maintenance, a provider with a budget, credentials that do not
//! work, and the person who is told.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use wellspring_engine::{Clock, SystemClock, Tasks, random_seed};
use wellspring_outbound::Client;
use wellspring_sandbox::{
    Control, Delivery, RateLimit, Receiver, ReceiverHandle, Sandbox, Settings, VerifyingKey,
};

use super::{call, say};
use crate::child::Server;

/// The outside world of the job.
pub(super) struct Stage {
    bank_url: String,
    provider: Control,
    callbacks: ReceiverHandle,
    callback_url: String,
    person_url: String,
    person: Arc<Person>,
}

/// What the tenant's receiver of notifications heard.
#[derive(Default)]
struct Person {
    key: Mutex<Option<VerifyingKey>>,
    told: Mutex<Vec<String>>,
}

impl Stage {
    pub(super) fn set(folder: &Path, tasks: &Tasks) -> Result<Self> {
        let loopback = "127.0.0.1:0".parse()?;
        let bank = Sandbox::bind(loopback, random_seed()).context("cannot start a bank")?;
        let provider = Sandbox::bind(loopback, random_seed()).context("cannot start a provider")?;
        let callbacks = Receiver::bind(loopback, random_seed())?.counting_only();
        let person = Arc::new(Person::default());
        let hears = Arc::clone(&person);
        let notified = Receiver::bind(loopback, random_seed())?
            .on_delivery(Arc::new(move |delivery: &Delivery| hears.hear(delivery)));
        let bank_url = format!("http://{}", bank.local_addr());
        let provider_url = format!("http://{}", provider.local_addr());
        let sources = [
            (
                "resting-bank",
                format!("connector: sandbox_bank\nurl: {bank_url}/bank\ntimeout: 5s\n"),
            ),
            (
                "metered",
                format!(
                    "connector: http_json\nurl: {provider_url}/providers/gas\ntimeout: 5s\n\
                     budget: [{{ calls: {BUDGET}, per: 1s }}]\n"
                ),
            ),
        ];
        for (name, rest) in sources {
            let file = folder.join("sources").join(format!("{name}.yaml"));
            std::fs::write(file, format!("name: {name}\n{rest}"))?;
        }
        let stage = Self {
            bank_url,
            provider: provider.control(),
            callbacks: callbacks.handle(),
            callback_url: format!("http://{}/callback", callbacks.local_addr()),
            person_url: format!("http://{}/notifications", notified.local_addr()),
            person,
        };
        for (name, sandbox) in [("resting bank", bank), ("metered provider", provider)] {
            let stop = tasks.stop_token().clone();
            tasks.spawn(name, sandbox.run(async move { stop.cancelled().await }));
        }
        for (name, receiver) in [("callbacks", callbacks), ("person", notified)] {
            let stop = tasks.stop_token().clone();
            tasks.spawn(name, receiver.run(async move { stop.cancelled().await }));
        }
        Ok(stage)
    }
}

impl Person {
    fn hear(&self, delivery: &Delivery) {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = key.as_ref().is_some_and(|key| delivery.is_signed_by(key));
        let message: Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
        let line = if signed {
            let subject = message["data"]["subject"].as_str();
            subject.unwrap_or("a message without a subject").to_owned()
        } else {
            "a message with a wrong signature".to_owned()
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(line);
    }

    fn told(&self) -> Vec<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }
}

/// What came of it.
pub(super) struct Summary {
    incident: Value,
    /// How the connection fared while the bank was in maintenance, and after.
    fared: [String; 2],
    retries: u64,
    metered: Duration,
    delivered: u64,
    refused: u64,
    alert: [String; 3],
    told: Vec<String>,
    listed: usize,
}

/// Has the bank rest, the provider metered and the person told.
pub(super) async fn play(server: &Server, client: &Client, stage: &Stage) -> Result<Summary> {
    let shown = |url: String| async move { call(client, Method::GET, &url, &Value::Null).await };
    let secret = shown(server.url("/v1/callback-secret")).await?;
    let key = secret["secret"].as_str().context("no secret")?.parse()?;
    *stage
        .person
        .key
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(key);
    let made = call(
        client,
        Method::POST,
        &server.url("/v1/accounts"),
        &json!({}),
    )
    .await?;
    let account = made["id"].as_str().context("no account")?.to_owned();
    let contact = json!({"name": "Ada", "webhook": stage.person_url});
    let url = server.url(&format!("/v1/accounts/{account}/contact"));
    call(client, Method::PUT, &url, &contact).await?;
    stage.provider.set(
        wellspring_sandbox::Source::Gas,
        Settings {
            rate_limit: Some(RateLimit::PerSecond(BUDGET + 1)),
            ..Settings::reliable()
        },
    );

    let until = SystemClock.now().after(MAINTENANCE);
    let url = format!("{}/control/sandbox-bank", stage.bank_url);
    let rests = json!({"maintenance_until": until.to_string()});
    call(client, Method::PUT, &url, &rests).await?;
    let connect = |password: &'static str| {
        let url = server.url(&format!("/v1/accounts/{account}/connections"));
        async move {
            let body = json!({
                "source": "resting-bank",
                "credentials": {"username": "user", "password": password},
            });
            let made = call(client, Method::POST, &url, &body).await?;
            Ok::<_, anyhow::Error>(made["id"].as_str().context("no connection")?.to_owned())
        }
    };
    let connection = connect("statements").await?;
    let incidents = server.url("/v1/incidents?source=resting-bank");
    let health = server.url(&format!(
        "/api/reliability/connections/{connection}/health?account={account}"
    ));
    let opened = |body: &Value| body["data"][0]["state"] == "open";
    until_so(client, &incidents, opened).await?;
    let rests = |body: &Value| body["status"] == "maintenance";
    let before = until_so(client, &health, rests).await?;
    say("  the bank is in maintenance, and nothing is asked of it until it is back");

    let started = Instant::now();
    for number in 0..METERED {
        let url = server.url("/collect");
        let body = json!({"provider": "metered", "callbackUrl": stage.callback_url});
        call(client, Method::POST, &url, &body)
            .await
            .with_context(|| format!("collection {number}"))?;
    }
    say(&format!(
        "  {METERED} collections wait for their turn at {BUDGET} calls a second"
    ));
    let deadline = Instant::now() + PATIENCE;
    while stage.callbacks.counts().accepted < METERED && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let metered = started.elapsed();

    let works = |body: &Value| body["status"] == "active";
    let after = until_so(client, &health, works).await?;
    let ended = |body: &Value| body["data"][0]["state"] == "ended";
    let incident = until_so(client, &incidents, ended).await?["data"][0].clone();

    let refused = connect("wrong").await?;
    let alerts = server.url(&format!("/v1/alerts?connection={refused}"));
    let alert = until_so(client, &alerts, opened).await?["data"][0].clone();
    say("  an alert is open: the bank does not take somebody's credentials");
    let url = server.url(&format!(
        "/v1/accounts/{account}/connections/{refused}/credentials"
    ));
    let right = json!({"credentials": {"username": "user", "password": "statements"}});
    call(client, Method::PUT, &url, &right).await?;
    let closed = |body: &Value| body["data"][0]["state"] == "closed";
    let over = until_so(client, &alerts, closed).await?["data"][0].clone();

    let deadline = Instant::now() + PATIENCE;
    while stage.person.told().len() < 2 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let listed = shown(server.url(&format!("/v1/accounts/{account}/notifications"))).await?;
    let word = |of: &Value| of.as_str().unwrap_or("?").to_owned();
    Ok(Summary {
        incident,
        fared: [&before, &after].map(|body| word(&body["status"])),
        retries: before["consecutive_failures"].as_u64().unwrap_or(u64::MAX),
        metered,
        delivered: stage.callbacks.counts().accepted,
        refused: stage.provider.total().throttled,
        alert: [
            word(&alert["kind"]),
            word(&alert["state"]),
            word(&over["state"]),
        ],
        told: stage.person.told(),
        listed: listed["data"].as_array().map_or(0, Vec::len),
    })
}

impl Summary {
    pub(super) fn is_good(&self) -> bool {
        self.incident["kind"] == "maintenance"
            && self.fared == ["maintenance", "active"]
            && self.retries == 0
            && (self.delivered, self.refused) == (METERED, 0)
            && self.alert == ["deauthorised", "open", "closed"]
            && (self.told.len(), self.listed) == (2, 2)
    }

    pub(super) fn table(&self) -> String {
        let text = |key: &str| self.incident[key].as_str().unwrap_or("?").to_owned();
        let rows = [
            (
                "the incident",
                format!("{}, known by {}", text("kind"), text("detected_by")),
            ),
            ("the connection fared, retries spent", {
                let [during, after] = &self.fared;
                format!("{during} → {after}, {}", self.retries)
            }),
            (
                "collections through the metered provider",
                format!(
                    "{} delivered in {:.1} s at {BUDGET} a second, {} refused",
                    self.delivered,
                    self.metered.as_secs_f64(),
                    self.refused
                ),
            ),
            ("the alert", {
                let [kind, opened, over] = &self.alert;
                format!("{kind}: {opened} → {over}")
            }),
            (
                "the person was told, by webhook and in the list",
                format!("{} and {} messages", self.told.len(), self.listed),
            ),
        ];
        let mut table: String = rows
            .iter()
            .map(|(what, value)| format!("  {what:<48}{value}\n"))
            .collect();
        for line in &self.told {
            table.push_str(&format!("    “{line}”\n"));
        }
        table
    }
}

/// Asks until the answer is as wanted, or too long.
async fn until_so(client: &Client, url: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let body = call(client, Method::GET, url, &Value::Null).await?;
        if wanted(&body) || Instant::now() > deadline {
            return Ok(body);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Calls that the provider is asked for in a second; it takes one more.
const BUDGET: u32 = 5;
const METERED: u64 = 20;
/// How long the bank rests.
const MAINTENANCE: Duration = Duration::from_secs(3);
/// How long each part may take.
const PATIENCE: Duration = Duration::from_secs(20);
