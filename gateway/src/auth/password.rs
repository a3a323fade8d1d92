//! Passwords: argon2id, off the threads that serve requests, a few at a time.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::error::Problem;

/// Each hash takes 19 MiB and a core for a moment.
const AT_ONCE: usize = 2;
/// So many more wait for their turn, a few seconds at most.
const WAITING: usize = 64;
/// Shorter ones are guessed, longer ones only cost time.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;
/// Checked when a user does not exist, so that the time taken does not tell. A constant, since to make one would take the
/// gateway its 19 MiB whenever it starts.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3MgcGFzc3dvcg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password is not looked at.
#[derive(Debug, thiserror::Error)]
pub enum Unchecked {
    #[error("A password has {} to {} characters.", LENGTHS.start(), LENGTHS.end())]
    Length,
    #[error("Too many sign in at the same time. Try again shortly.")]
    Busy,
    #[error("the password can't be hashed: {0}")]
    Failed(String),
}

impl From<Unchecked> for Problem {
    fn from(unchecked: Unchecked) -> Self {
        const SECONDS: u32 = 2;
        match unchecked {
            Unchecked::Length => Self::bad_request(unchecked.to_string()),
            Unchecked::Busy => Self::overloaded(unchecked.to_string(), SECONDS),
            Unchecked::Failed(_) => {
                tracing::error!("{unchecked}");
                Self::internal()
            }
        }
    }
}

/// Hashes and checks passwords.
pub struct Passwords {
    places: Semaphore,
    permits: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE + WAITING), permits: Semaphore::new(AT_ONCE) }
    }
}

impl Passwords {
    /// The hash to store for a password.
    ///
    /// # Errors
    /// When the password is too short or too long, or too many wait already.
    pub async fn hash(&self, password: &SecretString) -> Result<String, Unchecked> {
        let password = password.expose_secret().to_owned();
        if !LENGTHS.contains(&password.chars().count()) {
            return Err(Unchecked::Length);
        }
        self.run(move || hash_now(&password)).await?
    }

    /// True when the password is the one that was hashed. Without a hash it takes as long and is false.
    ///
    /// # Errors
    /// When too many wait already.
    pub async fn check(&self, password: &SecretString, hash: Option<String>) -> Result<bool, Unchecked> {
        // It is nobody's, and need not be kept for its turn.
        if password.expose_secret().chars().count() > *LENGTHS.end() {
            return Ok(false);
        }
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| DECOY.to_owned());
        let password = password.expose_secret().to_owned();
        let right = self.run(move || {
            let parsed = argon2::PasswordHash::new(&hash).ok()?;
            Argon2::default().verify_password(password.as_bytes(), &parsed).ok()
        });
        Ok(right.await?.is_some() && exists)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unchecked> {
        let _place = self.places.try_acquire().map_err(|_| Unchecked::Busy)?;
        let failed = |error: &dyn std::fmt::Display| Unchecked::Failed(error.to_string());
        let _permit = self.permits.acquire().await.map_err(|error| failed(&error))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| failed(&error))
    }
}

fn hash_now(password: &str) -> Result<String, Unchecked> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Unchecked::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_an_existing_user_passes() {
        let passwords = Passwords::default();
        let secret = |text: &str| SecretString::from(text.to_owned());
        let hash = passwords.hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(passwords.check(&secret("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.check(&secret("battery staple"), Some(hash)).await.unwrap());
        assert!(!passwords.check(&secret("a password that nobody has"), None).await.unwrap());
        assert!(matches!(passwords.hash(&secret("short")).await, Err(Unchecked::Length)));
    }

    #[test]
    fn who_does_not_exist_is_checked_with_the_same_work() {
        let shape = |hash: &str| {
            let (head, digest) = hash.rsplit_once('$').unwrap();
            let (parameters, salt) = head.rsplit_once('$').unwrap();
            (parameters.to_owned(), salt.len(), digest.len())
        };
        assert_eq!(shape(DECOY), shape(&hash_now("a password that nobody has").unwrap()));
        let decoy = argon2::PasswordHash::new(DECOY).unwrap();
        let checked = Argon2::default().verify_password(b"a password that nobody has", &decoy);
        assert_eq!(checked, Err(argon2::password_hash::Error::PasswordInvalid));
    }

    #[tokio::test]
    async fn no_more_wait_than_can_have_their_turn_soon() {
        let passwords = Passwords::default();
        let (right, long) = (SecretString::from("correct horse"), SecretString::from("x".repeat(100_000)));
        let checks = futures_util::future::join_all((0..100).map(|_| passwords.check(&right, None))).await;
        let busy = checks.iter().filter(|checked| matches!(checked, Err(Unchecked::Busy))).count();
        assert_eq!(busy, 100 - AT_ONCE - WAITING);
        let taken: Vec<_> = (0..AT_ONCE + WAITING).map(|_| passwords.places.try_acquire().unwrap()).collect();
        assert!(matches!(passwords.check(&long, None).await, Ok(false)), "it takes no place");
        drop(taken);
        assert!(passwords.check(&right, None).await.is_ok());
    }
}
