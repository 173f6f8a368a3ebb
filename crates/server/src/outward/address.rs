//! Pure. Which addresses are spoken to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a provider's word may make this server speak to this address.
pub(super) fn is_allowed(address: IpAddr, may_be_private: bool) -> bool {
    match address {
        IpAddr::V4(address) => is_allowed_v4(address, may_be_private),
        IpAddr::V6(address) => is_allowed_v6(address, may_be_private),
    }
}

fn is_allowed_v4(address: Ipv4Addr, may_be_private: bool) -> bool {
    let [first, second, third, _] = address.octets();
    let is_nobody = first == 0 || address.is_multicast() || first >= 240;
    let is_near = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        // RFC 6598: between a provider and its customers; RFC 6890: 192.0.0.0/24; RFC 2544: for benchmarks; RFC 5737: for texts.
        || (first == 100 && second & 0xc0 == 64)
        || (first, second, third) == (192, 0, 0)
        || (first == 198 && second & 0xfe == 18)
        || address.is_documentation();
    !is_nobody && (may_be_private || !is_near)
}

fn is_allowed_v6(address: Ipv6Addr, may_be_private: bool) -> bool {
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    // An IPv4 address in other clothes (mapped, compatible, NAT64, 6to4) is not looked through: refused, unless near ones are allowed.
    let segments = address.segments();
    let is_v4_inside =
        segments[..5] == [0; 5] || segments[..2] == [0x64, 0xff9b] || segments[0] == 0x2002;
    if let Some(inside) = address.to_ipv4_mapped() {
        return may_be_private && is_allowed_v4(inside, true);
    }
    // Global unicast is 2000::/3 (RFC 4291); of it 2001::/23 is for protocols, 2001:db8::/32 for texts.
    let is_global = segments[0] & 0xe000 == 0x2000
        && !(segments[0] == 0x2001 && (segments[1] < 0x200 || segments[1] == 0xdb8))
        && !is_v4_inside;
    may_be_private || is_global
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_makes_the_server_speak_to_its_own_network_in_whatever_clothes() {
        for near in [
            "127.0.0.1",
            "127.8.9.10",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
        ] {
            let address = near.parse().unwrap();
            assert!(!is_allowed(address, false), "{near}");
            assert!(is_allowed(address, true), "{near}");
        }
        for nobody in [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "ff02::1",
            "::ffff:0.0.0.0",
        ] {
            for may_be_private in [false, true] {
                assert!(
                    !is_allowed(nobody.parse().unwrap(), may_be_private),
                    "{nobody}"
                );
            }
        }
        for far in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(is_allowed(far.parse().unwrap(), false), "{far}");
        }
    }
}
