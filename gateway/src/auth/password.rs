//! Passwords: argon2id, off the threads that serve requests, a few at a time.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Each hash takes 19 MiB and a core for a moment.
const AT_ONCE: usize = 2;
/// Shorter ones are guessed, longer ones only cost time.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;

/// Hashes and checks passwords.
pub struct Passwords {
    permits: Arc<Semaphore>,
    /// Checked when a user does not exist, so that the time taken does not tell.
    decoy: String,
}

impl Passwords {
    /// Ready to check.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { permits: Arc::new(Semaphore::new(AT_ONCE)), decoy: hash_now("a password that nobody has")? })
    }

    /// The hash to store for a password.
    ///
    /// # Errors
    /// When the password is too short or too long.
    pub async fn hash(&self, password: &SecretString) -> anyhow::Result<String> {
        let password = password.expose_secret().to_owned();
        if !LENGTHS.contains(&password.chars().count()) {
            return Err(anyhow!("A password has {} to {} characters.", LENGTHS.start(), LENGTHS.end()));
        }
        self.run(move || hash_now(&password)).await?
    }

    /// True when the password is the one that was hashed. Without a hash it takes as long and is false.
    ///
    /// # Errors
    /// When the gateway is shutting down.
    pub async fn check(&self, password: &SecretString, hash: Option<String>) -> anyhow::Result<bool> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let password = password.expose_secret().to_owned();
        let right = self.run(move || {
            let parsed = argon2::PasswordHash::new(&hash).ok()?;
            Argon2::default().verify_password(password.as_bytes(), &parsed).ok()
        });
        Ok(right.await?.is_some() && exists)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
        let _permit = self.permits.acquire().await.context("the gateway is shutting down")?;
        Ok(tokio::task::spawn_blocking(work).await?)
    }
}

fn hash_now(password: &str) -> anyhow::Result<String> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow!("the password can't be hashed: {error}"))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_an_existing_user_passes() {
        let passwords = Passwords::new().unwrap();
        let secret = |text: &str| SecretString::from(text.to_owned());
        let hash = passwords.hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(passwords.check(&secret("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!passwords.check(&secret("battery staple"), Some(hash)).await.unwrap());
        assert!(!passwords.check(&secret("a password that nobody has"), None).await.unwrap());
        assert!(passwords.hash(&secret("short")).await.is_err());
    }
}
