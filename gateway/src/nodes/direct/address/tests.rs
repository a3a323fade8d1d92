use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The kind of a forbidden address, or "" for one that passes.
fn kind(networks: &AllowedNetworks, address: IpAddr) -> &'static str {
    networks.judge(address).map_or_else(|forbidden| forbidden.kind, |()| "")
}

#[test]
fn both_ends_of_every_special_network_are_forbidden_and_their_neighbours_pass() {
    for (before, first, last, after, what) in [
        ("", "0.0.0.0", "0.255.255.255", "1.0.0.0", "this very network"),
        ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "private"),
        ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", "shared"),
        ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "loopback"),
        ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", "link-local"),
        ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", "private"),
        ("191.255.255.255", "192.0.0.0", "192.0.0.8", "192.0.0.9", "protocols"),
        ("192.0.0.10", "192.0.0.11", "192.0.0.255", "192.0.1.0", "protocols"),
        ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", "documentation"),
        ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", "6to4"),
        ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", "private"),
        ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", "benchmarks"),
        ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", "documentation"),
        ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", "documentation"),
        ("223.255.255.255", "224.0.0.0", "239.255.255.255", "", "multicast"),
        ("", "240.0.0.0", "255.255.255.254", "", "reserved"),
        ("", "255.255.255.255", "255.255.255.255", "", "broadcast"),
        ("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:0:ffff::", "2001:1::1", "Teredo"),
        ("2001:1::3", "2001:1::4", "2001:1:ffff::", "", "protocols"),
        ("", "2001:2::", "2001:2:0:ffff::", "", "benchmarks"),
        ("", "2001:2:1::", "2001:2:ffff::", "2001:3::", "protocols"),
        ("2001:3:ffff::", "2001:4::", "2001:4:111:ffff::", "2001:4:112::", "protocols"),
        ("2001:4:112:ffff::", "2001:4:113::", "2001:f:ffff::", "", "protocols"),
        ("", "2001:10::", "2001:1f:ffff::", "2001:20::", "hash identity"),
        ("2001:3f:ffff::", "2001:40::", "2001:1ff:ffff::", "2001:200::", "protocols"),
        ("2001:db7:ffff::", "2001:db8::", "2001:db8:ffff::", "2001:db9::", "documentation"),
        ("3ffe:ffff::", "3fff::", "3fff:fff:ffff::", "3fff:1000::", "documentation"),
    ] {
        let nobody = AllowedNetworks::default();
        for forbidden in [first, last] {
            assert!(kind(&nobody, ip(forbidden)).contains(what), "{forbidden}: {}", kind(&nobody, ip(forbidden)));
        }
        for neighbour in [before, after].into_iter().filter(|text| !text.is_empty()) {
            assert_eq!(nobody.judge(ip(neighbour)), Ok(()), "{neighbour}");
        }
    }
}

#[test]
fn outside_the_block_of_global_unicast_nothing_is_reachable() {
    for (address, what) in [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "no network"),
        // IPv4-compatible, a form that systems have forgotten to different degrees
        ("::8.8.8.8", "no network"),
        ("::127.0.0.1", "no network"),
        ("::ffff:0:8.8.8.8", "no network"),
        ("64:ff9b:0:1::8.8.8.8", "no network"),
        ("64:ff9b:1::8.8.8.8", "translation"),
        ("100::1", "discarded"),
        ("100:0:0:1::1", "dummy"),
        ("1fff:ffff::", "no network"),
        ("4000::", "no network"),
        ("5f00::1", "segment"),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
    ] {
        let found = kind(&AllowedNetworks::default(), ip(address));
        assert!(found.contains(what), "{address}: {found}");
    }
}

#[test]
fn an_allowed_network_lets_its_own_addresses_pass_and_no_others() {
    let allowed: AllowedNetworks = "10.1.0.0/16, fd00::/8,::ffff:127.0.0.1".parse().unwrap();
    for address in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd12::1", "127.0.0.1", "8.8.8.8", "2a00::1"] {
        assert_eq!(allowed.judge(ip(address)), Ok(()), "{address}");
    }
    // A translated address leads through somebody else's machine, and is allowed under its own form alone.
    for address in ["10.2.0.0", "127.0.0.2", "fc00::1", "::1", "64:ff9b::10.1.0.1", "2002:a01:1::", "::10.1.0.1"] {
        assert_ne!(allowed.judge(ip(address)), Ok(()), "{address}");
    }
    assert!(allowed.contains(ip("::ffff:10.1.2.3")) && !allowed.contains(ip("8.8.8.8")));
}

#[test]
fn the_setting_is_a_list_and_empty_by_default() {
    assert_eq!("".parse(), Ok(AllowedNetworks::default()));
    assert_eq!("10.0.0.7/8,".parse::<AllowedNetworks>(), "10.0.0.0/8".parse());
    let error = "10.0.0.0/8,here".parse::<AllowedNetworks>().unwrap_err();
    assert!(error.contains("'here'") && error.contains("10.0.0.0/8"), "{error}");
}

#[test]
fn a_refusal_says_what_the_address_is() {
    let forbidden = AllowedNetworks::default().judge(ip("::ffff:169.254.169.254")).unwrap_err();
    assert!(forbidden.to_string().starts_with("169.254.169.254 is a link-local address"), "{forbidden}");
}

/// Addresses of IPv4, half of them in or near a special network.
fn any_ipv4() -> impl Strategy<Value = Ipv4Addr> {
    let near = (0..IPV4.len(), any::<u32>()).prop_map(|(row, noise)| {
        let network = IPV4[row].0;
        let length = u32::from(network.prefix_len());
        Ipv4Addr::from_bits(network.addr().to_bits() ^ noise.checked_shr(length.saturating_sub(1)).unwrap_or(0))
    });
    prop_oneof![near, any::<u32>().prop_map(Ipv4Addr::from_bits)]
}

proptest! {
    #[test]
    fn an_address_within_another_is_judged_as_itself(address in any_ipv4(), tail in any::<u128>()) {
        let nobody = AllowedNetworks::default();
        let expected = kind(&nobody, address.into());
        let bits = u128::from(address.to_bits());
        prop_assert_eq!(nobody.judge(address.to_ipv6_mapped().into()), nobody.judge(address.into()));
        let translated = Ipv6Addr::from_bits((0x64_ff9b << 96) | bits);
        prop_assert_eq!(kind(&nobody, translated.into()), expected);
        let tunnelled = Ipv6Addr::from_bits((0x2002 << 112) | (bits << 80) | (tail >> 48));
        prop_assert_eq!(kind(&nobody, tunnelled.into()), expected);
    }

    #[test]
    fn what_the_standard_library_knows_as_special_is_forbidden(address in any_ipv4(), bits in any::<u128>()) {
        let nobody = AllowedNetworks::default();
        if address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast()
            || address.is_documentation() || address.is_unspecified() || address.is_broadcast()
        {
            prop_assert!(nobody.judge(address.into()).is_err());
        }
        let wide = Ipv6Addr::from_bits(bits);
        if wide.is_multicast() || wide.is_unique_local() || wide.is_unicast_link_local() {
            prop_assert!(nobody.judge(wide.into()).is_err());
        }
    }

    #[test]
    fn allowing_a_network_forbids_nothing(address in any_ipv4(), length in 0u8..=32) {
        let allowed = AllowedNetworks(vec![Ipv4Net::new_assert(address, length).into()]);
        prop_assert_eq!(allowed.judge(address.into()), Ok(()));
        let nobody = AllowedNetworks::default();
        let other = Ipv4Addr::from_bits(address.to_bits().rotate_left(5));
        prop_assert!(allowed.judge(other.into()).is_ok() || nobody.judge(other.into()).is_err());
    }
}
