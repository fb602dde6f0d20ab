//! Durations as people write them: `250ms`, `10s`, `15m`, `72h`.

use std::time::Duration;

use jiff::SignedDuration;

/// Reads `250ms`, `10s`, `1h30m` or the ISO 8601 form.
///
/// # Errors
///
/// Says in words what a duration looks like when `text` is none, or is negative.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not a duration such as 250ms, 10s, 15m or 72h");
    let signed: SignedDuration = text.parse().map_err(|_unparsed| invalid())?;
    Duration::try_from(signed).map_err(|_negative| invalid())
}

/// Writes a duration in the form that [`parse_duration`] reads.
pub fn format_duration(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map_or_else(|_| "∞".to_owned(), |signed| format!("{signed:#}"))
}

/// `#[serde(with = "serde_duration")]` for the written form.
pub mod serde_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the form that [`deserialize`] reads.
    ///
    /// # Errors
    ///
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    /// Reads a duration as people write it.
    ///
    /// # Errors
    ///
    /// When the text is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_durations_read_back() {
        for (text, seconds) in [
            ("10s", 10),
            ("15m", 900),
            ("72h", 259_200),
            ("1h30m", 5_400),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(
            parse_duration(&format_duration(Duration::from_millis(90_500))),
            Ok(Duration::from_millis(90_500))
        );
        for bad in ["", "10", "-3s", "ten"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
