//! The one place that signs and verifies: Ed25519, RFC 8032. By aws-lc-rs on machines, and in WebAssembly by
//! ed25519-dalek, which needs no C.

use std::fmt;

#[cfg(not(target_family = "wasm"))]
use machine as library;
#[cfg(target_family = "wasm")]
use portable as library;

/// The secret that a key pair is made from.
pub const SEED_BYTES: usize = 32;
pub const PUBLIC_KEY_BYTES: usize = 32;
pub const SIGNATURE_BYTES: usize = 64;

/// What signatures are verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; PUBLIC_KEY_BYTES]);

impl PublicKey {
    /// Whether the owner of the key has signed this.
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        library::verifies(&self.0, message, signature)
    }
}

/// What signs. It shows itself nowhere.
pub struct PrivateKey {
    pair: library::Pair,
    public: PublicKey,
}

impl PrivateKey {
    /// The key that a seed gives. None when the library refuses it.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Option<Self> {
        let (pair, public) = library::pair(seed)?;
        Some(Self { pair, public: PublicKey(public) })
    }

    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// None when the library refuses to sign.
    pub fn sign(&self, message: &[u8]) -> Option<[u8; SIGNATURE_BYTES]> {
        library::sign(&self.pair, message)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey of {:?}", self.public)
    }
}

#[cfg(not(target_family = "wasm"))]
mod machine {
    use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

    pub(super) type Pair = Ed25519KeyPair;

    pub(super) fn verifies(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
    }

    pub(super) fn pair(seed: &[u8; 32]) -> Option<(Pair, [u8; 32])> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some((pair, public))
    }

    pub(super) fn sign(pair: &Pair, message: &[u8]) -> Option<[u8; 64]> {
        pair.try_sign(message).ok()?.as_ref().try_into().ok()
    }
}

#[cfg(any(test, target_family = "wasm"))]
mod portable {
    use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};

    pub(super) type Pair = SigningKey;

    pub(super) fn verifies(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(public).is_ok_and(|key| key.verify(message, &Signature::from_bytes(signature)).is_ok())
    }

    pub(super) fn pair(seed: &[u8; 32]) -> Option<(Pair, [u8; 32])> {
        let pair = SigningKey::from_bytes(seed);
        let public = pair.verifying_key().to_bytes();
        Some((pair, public))
    }

    pub(super) fn sign(pair: &Pair, message: &[u8]) -> Option<[u8; 64]> {
        pair.try_sign(message).ok().map(|signature| signature.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_8032_s_second_vector_comes_out() {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").try_into().unwrap();
        let key = PrivateKey::from_seed(&seed).unwrap();
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(key.public().0.as_slice(), public);
        let signature = key.sign(&[0x72]).unwrap();
        let expected = concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert_eq!(signature.as_slice(), hex(expected));
        assert!(key.public().verifies(&[0x72], &signature));
        assert!(!key.public().verifies(&[0x73], &signature));
        assert!(!format!("{key:?}").contains("4c"), "{key:?}");
    }

    proptest! {
        #[test]
        fn both_libraries_give_the_same_verdicts(seed: [u8; 32], message in prop::collection::vec(any::<u8>(), 0..99), bit in 0_usize..512) {
            let ((pair, public), (other_pair, other_public)) = (machine::pair(&seed).unwrap(), portable::pair(&seed).unwrap());
            let good = machine::sign(&pair, &message).unwrap();
            prop_assert_eq!((public, Some(good)), (other_public, portable::sign(&other_pair, &message)));
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            for (signature, holds) in [(good, true), (bad, false)] {
                prop_assert_eq!(machine::verifies(&public, &message, &signature), holds);
                prop_assert_eq!(portable::verifies(&public, &message, &signature), holds);
            }
        }

        #[test]
        fn whatever_a_key_is_both_libraries_agree_on_it(public: [u8; 32], message: [u8; 8], signature: [u8; 64]) {
            let verdicts = [machine::verifies, portable::verifies].map(|verifies| verifies(&public, &message, &signature));
            prop_assert_eq!(verdicts, [false; 2]);
        }
    }
}
