use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_saphyr::Spanned;
use thiserror::Error;
use wellspring_core::{format_duration, parse_duration};

/// One thing that is wrong with a source file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{reason}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct ConfigError {
    /// Where, counted from 1.
    pub line: Option<u64>,
    /// What; it names the key.
    pub reason: String,
}

/// Collects what is wrong, so that all of it is reported at once.
#[derive(Debug, Default)]
pub(super) struct Faults {
    errors: Vec<ConfigError>,
}

impl Faults {
    pub(super) fn add(&mut self, line: Option<u64>, reason: String) {
        self.errors.push(ConfigError { line, reason });
    }

    /// Returns the value, or notes what is wrong with it.
    pub(super) fn unless<T, E: Display>(
        &mut self,
        key: &str,
        line: u64,
        value: Result<T, E>,
    ) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(Some(line), format!("`{key}` {error}"));
                None
            }
        }
    }

    /// Reads a value that must be there.
    pub(super) fn read<T, E: Display>(
        &mut self,
        key: &str,
        value: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.unless(key, value.referenced.line(), read(&value.value))
    }

    /// Reads a value that may be absent; the default stands in for a faulty one.
    pub(super) fn read_or<T, E: Display>(
        &mut self,
        key: &str,
        value: Option<&Spanned<String>>,
        default: T,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        value
            .and_then(|value| self.read(key, value, read))
            .unwrap_or(default)
    }

    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        self.errors
    }
}

/// Reads a duration of more than nothing, and of `longest` at most.
pub(super) fn duration(text: &str, longest: Option<Duration>) -> Result<Duration, String> {
    let Ok(duration) = parse_duration(text) else {
        return Err("must be a duration such as 250ms, 10s, 15m or 72h".to_owned());
    };
    if duration.is_zero() {
        return Err("must be more than 0".to_owned());
    }
    match longest {
        Some(longest) if duration > longest => Err(format!(
            "must not be more than {}",
            format_duration(longest)
        )),
        Some(_) | None => Ok(duration),
    }
}

/// Reads a number from `least` to `most`.
pub(super) fn number<T: Copy + FromStr + PartialOrd + Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    let number = text.parse::<T>().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("must be {least} to {most}"))
}
