//! The node's key: Ed25519, in a file that nobody else may read.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openapi::node::{Enrolled, Greeting, TUNNEL_AUDIENCE};
use serde::Serialize;
use uuid::Uuid;

use crate::node::unix_seconds;

const GREETING_SECONDS: u64 = 60;
/// This run of the program.
static INSTANCE: LazyLock<Uuid> = LazyLock::new(Uuid::now_v7);

/// A key that signs in the node's name.
pub struct NodeKey {
    pair: Ed25519KeyPair,
    jws: EncodingKey,
}

impl NodeKey {
    /// The key in a file. None when there is no file.
    ///
    /// # Errors
    /// When the file can't be read or is damaged.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(pkcs8) => match Self::of(&pkcs8) {
                Some(key) => Ok(Some(key)),
                None => bail!("{} is damaged. Restore it from a backup, or delete it and enrol anew", path.display()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read the node's key {}", path.display())),
        }
    }

    /// Makes a key, and a file for it where none is yet. It is on the disk when this returns.
    ///
    /// # Errors
    /// When the file can't be written or the system has no randomness.
    pub fn make(path: &Path) -> anyhow::Result<Self> {
        let no_key = || anyhow!("no randomness to make the node's key with");
        let document = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).map_err(|_| no_key())?;
        write_private(path, document.as_ref()).with_context(|| {
            format!("cannot write {}. Choose a folder that can be written with COMMONWATT_DATA", path.display())
        })?;
        Self::of(document.as_ref()).ok_or_else(no_key)
    }

    fn of(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        Some(Self { pair, jws: EncodingKey::from_ed_der(pkcs8) })
    }

    /// The public key, base64url without padding.
    pub fn public(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key())
    }

    /// A signature, base64url without padding.
    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pair.sign(bytes))
    }

    /// A statement of the node, as compact JWS.
    ///
    /// # Errors
    /// When signing fails.
    pub fn statement(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &self.jws)?)
    }

    /// A fresh greeting for the gateway that gave this enrolment, as compact JWS. One that `yields` leaves the tunnel to
    /// another machine with this key.
    ///
    /// # Errors
    /// When signing fails.
    pub fn greeting(&self, to: &Enrolled, yields: bool) -> anyhow::Result<String> {
        let now = unix_seconds();
        self.statement(&Greeting {
            sub: to.node,
            aud: TUNNEL_AUDIENCE.to_owned(),
            gateway: to.ticket_key.clone(),
            instance: *INSTANCE,
            yields,
            iat: now,
            exp: now + GREETING_SECONDS,
            jti: Uuid::now_v7(),
        })
    }
}

/// Where a node's key lies, and beside it the one that is to follow.
pub struct KeyFiles {
    folder: PathBuf,
}

impl KeyFiles {
    /// Those in a node's data folder.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The key. None before the node's first start.
    ///
    /// # Errors
    /// When its file can't be read or is damaged.
    pub fn current(&self) -> anyhow::Result<Option<NodeKey>> {
        NodeKey::read(&self.current_path())
    }

    /// Makes the key, and the folder if need be.
    ///
    /// # Errors
    /// When its file can't be written, or is there already.
    pub fn make(&self) -> anyhow::Result<NodeKey> {
        let made = std::fs::create_dir_all(&self.folder);
        made.with_context(|| format!("cannot make the folder {}", self.folder.display()))?;
        NodeKey::make(&self.current_path())
    }

    /// The key that is to follow, if there is one. None too when its file is damaged: then it was never complete, and nobody
    /// has been told of it.
    ///
    /// # Errors
    /// When its file can't be read.
    pub fn successor(&self) -> anyhow::Result<Option<NodeKey>> {
        match NodeKey::read(&self.successor_path()) {
            Err(error) if error.downcast_ref::<io::Error>().is_none() => Ok(None),
            read => read,
        }
    }

    /// The key that is to follow: the one that there is, or a new one.
    ///
    /// # Errors
    /// When its file can't be read or written.
    pub fn make_successor(&self) -> anyhow::Result<NodeKey> {
        if let Some(begun) = self.successor()? {
            return Ok(begun);
        }
        let path = self.successor_path();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove the damaged {}", path.display()))
            }
            _ => NodeKey::make(&path),
        }
    }

    /// Puts the key that is to follow in the other one's place, in one step. No error if it is there already: of a node and
    /// the program that changes its key, either may be faster.
    ///
    /// # Errors
    /// When the file can't be replaced.
    pub fn replace(&self, successor: &NodeKey) -> anyhow::Result<()> {
        let path = self.current_path();
        let replaced = std::fs::rename(self.successor_path(), &path);
        match replaced.and_then(|()| File::open(&self.folder)?.sync_all()) {
            Err(error) if error.kind() != ErrorKind::NotFound || !self.is_current(successor) => {
                Err(error).with_context(|| format!("cannot replace {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn is_current(&self, key: &NodeKey) -> bool {
        self.current().is_ok_and(|current| current.is_some_and(|current| current.public() == key.public()))
    }

    fn current_path(&self) -> PathBuf {
        self.folder.join("node.key")
    }

    fn successor_path(&self) -> PathBuf {
        self.folder.join("node.key.new")
    }
}

pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Its name too must outlive a power cut: a gateway may be told of the key next.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_successor_is_made_anew_and_succeeding_twice_is_no_error() {
        let folder = std::env::temp_dir().join(format!("key-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let files = KeyFiles::of(&folder);
        files.make().unwrap();
        std::fs::write(folder.join("node.key.new"), b"torn").unwrap();
        assert!(files.successor().unwrap().is_none());
        let made = files.make_successor().unwrap();
        let again = files.successor().unwrap().unwrap();
        files.replace(&made).unwrap();
        files.replace(&again).unwrap();
        let stranger = NodeKey::make(&folder.join("stranger")).unwrap();
        assert!(files.replace(&stranger).is_err(), "but only the same key");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
