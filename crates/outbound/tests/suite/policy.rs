use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wellspring_outbound::AddressPolicy;

#[test]
fn special_addresses_are_refused_and_their_neighbours_allowed() {
    let policy = AddressPolicy::public_only();
    let refused = [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.1.2.3",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:c0a8:101::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fdff:ffff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
    ];
    let allowed = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2002:808:808::1",
        "2606:4700::1111",
        "2a00::1",
        "3ffe:ffff::1",
    ];

    for text in refused {
        assert!(!policy.allows(ip(text)), "{text} is special");
        assert!(AddressPolicy::unrestricted().allows(ip(text)));
    }
    for text in allowed {
        assert!(policy.allows(ip(text)), "{text} is public");
    }
}

#[test]
fn allow_list_opens_its_ranges_only() {
    let nets = ["127.0.0.0/8", "::ffff:10.1.0.0/112", "fd00::/8"];
    let policy = AddressPolicy::public_and(nets.map(|net| net.parse().unwrap()).to_vec());

    for text in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "fd00::1",
        "8.8.8.8",
    ] {
        assert!(policy.allows(ip(text)), "{text} is allowed");
    }
    for text in [
        "10.2.0.1",
        "::1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fc00::1",
        "169.254.169.254",
    ] {
        assert!(!policy.allows(ip(text)), "{text} stays refused");
    }
}

proptest! {
    #[test]
    fn carriers_of_an_address_are_judged_like_it(bits: u32, rest: u64, low: u16) {
        let policy = AddressPolicy::public_only();
        let v4 = Ipv4Addr::from(bits);
        let [a, b] = [(bits >> 16) as u16, bits as u16];
        let tail = [(rest >> 48) as u16, (rest >> 32) as u16, (rest >> 16) as u16, rest as u16];
        let six_to_four = Ipv6Addr::new(0x2002, a, b, low, tail[0], tail[1], tail[2], tail[3]);
        let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b);

        let verdict = policy.allows(IpAddr::V4(v4));

        for carrier in [v4.to_ipv6_mapped(), six_to_four, nat64] {
            prop_assert_eq!(policy.allows(IpAddr::V6(carrier)), verdict);
        }
        prop_assert!(!policy.allows(IpAddr::V6(v4.to_ipv6_compatible())));
    }

    #[test]
    fn what_the_standard_library_calls_local_is_refused(bits: u32, wide: u128, kind in 0_usize..6) {
        let policy = AddressPolicy::public_only();
        let v4 = Ipv4Addr::from(match kind {
            0 => bits & 0x00ff_ffff | 0x7f00_0000,
            1 => bits & 0x000f_ffff | 0xac10_0000,
            2 => bits & 0x0000_ffff | 0xa9fe_0000,
            3 => bits & 0x0000_ffff | 0xc0a8_0000,
            4 => bits | 0xe000_0000,
            _ => bits,
        });
        let v6 = Ipv6Addr::from(match kind {
            0 => wide >> 7 | 0xfc << 120,
            1 => wide >> 10 | 0xfe80 << 112,
            2 => wide >> 8 | 0xff << 120,
            _ => wide,
        });

        let local_v4 = v4.is_private() || v4.is_loopback() || v4.is_link_local()
            || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
        let local_v6 = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()
            || v6.is_unique_local() || v6.is_unicast_link_local();

        prop_assert!(!(local_v4 && policy.allows(IpAddr::V4(v4))));
        prop_assert!(!(local_v6 && policy.allows(IpAddr::V6(v6))));
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
