use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::{AddressPolicy, Target, TargetError};

/// What an early look at the host of a target found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The host is an address, and it is allowed.
    Literal,
    /// The host is a name with at least one allowed address.
    Allowed,
    /// The name could not be resolved in time; it is judged when it is called.
    Unresolved,
}

/// Resolves the host of `target` for at most `within` and asks `policy`.
///
/// This is a courtesy to whoever enters a URL; every connection asks again.
///
/// # Errors
///
/// [`TargetError::RefusedAddress`] if the policy allows no address of the host.
pub async fn check_resolves(
    target: &Target,
    policy: &AddressPolicy,
    within: Duration,
) -> Result<Resolution, TargetError> {
    if let Some(ip) = target.literal() {
        return if policy.allows(ip) {
            Ok(Resolution::Literal)
        } else {
            Err(TargetError::RefusedAddress { ip })
        };
    }
    let lookup = lookup_host((target.host(), target.port()));
    let Ok(Ok(found)) = timeout(within, lookup).await else {
        return Ok(Resolution::Unresolved);
    };
    match pick(found, policy) {
        Picked::Allowed(_) => Ok(Resolution::Allowed),
        Picked::Refused(first) => Err(TargetError::RefusedAddress { ip: first.ip() }),
        Picked::Nothing => Ok(Resolution::Unresolved),
    }
}

pub(crate) enum Picked {
    /// The allowed addresses, in the order of the resolver; at least one.
    Allowed(Vec<SocketAddr>),
    /// No address is allowed; this was the first.
    Refused(SocketAddr),
    Nothing,
}

pub(crate) fn pick(found: impl Iterator<Item = SocketAddr>, policy: &AddressPolicy) -> Picked {
    let mut refused = None;
    let mut allowed = Vec::new();
    for address in found {
        if policy.allows(address.ip()) {
            allowed.push(address);
        } else {
            refused.get_or_insert(address);
        }
    }
    match (allowed.is_empty(), refused) {
        (false, _) => Picked::Allowed(allowed),
        (true, Some(first)) => Picked::Refused(first),
        (true, None) => Picked::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn mixed_answers_keep_only_what_is_allowed() {
        let policy = AddressPolicy::public_only();
        let found = addresses(&["10.0.0.1:80", "1.1.1.1:80", "[::1]:80", "[2606:4700::1]:80"]);

        let Picked::Allowed(allowed) = pick(found.into_iter(), &policy) else {
            panic!("two addresses are public");
        };

        assert_eq!(allowed, addresses(&["1.1.1.1:80", "[2606:4700::1]:80"]));
    }

    #[test]
    fn private_answers_name_the_first_refused() {
        let policy = AddressPolicy::public_only();
        let found = addresses(&["10.0.0.1:80", "[::1]:80"]);

        assert!(
            matches!(pick(found.into_iter(), &policy), Picked::Refused(first) if first.to_string() == "10.0.0.1:80")
        );
        assert!(matches!(pick(std::iter::empty(), &policy), Picked::Nothing));
    }
}
