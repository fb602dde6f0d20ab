//! What one written step may do to one collection.

use wellspring_core::{
    Attempt, Collection, CollectionPolicy, Disposition, Error, Kind, Outcome, State, Timestamp,
};
use wellspring_engine::CollectionWrite;

use super::Past;

/// Checks a step against what really happened outside.
pub(super) fn check(
    before: &Collection,
    write: &CollectionWrite,
    calls: &[Past],
    policy: &CollectionPolicy,
    now: Option<Timestamp>,
) -> Result<(), String> {
    let Some(next) = &write.next else {
        return Ok(());
    };
    let unchanged = (before.id, before.tenant, &before.source, before.created_at)
        == (next.id, next.tenant, &next.source, next.created_at)
        && before.callback_url == next.callback_url;
    if !unchanged || next.version != before.version + 1 {
        return Err(format!("became {next:?}"));
    }
    let call = match &write.attempt {
        Some(attempt) => Some(call_of(attempt, write, calls)?),
        None => None,
    };
    match (&before.state, &next.state) {
        (
            State::Collecting {
                since,
                retries,
                waits,
                ..
            },
            State::Collecting {
                since: next_since,
                retries: next_retries,
                waits: next_waits,
                due,
            },
        ) => {
            let call = call.ok_or("waits anew without a call")?;
            let error = call.error.as_ref().ok_or("data came, yet it waits anew")?;
            let counts = error.class.disposition() == Disposition::Retry && !call.probe;
            let expected = if counts {
                (*retries + 1, *waits)
            } else {
                (*retries, *waits + 1)
            };
            require(next_since == since, "its stage began anew")?;
            require(
                (*next_retries, *next_waits) == expected,
                "a failure was counted wrongly",
            )?;
            require(
                *next_retries <= policy.collect.max_retries,
                "more failures than the policy allows",
            )?;
            require(
                *due <= since.after(policy.give_up_after) || *due <= after_call(write),
                "it waits beyond its give-up time",
            )
        }
        (
            State::Collecting { .. },
            State::Delivering {
                kind: Kind::Success,
                retries: 0,
                ..
            },
        ) => {
            let call = call.ok_or("data without a call")?;
            require(call.error.is_none(), "data from a call that failed")?;
            require(
                call.payload == write.payload && write.payload.is_some(),
                "other data than the source gave",
            )
        }
        (
            State::Collecting { since, retries, .. },
            State::Delivering {
                kind: Kind::Failure(_),
                since: now,
                ..
            },
        ) => match call {
            Some(call) => spent_by(call, *retries, policy.collect.max_retries),
            None => require(
                *now >= since.after(policy.give_up_after),
                "given up before its time",
            ),
        },
        (
            State::Delivering {
                kind,
                since,
                retries,
                ..
            },
            State::Delivering {
                kind: next_kind,
                since: next_since,
                retries: next_retries,
                ..
            },
        ) => {
            let call = call.ok_or("waits anew without a call")?;
            require(
                call.error.is_some(),
                "the message was taken, yet it waits anew",
            )?;
            let expected = *retries + u16::from(!call.probe);
            require(
                (kind, since) == (next_kind, next_since) && before.message == next.message,
                "the message changed between attempts",
            )?;
            require(*next_retries == expected, "a failure was counted wrongly")?;
            require(
                *next_retries <= policy.deliver.max_retries,
                "more failures than the policy allows",
            )
        }
        (
            State::Delivering {
                kind: Kind::Success,
                ..
            },
            State::Delivered { .. },
        ) => {
            let call = call.ok_or("delivered without a call")?;
            require(
                call.error.is_none(),
                "delivered by a call that was not taken",
            )
        }
        (
            State::Delivering {
                kind: Kind::Success,
                since,
                retries,
                ..
            },
            State::Failed { at, .. },
        ) => match call {
            Some(call) => spent_by(call, *retries, policy.deliver.max_retries),
            None => require(
                *at >= since.after(policy.give_up_after),
                "given up before its time",
            ),
        },
        (
            State::Delivering {
                kind: Kind::Failure(_),
                retries,
                ..
            },
            State::Failed { .. },
        ) => match call {
            Some(call) if call.error.is_none() => Ok(()),
            Some(call) => spent_by(call, *retries, policy.deliver.max_retries),
            None => Ok(()),
        },
        (
            State::Delivering {
                kind: Kind::Failure(_),
                ..
            }
            | State::Failed { .. },
            State::Collecting {
                retries: 0,
                waits: 0,
                ..
            },
        )
        | (
            State::Failed { .. },
            State::Delivering {
                kind: Kind::Success,
                retries: 0,
                ..
            },
        ) => require(
            write.attempt.is_none() && now.is_some(),
            "resumed without a word in the log",
        ),
        (
            State::Collecting { .. }
            | State::Delivering { .. }
            | State::Delivered { .. }
            | State::Failed { .. },
            State::Collecting { .. }
            | State::Delivering { .. }
            | State::Delivered { .. }
            | State::Failed { .. },
        ) => Err(format!("no step leads from {:?}", before.state)),
    }
}

fn call_of<'a>(
    attempt: &Attempt,
    write: &CollectionWrite,
    calls: &'a [Past],
) -> Result<&'a Past, String> {
    // Two nodes with differing clocks may call in what each takes for the same moment.
    let matching = calls.iter().filter(|call| {
        call.started == attempt.at
            && match &attempt.outcome {
                Outcome::Succeeded => call.error.is_none(),
                Outcome::Failed(error) => call.error.as_ref() == Some(error),
            }
    });
    let exact = matching.clone().find(|call| call.payload == write.payload);
    let call = exact.or_else(|| matching.clone().next());
    call.ok_or_else(|| format!("no call of this version ended like {attempt:?}"))
}

fn after_call(write: &CollectionWrite) -> Timestamp {
    write
        .attempt
        .as_ref()
        .map_or(Timestamp::MIN, |attempt| attempt.at.after(attempt.duration))
}

fn spent_by(call: &Past, retries: u16, max_retries: u16) -> Result<(), String> {
    let stops = |error: &Error| error.class.disposition() == Disposition::Stop;
    let stopped = call.fetch && call.error.as_ref().is_some_and(stops);
    let spent = !call.probe && retries >= max_retries;
    require(
        call.error.is_some() && (stopped || call.gone || spent),
        "given up with retries left",
    )
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}
