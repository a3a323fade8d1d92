//! Authors of models. A manifest names them by a text; one that ends with a key, such as
//! `Ada Lovelace ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo`, is of whoever has that key, and what models of theirs
//! earn goes to the account that they claim it for.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::ed25519::PublicKey;
use crate::receipt::jws::{self, Jws, NotSigned, Signer};
use crate::units::Microseconds;

/// The version of claims.
pub const VERSION: u8 = 1;
/// The longest text of an author, in characters. A ledger cuts what is longer, and then there is no key in it.
pub const LONGEST: usize = 200;
/// Between name and key.
const KEY: &str = " ed25519:";

/// An author as a manifest names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author<'a> {
    pub name: &'a str,
    pub key: Option<PublicKey>,
}

/// What an author signs to be paid. Logged nowhere; a gateway keeps the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorClaim {
    /// Always [`VERSION`].
    pub v: u8,
    /// As manifests have it, with the key.
    pub author: String,
    /// What the gateway's log is called: at another gateway the claim is good for nothing.
    pub gateway: String,
    /// Whose the earnings are to be.
    pub account: Uuid,
    /// When it was signed, in microseconds since 1970. A later claim takes the place of an earlier one.
    pub at: Microseconds,
}

/// Why nothing is claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotClaimed {
    #[error("the claim can't be read: {0}")]
    Token(#[from] NotSigned),
    #[error("the claim is of version {0}, and this program knows version {VERSION}")]
    Version(u8),
    #[error(
        "the author in the claim has no key: a text as 'Ada Lovelace ed25519:…', with 43 characters of base64url, has one"
    )]
    NoKey,
    #[error("the key is not the one in the author's text")]
    OtherKey,
}

impl<'a> Author<'a> {
    /// Reads the text of an author. Whatever isn't a name and a key, as [`Author`] writes them, is a name alone.
    pub fn read(text: &'a str) -> Self {
        let keyed = || {
            let (name, key) = text.rsplit_once(KEY)?;
            let key = jws::public_key(key)?;
            let is_name = !name.is_empty() && name.trim() == name && text.chars().count() <= LONGEST;
            is_name.then_some(Self { name, key: Some(key) })
        };
        keyed().unwrap_or(Self { name: text, key: None })
    }
}

impl fmt::Display for Author<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)?;
        match self.key {
            Some(key) => write!(formatter, "{KEY}{}", BASE64URL_NOPAD.encode(&key.0)),
            None => Ok(()),
        }
    }
}

impl AuthorClaim {
    /// The claim as a compact JWS by the author's key.
    ///
    /// # Errors
    /// When it is another's key.
    pub fn sign(&self, signer: &Signer) -> Result<String, NotClaimed> {
        match Author::read(&self.author).key {
            None => Err(NotClaimed::NoKey),
            Some(key) if key != signer.public() => Err(NotClaimed::OtherKey),
            Some(_) => signer.sign(self).ok_or(NotClaimed::Token(NotSigned::Signature)),
        }
    }

    /// Reads a claim and who has signed it: the author that it names, or nobody.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(token: &str) -> Result<Self, NotClaimed> {
        let token = Jws::read(token.trim())?;
        let claim: Self = token.claimed()?;
        let key = Author::read(&claim.author).key.ok_or(NotClaimed::NoKey)?;
        let claim: Self = token.verify(&key)?;
        if claim.v == VERSION { Ok(claim) } else { Err(NotClaimed::Version(claim.v)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32]).unwrap()
    }

    fn ada() -> String {
        Author { name: "Ada Lovelace", key: Some(signer(1).public()) }.to_string()
    }

    fn claim() -> AuthorClaim {
        let (gateway, account) = ("gateway.example/log".to_owned(), Uuid::from_u128(7));
        AuthorClaim { v: VERSION, author: ada(), gateway, account, at: Microseconds::new(5) }
    }

    #[test]
    fn a_name_and_a_key_are_read_as_they_are_written() {
        let text = ada();
        assert_eq!(text.len(), "Ada Lovelace ed25519:".len() + 43);
        let author = Author::read(&text);
        assert_eq!((author.name, author.key), ("Ada Lovelace", Some(signer(1).public())));
        assert_eq!(author.to_string(), text);
        let keyed_twice = format!("{text} ed25519:{}", BASE64URL_NOPAD.encode(&signer(2).public().0));
        assert_eq!(Author::read(&keyed_twice).key, Some(signer(2).public()), "the last one counts");
    }

    #[test]
    fn whatever_is_not_exactly_a_key_is_part_of_the_name() {
        let text = ada();
        let key = text.strip_prefix("Ada Lovelace").unwrap();
        let long = format!("{}{key}", "é".repeat(149));
        for plain in [
            "",
            "Ada Lovelace",
            "Ada Lovelace ed25519:",
            key,
            key.trim(),
            &text[..text.len() - 1],
            &format!("{text}A"),
            &format!("{text} "),
            &format!(" {text}"),
            &format!("{text}="),
            &text.replace("ed25519", "ED25519"),
            &text.replace(" ed25519", "\ned25519"),
            &text.replace(" ed25519", "  ed25519"),
            &long,
        ] {
            assert_eq!(Author::read(plain), Author { name: plain, key: None }, "{plain:?}");
        }
        let longest: String = long.chars().skip(1).collect();
        assert!(Author::read(&longest).key.is_some(), "200 characters");
    }

    #[test]
    fn an_author_claims_for_an_account_and_nobody_else_does() {
        let token = claim().sign(&signer(1)).unwrap();
        assert_eq!(AuthorClaim::read(&format!("{token}\n")), Ok(claim()));
        assert_eq!(claim().sign(&signer(2)), Err(NotClaimed::OtherKey));
        let forged = signer(2).sign(&claim()).unwrap();
        assert_eq!(AuthorClaim::read(&forged), Err(NotClaimed::Token(NotSigned::Signature)));
        let plain = AuthorClaim { author: "Ada Lovelace".to_owned(), ..claim() };
        assert_eq!(plain.sign(&signer(1)), Err(NotClaimed::NoKey));
        assert_eq!(AuthorClaim::read(&signer(1).sign(&plain).unwrap()), Err(NotClaimed::NoKey));
        let newer = signer(1).sign(&AuthorClaim { v: 2, ..claim() }).unwrap();
        assert_eq!(AuthorClaim::read(&newer), Err(NotClaimed::Version(2)));
        let more = signer(1).sign(&serde_json::json!({"v": 1, "author": ada(), "more": 1})).unwrap();
        assert!(matches!(AuthorClaim::read(&more), Err(NotClaimed::Token(NotSigned::Payload(_)))));
    }

    proptest! {
        #[test]
        fn every_name_with_a_key_is_read_again(name in "[^\0]{1,140}", seed: u8) {
            let author = Author { name: name.trim(), key: Some(signer(seed).public()) };
            prop_assume!(!author.name.is_empty());
            let text = author.to_string();
            prop_assert_eq!(Author::read(&text), author);
        }

        #[test]
        fn reading_loses_nothing(text in "\\PC{0,20}( ed25519:[A-Za-z0-9_-]{42,44})?\\PC{0,2}") {
            prop_assert_eq!(Author::read(&text).to_string(), text);
        }
    }
}
