//! Which addresses the gateway dials when somebody else has named the host: those that anybody on the internet can reach,
//! and those that its operator allows. Else a node's URL would be a door into the gateway's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use self::Reach::{Embeds, Global, Special};
use crate::auth::address::network;

/// Networks that may be dialled although the internet can't reach them, such as the co-op's own. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedNetworks(Vec<IpNet>);

/// An address that is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}")]
pub struct Forbidden {
    /// In its own form: IPv4 that was mapped into IPv6 is IPv4 here.
    pub address: IpAddr,
    /// What the address is for, to be read after "is".
    pub kind: &'static str,
}

impl FromStr for AllowedNetworks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let networks = items.map(|item| {
            network(item).ok_or_else(|| {
                format!("'{item}' is neither an address nor a network such as 10.0.0.0/8. Separate several by commas")
            })
        });
        networks.collect::<Result<_, _>>().map(Self)
    }
}

impl AllowedNetworks {
    /// Lets an address pass if it is globally reachable or lies in an allowed network.
    ///
    /// # Errors
    /// For every other address; the error says what it is for.
    pub fn judge(&self, address: IpAddr) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        match special(address) {
            Some(kind) if !self.contains(address) => Err(Forbidden { address, kind }),
            _ => Ok(()),
        }
    }

    /// True for the addresses that the gateway's operator has allowed by name.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Who reaches the addresses of a network.
#[derive(Clone, Copy)]
enum Reach {
    /// Everybody.
    Global,
    /// Not everybody: it is set apart for this.
    Special(&'static str),
    /// Whoever reaches the IPv4 address that begins so many bits from the right.
    Embeds(u32),
}

const NOWHERE: &str = "in no network of the public internet";

/// What keeps an address in its own form from being globally reachable. The narrowest network of the tables decides.
fn special(address: IpAddr) -> Option<&'static str> {
    let (reach, bits) = match address {
        IpAddr::V4(address) => {
            let holding = IPV4.iter().filter(|(network, _)| network.contains(&address));
            (holding.max_by_key(|(network, _)| network.prefix_len()).map(|row| row.1), 0)
        }
        IpAddr::V6(address) => {
            let holding = IPV6.iter().filter(|(network, _)| network.contains(&address));
            (holding.max_by_key(|(network, _)| network.prefix_len()).map(|row| row.1), address.to_bits())
        }
    };
    match reach {
        Some(Global) => None,
        Some(Special(kind)) => Some(kind),
        Some(Embeds(right)) => special(IpAddr::V4(Ipv4Addr::from_bits((bits >> right) as u32))),
        None => Some(NOWHERE),
    }
}

/// A network of [`IPV4`].
const fn four(address: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

/// A network of [`IPV6`].
const fn six(address: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = address;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

/// IANA's IPv4 Special-Purpose Address Registry (RFC 6890), with the multicast of RFC 5771.
const IPV4: &[(Ipv4Net, Reach)] = &[
    (four([0, 0, 0, 0], 0), Global),
    (four([0, 0, 0, 0], 8), Special("an address of this very network")),
    (four([10, 0, 0, 0], 8), Special("a private address")),
    (four([100, 64, 0, 0], 10), Special("a provider's shared address")),
    (four([127, 0, 0, 0], 8), Special("a loopback address")),
    (four([169, 254, 0, 0], 16), Special("a link-local address, where clouds keep their machines' credentials")),
    (four([172, 16, 0, 0], 12), Special("a private address")),
    (four([192, 0, 0, 0], 24), Special("set apart for protocols")),
    // anycast for port control and for relays
    (four([192, 0, 0, 9], 32), Global),
    (four([192, 0, 0, 10], 32), Global),
    (four([192, 0, 2, 0], 24), Special("for documentation only")),
    (four([192, 88, 99, 0], 24), Special("a relay of 6to4, which is deprecated")),
    (four([192, 168, 0, 0], 16), Special("a private address")),
    (four([198, 18, 0, 0], 15), Special("for benchmarks only")),
    (four([198, 51, 100, 0], 24), Special("for documentation only")),
    (four([203, 0, 113, 0], 24), Special("for documentation only")),
    (four([224, 0, 0, 0], 4), Special("a multicast address")),
    (four([240, 0, 0, 0], 4), Special("reserved")),
    (four([255, 255, 255, 255], 32), Special("the broadcast address")),
];

/// IANA's IPv6 Special-Purpose Address Registry (RFC 6890) within the one block of global unicast, 2000::/3; of what lies
/// outside it, only the well-known prefix of NAT64 (RFC 6052) leads anywhere.
const IPV6: &[(Ipv6Net, Reach)] = &[
    (six([0, 0, 0, 0, 0, 0, 0, 0], 0), Special(NOWHERE)),
    (six([0x2000, 0, 0, 0, 0, 0, 0, 0], 3), Global),
    (six([0, 0, 0, 0, 0, 0, 0, 0], 128), Special("the unspecified address")),
    (six([0, 0, 0, 0, 0, 0, 0, 1], 128), Special("the loopback address")),
    (six([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), Embeds(0)),
    (six([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Special("for a network's own translation")),
    (six([0x100, 0, 0, 0, 0, 0, 0, 0], 64), Special("where packets are discarded")),
    (six([0x100, 0, 0, 1, 0, 0, 0, 0], 64), Special("a dummy address")),
    (six([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Special("set apart for protocols")),
    (six([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), Special("an address of Teredo")),
    // anycast for port control, for relays, and for the registration of services
    (six([0x2001, 1, 0, 0, 0, 0, 0, 1], 128), Global),
    (six([0x2001, 1, 0, 0, 0, 0, 0, 2], 128), Global),
    (six([0x2001, 1, 0, 0, 0, 0, 0, 3], 128), Global),
    (six([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), Special("for benchmarks only")),
    // multicast tunnels, AS112, hash identities, drones' identities
    (six([0x2001, 3, 0, 0, 0, 0, 0, 0], 32), Global),
    (six([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48), Global),
    (six([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28), Special("a hash identity, of a deprecated kind")),
    (six([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28), Global),
    (six([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28), Global),
    (six([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Special("for documentation only")),
    (six([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Embeds(80)),
    (six([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Special("for documentation only")),
    (six([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), Special("a segment identifier")),
    (six([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Special("a private address")),
    (six([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Special("a link-local address")),
    (six([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Special("a site-local address")),
    (six([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Special("a multicast address")),
];

#[cfg(test)]
mod tests;
