//! The network: namespaces joined by virtual cables to one router, the cables' weather, a NAT, and their removal. Nothing
//! outside of these namespaces is touched: each interface is made inside them.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::commands::{inside, ip, processes_in, run, tc};
use crate::own_path;
use crate::relay::PORT;
use crate::site::{SITES, Site, Weather};

/// Where whoever asks is.
pub(crate) const CLIENT: &str = "cw-client";
pub(crate) const GATEWAY: &str = "cw-gateway";
pub(crate) const GATEWAY_ADDRESS: &str = "10.213.10.2";
pub(crate) const ROUTER: &str = "cw-router";
pub(crate) const NAT: &str = "cw-nat";
/// Of the NAT towards the world, and of the node behind it.
pub(crate) const NAT_ADDRESS: &str = "10.213.2.2";
pub(crate) const HIDDEN_ADDRESS: &str = "10.213.202.2";
/// What is between the ends of a link that a relay slows.
pub(crate) const AIR: &str = "cw-air";

const NAMESPACES: [&str; 8] = [CLIENT, GATEWAY, ROUTER, NAT, AIR, "cw-node1", "cw-node2", "cw-node3"];

/// VXLAN takes fifty bytes of a packet's 1,500.
const VXLAN_PACKET: &str = "mtu 1450";

/// The network as long as it is there.
pub(crate) struct Network {
    relays: Vec<Child>,
    netem: bool,
}

impl Network {
    /// Makes it.
    ///
    /// # Errors
    /// A sentence that says what is missing. What was made until then is removed.
    pub(crate) fn build() -> Result<Self, String> {
        must_be_possible()?;
        remove_leftovers()?;
        let mut network = Self { relays: Vec::new(), netem: true };
        for namespace in NAMESPACES {
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        for router in [ROUTER, NAT] {
            inside(router, &["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        }
        network.netem = netem_is_there();
        if !network.netem {
            must_have(&[("ethtool", "--version")])?;
        }
        connect(GATEWAY, "gateway", ROUTER, 10)?;
        connect(CLIENT, "client", ROUTER, 20)?;
        for site in &SITES {
            network.connect(site)?;
        }
        Ok(network)
    }

    fn connect(&mut self, site: &Site) -> Result<(), String> {
        let Site { name, namespace, number, .. } = *site;
        if site.behind_nat {
            connect(namespace, name, NAT, number + 200)?;
            connect(NAT, name, ROUTER, number)?;
            return masquerade();
        }
        if !self.netem {
            self.relays.push(connect_through_relay(site)?);
            return Ok(());
        }
        connect(namespace, name, ROUTER, number)?;
        let Weather { delay, jitter, loss } = site.weather;
        for (namespace, interface) in [(namespace, "uplink"), (ROUTER, name)] {
            let netem = format!("netem delay {delay}ms {jitter}ms loss {loss}%");
            tc(&format!("-n {namespace} qdisc add dev {interface} root {netem}"))?;
        }
        Ok(())
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        let how = if self.netem {
            "tc netem slows the links"
        } else {
            "this kernel has no netem, so this program slows the links, between two ends of VXLAN"
        };
        format!("network: a gateway, a client and three nodes in namespaces of their own; {how}")
    }
}

impl Drop for Network {
    /// Ends all processes in the namespaces, by their ids, and removes these.
    fn drop(&mut self) {
        for relay in &mut self.relays {
            // One that has ended needs no end.
            let _ = relay.kill();
            let _ = relay.wait();
        }
        for pid in NAMESPACES.iter().flat_map(|namespace| processes_in(namespace)) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        for namespace in NAMESPACES {
            // Those that were never made can't be removed.
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
}

/// Lays a cable from `uplink` in one namespace to an interface in another, and sends everything through it.
fn connect(near: &str, interface: &str, far: &str, number: u8) -> Result<(), String> {
    cable((near, "uplink"), (far, interface))?;
    address(far, interface, &format!("10.213.{number}.1"))?;
    address(near, "uplink", &format!("10.213.{number}.2"))?;
    default_route(near, number)
}

/// The same through the air: each side's cable ends there, and carries one end of a VXLAN between which a relay sits.
fn connect_through_relay(site: &Site) -> Result<Child, String> {
    let Site { name, namespace, number, weather, .. } = *site;
    let far = through_air(ROUTER, (&format!("{name}-cable"), name), &format!("{name}-far"), (number, 150))?;
    address(ROUTER, name, &format!("10.213.{number}.1"))?;
    let near = through_air(namespace, ("cable", "uplink"), name, (number, 100))?;
    address(namespace, "uplink", &format!("10.213.{number}.2"))?;
    default_route(namespace, number)?;
    let Weather { delay, jitter, loss } = weather;
    let numbers = [("--delay", delay), ("--jitter", jitter), ("--loss", loss.into())];
    let mut relay = Command::new("ip");
    relay.args(["netns", "exec", AIR]).arg(own_path()?).arg("relay").arg("--near").args(near).arg("--far").args(far);
    relay.args(numbers.iter().flat_map(|(name, number)| [(*name).to_owned(), number.to_string()]));
    relay.stdin(Stdio::piped()).spawn().map_err(|error| format!("cannot run a relay: {error}"))
}

/// Lays a cable into the air and a tunnel over it; returns the addresses of its end in the air and of its other end.
fn through_air(
    namespace: &str,
    (outer, tunnel): (&str, &str),
    in_air: &str,
    (number, net): (u8, u8),
) -> Result<[String; 2], String> {
    let net = net + number;
    let ends = [format!("10.213.{net}.1"), format!("10.213.{net}.2")];
    cable((namespace, outer), (AIR, in_air))?;
    address(AIR, in_air, &ends[0])?;
    address(namespace, outer, &ends[1])?;
    let vxlan = format!("type vxlan id {number} remote {} dstport {PORT} nolearning", ends[0]);
    ip(&format!("-n {namespace} link add {tunnel} {VXLAN_PACKET} {vxlan}"))?;
    // The relay reads packets as they lie in memory: their checksums must not be left to a network card.
    inside(namespace, &["ethtool", "-K", tunnel, "tx", "off"])?;
    Ok(ends)
}

fn cable((near, one): (&str, &str), (far, other): (&str, &str)) -> Result<(), String> {
    ip(&format!("link add {one} netns {near} type veth peer name {other} netns {far}")).map(drop)
}

fn address(namespace: &str, interface: &str, address: &str) -> Result<(), String> {
    ip(&format!("-n {namespace} address add {address}/24 dev {interface}"))?;
    ip(&format!("-n {namespace} link set {interface} up")).map(drop)
}

fn default_route(namespace: &str, number: u8) -> Result<(), String> {
    ip(&format!("-n {namespace} route add default via 10.213.{number}.1")).map(drop)
}

/// The node behind the NAT has an address that nobody outside has a route to, and appears under the NAT's.
fn masquerade() -> Result<(), String> {
    let rules = "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100 ; }; \
                 add rule ip nat out oifname uplink masquerade";
    inside(NAT, &["nft", rules]).map(drop)
}

fn netem_is_there() -> bool {
    let on_loopback = |what: &str| tc(&format!("-n {ROUTER} qdisc {what}")).is_ok();
    on_loopback("add dev lo root netem delay 1ms") && on_loopback("del dev lo root")
}

fn must_be_possible() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("only root may make network namespaces: run it as root, best in a virtual machine".into());
    }
    must_have(&[("ip", "-V"), ("tc", "-V"), ("nft", "--version")])
}

fn must_have(programs: &[(&str, &str)]) -> Result<(), String> {
    programs.iter().try_for_each(|(program, asked)| {
        let missing = |_| format!("`{program}` is missing: on Debian, apt-get install iproute2 nftables ethtool");
        run(program, &[asked]).map(drop).map_err(missing)
    })
}

/// Those of a run that was killed are removed; those of a run that lives are its own.
fn remove_leftovers() -> Result<(), String> {
    let there = ip("netns list")?;
    let there: Vec<&str> = there.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let ours = || NAMESPACES.into_iter().filter(|namespace| there.contains(namespace));
    let alive: Vec<String> = ours().flat_map(processes_in).map(|pid| pid.to_string()).collect();
    if !alive.is_empty() {
        return Err(format!("another federation runs here (processes {}): let it end first", alive.join(", ")));
    }
    ours().try_for_each(|namespace| ip(&format!("netns del {namespace}")).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_made_is_removed() {
        assert!(SITES.iter().all(|site| NAMESPACES.contains(&site.namespace)));
        assert!(NAMESPACES.iter().all(|namespace| namespace.starts_with("cw-")));
    }
}
