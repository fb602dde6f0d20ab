//! What sources say of their own count, in the headers of their answers.

use std::time::Duration;

use super::Correction;
use crate::Timestamp;

/// Reads the counts that an answer's headers give; names are in lower case.
///
/// Understood are `RateLimit` with `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10,
/// a structured field: `"default";r=50;t=30`), the fields of its earlier drafts
/// (`RateLimit-Limit`, `-Remaining`, `-Reset`, or `limit=100, remaining=50, reset=30` in one), and
/// `X-RateLimit-*`, whose reset is seconds or a moment in seconds since 1970.
pub fn corrections(headers: &[(&str, &str)], now: Timestamp) -> Vec<Correction> {
    let find = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| *value)
    };
    let mut corrections = Vec::new();
    if let Some(value) = find("ratelimit") {
        let policies = find("ratelimit-policy").map(members).unwrap_or_default();
        let members = members(value);
        if members.iter().any(|member| member.number("r").is_some()) {
            for member in &members {
                let policy = policies.iter().find(|policy| policy.name == member.name);
                corrections.extend(by_member(member, policy, now));
            }
        } else {
            corrections.extend(by_words(&members, now));
        }
    }
    for prefix in ["ratelimit", "x-ratelimit", "x-rate-limit"] {
        let number = |what: &str| find(&format!("{prefix}-{what}")).and_then(first_number);
        let (Some(remaining), Some(reset)) = (number("remaining"), number("reset")) else {
            continue;
        };
        corrections.push(Correction {
            limit: number("limit").map(to_calls),
            remaining: to_calls(remaining),
            per: None,
            reset: moment(reset, now),
        });
    }
    corrections
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

fn by_member(
    member: &Member<'_>,
    policy: Option<&Member<'_>>,
    now: Timestamp,
) -> Option<Correction> {
    let per = policy.and_then(|policy| policy.number("w"));
    // Without a word on when it begins anew, the whole window is the safe guess.
    let reset = member.number("t").or(per)?;
    Some(Correction {
        limit: policy.and_then(|policy| policy.number("q")).map(to_calls),
        remaining: to_calls(member.number("r")?),
        per: per.map(Duration::from_secs),
        reset: now.after(Duration::from_secs(reset)),
    })
}

fn by_words(members: &[Member<'_>], now: Timestamp) -> Option<Correction> {
    let number = |key: &str| {
        let words = members.iter().filter_map(|one| one.name.split_once('='));
        let found = words.into_iter().find(|(name, _)| name.trim() == key);
        found.and_then(|(_, value)| value.trim().parse::<u64>().ok())
    };
    Some(Correction {
        limit: number("limit").map(to_calls),
        remaining: to_calls(number("remaining")?),
        per: None,
        reset: now.after(Duration::from_secs(number("reset")?)),
    })
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

fn to_calls(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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
        let later = |seconds| now.after(Duration::from_secs(seconds));
        let one = |headers: &[(&str, &str)]| corrections(headers, now);
        let correction = |limit, remaining, per: Option<u64>, reset| Correction {
            limit,
            remaining,
            per: per.map(Duration::from_secs),
            reset: later(reset),
        };

        let structured = [
            ("ratelimit", r#""burst";r=50;t=30, "daily";r=0"#),
            (
                "ratelimit-policy",
                r#""burst";q=100;w=60, "daily";q=1000;w=86400"#,
            ),
        ];
        assert_eq!(
            one(&structured),
            [
                correction(Some(100), 50, Some(60), 30),
                correction(Some(1_000), 0, Some(86_400), 86_400),
            ]
        );
        assert_eq!(
            one(&[("ratelimit", "limit=100, remaining=7, reset=5")]),
            [correction(Some(100), 7, None, 5)]
        );
        let parts = [
            ("ratelimit-limit", "100, 100;w=60"),
            ("ratelimit-remaining", "3"),
            ("ratelimit-reset", "12"),
        ];
        assert_eq!(one(&parts), [correction(Some(100), 3, None, 12)]);
        let epoch = (now.as_millis() / 1_000 + 90).to_string();
        let epoch = [
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", &*epoch),
        ];
        assert_eq!(one(&epoch), [correction(None, 0, None, 90)]);
        let seconds = [
            ("x-rate-limit-remaining", "1"),
            ("x-rate-limit-reset", "90.5"),
        ];
        assert_eq!(one(&seconds), [correction(None, 1, None, 90)]);
        for junk in ["", "soon", "\"a\";r=x;t=1", "limit=1", ";;=,=,"] {
            assert_eq!(one(&[("ratelimit", junk), ("x-ratelimit-reset", junk)]), []);
        }
    }
}
