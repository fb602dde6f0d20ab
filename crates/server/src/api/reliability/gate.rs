//! Why a connection is not fetched at present.

use std::time::Duration;

use http::StatusCode;
use wellspring_core::{Connection, ConnectionState, Reason};

use super::connections::requires_reauth;
use crate::api::health::Judge;
use crate::problem::Problem;
use crate::router::App;

/// Refuses where a fetch would be in vain, with the reason and, where it is known, the time.
pub(super) fn check(app: &App, connection: &Connection) -> Result<(), Problem> {
    let now = app.clock.now();
    let judge = Judge::new(app);
    let refuse = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    if connection.state() == ConnectionState::Disabled {
        let detail = "The connection is disabled: enable it, and it can be fetched";
        return Err(refuse("connection_disabled", detail.to_owned()));
    }
    if requires_reauth(connection) {
        let detail = "The source does not take the credentials any more: \
                      reconnect, and the person can give others or agree again";
        return Err(refuse("reauth_required", detail.to_owned()));
    }
    if connection.state() == ConnectionState::Question {
        let detail = "The source asked something: answer it, and the fetch goes on";
        return Err(refuse("question_open", detail.to_owned()));
    }
    let report = judge.report(connection);
    if report.in_maintenance() {
        return Err(match report.maintenance_until {
            Some(until) => {
                let detail = format!(
                    "The source is in maintenance until {until}: it is fetched then by itself"
                );
                refuse("source_in_maintenance", detail).with_next_allowed(now, until)
            }
            None => refuse(
                "source_in_maintenance",
                "The source is in maintenance: it is fetched by itself when that is over"
                    .to_owned(),
            ),
        });
    }
    let told = connection.next();
    let told = told.filter(|next| next.reason == Reason::RateLimit && next.at > now);
    let paused = judge.lane(connection).and_then(|lane| lane.paused_until);
    let until = told
        .map(|next| next.at)
        .max(paused.filter(|until| *until > now));
    if let Some(until) = until {
        let detail =
            format!("The source throttles until {until}: a fetch before would be refused, too");
        return Err(refuse("rate_limited", detail).with_next_allowed(now, until));
    }
    let spent = judge.lane(connection).and_then(|lane| lane.next_allowed_at);
    let spent = spent.filter(|until| *until > now.after(PATIENCE) && connection.fetch().is_none());
    if let Some(until) = spent {
        let detail = format!(
            "What the source allows is used up until {until}: the connection cannot be fetched before"
        );
        return Err(refuse("rate_limited", detail).with_next_allowed(now, until));
    }
    Ok(())
}

/// For how long a fetch that is asked for may wait for its source's budget: for a short time it
/// waits, before all that is scheduled.
const PATIENCE: Duration = Duration::from_secs(60);
