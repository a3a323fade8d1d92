//! Slows down whoever guesses passwords, and locks nobody out whose password somebody else guesses at.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};
use moka::sync::Cache;

use super::user::normalised;
use crate::error::Problem;

/// Failures are forgotten so long after the first of them.
const FORGOTTEN_AFTER_SECONDS: u32 = 5 * 60;
/// Of one network with one user's password.
const MOST_OF_BOTH: u32 = 10;
/// Of one network with everybody's, and of everybody with one user's.
const MOST_OF_ONE: u32 = 100;
/// Of all three kinds together; when there are more, the rarest are forgotten.
const MOST_REMEMBERED: u64 = 300_000;
/// Whoever has an address of IPv6 has all of its network.
const IPV6_PREFIX: u8 = 64;

type Failures = Arc<AtomicU32>;

/// Counts of failures, by networks and by users.
pub struct Guesses(Cache<[u8; 32], Failures>);

impl Default for Guesses {
    fn default() -> Self {
        let forgotten = Duration::from_secs(FORGOTTEN_AFTER_SECONDS.into());
        Self(Cache::builder().max_capacity(MOST_REMEMBERED).time_to_live(forgotten).build())
    }
}

impl Guesses {
    /// Counts a try to sign in, as a failure until it is said to have succeeded. `email` is whatever was given.
    ///
    /// # Errors
    /// 429 after too many failures.
    pub fn begin(&self, email: &str, address: IpAddr) -> Result<Guess, Problem> {
        let (user, network) = (normalised(email), network(address).to_string());
        let guess = Guess {
            both: self.failures(&[&user, &network]),
            each: [self.failures(&["user", &user, ""]), self.failures(&["network", &network, ""])],
        };
        let too_many = |failures: &Failures, most| failures.fetch_add(1, Ordering::Relaxed) >= most;
        // What the narrower count refuses is none of the wider ones': nobody fills those alone.
        let [of_user, of_network] = &guess.each;
        if too_many(&guess.both, MOST_OF_BOTH) || too_many(of_network, MOST_OF_ONE) || too_many(of_user, MOST_OF_ONE) {
            const ADVICE: &str = "Too many wrong passwords. Try again in five minutes.";
            return Err(Problem::too_many(ADVICE, FORGOTTEN_AFTER_SECONDS));
        }
        Ok(guess)
    }

    /// Keys of any length take the same room.
    fn failures(&self, key: &[&str]) -> Failures {
        self.0.get_with(*blake3::hash(key.join("\0").as_bytes()).as_bytes(), Failures::default)
    }
}

/// A try to sign in.
#[derive(Debug)]
pub struct Guess {
    both: Failures,
    each: [Failures; 2],
}

impl Guess {
    /// The password was right: what the same network has failed at before is forgotten, and what others have is not.
    pub fn succeeded(self) {
        self.both.store(0, Ordering::Relaxed);
        for failures in self.each {
            failures.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn network(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Net::new_assert(address, IPV6_PREFIX).trunc().into(),
        address @ IpAddr::V4(_) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_user_signs_in_while_somebody_else_guesses_at_the_password() {
        let guesses = Guesses::default();
        let (attacker, home) = (address("203.0.113.9"), address("198.51.100.7"));
        let passed = (0..1_000).filter(|_| guesses.begin("Ada@Example.com", attacker).is_ok()).count();
        assert_eq!(passed, MOST_OF_BOTH as usize, "in any case of letters");
        assert!(guesses.begin("bob@example.com", attacker).is_ok());
        guesses.begin("ada@example.com", home).unwrap().succeeded();
        assert!(guesses.begin("ada@example.com", attacker).is_err(), "no success of hers helps the attacker");
    }

    #[test]
    fn a_few_mistakes_are_forgotten_with_the_right_password() {
        let (guesses, home) = (Guesses::default(), address("198.51.100.7"));
        for _ in 0..5 {
            for _ in 1..MOST_OF_BOTH {
                guesses.begin("ada@example.com", home).unwrap();
            }
            guesses.begin("ada@example.com", home).unwrap().succeeded();
        }
    }

    #[test]
    fn neither_many_names_nor_many_networks_help() {
        let guesses = Guesses::default();
        let tries = |of: &dyn Fn(u32) -> (String, IpAddr)| {
            (0..1_000).map(of).filter(|(email, address)| guesses.begin(email, *address).is_ok()).count()
        };
        let one_network = |number| (format!("{number}@example.com"), address("203.0.113.9"));
        assert_eq!(tries(&one_network), MOST_OF_ONE as usize);
        let one_user = |number: u32| ("ada@example.com".to_owned(), IpAddr::from((10 << 24 | number).to_be_bytes()));
        assert_eq!(tries(&one_user), MOST_OF_ONE as usize);
        let one_ipv6 = |number: u32| (format!("x{number}@example.com"), address(&format!("2001:db8::{number:x}")));
        assert_eq!(tries(&one_ipv6), MOST_OF_ONE as usize, "a network of IPv6 is one");
    }
}
