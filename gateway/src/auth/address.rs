//! From where a request comes. What proxies say of it counts only as far as the proxies are trusted.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Of an IPv6 network: what stands before the IPv4 address in a mapped one.
const MAPPED_PREFIX: u8 = 96;

/// Of a request that came to a listener which speaks TLS itself.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// Who holds the other end of the connection. The accept loop gives it to every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Networks whose word on the address of others counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let networks = items.map(|item| {
            network(item).ok_or_else(|| format!("'{item}' is neither an address nor a network such as 10.0.0.0/8"))
        });
        networks.collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    /// The client's address: the peer's own, or, for a trusted peer, the right-most of `X-Forwarded-For` that is not
    /// trusted itself. What stands further left anybody could have written.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',').map(address));
        while self.trusts(client) {
            let Some(Some(hop)) = hops.next() else { break };
            client = hop;
        }
        client
    }

    /// True when a trusted peer says that the client came by TLS.
    pub fn is_tls(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(FORWARDED_PROTO).iter();
        let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().split(',').map(str::trim));
        self.trusts(peer.to_canonical()) && hops.any(|protocol| protocol.eq_ignore_ascii_case("https"))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address in a header, with or without a port, IPv4 in its own form.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// A network in CIDR notation, or a bare address as a network of one. IPv4 in its own form.
pub fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let mapped = match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_PREFIX)) {
        (IpAddr::V4(address), Some(length)) if network.addr().is_ipv6() => Ipv4Net::new(address, length).ok(),
        _ => None,
    };
    Some(mapped.map_or(network, IpNet::V4).trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        headers
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_trusted_peer_names_the_client_and_nobody_else_does() {
        let proxies: TrustedProxies = "10.0.0.0/8, 2001:db8::1".parse().unwrap();
        for (peer, lines, client) in [
            ("10.0.0.1", &["203.0.113.7"][..], "203.0.113.7"),
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            // the left part is the client's own invention
            ("10.0.0.1", &["192.0.2.1, 203.0.113.7"], "203.0.113.7"),
            // proxies in a row, in one line and in several
            ("10.0.0.1", &["192.0.2.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
            ("10.0.0.1", &["192.0.2.1", "203.0.113.7", "10.9.9.9,2001:db8::1"], "203.0.113.7"),
            ("2001:db8::1", &["[2001:db8::5]:1234"], "2001:db8::5"),
            ("10.0.0.1", &["203.0.113.7:80"], "203.0.113.7"),
            ("10.0.0.1", &["[2001:db8::5]"], "2001:db8::5"),
            // mapped addresses are IPv4 on both sides
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            // all are trusted: the first of them is the client
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            // nothing, or nonsense: the nearest that is known
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(proxies.client(ip(peer), &headers(lines)), ip(client), "{peer} {lines:?}");
        }
    }

    #[test]
    fn whatever_an_untrusted_peer_writes_its_own_address_wins() {
        let proxies: TrustedProxies = "10.0.0.0/8,fd00::/8".parse().unwrap();
        for _ in 0..2000 {
            let peer = IpAddr::from(fastrand::u32(..).to_be_bytes());
            let hops = (0..fastrand::usize(..4)).map(|_| match fastrand::u8(..5) {
                0 => format!("10.{}.0.1", fastrand::u8(..)),
                1 => IpAddr::from(fastrand::u128(..).to_be_bytes()).to_string(),
                2 => (0..fastrand::usize(..9)).map(|_| fastrand::char(' '..='~')).collect(),
                3 => format!("[fd00::{:x}]:{}", fastrand::u16(..), fastrand::u16(..)),
                _ => String::new(),
            });
            let line = hops.collect::<Vec<_>>().join(", ");
            let client = proxies.client(peer, &headers(&[&line]));
            if !proxies.trusts(peer) {
                assert_eq!(client, peer, "{line}");
            }
            let nobody = TrustedProxies::default();
            assert_eq!(nobody.client(peer, &headers(&[&line])), peer, "{line}");
            // A trusted proxy that appends whom it saw is believed, whatever stood there before.
            let appended = proxies.client(ip("10.0.0.1"), &headers(&[&line, &peer.to_string()]));
            assert!(appended == peer || proxies.trusts(peer), "{line}");
        }
    }

    #[test]
    fn only_a_trusted_peer_says_that_the_client_came_by_tls() {
        let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        for (peer, protocol, is_tls) in [
            ("10.0.0.1", "https", true),
            ("::ffff:10.0.0.1", "HTTPS", true),
            ("10.0.0.1", "https, http", true),
            ("10.0.0.1", "http", false),
            ("10.0.0.1", "httpsx", false),
            ("203.0.113.9", "https", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED_PROTO, protocol.parse().unwrap());
            assert_eq!(proxies.is_tls(ip(peer), &headers), is_tls, "{peer} {protocol}");
        }
        assert!(!proxies.is_tls(ip("10.0.0.1"), &HeaderMap::new()));
    }

    #[test]
    fn networks_are_written_in_one_form() {
        for (text, form) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), form, "{text}");
        }
        for wrong in ["", "300.0.0.1", "10.0.0.0/33", "10.0.0.0/-1", "example.com", "10.0.0.0/8/8", " 10.0.0.1"] {
            assert_eq!(network(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_setting_is_a_list_and_empty_by_default() {
        assert_eq!("".parse::<TrustedProxies>(), Ok(TrustedProxies::default()));
        assert_eq!(" 10.0.0.0/8 ,::1,".parse::<TrustedProxies>().unwrap().0.len(), 2);
        assert!("10.0.0.0/8,here".parse::<TrustedProxies>().unwrap_err().contains("'here'"));
    }
}
