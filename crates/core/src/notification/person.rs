//! What a person may be reached by, and how they want it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Channel, NotificationKind};

/// What a person may be reached by: contact data, sealed wherever it is kept and never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// What they are called.
    pub name: Option<String>,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Their telephone number in the form of E.164.
    pub phone: Option<String>,
    /// Where the tenant takes notifications for them.
    pub webhook: Option<String>,
    /// Their language, a tag of BCP 47.
    pub language: Option<String>,
    /// Their browsers.
    pub push: Vec<PushSubscription>,
}

/// A browser's subscription to Web Push.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSubscription {
    /// Where the push service takes messages.
    pub endpoint: String,
    /// The browser's public key, base64url without padding.
    pub p256dh: String,
    /// The browser's secret, base64url without padding.
    pub auth: String,
}

/// A minute of the day, `HH:MM` on the person's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minute(u16);

/// When a person is left alone; it may go over midnight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// Its first minute.
    pub from: Minute,
    /// The first minute after it.
    pub to: Minute,
}

/// Whether messages are gathered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digest {
    /// Each comes by itself.
    #[default]
    Off,
    /// Those of an hour come together at its end.
    Hourly,
    /// Those of a day come together at this minute.
    Daily(Minute),
}

/// How a person wants to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// Channels that are off altogether.
    pub channels_off: BTreeSet<Channel>,
    /// What is on or off by kind, where it is not the default.
    pub kinds: BTreeMap<NotificationKind, BTreeMap<Channel, bool>>,
    /// What the person switched off by one click, until somebody switches just that on again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unsubscribed: BTreeMap<NotificationKind, BTreeSet<Channel>>,
    /// When they are left alone.
    pub quiet_hours: Option<QuietHours>,
    /// Their time zone, a name of the IANA data base.
    pub time_zone: String,
    /// Whether messages are gathered.
    pub digest: Digest,
}

/// Why preferences are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PreferencesError {
    /// Not a time of day.
    #[error("`{0}` is not a time of day such as 22:30")]
    Minute(String),
    /// Not a time zone.
    #[error("`{0}` is not a time zone of the IANA data base, such as Europe/Berlin")]
    TimeZone(String),
}

impl PushSubscription {
    /// Returns a stable number of the subscription, which tells it from others and says nothing about it.
    pub fn slot(&self) -> u64 {
        crate::id::fnv1a(self.endpoint.as_bytes())
    }
}

impl Minute {
    /// Returns the hour and the minute.
    pub const fn parts(self) -> (u16, u16) {
        (self.0 / 60, self.0 % 60)
    }

    /// Returns how many minutes of the day lie before it.
    pub const fn of_day(self) -> u16 {
        self.0
    }
}

impl QuietHours {
    /// Returns whether a minute of the day lies within.
    pub fn has(&self, minute: u16) -> bool {
        let (from, to) = (self.from.0, self.to.0);
        if from <= to {
            (from..to).contains(&minute)
        } else {
            minute >= from || minute < to
        }
    }
}

impl Preferences {
    /// Returns whether messages of a kind come over a channel.
    pub fn wants(&self, kind: NotificationKind, channel: Channel) -> bool {
        if self.channels_off.contains(&channel) {
            return false;
        }
        let said = self
            .kinds
            .get(&kind)
            .and_then(|channels| channels.get(&channel));
        said.copied()
            .unwrap_or_else(|| Self::default_for(kind, channel))
    }

    /// Returns whether messages of a kind come over a channel unless somebody says otherwise.
    pub const fn default_for(kind: NotificationKind, channel: Channel) -> bool {
        match (kind, channel) {
            (NotificationKind::SecurityAlert, _) | (_, Channel::InApp | Channel::Webhook) => true,
            (_, Channel::Sms) => false,
            (NotificationKind::PlaidConnectionIssue, Channel::Email | Channel::Push)
            | (
                NotificationKind::BankMaintenance
                | NotificationKind::ComplianceUpdate
                | NotificationKind::SystemMaintenance
                | NotificationKind::AccountUpdate,
                Channel::Email,
            ) => true,
            (
                NotificationKind::DataSyncStatus | NotificationKind::FeatureUpdate,
                Channel::Email,
            )
            | (_, Channel::Push) => false,
        }
    }

    /// Switches a kind on or off over a channel.
    pub fn set(&mut self, kind: NotificationKind, channel: Channel, on: bool) {
        let channels = self.kinds.entry(kind).or_default();
        if Self::default_for(kind, channel) == on {
            channels.remove(&channel);
        } else {
            channels.insert(channel, on);
        }
        self.kinds.retain(|_, channels| !channels.is_empty());
    }

    /// Switches a kind off over a channel, and remembers that the person did so by one click.
    pub fn unsubscribe(&mut self, kind: NotificationKind, channel: Channel) {
        self.set(kind, channel, false);
        self.unsubscribed.entry(kind).or_default().insert(channel);
    }

    /// Leaves off what the person switched off by one click, save what is switched on by name.
    pub fn keep_unsubscribed(&mut self, before: &Self, on: &BTreeSet<(NotificationKind, Channel)>) {
        for (kind, channels) in &before.unsubscribed {
            for channel in channels {
                if !on.contains(&(*kind, *channel)) {
                    self.unsubscribe(*kind, *channel);
                }
            }
        }
    }

    /// Returns the person's clock.
    ///
    /// # Errors
    ///
    /// When there is no such time zone.
    pub fn zone(&self) -> Result<TimeZone, PreferencesError> {
        TimeZone::get(&self.time_zone)
            .map_err(|_unknown| PreferencesError::TimeZone(self.time_zone.clone()))
    }
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            channels_off: BTreeSet::new(),
            kinds: BTreeMap::new(),
            unsubscribed: BTreeMap::new(),
            quiet_hours: None,
            time_zone: "UTC".to_owned(),
            digest: Digest::Off,
        }
    }
}

impl FromStr for Minute {
    type Err = PreferencesError;

    fn from_str(text: &str) -> Result<Self, PreferencesError> {
        let bad = || PreferencesError::Minute(text.to_owned());
        let two = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
        match (two(hour), two(minute)) {
            (Some(hour @ 0..=23), Some(minute @ 0..=59)) => Ok(Self(hour * 60 + minute)),
            (_, _) => Err(bad()),
        }
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute) = self.parts();
        write!(f, "{hour:02}:{minute:02}")
    }
}

impl Serialize for Minute {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact(…)")
    }
}

impl fmt::Debug for PushSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushSubscription(…)")
    }
}
