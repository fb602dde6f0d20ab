//! `wellspring demo`: the main jobs for real, on this machine, with a kill in the middle.

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use wellspring_engine::Tasks;
use wellspring_outbound::Client;

use crate::child::{self, KEY, Server, Start};

mod collect;
mod connect;
mod outage;

/// The demo's flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Run the jobs, print the summary and end; fails unless all of them did what they should
    #[arg(long)]
    once: bool,
    /// How many collections to send
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(2..=20_000))]
    count: u64,
}

/// Runs the demo.
pub(crate) async fn run(demo: Demo) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let tasks = Tasks::default();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let outcome = tokio::select! {
        outcome = play(&demo, folder.path(), &tasks) => outcome,
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
        _ = hang_up.recv() => Err(anyhow::anyhow!("the terminal was closed")),
    };
    tasks.stop();
    tasks.ended().await;
    outcome
}

async fn play(demo: &Demo, folder: &std::path::Path, tasks: &Tasks) -> Result<()> {
    std::fs::create_dir_all(folder.join("sources"))?;
    let providers = collect::Stage::set(folder, tasks)?;
    let banks = connect::Stage::set(folder, tasks)?;
    let weather = outage::Stage::set(folder, tasks)?;
    let started = Instant::now();
    let server = Server::start(Start::serve(std::env::current_exe()?, folder, None)).await?;
    let client = child::client()?;

    providers.learn_secret(&client, &server).await?;
    say(&format!(
        "1. Two providers that fail half the time, a callback that fails one time in five, \
         {} collections, and a kill -9 in the middle.\n   (Retries are shortened for the demo: first after 250 ms.)\n",
        demo.count
    ));
    let (server, run) = collect::play(demo.count, server, &client, &providers).await?;
    let collected = collect::Summary::measure(&client, &server, &providers, &run).await?;
    print(&collected.table());

    say(
        "\n2. One account, five connections to pretend banks, told by signed webhooks.\n   \
         (Waits are shortened for the demo: attempts 200 ms apart, the slow plan 1 s instead of 2 h and 24 h,\n   \
         one-time codes live 2 s instead of 10 min.)\n",
    );
    let connected = connect::play(&server, &client, &banks).await?;
    print(&connected.table());

    say(
        "\n3. A bank that is in maintenance, a provider that takes only so many calls, credentials that do not work,\n   \
         and a person who is told once when something begins and once when it is over.\n",
    );
    let weathered = outage::play(&server, &client, &weather).await?;
    print(&weathered.table());
    print(&format!(
        "\n  {:<46}{:.1} s\n",
        "the whole run",
        started.elapsed().as_secs_f64()
    ));
    if !collected.is_good() || !connected.is_good() || !weathered.is_good() {
        bail!("the demo did not do what it should; see the tables");
    }
    if !demo.once {
        say(&format!(
            "\nStill running; press Ctrl-C to end.\n\
             \x20 API documentation   {docs}\n\
             \x20 one collection      curl -H 'Authorization: Bearer {KEY}' {one}\n\
             \x20 the connections     curl -H 'Authorization: Bearer {KEY}' {connections}\n\
             \x20 the change log      curl -H 'Authorization: Bearer {KEY}' '{log}'\n\
             \x20 connect a bank      {link}\n\
             \x20                     (user name `user`, password `mfaquestion`, the answer is Smith)\n\
             \x20 the incident        curl -H 'Authorization: Bearer {KEY}' {incidents}\n\
             \x20 the providers       curl {sandbox}/control\n",
            docs = server.url("/docs"),
            one = server.url(&format!("/collect/{}", run.first())),
            connections = server.url(&format!("/v1/accounts/{}/connections", connected.account)),
            log = server.url("/v1/changes?pattern=*%20/accounts/**&limit=5"),
            link = connect::link(&server, &client, &connected.account).await?,
            incidents = server.url("/v1/incidents"),
            sandbox = providers.url(),
        ));
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

async fn call(client: &Client, method: Method, url: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let response = child::send(client, method.clone(), url, None, body.into()).await?;
    if !response.status.is_success() {
        let text = String::from_utf8_lossy(&response.body).into_owned();
        bail!("{method} {url} answered {}: {text}", response.status);
    }
    Ok(serde_json::from_slice(&response.body).unwrap_or(Value::Null))
}

#[expect(clippy::print_stderr, reason = "talks to the person at the terminal")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "the result is data")]
fn print(text: &str) {
    print!("{text}");
}
