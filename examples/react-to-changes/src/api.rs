//! The few calls of Wellspring's API that the program makes.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::{Agent, Body};

use crate::call;

/// A client with an API key.
#[derive(Debug)]
pub(crate) struct Api {
    agent: Agent,
    base: String,
    authorization: String,
}

/// A subscription that was just made.
pub(crate) struct Subscription {
    pub(crate) id: String,
    /// By which its messages are signed; it is told once.
    pub(crate) secret: String,
}

impl Api {
    pub(crate) fn new(base: &str, key: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false);
        Self {
            agent: config.build().into(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {key}"),
        }
    }

    pub(crate) fn subscribe(&self, url: &str, patterns: &[&str]) -> Result<Subscription> {
        let body = json!({ "url": url, "patterns": patterns });
        let made = self.post("/v1/subscriptions", &body)?;
        Ok(Subscription {
            id: text(&made, "id")?,
            secret: text(&made, "secret")?,
        })
    }

    pub(crate) fn unsubscribe(&self, id: &str) -> Result<()> {
        let url = format!("{}/v1/subscriptions/{id}", self.base);
        let request = self
            .agent
            .delete(url)
            .header("authorization", &self.authorization);
        read("unsubscribing", call("unsubscribing", request.call())?).map(drop)
    }

    /// Makes an account; one of your users would have an `external_id`, which is unique.
    pub(crate) fn create_account(&self) -> Result<String> {
        let made = self.post("/v1/accounts", &json!({}))?;
        text(&made, "id")
    }

    pub(crate) fn connect(
        &self,
        account: &str,
        source: &str,
        credentials: &[(&str, &String)],
    ) -> Result<String> {
        let credentials: serde_json::Map<String, Value> = credentials
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let body = json!({ "source": source, "credentials": credentials });
        let made = self.post(&format!("/v1/accounts/{account}/connections"), &body)?;
        text(&made, "id")
    }

    pub(crate) fn interaction(&self, path: &str) -> Result<Value> {
        self.get(&format!("/v1{path}"))
    }

    /// Answers a question; returns whether it was still open.
    pub(crate) fn respond(&self, path: &str, version: &Value, parts: &[Value]) -> Result<bool> {
        let url = format!("{}/v1{path}/response", self.base);
        let request = self
            .agent
            .put(url)
            .header("authorization", &self.authorization);
        let body = json!({ "version": version, "parts": parts });
        let answer = call("answering", request.send_json(&body))?;
        if answer.status() == 410 {
            return Ok(false);
        }
        read("answering", answer).map(|_taken| true)
    }

    pub(crate) fn upload(&self, connection: &str, name: &str, file: &[u8]) -> Result<Value> {
        let boundary = "react-to-changes-7c1f0b6e";
        let mut body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: application/pdf\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let url = format!("{}/v1{connection}/documents", self.base);
        let request = self
            .agent
            .post(url)
            .header("authorization", &self.authorization)
            .header(
                "content-type",
                format!("multipart/form-data; boundary={boundary}"),
            );
        read("uploading", call("uploading", request.send(&body[..]))?)
    }

    fn get(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = self
            .agent
            .get(url)
            .header("authorization", &self.authorization);
        read(path, call(path, request.call())?)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let request = self
            .agent
            .post(url)
            .header("authorization", &self.authorization);
        read(path, call(path, request.send_json(body))?)
    }
}

/// Reads an answer; one that is an error says in words what was wrong.
fn read(what: &str, mut answer: http::Response<Body>) -> Result<Value> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string()?;
    if !status.is_success() {
        bail!("{what}: {status}: {text}");
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("{what}: the answer is not JSON"))
}

fn text(value: &Value, member: &str) -> Result<String> {
    let text = value[member].as_str();
    Ok(text
        .with_context(|| format!("the answer has no {member}"))?
        .to_owned())
}
