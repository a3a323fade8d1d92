//! What signs the log: a key from each secret of the gateway, all under the log's own name. Whoever knows one of them
//! verifies what is signed as long as the gateway trusts its secret.

use data_encoding::HEXLOWER;
use openapi::log::checkpoint::{Checkpoint, SignedCheckpoint};
use openapi::log::key::{KeyKind, NoKey, NotSigned, SigningKey, VerifierKey};
use openapi::log::note;
use openapi::log::tree::TreeHead;

use super::Failed;
use crate::secrets::{Derived, Secrets};

/// Nobody can own a name below this one (RFC 6761), and a log of this name has been given no other.
const NOBODY_S: &str = "commonwatt.invalid";

/// The log's keys.
pub(super) struct Keys {
    origin: String,
    /// Of the trusted secrets, the newest first.
    signing: Vec<SigningKey>,
    /// Of all secrets: what a retired one has signed is still the log's own.
    known: Vec<VerifierKey>,
}

impl Keys {
    /// Without an origin the log is called after its newest key, so that no two logs have one name.
    pub(super) fn new(secrets: &Secrets, origin: Option<&str>) -> Result<Self, NoKey> {
        let key = |origin: &str, derived: &Derived| SigningKey::new(origin, KeyKind::Note, &derived.log_seed);
        let origin = match origin {
            Some(origin) => origin.to_owned(),
            None => {
                let public = key(NOBODY_S, &secrets.newest)?.verifier().public();
                format!("{NOBODY_S}/{}", HEXLOWER.encode(&public.0[..8]))
            }
        };
        let signing = secrets.trusted().map(|derived| key(&origin, derived)).collect::<Result<_, _>>()?;
        let known = secrets.all().map(|derived| Ok(key(&origin, derived)?.verifier().clone()));
        Ok(Self { known: known.collect::<Result<_, NoKey>>()?, signing, origin })
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// What whoever checks the log has to know, the newest first.
    pub(super) fn trusted(&self) -> impl Iterator<Item = &VerifierKey> {
        self.signing.iter().map(SigningKey::verifier)
    }

    /// Signs a head with every key that is trusted.
    pub(super) fn sign(&self, tree: TreeHead) -> Result<SignedCheckpoint, NotSigned> {
        let checkpoint = Checkpoint::new(&self.origin, tree, &[]).map_err(|_| NotSigned::Refused)?;
        let [newest, others @ ..] = self.signing.as_slice() else { return Err(NotSigned::Refused) };
        let mut signed = SignedCheckpoint::new(checkpoint, newest)?;
        for other in others {
            signed.add(note::sign(&signed.checkpoint().to_string(), other)?);
        }
        Ok(signed)
    }

    /// The newest key's signature, if a checkpoint does not have it.
    pub(super) fn countersign(&self, signed: &SignedCheckpoint) -> Result<Option<note::Signature>, NotSigned> {
        let Some(newest) = self.signing.first() else { return Ok(None) };
        let has_it = signed.note().signatures().iter().any(|signature| signature.says_by(newest.verifier()));
        if has_it { Ok(None) } else { note::sign(signed.note().text(), newest).map(Some) }
    }

    /// The key that [`Keys::countersign`] signs with.
    pub(super) fn newest(&self) -> Option<&VerifierKey> {
        self.trusted().next()
    }

    /// Whether a checkpoint is this log's.
    pub(super) fn verify(&self, signed: &SignedCheckpoint) -> Result<(), Failed> {
        let checkpoint = signed.checkpoint();
        let (origin, size) = (checkpoint.origin(), checkpoint.tree().size);
        if origin != self.origin {
            return Err(Failed::Damaged(format!(
                "the checkpoint of {size} leaves is of the log {origin}, and this gateway's is {}: start it with \
                 COMMONWATT_LOG_ORIGIN={origin}",
                self.origin
            )));
        }
        let verified = signed.note().verify(&self.known);
        verified.map(drop).map_err(|error| Failed::Damaged(format!("the checkpoint of {size} leaves: {error}")))
    }
}
