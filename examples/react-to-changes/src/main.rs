//! An application that is driven by change notifications instead of polling.
//!
//! It uses Wellspring's public HTTP API and nothing else: it subscribes to every state of every
//! connection, connects an account to a source, poses the source's questions in the terminal,
//! notices retries, asks for an upload by hand where the source has given up, and takes a question
//! away when it can no longer be answered.

#![expect(
    clippy::print_stdout,
    reason = "the terminal is this program's user interface"
)]

mod api;
mod dialog;
mod hooks;
mod reaction;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::sync::mpsc;

use api::Api;
use dialog::Dialog;
use reaction::{App, Next};

/// Connects an account to a source and does what the changes say.
#[derive(Debug, Parser)]
struct Args {
    /// Where Wellspring is.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    api: String,
    /// An API key of the tenant.
    #[arg(long, env = "WELLSPRING_API_KEY", hide_env_values = true)]
    key: String,
    /// Where this program takes its webhooks; Wellspring must be allowed to call it.
    #[arg(long, default_value = "127.0.0.1:4020")]
    listen: SocketAddr,
    /// The source to connect to.
    #[arg(long, default_value = "sandbox-bank")]
    source: String,
    /// The user name at the source.
    #[arg(long, default_value = "user")]
    username: String,
    /// The password at the source; the sandbox bank takes its behaviour from it.
    #[arg(long, default_value = "mfaquestion")]
    password: String,
    /// An answer given in advance, as `part=value`, or `*=value` for any part; questions are asked
    /// in the terminal otherwise.
    #[arg(long = "answer", value_parser = pair)]
    answers: Vec<(String, String)>,
    /// How many failed fetches are waited for before the person is asked for an upload.
    #[arg(long, default_value_t = 0)]
    patience: u64,
    /// The document that the person uploads when the source has failed.
    #[arg(long)]
    upload: Option<PathBuf>,
    /// Ends after this many seconds, whatever has happened.
    #[arg(long, default_value_t = 600)]
    give_up_after: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let (changes, mut incoming) = mpsc::channel(100);
    let api = Api::new(&args.api, &args.key);

    // Everything that happens from now on is told, whichever state it is: it is logged even
    // where nothing is done about it.
    let hook = format!("http://{}/changes", args.listen);
    let subscription = api.subscribe(&hook, &PATTERNS)?;
    let server = hooks::serve(args.listen, &subscription.secret, changes).await?;
    println!("subscribed {} to {}", subscription.id, PATTERNS.join(", "));

    let account = api.create_account()?;
    let credentials = [("username", &args.username), ("password", &args.password)];
    let connection = api.connect(&account, &args.source, &credentials)?;
    println!("connected {account} to {} as {connection}", args.source);

    let dialog = Arc::new(Dialog::new(args.answers));
    let (posed, mut answers) = mpsc::channel(1);
    let mut app = App::new(api, &account, &connection, args.patience, args.upload);
    let deadline = tokio::time::sleep(Duration::from_secs(args.give_up_after));
    tokio::pin!(deadline, server);
    let outcome = loop {
        tokio::select! {
            Some(change) = incoming.recv() => match app.react(&change)? {
                Next::GoOn => {}
                Next::Ask { path, interaction } => {
                    let (dialog, posed) = (Arc::clone(&dialog), posed.clone());
                    // The person may take long; changes are heard meanwhile.
                    tokio::task::spawn_blocking(move || {
                        let parts = dialog.pose(&interaction);
                        posed.blocking_send((path, interaction, parts)).ok();
                    });
                }
                Next::Done(outcome) => break outcome,
            },
            Some((path, interaction, parts)) = answers.recv() => {
                app.answer(&path, &interaction, &parts?)?;
            }
            () = &mut server => break "the webhooks can no longer be taken",
            () = &mut deadline => break "nothing more happened in time",
        }
    };
    println!("done: {outcome}");
    app.api().unsubscribe(&subscription.id)?;
    Ok(())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (part, value) = text
        .split_once('=')
        .ok_or("an answer is written as part=value")?;
    Ok((part.to_owned(), value.to_owned()))
}

/// The wildcard for the states, so that the log shows the whole picture, and the questions.
const PATTERNS: [&str; 4] = [
    "UPDATE /accounts/*/connections/*/state/*",
    "CREATED /accounts/*/connections/*/interactions/*",
    "DELETED /accounts/*/connections/*/interactions/*",
    "CREATED /accounts/*/connections/*/documents/*",
];

/// Adds what went wrong to an error of the HTTP client.
fn call<T>(what: &str, result: Result<T, ureq::Error>) -> Result<T> {
    result.with_context(|| format!("{what} did not work"))
}
