//! When a message goes to whom over what.

use std::time::Duration;

use jiff::ToSpan;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::{Channel, Contact, Digest, NotificationKind, Preferences};
use crate::Timestamp;

/// What a person can be reached by, without the addresses themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whether there is an e-mail address.
    pub email: bool,
    /// Whether there is a telephone number.
    pub sms: bool,
    /// Whether the tenant takes notifications itself.
    pub webhook: bool,
    /// The slots of their browsers.
    pub push: Vec<u64>,
}

/// One message that is to go out over one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Over which channel.
    pub channel: Channel,
    /// Which address of the channel, where there may be several.
    pub slot: u64,
    /// When.
    pub due: Timestamp,
    /// Whether it waits for others to go with.
    pub gathers: bool,
}

impl Reach {
    /// Returns what a contact can be reached by.
    pub fn of(contact: &Contact) -> Self {
        Self {
            email: contact.email.is_some(),
            sms: contact.phone.is_some(),
            webhook: contact.webhook.is_some(),
            push: contact
                .push
                .iter()
                .map(super::PushSubscription::slot)
                .collect(),
        }
    }

    /// Returns whether there is an address of a channel.
    pub fn has(&self, channel: Channel) -> bool {
        !self.slots(channel).is_empty()
    }

    fn slots(&self, channel: Channel) -> &[u64] {
        const ONE: &[u64] = &[0];
        let has = match channel {
            Channel::InApp => true,
            Channel::Email => self.email,
            Channel::Sms => self.sms,
            Channel::Webhook => self.webhook,
            Channel::Push => return &self.push,
        };
        if has { ONE } else { &[] }
    }
}

/// Returns what goes out for a message of a kind: one entry for each address.
///
/// Quiet hours and digests hold back what disturbs a person: e-mail, push and SMS.
/// What was held back to the same moment gathers and goes out as one message.
/// A security alert is held back by nothing.
pub fn plan(
    now: Timestamp,
    kind: NotificationKind,
    preferences: &Preferences,
    reach: &Reach,
    over: impl Fn(Channel) -> bool,
) -> Vec<Planned> {
    let mut later = None;
    let mut planned = Vec::new();
    for channel in Channel::ALL {
        if !preferences.wants(kind, channel) || !over(channel) {
            continue;
        }
        for slot in reach.slots(channel) {
            let held = match channel {
                Channel::InApp | Channel::Webhook => now,
                Channel::Email | Channel::Push | Channel::Sms => {
                    *later.get_or_insert_with(|| held_until(now, kind, preferences))
                }
            };
            planned.push(Planned {
                channel,
                slot: *slot,
                due: held,
                gathers: held > now,
            });
        }
    }
    planned
}

/// Returns when the next try of a message is due that has failed so often; `None` when that was the last.
pub fn retry_after(channel: Channel, attempts: u16) -> Option<Duration> {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    let plan: &[u64] = match channel {
        Channel::Email | Channel::Webhook => &[
            30,
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            6 * HOUR,
            12 * HOUR,
            24 * HOUR,
        ],
        Channel::Push => &[30, 5 * MINUTE, 30 * MINUTE, 2 * HOUR],
        // What comes late by SMS is worse than what does not come.
        Channel::Sms => &[30, 2 * MINUTE, 10 * MINUTE],
        Channel::InApp => &[],
    };
    let place = usize::from(attempts).checked_sub(1)?;
    plan.get(place).copied().map(Duration::from_secs)
}

/// Returns until when a person is left alone now, where what goes over a channel disturbs them.
pub fn quiet_until(
    now: Timestamp,
    kind: NotificationKind,
    channel: Channel,
    preferences: &Preferences,
) -> Option<Timestamp> {
    let disturbs = match channel {
        Channel::InApp | Channel::Webhook => false,
        Channel::Email | Channel::Push | Channel::Sms => kind != NotificationKind::SecurityAlert,
    };
    let zone = preferences.zone().unwrap_or(TimeZone::UTC);
    disturbs.then(|| end_of_quiet(now, &zone, preferences))?
}

fn held_until(now: Timestamp, kind: NotificationKind, preferences: &Preferences) -> Timestamp {
    let calm = preferences.quiet_hours.is_none() && preferences.digest == Digest::Off;
    if kind == NotificationKind::SecurityAlert || calm {
        return now;
    }
    // A zone that is not known any more is no reason to say nothing.
    let zone = preferences.zone().unwrap_or(TimeZone::UTC);
    let gathered = match preferences.digest {
        Digest::Off => now,
        Digest::Hourly => end_of_hour(now, &zone).unwrap_or(now),
        Digest::Daily(at) => next(now, &zone, at.parts()).unwrap_or(now),
    };
    end_of_quiet(gathered, &zone, preferences).unwrap_or(gathered)
}

/// Returns when the quiet hours end that a moment is in.
fn end_of_quiet(at: Timestamp, zone: &TimeZone, preferences: &Preferences) -> Option<Timestamp> {
    let quiet = preferences.quiet_hours.as_ref()?;
    let minute = minute_of_day(at, zone)?;
    let end = quiet.has(minute).then(|| next(at, zone, quiet.to.parts()));
    end.flatten()
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<jiff::Zoned> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(at.to_zoned(zone.clone()))
}

fn minute_of_day(at: Timestamp, zone: &TimeZone) -> Option<u16> {
    let at = zoned(at, zone)?;
    let (hour, minute) = (
        u16::try_from(at.hour()).ok()?,
        u16::try_from(at.minute()).ok()?,
    );
    Some(hour * 60 + minute)
}

fn end_of_hour(at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let at = zoned(at, zone)?;
    let left = 3_600_000_i64
        .checked_sub(i64::from(at.minute()) * 60_000)?
        .checked_sub(i64::from(at.second()) * 1_000)?
        .checked_sub(i64::from(at.millisecond()))?;
    let end = at.timestamp().as_millisecond().checked_add(left)?;
    Some(Timestamp::from_millis(end))
}

/// Returns the next moment at which the person's clock shows a time of day.
fn next(after: Timestamp, zone: &TimeZone, (hour, minute): (u16, u16)) -> Option<Timestamp> {
    let at = zoned(after, zone)?;
    let time = Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()?;
    let mut day = at.date();
    for _ in 0..3 {
        // A time that a change of the clocks leaves out is met after it.
        let then = day.to_datetime(time).to_zoned(zone.clone()).ok()?;
        let then = Timestamp::from_millis(then.timestamp().as_millisecond());
        if then > after {
            return Some(then);
        }
        day = day.checked_add(1.day()).ok()?;
    }
    None
}
