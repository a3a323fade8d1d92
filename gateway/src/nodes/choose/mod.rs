//! Which of the nodes that could answer gets a request. Pure: the nodes' figures and chance are arguments.
//!
//! Filters come first. Then a node with a free slot goes before one without; for energy and carbon one that answers
//! in time goes before a late one, so work gathers on busy nodes until the latency objective binds and idle ones wake
//! last. Then the least figure wins. Figures that differ by less than they are known to count as equal, and among
//! equals the less loaded of two random nodes gets the request (Mitzenmacher, "The Power of Two Choices in Randomized
//! Load Balancing", 2001), which keeps replicas that see the same figures from all picking the same node.

mod dearest;

mod reason;

mod search;

mod shortlist;

use std::time::Duration;

use openapi::units::{Microjoules, Nanocredits};
use uuid::Uuid;

use super::marginal::{Profile, State, Work, micrograms_per_million_tokens};
use super::preference::{Preference, Sort};
pub use dearest::{Mix, dearest};
pub use reason::{Reason, Standing};
pub use search::{Chosen, Market, Nobody, best_of, few, last_resort};
pub use shortlist::{COMPARED, DRAWN, Room, Shortlist, at_random, shortlist};

/// A node that could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub node: Uuid,
    /// None when nothing is known of its energy.
    pub profile: Option<Profile>,
    pub state: State,
    /// What the request costs there.
    pub price: Nanocredits,
    /// How fast an answer comes.
    pub tokens_per_second: u32,
    /// How soon it usually begins. None when the node has never answered.
    pub first_byte: Option<Duration>,
}

/// What is asked of all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub preference: Preference,
    pub work: Work,
    /// A node whose first byte usually comes later than this gets no more work for the sake of energy.
    pub latency_objective: Duration,
    /// The class's 90th percentile, for nodes whose figures are missing or not believed: keeping silent never pays.
    pub stand_in: Profile,
    /// How soon answers of this model usually begin, for nodes that have given none.
    pub usual_first_byte: Duration,
    /// Of this choice alone.
    pub random: u64,
}

/// The node, and why it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub node: Uuid,
    pub reason: Reason,
}

/// No node may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChoice {
    /// There was none to choose from.
    NoCandidate,
    /// All have figures of a worse tier than `provider.min_energy_tier`.
    TierTooLow,
    /// The rest stand for more carbon than `provider.max_gco2e_per_mtok`, or for nobody knows how much.
    TooMuchCarbon,
}

/// Chooses in one pass, without memory of its own; the candidates' order makes no difference.
///
/// # Errors
/// When the filters leave nobody.
pub fn choose(candidates: impl IntoIterator<Item = Candidate>, ask: &Ask) -> Result<Choice, NoChoice> {
    let (mut leaders, mut refusal) = (None::<Leaders>, NoChoice::NoCandidate);
    for candidate in candidates {
        match ask.excludes(&candidate) {
            None => {
                let key = ask.key(&candidate);
                match &mut leaders {
                    Some(leaders) if key > leaders.key => {}
                    Some(leaders) => leaders.consider(key, ask.contender(candidate)),
                    None => leaders = Some(Leaders { key, first: ask.contender(candidate), second: None }),
                }
            }
            // Carbon is what remains once the tier is right.
            Some(NoChoice::TooMuchCarbon) => refusal = NoChoice::TooMuchCarbon,
            Some(other) if refusal == NoChoice::NoCandidate => refusal = other,
            Some(_) => {}
        }
    }
    let chosen = leaders.ok_or(refusal)?.less_loaded();
    Ok(Choice { node: chosen.node, reason: ask.reason(&chosen) })
}

/// Decides between nodes; the least wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    standing: Standing,
    rank: u64,
    is_to_wake: bool,
}

impl Ask {
    /// Why the request can't go to this node for the sake of its energy.
    pub fn excludes(&self, candidate: &Candidate) -> Option<NoChoice> {
        let known = candidate.profile.as_ref().filter(|profile| profile.believed);
        if let Some(lowest) = self.preference.min_tier
            && known.is_none_or(|profile| profile.tier > lowest)
        {
            return Some(NoChoice::TierTooLow);
        }
        let most = self.preference.max_micrograms_per_million_tokens?;
        let carbon = known.and_then(|profile| {
            let energy = profile.attributed(self.work, &candidate.state);
            Some(micrograms_per_million_tokens(energy, profile.mg_per_kwh?, self.work.tokens()))
        });
        carbon.is_none_or(|carbon| carbon > most).then_some(NoChoice::TooMuchCarbon)
    }

    fn key(&self, candidate: &Candidate) -> Key {
        let standing = self.standing(&candidate.state);
        let rank = match standing {
            Standing::Fit if self.preference.sort == Some(Sort::Price) => {
                candidate.state.handicapped(candidate.price.get())
            }
            Standing::Fit if self.preference.sort.is_none() => 0,
            Standing::Fit => coarse(candidate.state.handicapped(self.figure(candidate))),
            Standing::Late => coarse(microseconds(candidate.state.typical_first_byte)),
            Standing::Full => candidate.state.burden(),
        };
        Key { standing, rank, is_to_wake: self.gathers() && candidate.state.is_idle() }
    }

    fn standing(&self, state: &State) -> Standing {
        if state.is_full() {
            Standing::Full
        } else if self.gathers() && state.typical_first_byte > self.latency_objective {
            Standing::Late
        } else {
            Standing::Fit
        }
    }

    /// True when work is to gather on few nodes.
    fn gathers(&self) -> bool {
        matches!(self.preference.sort, Some(Sort::Energy | Sort::Carbon))
    }

    /// What is sorted by, in the unit of [`Reason::figure`]; less is better.
    pub fn figure(&self, candidate: &Candidate) -> u64 {
        let tokens = self.work.tokens();
        match self.preference.sort {
            None => candidate.state.load(),
            Some(Sort::Price) => candidate.price.get(),
            Some(Sort::Throughput) => {
                1_000_000_000_u64.checked_div(u64::from(candidate.tokens_per_second)).unwrap_or(u64::MAX)
            }
            Some(Sort::Latency) => microseconds(candidate.first_byte.unwrap_or(self.usual_first_byte)),
            Some(Sort::Energy) => self.energy(candidate).get().saturating_mul(1_000) / tokens,
            Some(Sort::Carbon) => {
                let intensity = candidate.profile.and_then(|profile| profile.mg_per_kwh).or(self.stand_in.mg_per_kwh);
                micrograms_per_million_tokens(self.energy(candidate), intensity.unwrap_or(u64::MAX), tokens)
            }
        }
    }

    fn energy(&self, candidate: &Candidate) -> Microjoules {
        let of = |profile: &Profile| profile.marginal(self.work, &candidate.state);
        match &candidate.profile {
            Some(profile) if profile.believed => of(profile),
            Some(profile) => of(profile).max(of(&self.stand_in)),
            None => of(&self.stand_in),
        }
    }

    fn contender(&self, candidate: Candidate) -> Contender {
        let (high, low) = candidate.node.as_u64_pair();
        Contender { ticket: (mixed(high ^ mixed(low ^ self.random)), candidate.node), candidate }
    }

    fn reason(&self, chosen: &Candidate) -> Reason {
        Reason {
            sort: self.preference.sort,
            figure: self.figure(chosen),
            standing: self.standing(&chosen.state),
            idle: chosen.state.is_idle(),
            assumed: self.gathers() && !chosen.profile.is_some_and(|profile| profile.believed),
        }
    }
}

/// A candidate with its place in a random order.
#[derive(Clone, Copy)]
struct Contender {
    ticket: (u64, Uuid),
    candidate: Candidate,
}

/// The first two in random order among the best so far.
struct Leaders {
    key: Key,
    first: Contender,
    second: Option<Contender>,
}

impl Leaders {
    /// Takes in one that is no worse.
    fn consider(&mut self, key: Key, contender: Contender) {
        if key < self.key {
            *self = Self { key, first: contender, second: None };
        } else if contender.ticket < self.first.ticket {
            self.second = Some(std::mem::replace(&mut self.first, contender));
        } else if self.second.is_none_or(|second| contender.ticket < second.ticket) {
            self.second = Some(contender);
        }
    }

    fn less_loaded(self) -> Candidate {
        let burden = |contender: &Contender| {
            let state = contender.candidate.state;
            (state.burden(), state.typical_first_byte)
        };
        let other = self.second.filter(|second| burden(second) < burden(&self.first));
        other.unwrap_or(self.first).candidate
    }
}

/// A figure's first six binary digits: nobody knows watts or latencies to better than a thirtieth.
const fn coarse(figure: u64) -> u64 {
    const DIGITS: u32 = 6;
    let excess = (u64::BITS - figure.leading_zeros()).saturating_sub(DIGITS);
    figure >> excess << excess
}

/// Spreads a number over all numbers: the last steps of SplitMix64 (Steele, Lea and Flood, 2014).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn microseconds(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
