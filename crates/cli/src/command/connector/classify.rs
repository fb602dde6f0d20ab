//! `wellspring connector classify`: which rule fires on a recorded response, and what follows.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use wellspring_connectors::{Recording, Sources, Verdict};
use wellspring_core::{
    Action, ErrorClass, ErrorModel, RetryPolicy, RuleTable, SourceName, format_duration,
};

use crate::output::Output;

/// Reads the recording at `file`, `-` for the standard input, and asks the rules of a source, or
/// those that ship.
pub(super) fn run(
    load: impl FnOnce() -> Result<Sources>,
    source: Option<&str>,
    errors: Option<ErrorModel>,
    file: &Path,
    output: Output,
) -> Result<()> {
    let text = read(file)?;
    let recording = Recording::parse(&text).with_context(|| file.display().to_string())?;
    let (name, table, native) = match source {
        Some(name) => {
            let name: SourceName = name.parse()?;
            let sources = load()?;
            let Some(source) = sources.get(&name) else {
                let known: Vec<String> = sources.iter().map(|s| s.name.to_string()).collect();
                bail!(
                    "there is no source `{name}`, there are: {}",
                    known.join(", ")
                );
            };
            (name, source.rules.clone(), source.connector.native())
        }
        None => {
            let model = errors.or(recording.errors).unwrap_or_default();
            ("recorded".parse()?, RuleTable::of(model), None)
        }
    };
    let verdict = recording.classify(&name, &table, native);
    output.print(&as_json(&verdict), || in_words(&verdict));
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("the standard input is not UTF-8 text")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// What follows for a connection.
struct Consequences {
    retries: String,
    state: &'static str,
    access: &'static str,
    told: &'static str,
}

fn consequences(verdict: &Verdict) -> Consequences {
    let retries = match verdict.action {
        Action::Revoke | Action::WaitForEvent | Action::Unsupported | Action::Notice(_) => {
            "none".to_owned()
        }
        Action::RestartStream => {
            format!(
                "at once from the stream's first cursor, 3 times at the most, then {}",
                policy(verdict.class)
            )
        }
        Action::NarrowWindow => {
            format!(
                "at once with a narrower window, 3 times at the most, then {}",
                policy(verdict.class)
            )
        }
        Action::Default => policy(verdict.class),
    };
    let retries = match &verdict.until {
        Some(until) => format!("not counted: when the source says, or else {until}"),
        None => retries,
    };
    Consequences {
        retries,
        state: state(verdict),
        access: access(verdict),
        told: told(verdict),
    }
}

fn policy(class: ErrorClass) -> String {
    let Some(RetryPolicy {
        base,
        factor,
        cap,
        max_retries,
        jitter,
    }) = class.policy()
    else {
        return "none".to_owned();
    };
    let (base, cap) = (format_duration(base), format_duration(cap));
    let jitter = if jitter { ", with jitter" } else { "" };
    let plan = format!("from {base} to {cap}, ×{factor}{jitter}");
    match class {
        ErrorClass::BankMaintenance | ErrorClass::RateLimitExceeded => {
            format!("not counted: when the source says, or else {plan}")
        }
        ErrorClass::ConnectionFailure
        | ErrorClass::InstitutionError
        | ErrorClass::ItemError
        | ErrorClass::AuthenticationError
        | ErrorClass::ProductNotAvailable
        | ErrorClass::InvalidRequest
        | ErrorClass::InternalError
        | ErrorClass::UnknownError => format!("{max_retries} in the same fetch, {plan}"),
    }
}

fn state(verdict: &Verdict) -> &'static str {
    match (verdict.action, verdict.class) {
        (Action::Revoke, _) => "waiting, nothing is fetched until the person connects it again",
        (_, ErrorClass::AuthenticationError) => {
            "question for the credentials if the person is there, else waiting for the person"
        }
        (Action::WaitForEvent, _) => "waiting, until the source sends an event or a person asks",
        (Action::Unsupported, _) => "error at once, until a person asks",
        (Action::Notice(_), _) => {
            "question with the notice if the person may be asked, else waiting for the person"
        }
        (Action::Default | Action::RestartStream | Action::NarrowWindow, class) => match class {
            ErrorClass::BankMaintenance => "waiting for the end of the maintenance, never error",
            ErrorClass::RateLimitExceeded => "waiting until the source allows it, never error",
            ErrorClass::ProductNotAvailable => "waiting for its schedule, it stays enabled",
            ErrorClass::InvalidRequest | ErrorClass::InternalError => {
                "waiting for its schedule, the connection is not blamed"
            }
            ErrorClass::ConnectionFailure
            | ErrorClass::InstitutionError
            | ErrorClass::ItemError
            | ErrorClass::AuthenticationError
            | ErrorClass::UnknownError => {
                "retrying by the slow plan once the retries are spent, then error"
            }
        },
    }
}

fn access(verdict: &Verdict) -> &'static str {
    match (verdict.action, verdict.class) {
        (Action::Revoke, _) => "revoked, the credentials are purged",
        (_, ErrorClass::AuthenticationError) => "reauth_required",
        (
            Action::Default
            | Action::WaitForEvent
            | Action::RestartStream
            | Action::NarrowWindow
            | Action::Unsupported
            | Action::Notice(_),
            _,
        ) => "as it was",
    }
}

fn told(verdict: &Verdict) -> &'static str {
    match (verdict.action, verdict.class) {
        (Action::Revoke | Action::Notice(_), _) | (_, ErrorClass::AuthenticationError) => {
            "the person and the tenant"
        }
        (Action::WaitForEvent, _) => "nobody: it is not a failure",
        (Action::Unsupported, _) | (_, ErrorClass::ProductNotAvailable) => "the tenant",
        (Action::Default | Action::RestartStream | Action::NarrowWindow, class) => match class {
            ErrorClass::BankMaintenance => "tenants, once; it counts against nobody's health",
            ErrorClass::RateLimitExceeded => "the tenant",
            ErrorClass::ConnectionFailure => {
                "nobody yet; it counts towards the source's circuit breaker"
            }
            ErrorClass::InvalidRequest | ErrorClass::InternalError => {
                "the operator: it is our fault"
            }
            ErrorClass::UnknownError => {
                "nobody yet; it is listed for the operator, so that a rule can be written"
            }
            ErrorClass::InstitutionError
            | ErrorClass::ItemError
            | ErrorClass::AuthenticationError
            | ErrorClass::ProductNotAvailable => "nobody until the fetch has failed",
        },
    }
}

fn in_words(verdict: &Verdict) -> String {
    let Consequences {
        retries,
        state,
        access,
        told,
    } = consequences(verdict);
    let mut lines = vec![
        format!(
            "rule      {}",
            verdict.rule.as_deref().unwrap_or("none matches")
        ),
        format!("class     {}", verdict.class),
        format!("action    {}", verdict.action),
        format!("retries   {retries}"),
        format!("state     {state}"),
        format!("access    {access}"),
        format!("told      {told}"),
    ];
    if let Some(say) = &verdict.say {
        lines.push(format!("message   {say}"));
    }
    if let Some(kept) = &verdict.unclassified {
        lines.push(format!("sample    {}", kept.shape));
    }
    lines.join("\n")
}

fn as_json(verdict: &Verdict) -> Value {
    let Consequences {
        retries,
        state,
        access,
        told,
    } = consequences(verdict);
    json!({
        "rule": verdict.rule,
        "class": verdict.class,
        "action": verdict.action,
        "until": verdict.until,
        "message": verdict.say,
        "retries": verdict.class.policy().map(|plan| json!({
            "max": plan.max_retries,
            "base_s": plan.base.as_secs(),
            "cap_s": plan.cap.as_secs(),
            "factor": plan.factor,
            "jitter": plan.jitter,
        })),
        "consequences": {"retries": retries, "state": state, "access": access, "told": told},
        "unclassified": verdict.unclassified,
    })
}
