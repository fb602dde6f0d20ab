use std::sync::Arc;

use serde_json::{Map, Value};
use wellspring_core::RetryPolicy;
use wellspring_core::interaction::CredentialField;
use wellspring_core::schedule::{Schedule, SlowPlan};
use wellspring_engine::ConnectionDefaults;

use super::ConnectorKind;
use super::fault::Faults;
use super::file::{File, ScheduleFile};

/// Builds what holds for the connections of a kind that has some, and refuses the keys that are
/// for the other kinds.
///
/// `attempts` is what the `retry` block says, if there is one: how failed attempts inside one
/// fetch are repeated, in place of the plans of the classes.
pub(super) fn connections(
    kind: ConnectorKind,
    file: &File,
    attempts: RetryPolicy,
    faults: &mut Faults,
) -> Option<ConnectionDefaults> {
    let Some(native) = kind.native() else {
        let schedule = file.schedule.as_ref().map(|value| value.referenced.line());
        let slow_plan = file.slow_plan.as_ref().map(|value| value.referenced.line());
        for (key, line) in [("schedule", schedule), ("slow_plan", slow_plan)] {
            misplaced(key, line, "which has no connections", kind, faults);
        }
        return None;
    };
    let deliver = file.deliver.as_ref().map(|value| value.referenced.line());
    misplaced("deliver", deliver, "which has no collections", kind, faults);
    let give_up_after = file
        .retry
        .as_ref()
        .and_then(|retry| retry.value.give_up_after.as_ref());
    let give_up_after = give_up_after.map(|value| value.referenced.line());
    misplaced(
        "retry.give_up_after",
        give_up_after,
        "which has `slow_plan`",
        kind,
        faults,
    );
    let schedule = file.schedule.as_ref().and_then(|written| {
        let line = written.referenced.line();
        let schedule = schedule(&written.value);
        faults.unless("schedule", line, schedule)
    });
    let slow_plan = file.slow_plan.as_ref().and_then(|written| {
        let line = written.referenced.line();
        let plan = SlowPlan::try_from(written.value.clone());
        faults.unless("slow_plan", line, plan)
    });
    Some(ConnectionDefaults {
        schedule: schedule.unwrap_or(Schedule::Every(super::DEFAULT_PERIOD)),
        slow_plan: slow_plan.unwrap_or_default(),
        attempts: file.retry.is_some().then_some(attempts),
        credential_fields: Arc::<[CredentialField]>::from(native.credential_fields()),
    })
}

/// Reads a schedule in the form that the API takes, so that both say the same of a faulty one.
fn schedule(written: &ScheduleFile) -> Result<Schedule, String> {
    let mut object = Map::new();
    let mut text = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            object.insert(key.to_owned(), Value::String(value.clone()));
        }
    };
    text("every", &written.every);
    text("cron", &written.cron);
    text("timezone", &written.timezone);
    if let Some(manual) = &written.manual {
        let Ok(manual) = manual.parse::<bool>() else {
            return Err("manual: must be true".to_owned());
        };
        object.insert("manual".to_owned(), Value::Bool(manual));
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

fn misplaced(key: &str, line: Option<u64>, why: &str, kind: ConnectorKind, faults: &mut Faults) {
    if let Some(line) = line {
        let reason = format!("`{key}` is not a key of {}, {why}", kind.as_str());
        faults.add(Some(line), reason);
    }
}
