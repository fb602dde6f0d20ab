//! What a source says in its headers of how many calls it takes.

use std::time::Duration;

use crate::Timestamp;

/// What an answer says of one window of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// How many calls the window takes, where it says so.
    pub quota: Option<u32>,
    /// In how much time, where it says so.
    pub per: Option<Duration>,
    /// How many are left.
    pub left: u32,
    /// Until when, which is when the source begins to count anew.
    pub until: Timestamp,
}

/// Returns when the source begins to count anew, where its headers say that nothing is left until
/// then; names are in lower case.
pub fn free_at(headers: &[(&str, &str)], now: Timestamp) -> Option<Timestamp> {
    let spent = remaining(headers, now)
        .into_iter()
        .filter(|one| one.left == 0);
    spent.map(|one| one.until).max()
}

/// Returns what the headers of an answer say of the source's windows; names are in lower case.
///
/// Understood are `RateLimit` with `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10,
/// a structured field: `"default";r=0;t=30`), the fields of its earlier drafts
/// (`RateLimit-Limit`, `-Remaining` and `-Reset`, or `limit=100, remaining=0, reset=30` in one),
/// and `X-RateLimit-*`, whose reset is seconds or a moment in seconds since 1970.
/// What does not say how many are left and until when is left out.
pub fn remaining(headers: &[(&str, &str)], now: Timestamp) -> Vec<Remaining> {
    let find = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| *value)
    };
    let mut all = Vec::new();
    let mut push = |quota: Option<u64>, per: Option<u64>, left: u64, reset: u64| {
        let said = Remaining {
            quota: quota.and_then(|quota| u32::try_from(quota).ok()),
            per: per.map(Duration::from_secs),
            left: u32::try_from(left).unwrap_or(u32::MAX),
            until: moment(reset, now),
        };
        if said.until > now {
            all.push(said);
        }
    };
    if let Some(value) = find("ratelimit") {
        let policies = find("ratelimit-policy").map(members).unwrap_or_default();
        let members = members(value);
        for member in &members {
            let policy = policies.iter().find(|policy| policy.name == member.name);
            let of_policy = |key| policy.and_then(|policy| policy.number(key));
            let window = of_policy("w");
            // Without a word on when it begins anew, the whole window is the safe guess.
            let reset = member.number("t").or(window);
            if let (Some(left), Some(reset)) = (member.number("r"), reset) {
                push(of_policy("q"), window, left, reset);
            }
        }
        let words = |key: &str| {
            let mut words = members.iter().filter_map(|one| one.name.split_once('='));
            let found = words.find(|(name, _)| name.trim() == key);
            found.and_then(|(_, value)| value.trim().parse::<u64>().ok())
        };
        if let (Some(left), Some(reset)) = (words("remaining"), words("reset")) {
            push(words("limit"), None, left, reset);
        }
    }
    for prefix in ["ratelimit", "x-ratelimit", "x-rate-limit"] {
        let number = |what: &str| find(&format!("{prefix}-{what}")).and_then(first_number);
        if let (Some(left), Some(reset)) = (number("remaining"), number("reset")) {
            push(number("limit"), None, left, reset);
        }
    }
    all
}

/// One member of a list: a name and its parameters.
struct Member<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Member<'_> {
    fn number(&self, key: &str) -> Option<u64> {
        let found = self.parameters.iter().find(|(name, _)| *name == key);
        found.and_then(|(_, value)| value.parse().ok())
    }
}

fn members(value: &str) -> Vec<Member<'_>> {
    let member = |text| {
        let mut parts = str::split(text, ';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameters = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()));
        Member {
            name,
            parameters: parameters.collect(),
        }
    };
    value.split(',').map(str::trim).map(member).collect()
}

/// Some sources list several numbers, the one in force first.
fn first_number(value: &str) -> Option<u64> {
    let first = value.split([',', ';']).next().unwrap_or_default().trim();
    let whole = first.split('.').next().unwrap_or_default();
    whole.parse().ok()
}

fn moment(reset: u64, now: Timestamp) -> Timestamp {
    if reset < A_MOMENT {
        return now.after(Duration::from_secs(reset));
    }
    let millis = if reset < A_MOMENT_IN_MILLIS {
        reset.saturating_mul(1_000)
    } else {
        reset
    };
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)).min(Timestamp::MAX)
}

/// Seconds from which on a number is a moment since 1970 and no longer a wait (31 years).
const A_MOMENT: u64 = 1_000_000_000;
/// And from which on it is milliseconds since 1970.
const A_MOMENT_IN_MILLIS: u64 = 100_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_headers_is_read() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let later = |seconds| Some(now.after(Duration::from_secs(seconds)));
        let free = |headers: &[(&str, &str)]| free_at(headers, now);

        let structured = [
            ("ratelimit", r#""burst";r=0;t=30, "daily";r=0"#),
            (
                "ratelimit-policy",
                r#""burst";q=100;w=60, "daily";q=1000;w=86400"#,
            ),
        ];
        assert_eq!(free(&structured), later(86_400));
        assert_eq!(free(&structured[..1]), later(30));
        assert_eq!(
            free(&[("ratelimit", "limit=9, remaining=0, reset=5")]),
            later(5)
        );
        assert_eq!(
            free(&[("ratelimit", "limit=9, remaining=1, reset=5")]),
            None
        );
        let parts = |remaining| {
            [
                ("ratelimit-limit", "100, 100;w=60"),
                ("ratelimit-remaining", remaining),
                ("ratelimit-reset", "12"),
            ]
        };
        assert_eq!(free(&parts("0")), later(12));
        assert_eq!(free(&parts("3")), None);
        let epoch = (now.as_millis() / 1_000 + 90).to_string();
        let epoch = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", &*epoch),
        ];
        assert_eq!(free(&epoch), later(90));
        let seconds = [
            ("x-rate-limit-remaining", "0"),
            ("x-rate-limit-reset", "90.5"),
        ];
        assert_eq!(free(&seconds), later(90));
        let past = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1600000000"),
        ];
        assert_eq!(free(&past), None);
        assert_eq!(
            remaining(&structured[..], now)[0],
            Remaining {
                quota: Some(100),
                per: Some(Duration::from_secs(60)),
                left: 0,
                until: now.after(Duration::from_secs(30)),
            }
        );
        assert_eq!(
            remaining(&parts("3"), now),
            [Remaining {
                quota: Some(100),
                per: None,
                left: 3,
                until: now.after(Duration::from_secs(12)),
            }]
        );
        assert_eq!(remaining(&past, now), []);
        for junk in ["", "soon", "\"a\";r=x;t=1", "remaining=0", ";;=,=,"] {
            assert_eq!(
                free(&[("ratelimit", junk), ("x-ratelimit-reset", junk)]),
                None
            );
        }
    }
}
