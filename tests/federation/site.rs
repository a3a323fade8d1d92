//! Where the nodes are, and how well each is connected.

use std::fmt::{self, Display, Formatter};

use crate::commands::ip;
use crate::network::{AIR, NAT, ROUTER};

/// What a link does to each packet, in each direction.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Weather {
    /// Milliseconds.
    #[arg(long)]
    pub(crate) delay: u64,
    /// Milliseconds more or less.
    #[arg(long)]
    pub(crate) jitter: u64,
    /// Percent.
    #[arg(long)]
    pub(crate) loss: u8,
}

/// Where a node is.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) weather: Weather,
    /// The third byte of its link's addresses.
    pub(crate) number: u8,
    pub(crate) behind_nat: bool,
}

/// All nodes: one with a bad link, one that nobody can dial, one far away.
pub(crate) const SITES: [Site; 3] = [
    Site {
        name: "node1",
        namespace: "cw-node1",
        weather: Weather { delay: 40, jitter: 0, loss: 1 },
        number: 1,
        behind_nat: false,
    },
    Site {
        name: "node2",
        namespace: "cw-node2",
        weather: Weather { delay: 0, jitter: 0, loss: 0 },
        number: 2,
        behind_nat: true,
    },
    Site {
        name: "node3",
        namespace: "cw-node3",
        weather: Weather { delay: 150, jitter: 30, loss: 0 },
        number: 3,
        behind_nat: false,
    },
];

impl Site {
    /// Pulls the node's cable out at its other end: nothing comes through, and neither program is told.
    ///
    /// # Errors
    /// When it can't be.
    pub(crate) fn unplug(&self) -> Result<(), String> {
        self.cable("down")
    }

    /// Puts it back in.
    ///
    /// # Errors
    /// When it can't be.
    pub(crate) fn plug_in(&self) -> Result<(), String> {
        self.cable("up")
    }

    fn cable(&self, to: &str) -> Result<(), String> {
        let other_end = match self.behind_nat {
            true => NAT,
            false if ip(&format!("-n {AIR} link show {}", self.name)).is_ok() => AIR,
            false => ROUTER,
        };
        ip(&format!("-n {other_end} link set {} {to}", self.name)).map(drop)
    }
}

impl Display for Site {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Weather { delay, jitter, loss } = self.weather;
        if self.behind_nat {
            return formatter.write_str("behind a NAT");
        }
        write!(formatter, "{delay} ms")?;
        if jitter > 0 {
            write!(formatter, " ± {jitter} ms")?;
        }
        if loss > 0 {
            write!(formatter, ", {loss} % lost")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn links_are_described_by_what_they_do() {
        let said: Vec<String> = SITES.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["40 ms, 1 % lost", "behind a NAT", "150 ms ± 30 ms"]);
    }

    #[test]
    fn every_node_has_addresses_of_its_own() {
        let numbers: BTreeSet<u8> = SITES.iter().map(|site| site.number).collect();
        assert_eq!(numbers.len(), SITES.len());
    }
}
