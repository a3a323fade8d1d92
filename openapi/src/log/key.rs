//! Keys with names. Source: C2SP signed-note, "Signatures" and "Verifier keys"; how private keys are written is Go's
//! `golang.org/x/mod/sumdb/note`, which other tools read too.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use super::base64;
use super::ed25519::{PUBLIC_KEY_BYTES, PrivateKey, PublicKey, SEED_BYTES};

const PRIVATE: &str = "PRIVATE+KEY+";

/// What the signatures of a key are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Of a note's text: a log's own.
    Note,
    /// Of a checkpoint and a time: a witness's.
    Cosignature,
}

/// What a signature is verified with, and who it is by. Written as a "vkey": `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: PublicKey,
    id: u32,
}

/// What signs, and in whose name.
#[derive(Debug)]
pub struct SigningKey {
    verifier: VerifierKey,
    private: PrivateKey,
}

/// Why this is no key. What was read isn't repeated: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    #[error("a verifier key is a name, eight lower-case hexadecimal digits and a key in base64, joined by +")]
    Verifier,
    #[error(
        "a private key is PRIVATE+KEY, a name, eight lower-case hexadecimal digits and a key in base64, joined by +"
    )]
    Private,
    #[error("a key's name has at least one character, and no space, control character or +")]
    Name,
    #[error("keys of type {0:#04x} are not supported; Ed25519 is, as 0x01 for logs and 0x04 for witnesses")]
    Kind(u8),
    #[error("an Ed25519 key has 32 bytes")]
    Length,
    #[error("the id does not belong to the key's name and bytes")]
    Id,
    #[error("the private key cannot be used")]
    Unusable,
}

/// Why nothing was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("logs sign with keys of type 0x01, witnesses with keys of type 0x04")]
    Kind,
    #[error("a cosignature's time is after 1970 and has 63 bits")]
    Time,
    #[error("the key did not sign")]
    Refused,
}

/// Whether a key may be called so.
pub fn is_key_name(name: &str) -> bool {
    let bad = |character: char| character.is_whitespace() || character.is_ascii_control() || character == '+';
    !name.is_empty() && !name.contains(bad)
}

impl KeyKind {
    /// The signature type identifier byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Note => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn of(byte: u8) -> Result<Self, NoKey> {
        [Self::Note, Self::Cosignature].into_iter().find(|kind| kind.byte() == byte).ok_or(NoKey::Kind(byte))
    }
}

impl VerifierKey {
    /// A key under a name.
    ///
    /// # Errors
    /// When no key may have this name.
    pub fn new(name: &str, kind: KeyKind, public: PublicKey) -> Result<Self, NoKey> {
        if !is_key_name(name) {
            return Err(NoKey::Name);
        }
        let digest =
            Sha256::new().chain_update(name).chain_update([b'\n', kind.byte()]).chain_update(public.0).finalize();
        let id = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        Ok(Self { name: name.to_owned(), kind, public, id })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Tells keys of one name apart, and says nothing more: anybody can make a key with a given id.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl SigningKey {
    /// The key that a seed gives, under a name.
    ///
    /// # Errors
    /// When no key may have this name, or the seed gives none.
    pub fn new(name: &str, kind: KeyKind, seed: &[u8; SEED_BYTES]) -> Result<Self, NoKey> {
        let private = PrivateKey::from_seed(seed).ok_or(NoKey::Unusable)?;
        Ok(Self { verifier: VerifierKey::new(name, kind, private.public())?, private })
    }

    /// The text of the key that a seed gives: a secret, which [`SigningKey`] reads.
    ///
    /// # Errors
    /// As [`SigningKey::new`].
    pub fn write(name: &str, kind: KeyKind, seed: &[u8; SEED_BYTES]) -> Result<String, NoKey> {
        let id = Self::new(name, kind, seed)?.verifier.id;
        Ok(format!("{PRIVATE}{name}+{id:08x}+{}", BASE64.encode(&[&[kind.byte()], seed.as_slice()].concat())))
    }

    /// What its signatures are verified with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub(super) fn sign(&self, kind: KeyKind, message: &[u8]) -> Result<[u8; 64], NotSigned> {
        if kind != self.verifier.kind {
            return Err(NotSigned::Kind);
        }
        self.private.sign(message).ok_or(NotSigned::Refused)
    }
}

impl FromStr for SigningKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (name, id, kind, seed) = text.strip_prefix(PRIVATE).and_then(parts).ok_or(NoKey::Private)?;
        let seed = seed.try_into().map_err(|_| NoKey::Length);
        let key = Self::new(name, KeyKind::of(kind)?, &seed?)?;
        if key.verifier.id == id { Ok(key) } else { Err(NoKey::Id) }
    }
}

impl FromStr for VerifierKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (name, id, kind, public) = parts(text).ok_or(NoKey::Verifier)?;
        let kind = KeyKind::of(kind)?;
        let public: [u8; PUBLIC_KEY_BYTES] = public.try_into().map_err(|_| NoKey::Length)?;
        let key = Self::new(name, kind, PublicKey(public))?;
        if key.id == id { Ok(key) } else { Err(NoKey::Id) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.kind.byte()], self.public.0.as_slice()].concat();
        write!(formatter, "{}+{:08x}+{}", self.name, self.id, BASE64.encode(&bytes))
    }
}

/// Name, id, the type's byte and the bytes behind it.
fn parts(text: &str) -> Option<(&str, u32, u8, Vec<u8>)> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let id = HEXLOWER.decode(id.as_bytes()).ok()?.try_into().ok()?;
    let mut bytes = base64(key)?;
    if bytes.is_empty() {
        return None;
    }
    let kind = bytes.remove(0);
    Some((name, u32::from_be_bytes(id), kind, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn the_specification_s_key_is_read() {
        let key: VerifierKey = KNOWN.parse().unwrap();
        assert_eq!((key.name(), key.kind(), key.id()), ("example.com/foo", KeyKind::Note, 0x530d_903a));
        assert_eq!(key.to_string(), KNOWN);
    }

    #[test]
    fn whatever_else_is_none() {
        let base64 = &KNOWN[25..];
        for (bad, why) in [
            ("", NoKey::Verifier),
            ("example.com/foo", NoKey::Verifier),
            ("example.com/foo+530d903a", NoKey::Verifier),
            ("example.com/foo+530d903a+", NoKey::Verifier),
            ("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NoKey::Verifier),
            ("example.com/foo+0530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NoKey::Verifier),
            ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n", NoKey::Verifier),
            ("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2", NoKey::Verifier),
            ("example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NoKey::Id),
            ("example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NoKey::Id),
            ("example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NoKey::Id),
            ("example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NoKey::Kind(2)),
            ("example.com/foo+530d903a+AekyeRrm", NoKey::Length),
        ] {
            assert_eq!(bad.parse::<VerifierKey>(), Err(why), "{bad}");
        }
        for bad in ["", " ", "a b", "a\u{2003}b", "a\nb", "a\u{1}b"] {
            assert_eq!(format!("{bad}+530d903a+{base64}").parse::<VerifierKey>(), Err(NoKey::Name), "{bad:?}");
        }
        let private = SigningKey::write("log.example", KeyKind::Note, &[7; 32]).unwrap();
        for (bad, why) in [
            (private.replace("PRIVATE", "PUBLIC"), NoKey::Private),
            (private.replace("log.example", "log.example.org"), NoKey::Id),
            (format!("{private} "), NoKey::Private),
            (String::from("PRIVATE+KEY+a+00000000+AQcH"), NoKey::Length),
            (String::from("PRIVATE+KEY+a+00000000+BgcH"), NoKey::Kind(6)),
        ] {
            assert_eq!(bad.parse::<SigningKey>().unwrap_err(), why);
        }
    }

    #[test]
    fn one_key_has_another_id_for_each_kind() {
        let [log, witness] =
            [KeyKind::Note, KeyKind::Cosignature].map(|kind| SigningKey::new("a", kind, &[7; 32]).unwrap());
        assert_ne!(log.verifier().id(), witness.verifier().id());
        assert_eq!(log.sign(KeyKind::Cosignature, b""), Err(NotSigned::Kind));
        assert_eq!(witness.sign(KeyKind::Note, b""), Err(NotSigned::Kind));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[^+\\s\\p{Cc}]{1,30}", seed: [u8; 32], cosigns: bool) {
            let kind = if cosigns { KeyKind::Cosignature } else { KeyKind::Note };
            let key: SigningKey = SigningKey::write(&name, kind, &seed).unwrap().parse().unwrap();
            let read = key.verifier().to_string().parse::<VerifierKey>();
            prop_assert_eq!(read.as_ref(), Ok(key.verifier()));
            prop_assert_eq!((key.verifier().name(), key.verifier().kind()), (name.as_str(), kind));
        }

        #[test]
        fn nothing_is_more_than_an_error(text in "(PRIVATE\\+KEY\\+)?\\PC{0,9}\\+[0-9a-f]{8}\\+[A-Za-z0-9+/]{0,48}=?") {
            prop_assert!(text.parse::<VerifierKey>().is_err() && text.parse::<SigningKey>().is_err());
        }
    }
}
