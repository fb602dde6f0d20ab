//! Ids: a prefix and a UUIDv7 (RFC 9562), so that ids sort by the time of their making.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand_core::Rng;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Timestamp;
use crate::schedule::mixed;

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The prefix is missing or belongs to another kind of id.
    #[error("an id of this kind begins with `{0}`")]
    Prefix(&'static str),
    /// What follows the prefix is not 32 lower-case hexadecimal digits.
    #[error("an id ends in 32 lower-case hexadecimal digits")]
    Digits,
    /// A source name has a character or a length that is not allowed.
    #[error("a source name is 1 to 64 of a-z, 0-9, `-` and `_`")]
    SourceName,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Mints an id that sorts at `now`.
            pub fn mint(now: Timestamp, rng: &mut impl Rng) -> Self {
                Self(mint(now, rng))
            }

            /// Takes the sixteen bytes of a stored id.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Returns the sixteen bytes that are stored.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Returns the id without its prefix.
            pub const fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let digits = text.strip_prefix($prefix).ok_or(IdError::Prefix($prefix))?;
                parse_digits(digits).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One collection: a one-shot fetch with a callback.
    CollectionId,
    "col_"
);
id!(
    /// One application that uses Wellspring.
    TenantId,
    "ten_"
);
id!(
    /// One API key of a tenant.
    ApiKeyId,
    "key_"
);
id!(
    /// One life of one node: what a lease names.
    IncarnationId,
    "inc_"
);

id!(
    /// One end user of a tenant.
    AccountId,
    "acct_"
);
id!(
    /// One account's link to one source.
    ConnectionId,
    "conn_"
);
id!(
    /// One fetch on a connection.
    FetchId,
    "fetch_"
);
id!(
    /// The unit of work that a fetch belongs to; one that nobody else opened has the fetch's own bytes.
    ActivityId,
    "act_"
);
id!(
    /// One question to a person.
    InteractionId,
    "int_"
);
id!(
    /// One document fetched from a source or uploaded by hand.
    DocumentId,
    "doc_"
);
id!(
    /// One subscription to changes.
    SubscriptionId,
    "sub_"
);
id!(
    /// One message to a person, over as many channels as they want.
    NotificationId,
    "ntf_"
);
id!(
    /// One message to a tenant or the operator about what it must act on.
    AlertId,
    "alert_"
);
id!(
    /// One period in which a source is unhealthy.
    IncidentId,
    "inc_"
);

id!(
    /// One kind of failure that no rule matched.
    UnclassifiedId,
    "uncl_"
);
id!(
    /// One source, by its name.
    SourceId,
    "src_"
);

/// The bytes of an id whose kind is known from elsewhere.
pub type AnyId = [u8; 16];

macro_rules! sharded {
    ($($name:ident),*) => {$(
        impl $name {
            /// Mints an id that sorts at `now` and lives in `shard`.
            pub fn mint_in(now: Timestamp, shard: Shard, rng: &mut impl Rng) -> Self {
                Self(mint_in(now, shard, rng))
            }

            /// Returns the shard that it lives in, of [`Shard::COUNT`].
            pub fn shard(&self) -> Shard {
                Shard::of(self.as_bytes())
            }
        }
    )*};
}

// Everything of one account lives in the account's shard.
sharded!(
    CollectionId,
    AccountId,
    ConnectionId,
    FetchId,
    InteractionId,
    DocumentId,
    NotificationId,
    AlertId,
    IncidentId,
    SourceId
);

impl AlertId {
    /// Makes the id of an alert that is opened at `now` in `shard`; the same seed makes the same id.
    pub(crate) fn derived(now: Timestamp, shard: Shard, seed: u64) -> Self {
        let mut random = [0; 10];
        let halves = [mixed(seed), mixed(!seed)].map(u64::to_be_bytes);
        for (to, from) in random.iter_mut().zip(halves.as_flattened()) {
            *to = *from;
        }
        Self(in_shard(at(now, random), shard))
    }
}

impl IncidentId {
    /// Makes the id of an incident of a source that begins at `now`; the same seed makes the same id.
    pub(crate) fn derived(now: Timestamp, source: &SourceId, seed: u64) -> Self {
        let (upper, _) = source.uuid().as_u64_pair();
        let id = AlertId::derived(now, source.shard(), mixed(upper) ^ seed);
        Self(id.uuid())
    }
}

impl UnclassifiedId {
    /// Makes the id of a kind of failure that is met at `now` for the first time.
    pub fn derived(now: Timestamp, seed: u64) -> Self {
        Self(AlertId::derived(now, Shard(0), seed).uuid())
    }
}

impl SourceId {
    /// Returns the id of the source of this name.
    ///
    /// All sources live in the first shard, which every store has: they step seldom.
    pub fn of(name: &SourceName) -> Self {
        let hash = fnv1a(name.as_str().as_bytes());
        let id = Uuid::from_u64_pair(hash, mixed(hash));
        Self(in_shard(id, Shard(0)))
    }
}

/// One of the fixed parts into which aggregates and the log are split.
///
/// Each shard has one writer at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard(pub u8);

impl Shard {
    /// How many shards there are; the number is part of the stored format.
    pub const COUNT: u8 = 64;
    const MASK: u8 = Self::COUNT - 1;

    /// Returns the shard that an id's bytes name.
    pub fn of(id: &AnyId) -> Self {
        Self(id.last().copied().unwrap_or(0) & Self::MASK)
    }

    /// Iterates over every shard in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

/// What an effect queues for: one source, or one receiver of callbacks.
///
/// A lane is a stable 64-bit FNV-1a hash, narrow enough for the hot row, so that
/// work found by the scan at start is queued without reading anything else.
/// The highest bit tells receivers from sources.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u64);

impl Lane {
    const RECEIVER: u64 = 1 << 63;

    /// The lane of steps that make no call; no source and no receiver has it but by a chance of 2^-63.
    pub const ALARM: Self = Self(0);

    /// Returns the lane of calls to `source`.
    pub fn source(source: &SourceName) -> Self {
        Self(fnv1a(source.as_str().as_bytes()) & !Self::RECEIVER)
    }

    /// Returns the lane of calls to the host of `callback_url`.
    ///
    /// The host is what stands between the scheme and the next `/`, `?` or `#`.
    pub fn receiver(callback_url: &str) -> Self {
        let rest = callback_url
            .split_once("://")
            .map_or(callback_url, |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        Self(fnv1a(host.as_bytes()) | Self::RECEIVER)
    }

    /// Returns whether calls of this lane go to a receiver.
    pub const fn is_receiver(self) -> bool {
        self.0 & Self::RECEIVER != 0
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane:{:016x}", self.0)
    }
}

/// The name of a configured source, also the `provider` of `POST /collect`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(IdError::SourceName);
        }
        Ok(Self(text.into()))
    }
}

impl Serialize for SourceName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn mint(now: Timestamp, rng: &mut impl Rng) -> Uuid {
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    at(now, random)
}

fn at(now: Timestamp, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

fn mint_in(now: Timestamp, shard: Shard, rng: &mut impl Rng) -> Uuid {
    in_shard(mint(now, rng), shard)
}

fn in_shard(id: Uuid, shard: Shard) -> Uuid {
    let mut bytes = *id.as_bytes();
    if let Some(last) = bytes.last_mut() {
        *last = (*last & !Shard::MASK) | (shard.0 & Shard::MASK);
    }
    Uuid::from_bytes(bytes)
}

fn parse_digits(digits: &str) -> Result<Uuid, IdError> {
    let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 32 || !digits.bytes().all(hexadecimal) {
        return Err(IdError::Digits);
    }
    Uuid::try_parse(digits).map_err(|_invalid| IdError::Digits)
}

pub(crate) fn fnv1a(text: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text {
        hash = (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    #[test]
    fn ids_sort_by_time_parse_back_and_keep_their_shard() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let early = CollectionId::mint_in(Timestamp::from_millis(1_000), Shard(63), &mut rng);
        let late = CollectionId::mint_in(Timestamp::from_millis(2_000), Shard(0), &mut rng);

        assert!(early < late);
        assert_eq!(early.shard(), Shard(63));
        assert_eq!(late.shard(), Shard(0));
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(
            "ten_00".parse::<CollectionId>(),
            Err(IdError::Prefix("col_"))
        );
        assert_eq!("col_00".parse::<CollectionId>(), Err(IdError::Digits));
    }

    #[test]
    fn receivers_share_a_lane_by_host_and_port() {
        let lane = Lane::receiver("https://Example.com:8443/a?b=1");
        assert_eq!(lane, Lane::receiver("https://example.com:8443/other"));
        assert_ne!(lane, Lane::receiver("https://example.com/a"));
    }

    #[test]
    fn source_names_are_plain() {
        assert!("sandbox-bank_2".parse::<SourceName>().is_ok());
        for bad in ["", "Gas", "a b", "../x", &"x".repeat(65)] {
            assert_eq!(bad.parse::<SourceName>(), Err(IdError::SourceName));
        }
    }
}
