use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

mod special;

/// Says which addresses may be connected to.
///
/// A clone is cheap and shares the list of ranges.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    mode: Mode,
}

impl AddressPolicy {
    /// Allows public addresses only.
    ///
    /// Private, local, multicast, documentation and other special-purpose ranges are refused, and so are IPv6 addresses that carry such an IPv4 address.
    pub fn public_only() -> Self {
        Self::public_and(Vec::new())
    }

    /// Allows public addresses and those within `allowed`, although private.
    ///
    /// An IPv4-mapped address or range counts as the IPv4 one.
    pub fn public_and(allowed: Vec<IpNet>) -> Self {
        let allowed = allowed.into_iter().map(canonical_net).collect();
        Self {
            mode: Mode::Public { allowed },
        }
    }

    /// Allows every address; for those the operator configured.
    pub fn unrestricted() -> Self {
        Self {
            mode: Mode::Unrestricted,
        }
    }

    /// Returns whether `ip` may be connected to.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let Mode::Public { allowed } = &self.mode else {
            return true;
        };
        let ip = ip.to_canonical();
        special::is_public(ip) || allowed.iter().any(|net| net.contains(&ip))
    }
}

#[derive(Clone, Debug)]
enum Mode {
    Public { allowed: Arc<[IpNet]> },
    Unrestricted,
}

fn canonical_net(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = net else { return net };
    let Some(prefix) = v6.prefix_len().checked_sub(MAPPED_BITS) else {
        return net;
    };
    let Some(address) = v6.addr().to_ipv4_mapped() else {
        return net;
    };
    Ipv4Net::new(address, prefix).map_or(net, IpNet::V4)
}
