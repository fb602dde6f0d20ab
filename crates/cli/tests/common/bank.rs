//! A bank, people, and an endpoint for changes, for tests of connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::time::Instant;
use wellspring_sandbox::{Delivery, Receiver, ReceiverHandle};

use super::child::{self, Server};
use super::{PATIENCE, World, json as body_of};

/// What webhooks told, in the order in which they came: message ids and entries of the log.
pub(crate) type Told = Arc<Mutex<Vec<(String, Value)>>>;

/// A world with the source `bank`, and an endpoint that keeps what it is told.
pub(crate) struct Bank {
    pub(crate) world: World,
    pub(crate) hook: String,
    pub(crate) endpoint: ReceiverHandle,
    pub(crate) told: Told,
    secret: Arc<Mutex<Option<Webhook>>>,
}

impl Bank {
    pub(crate) fn start() -> Self {
        let world = World::start("{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 9 }");
        let yaml = format!(
            "name: bank\nconnector: sandbox_bank\nurl: {}/bank\ntimeout: 5s\nslow_plan: [200ms, 200ms, 200ms, 200ms]\n\
             retry: {{ interval: 50ms, rate: 1.5, max_delay: 500ms, max_retries: 2 }}\n",
            world.sandbox_url
        );
        std::fs::write(world.folder.path().join("sources/bank.yaml"), yaml).unwrap();
        let told = Told::default();
        let secret: Arc<Mutex<Option<Webhook>>> = Arc::default();
        let receiver = Receiver::bind("127.0.0.1:0".parse().unwrap(), 5).unwrap();
        let (kept, known) = (Arc::clone(&told), Arc::clone(&secret));
        let receiver = receiver.on_delivery(Arc::new(move |delivery: &Delivery| {
            if !delivery.status.is_success() {
                return;
            }
            let known = known.lock().unwrap();
            let signed = known
                .as_ref()
                .unwrap()
                .verify(&delivery.body, &delivery.headers);
            signed.unwrap();
            let message: Value = serde_json::from_slice(&delivery.body).unwrap();
            let id = delivery.webhook_id.clone().unwrap();
            kept.lock().unwrap().push((id, message["data"].clone()));
        }));
        let hook = format!("http://{}/changes", receiver.local_addr());
        let endpoint = receiver.handle();
        let stop = world.tasks.stop_token().clone();
        let serving = receiver.run(async move { stop.cancelled().await });
        world.tasks.spawn("endpoint", serving);
        Self {
            world,
            hook,
            endpoint,
            told,
            secret,
        }
    }

    /// Makes a call that has to succeed.
    pub(crate) async fn call(
        &self,
        server: &Server,
        method: http::Method,
        path: &str,
        body: Value,
    ) -> Value {
        let (status, body) = self
            .try_call(server, method.clone(), path, body)
            .await
            .unwrap();
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {body}"
        );
        body
    }

    /// Makes a call and returns its status and body.
    pub(crate) async fn try_call(
        &self,
        server: &Server,
        method: http::Method,
        path: &str,
        body: Value,
    ) -> anyhow::Result<(u16, Value)> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let url = server.url(path);
        let response = child::send(&self.world.client, method, &url, None, body.into()).await?;
        let status = response.status.as_u16();
        let shown = if response.body.is_empty() {
            Value::Null
        } else {
            body_of(&response)
        };
        Ok((status, shown))
    }

    /// Subscribes the endpoint to these patterns.
    pub(crate) async fn subscribe(&self, server: &Server, patterns: &[&str]) -> String {
        let body = json!({"url": self.hook, "patterns": patterns});
        let made = self
            .call(server, http::Method::POST, "/v1/subscriptions", body)
            .await;
        let secret = made["secret"].as_str().unwrap();
        *self.secret.lock().unwrap() = Some(Webhook::new(secret).unwrap());
        made["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn account(&self, server: &Server) -> String {
        let made = self
            .call(server, http::Method::POST, "/v1/accounts", json!({}))
            .await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// Connects an account to the bank; returns the path of the connection.
    pub(crate) async fn connect(&self, server: &Server, account: &str, password: &str) -> String {
        let body = json!({
            "source": "bank", "credentials": {"username": "user", "password": password},
        });
        let path = format!("/v1/accounts/{account}/connections");
        let made = self.call(server, http::Method::POST, &path, body).await;
        format!("{path}/{}", made["id"].as_str().unwrap())
    }

    /// Returns what a server says of its readiness.
    pub(crate) async fn ready(&self, server: &Server) -> u16 {
        let url = server.url("/readyz");
        let answer = child::get(&self.world.client, &url).await;
        answer.map_or(0, |answer| answer.status.as_u16())
    }

    /// Makes an account as soon as the server takes one; returns its path.
    pub(crate) async fn account_in_time(&self, server: &Server) -> String {
        let made = self.in_time(server, "/v1/accounts", json!({})).await;
        format!("/v1/accounts/{}", made["id"].as_str().unwrap())
    }

    /// Connects the account of this path as soon as the server lets it; returns the connection's path.
    pub(crate) async fn connect_in_time(
        &self,
        server: &Server,
        account: &str,
        password: &str,
    ) -> String {
        let body = json!({
            "source": "bank", "credentials": {"username": "user", "password": password},
        });
        let path = format!("{account}/connections");
        let made = self.in_time(server, &path, body).await;
        format!("{path}/{}", made["id"].as_str().unwrap())
    }

    /// Posts until it is taken: shards may be changing hands, and another node has just made what it is about.
    async fn in_time(&self, server: &Server, path: &str, body: Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let post = self.try_call(server, http::Method::POST, path, body.clone());
            let (status, shown) = post.await.unwrap();
            if status == 201 || status == 202 {
                return shown;
            }
            assert!(Instant::now() < deadline, "{path}: {status} {shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a connection shows what is wanted.
    pub(crate) async fn until(
        &self,
        server: &Server,
        connection: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self
                .call(server, http::Method::GET, connection, Value::Null)
                .await;
            if wanted(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{connection}: {shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_state(
        &self,
        server: &Server,
        connection: &str,
        state: &str,
    ) -> Value {
        self.until(server, connection, |shown| shown["state"] == state)
            .await
    }

    /// Answers the question that is open, by part; returns what came of it.
    pub(crate) async fn answer(
        &self,
        server: &Server,
        connection: &str,
        answers: &BTreeMap<&str, &str>,
    ) -> Option<u16> {
        let shown = self
            .try_call(server, http::Method::GET, connection, Value::Null)
            .await
            .ok()?
            .1;
        let open = shown["open_interaction_id"].as_str()?;
        let path = format!("{connection}/interactions/{open}");
        let question = self
            .try_call(server, http::Method::GET, &path, Value::Null)
            .await
            .ok()?
            .1;
        let mut parts = Vec::new();
        for part in question["parts"].as_array()? {
            let id = part["id"].as_str()?;
            let value = match part["kind"].as_str()? {
                "choices" => part["choices"][0]["id"].clone(),
                "text_input" => json!(answers.get(id).or_else(|| answers.get("*"))?),
                _ => continue,
            };
            parts.push(json!({"id": id, "value": value}));
        }
        let body = json!({"version": question["version"], "parts": parts});
        let answered = self
            .try_call(server, http::Method::PUT, &format!("{path}/response"), body)
            .await;
        answered.ok().map(|(status, _)| status)
    }

    /// Returns all changes that the log has, oldest first.
    pub(crate) async fn log(&self, server: &Server) -> Vec<Value> {
        let mut changes = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/changes?limit=1000&after={after}");
            let page = self
                .call(server, http::Method::GET, &path, Value::Null)
                .await;
            changes.extend(page["data"].as_array().unwrap().clone());
            after = page["next_cursor"].as_str().unwrap().to_owned();
            if page["has_more"] == false {
                return changes;
            }
        }
    }
}
