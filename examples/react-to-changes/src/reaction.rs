//! What the application does about each change.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::api::Api;
use crate::hooks::Change;

/// What follows from a change.
pub(crate) enum Next {
    /// The next change is waited for.
    GoOn,
    /// The person is asked this.
    Ask { path: String, interaction: Value },
    /// The application has what it wants, or knows that it will not get it.
    Done(&'static str),
}

/// The application and the one connection that it made.
#[derive(Debug)]
pub(crate) struct App {
    api: Api,
    /// The path of the connection, under which all its changes are.
    connection: String,
    patience: u64,
    upload: Option<PathBuf>,
    /// The question that the person is shown.
    shown: Option<String>,
    documents: u64,
}

impl App {
    pub(crate) fn new(
        api: Api,
        account: &str,
        connection: &str,
        patience: u64,
        upload: Option<PathBuf>,
    ) -> Self {
        Self {
            api,
            connection: format!("/accounts/{account}/connections/{connection}"),
            patience,
            upload,
            shown: None,
            documents: 0,
        }
    }

    pub(crate) const fn api(&self) -> &Api {
        &self.api
    }

    /// Logs the change, and does what it asks for.
    pub(crate) fn react(&mut self, change: &Change) -> Result<Next> {
        let Some(rest) = change.path.strip_prefix(&self.connection) else {
            return Ok(Next::GoOn);
        };
        println!("{} {rest}", change.verb);
        let segments: Vec<&str> = rest.split('/').skip(1).collect();
        match (&change.verb[..], &segments[..]) {
            ("UPDATED", ["state", state]) => self.state(state, &change.body),
            ("CREATED", ["interactions", _]) => self.question(&change.path),
            ("DELETED", ["interactions", _]) => {
                if self.shown.take().is_some_and(|shown| shown == change.path) {
                    println!("  the question is taken away: {}", change.body["reason"]);
                }
                Ok(Next::GoOn)
            }
            ("CREATED", ["documents", _]) => {
                self.documents += 1;
                Ok(Next::GoOn)
            }
            _ => Ok(Next::GoOn),
        }
    }

    fn state(&self, state: &str, body: &Value) -> Result<Next> {
        let retries = body["retries"].as_u64().unwrap_or(0);
        match state {
            // Older versions of the interface show `retrying` as `waiting` with `retries`.
            "retrying" | "waiting" if retries > 0 => {
                println!(
                    "  failed {retries} times ({}), next at {}",
                    body["outcome"], body["next_attempt_at"]
                );
                if retries > self.patience {
                    return self.fall_back();
                }
                Ok(Next::GoOn)
            }
            "waiting" if body["manual_upload_wanted"] == true => self.fall_back(),
            "waiting" if body["outcome"] == "success" => {
                println!("  {} documents are here", self.documents);
                Ok(Next::Done("the documents were fetched"))
            }
            "error" => self.fall_back(),
            _ => Ok(Next::GoOn),
        }
    }

    fn question(&mut self, path: &str) -> Result<Next> {
        self.shown = Some(path.to_owned());
        let interaction = self.api.interaction(path)?;
        Ok(Next::Ask {
            path: path.to_owned(),
            interaction,
        })
    }

    /// Sends what the person answered, unless the question was taken away meanwhile.
    pub(crate) fn answer(&self, path: &str, interaction: &Value, parts: &[Value]) -> Result<()> {
        let open = self.shown.as_deref() == Some(path)
            && self.api.respond(path, &interaction["version"], parts)?;
        if !open {
            println!("  too late: the question is over");
        }
        Ok(())
    }

    /// The person uploads by hand what the source did not give.
    fn fall_back(&self) -> Result<Next> {
        let Some(path) = &self.upload else {
            println!("  please upload the document by hand (--upload FILE)");
            return Ok(Next::Done("an upload by hand is wanted"));
        };
        let file = std::fs::read(path).with_context(|| path.display().to_string())?;
        let name = path
            .file_name()
            .map_or_else(Default::default, |name| name.to_string_lossy());
        let made = self.api.upload(&self.connection, &name, &file)?;
        println!("  uploaded {}", made["id"]);
        Ok(Next::Done("the document was uploaded by hand"))
    }
}
