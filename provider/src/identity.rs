//! Who this node is: an Ed25519 key made on first start, and the gateways that know it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use openapi::node::{Enrolled, Enrolment, Greeting, TUNNEL_AUDIENCE};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use crate::node::unix_seconds;

const GREETING_SECONDS: u64 = 60;

/// The node's key and enrolments, kept in its data folder.
pub struct Identity {
    folder: PathBuf,
    key: Ed25519KeyPair,
    jws_key: EncodingKey,
}

impl Identity {
    /// Reads the key, or makes one on first start. Only this user can read it.
    ///
    /// # Errors
    /// When the folder can't be written or the key file is damaged.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("node.key");
        let pkcs8 = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let document = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new())
                    .map_err(|_| anyhow!("no randomness to make the node's key with"))?;
                let made = std::fs::create_dir_all(folder);
                made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
                write_private(&path, document.as_ref())?;
                document.as_ref().to_vec()
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read the node's key {}", path.display())),
        };
        let key = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| {
            anyhow!("{} is damaged. Restore it from a backup, or delete it and enrol anew", path.display())
        })?;
        Ok(Self { folder: folder.to_owned(), key, jws_key: EncodingKey::from_ed_der(&pkcs8) })
    }

    /// The request that binds this node to an operator's account.
    pub fn enrolment(&self, token: &str, name: &str) -> Enrolment {
        let public_key = BASE64_URL_SAFE_NO_PAD.encode(self.key.public_key());
        let signature = self.key.sign(&Enrolment::signed_bytes(token, &public_key));
        Enrolment {
            token: token.to_owned(),
            name: name.to_owned(),
            signature: BASE64_URL_SAFE_NO_PAD.encode(signature),
            public_key,
        }
    }

    /// A fresh greeting that opens a tunnel, as compact JWS.
    ///
    /// # Errors
    /// When signing fails.
    pub fn greeting(&self, node: Uuid) -> anyhow::Result<String> {
        let now = unix_seconds();
        let greeting = Greeting {
            sub: node,
            aud: TUNNEL_AUDIENCE.to_owned(),
            iat: now,
            exp: now + GREETING_SECONDS,
            jti: Uuid::now_v7(),
        };
        self.statement(&greeting)
    }

    /// A statement of this node, as compact JWS.
    ///
    /// # Errors
    /// When signing fails.
    pub fn statement(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &self.jws_key)?)
    }

    /// What the gateway with these addresses answered when this node enrolled with it. One address that is known is
    /// enough: the others are its replicas', and are remembered from now on.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn enrolled_with(&self, addresses: &[Url]) -> anyhow::Result<Option<Enrolled>> {
        let enrolments = self.enrolments()?;
        let Some(enrolled) = addresses.iter().find_map(|address| enrolments.get(address.as_str())) else {
            return Ok(None);
        };
        let is_new = |address: &&Url| !enrolments.contains_key(address.as_str());
        let new: Vec<Url> = addresses.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            self.remember(&new, enrolled)?;
        }
        Ok(Some(enrolled.clone()))
    }

    /// Keeps a gateway's answer under all its addresses.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn remember(&self, addresses: &[Url], enrolled: &Enrolled) -> anyhow::Result<()> {
        let mut enrolments = self.enrolments()?;
        enrolments.extend(addresses.iter().map(|address| (address.to_string(), enrolled.clone())));
        let path = self.enrolments_path();
        let fresh = path.with_extension("json.new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(&enrolments)?)
            .and_then(|()| std::fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn enrolments(&self) -> anyhow::Result<BTreeMap<String, Enrolled>> {
        let path = self.enrolments_path();
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn enrolments_path(&self) -> PathBuf {
        self.folder.join("gateways.json")
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let write = || -> std::io::Result<()> {
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    let mut write = write;
    write().with_context(|| {
        format!("cannot write {}. Choose a folder that can be written with COMMONWATT_DATA", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_the_same_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("identity-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let first = Identity::open(&folder).unwrap().enrolment("t", "n").public_key;
        assert_eq!(Identity::open(&folder).unwrap().enrolment("t", "n").public_key, first);
        let mode = std::fs::metadata(folder.join("node.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_enrolment_holds_for_every_address_of_the_gateway() {
        let folder = std::env::temp_dir().join(format!("identity-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let identity = Identity::open(&folder).unwrap();
        let [a, b, c] = ["http://a", "http://b", "http://c"].map(|url| Url::parse(url).unwrap());
        let enrolled = Enrolled { node: Uuid::now_v7(), ticket_key: "k".to_owned() };
        assert_eq!(identity.enrolled_with(&[a.clone(), b.clone()]).unwrap(), None);
        // As a node of one gateway wrote it.
        let known = serde_json::json!({"http://a/": enrolled}).to_string();
        std::fs::write(folder.join("gateways.json"), known).unwrap();
        let known = |addresses: &[&Url]| {
            identity.enrolled_with(&addresses.iter().copied().cloned().collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(known(&[&c, &a]), Some(enrolled.clone()), "in any order, with a new replica");
        assert_eq!(known(&[&c]), Some(enrolled), "and when the first address is given up");
        assert_eq!(known(&[&b]), None, "another gateway");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
