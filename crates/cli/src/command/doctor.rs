//! `wellspring doctor`: looks at everything a node needs.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;
use wellspring_core::Timestamp;
use wellspring_engine::{Clock, SystemClock};

use crate::admin::{self, Request};
use crate::config::Config;
use crate::output::Output;
use crate::wiring;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

struct Finding {
    what: String,
    verdict: Verdict,
    detail: String,
}

/// Prints what it finds; fails if anything would keep the node from working.
pub(crate) async fn run(config: &Config, output: Output) -> Result<()> {
    let mut findings = database(config).await;
    findings.push(clock());
    findings.push(network().await);
    findings.extend(sources(config).await);
    findings.extend(mail_server(config).await);
    findings.extend(collector(config).await);

    let value = json!({"findings": findings.iter().map(|finding| json!({
        "what": finding.what, "verdict": name(finding.verdict), "detail": finding.detail,
    })).collect::<Vec<_>>()});
    output.print(&value, || {
        let line = |finding: &Finding| {
            format!(
                "{:<8}{:<22} {}",
                name(finding.verdict),
                finding.what,
                finding.detail
            )
        };
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    let failed = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Failed)
        .count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", findings.len());
    }
    Ok(())
}

const fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "failed",
    }
}

fn finding(what: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        verdict,
        detail: detail.into(),
    }
}

async fn database(config: &Config) -> Vec<Finding> {
    match admin::run(config, Request::Check).await {
        Ok(reply) => {
            let keys = reply["keys"].as_u64().unwrap_or(0);
            let verdict = if keys == 0 {
                Verdict::Warning
            } else {
                Verdict::Ok
            };
            let hint = if keys == 0 {
                ": make one with `wellspring key create`"
            } else {
                ""
            };
            vec![
                finding(
                    "database",
                    Verdict::Ok,
                    format!("{} answers", reply["database"].as_str().unwrap_or("it")),
                ),
                finding("master key", Verdict::Ok, "fits the database"),
                finding(
                    "keys",
                    verdict,
                    format!("{keys} that work, {} tenants{hint}", reply["tenants"]),
                ),
            ]
        }
        Err(error) => vec![finding("database", Verdict::Failed, format!("{error:#}"))],
    }
}

fn clock() -> Finding {
    let now = SystemClock.now();
    // Before the first release or after 2100: a clock that was never set.
    let plausible = now > Timestamp::from_millis(1_767_225_600_000)
        && now < Timestamp::from_millis(4_102_444_800_000);
    let verdict = if plausible {
        Verdict::Ok
    } else {
        Verdict::Failed
    };
    finding("clock", verdict, format!("{now}"))
}

async fn network() -> Finding {
    let lookup =
        tokio::time::timeout(PATIENCE, tokio::net::lookup_host(("example.com", 443))).await;
    match lookup {
        Ok(Ok(_)) => finding("outbound network", Verdict::Ok, "names resolve"),
        Ok(Err(_)) | Err(_) => finding(
            "outbound network",
            Verdict::Warning,
            "public names do not resolve: only addresses can be reached",
        ),
    }
}

async fn sources(config: &Config) -> Vec<Finding> {
    let sources = match wiring::load_sources(config) {
        Ok(sources) => sources,
        Err(error) => return vec![finding("sources", Verdict::Failed, format!("{error:#}"))],
    };
    if sources.is_empty() {
        return vec![finding(
            "sources",
            Verdict::Warning,
            format!("none in {}", config.sources.display()),
        )];
    }
    let mut findings = Vec::new();
    for source in sources.iter() {
        let (host, port) = (
            source.target.host().trim_matches(['[', ']']).to_owned(),
            source.target.port(),
        );
        let connected = tokio::time::timeout(
            PATIENCE,
            tokio::net::TcpStream::connect((host.as_str(), port)),
        )
        .await;
        let (verdict, detail) = match connected {
            Ok(Ok(_)) => (Verdict::Ok, format!("{host}:{port} takes connections")),
            Ok(Err(error)) => (Verdict::Warning, format!("{host}:{port}: {error}")),
            Err(_) => (
                Verdict::Warning,
                format!("{host}:{port}: no connection within 3 s"),
            ),
        };
        findings.push(finding(format!("source {}", source.name), verdict, detail));
    }
    findings
}

async fn mail_server(config: &Config) -> Option<Finding> {
    let email = config.notifications.email.clone()?;
    let what = format!("mail server {}", email.host);
    Some(match email.greet(PATIENCE).await {
        Ok(()) => finding(what, Verdict::Ok, "greets and lets in"),
        Err(error) => finding(what, Verdict::Failed, error),
    })
}

/// Spans are given up where the collector is away, so nothing fails for want of it.
async fn collector(config: &Config) -> Option<Finding> {
    let what = "collector of traces";
    let exporter = match wiring::exporter(config) {
        Ok(exporter) => exporter?,
        Err(error) => return Some(finding(what, Verdict::Failed, format!("{error:#}"))),
    };
    let greeted = tokio::time::timeout(PATIENCE, exporter.greet()).await;
    Some(match greeted {
        Ok(Ok(())) => finding(what, Verdict::Ok, "takes exports"),
        Ok(Err(error)) => finding(what, Verdict::Warning, error.to_string()),
        Err(_) => finding(what, Verdict::Warning, "no answer within 3 s"),
    })
}

const PATIENCE: Duration = Duration::from_secs(3);
