//! Who this node is: an Ed25519 key made on first start, and the gateways that know it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::key::{KeyFiles, NodeKey};
use crate::witness::Witness;
use anyhow::{Context, bail};
use openapi::node::{Enrolled, Enrolment};
use serde::Serialize;
use url::Url;

/// The node's key and enrolments, kept in its data folder.
pub struct Identity {
    folder: PathBuf,
    files: KeyFiles,
    /// Changes when the file does.
    key: RwLock<Arc<NodeKey>>,
    /// Held while the enrolments are read and written: a node may join several gateways at once.
    enrolling: Mutex<()>,
    /// Opened when the first gateway is connected: one for all of them.
    witness: Mutex<Option<Arc<Witness>>>,
}

/// A gateway that this node is enrolled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownGateway {
    pub addresses: Vec<Url>,
    pub enrolled: Enrolled,
}

impl Identity {
    /// Reads the key, or makes one on first start. Only this user can read it.
    ///
    /// # Errors
    /// When the folder can't be written or the key file is damaged.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        match Self::find(folder)? {
            Some(identity) => Ok(identity),
            None => Ok(Self::with(folder, KeyFiles::of(folder).make()?)),
        }
    }

    /// Reads the key. None when the node has never started in this folder.
    ///
    /// # Errors
    /// When the key file can't be read or is damaged.
    pub fn find(folder: &Path) -> anyhow::Result<Option<Self>> {
        Ok(KeyFiles::of(folder).current()?.map(|key| Self::with(folder, key)))
    }

    fn with(folder: &Path, key: NodeKey) -> Self {
        Self {
            folder: folder.to_owned(),
            files: KeyFiles::of(folder),
            key: RwLock::new(Arc::new(key)),
            enrolling: Mutex::default(),
            witness: Mutex::default(),
        }
    }

    /// The key that signs in this node's name.
    pub fn key(&self) -> Arc<NodeKey> {
        Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The witness that this node is.
    ///
    /// # Errors
    /// When its files can't be read or written, or are damaged.
    pub fn witness(&self) -> anyhow::Result<Arc<Witness>> {
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(witness) = witness.as_ref() {
            return Ok(Arc::clone(witness));
        }
        Ok(Arc::clone(witness.insert(Arc::new(Witness::open(&self.folder)?))))
    }

    /// The request that binds this node to an operator's account.
    pub fn enrolment(&self, token: &str, name: &str) -> Enrolment {
        let key = self.key();
        let public_key = key.public();
        let signature = key.sign(&Enrolment::signed_bytes(token, &public_key));
        Enrolment { token: token.to_owned(), name: name.to_owned(), signature, public_key }
    }

    /// A fresh greeting for the gateway that gave this enrolment, as compact JWS.
    ///
    /// # Errors
    /// When signing fails.
    pub fn greeting(&self, to: &Enrolled) -> anyhow::Result<String> {
        self.key().greeting(to, false)
    }

    /// A statement of this node, as compact JWS.
    ///
    /// # Errors
    /// When signing fails.
    pub fn statement(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        self.key().statement(claims)
    }

    /// The key that is to follow, if a change of key has begun and not ended.
    ///
    /// # Errors
    /// When its file can't be read.
    pub fn successor(&self) -> anyhow::Result<Option<NodeKey>> {
        self.files.successor()
    }

    /// The key that is to follow: one from an earlier try, or a new one.
    ///
    /// # Errors
    /// When its file can't be read or written.
    pub fn make_successor(&self) -> anyhow::Result<NodeKey> {
        self.files.make_successor()
    }

    /// Keys that a gateway may know instead of the one in use: that in the file, if another program has changed it, and the
    /// one that is to follow.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn other_keys(&self) -> anyhow::Result<Vec<NodeKey>> {
        let in_use = self.key().public();
        let keys = [self.files.current()?, self.files.successor()?];
        Ok(keys.into_iter().flatten().filter(|key| key.public() != in_use).collect())
    }

    /// Uses a key from now on that a gateway has accepted. The one that is to follow takes its place only when no other
    /// gateway is left that may know but its predecessor.
    ///
    /// # Errors
    /// When the files can't be read or written.
    pub fn adopt(&self, key: NodeKey) -> anyhow::Result<()> {
        let is_successor = self.successor()?.is_some_and(|successor| successor.public() == key.public());
        if is_successor && self.gateways()?.len() > 1 {
            return Ok(());
        }
        if is_successor {
            return self.succeed(key);
        }
        self.take(key);
        Ok(())
    }

    /// Puts the key that is to follow in its predecessor's place.
    ///
    /// # Errors
    /// When the file can't be replaced.
    pub fn succeed(&self, successor: NodeKey) -> anyhow::Result<()> {
        self.files.replace(&successor)?;
        self.take(successor);
        Ok(())
    }

    /// Takes up the key in the file, if another program has replaced it.
    pub fn refresh(&self) {
        match self.files.current() {
            Ok(Some(key)) if key.public() != self.key().public() => self.take(key),
            Ok(_) => {}
            Err(error) => tracing::warn!("the key in use stays: {error:#}"),
        }
    }

    fn take(&self, key: NodeKey) {
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }

    /// What the gateway with these addresses answered when this node enrolled with it. One address that is known is
    /// enough: the others are its replicas', and are remembered from now on.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn enrolled_with(&self, addresses: &[Url]) -> anyhow::Result<Option<Enrolled>> {
        let _enrolling = self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
        let enrolments = self.enrolments()?;
        let Some(enrolled) = addresses.iter().find_map(|address| enrolments.get(address.as_str())) else {
            return Ok(None);
        };
        let is_new = |address: &&Url| !enrolments.contains_key(address.as_str());
        let new: Vec<Url> = addresses.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            self.write_enrolment(&new, enrolled)?;
        }
        Ok(Some(enrolled.clone()))
    }

    /// Every gateway that this node is enrolled with.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn gateways(&self) -> anyhow::Result<Vec<KnownGateway>> {
        let mut known: Vec<KnownGateway> = Vec::new();
        for (address, enrolled) in self.enrolments()? {
            let address = Url::parse(&address)
                .with_context(|| format!("{} names no gateway with '{address}'", self.enrolments_path().display()))?;
            match known.iter_mut().find(|gateway| gateway.enrolled.node == enrolled.node) {
                Some(gateway) => gateway.addresses.push(address),
                None => known.push(KnownGateway { addresses: vec![address], enrolled }),
            }
        }
        Ok(known)
    }

    /// Keeps a gateway's answer under all its addresses.
    ///
    /// # Errors
    /// When the file can't be written, or the node has this id at other addresses: a gateway that gives it another
    /// gateway's id could greet that one in its name.
    pub fn remember(&self, addresses: &[Url], enrolled: &Enrolled) -> anyhow::Result<()> {
        let _enrolling = self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.enrolments()?;
        let holders: Vec<&String> =
            known.iter().filter(|(_, known)| known.node == enrolled.node).map(|(address, _)| address).collect();
        let is_ours = |holder: &&&String| addresses.iter().any(|address| address.as_str() == holder.as_str());
        if let (Some(elsewhere), None) = (holders.first(), holders.iter().find(is_ours)) {
            bail!(
                "the gateway gives this node the id that it has at {elsewhere}. If both are one gateway, give both addresses \
                 with a comma between them; if not, don't use this one"
            );
        }
        self.write_enrolment(addresses, enrolled)
    }

    /// Keeps the other key that a gateway signs with now, for every address under which it is known.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn gateway_has_another_key(&self, enrolled: &Enrolled) -> anyhow::Result<()> {
        let _enrolling = self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.gateways()?.into_iter().find(|known| known.enrolled.node == enrolled.node);
        known.map_or(Ok(()), |known| self.write_enrolment(&known.addresses, enrolled))
    }

    fn write_enrolment(&self, addresses: &[Url], enrolled: &Enrolled) -> anyhow::Result<()> {
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
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn enrolments_path(&self) -> PathBuf {
        self.folder.join("gateways.json")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

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

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("identity-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn enrolled() -> Enrolled {
        Enrolled { node: Uuid::now_v7(), ticket_key: "k".to_owned() }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn no_gateway_gives_the_node_the_id_that_it_has_at_another() {
        let folder = folder();
        let identity = Identity::open(&folder).unwrap();
        let (a, b, new) = (url("http://a"), url("http://b"), url("http://new"));
        let (at_a, at_b) = (enrolled(), enrolled());
        identity.remember(std::slice::from_ref(&a), &at_a).unwrap();
        identity.remember(std::slice::from_ref(&b), &at_b).unwrap();
        let forged = Enrolled { node: at_a.node, ..at_b.clone() };
        let refused = identity.remember(std::slice::from_ref(&b), &forged).unwrap_err().to_string();
        assert!(refused.contains("http://a/"), "{refused}");
        assert!(identity.remember(std::slice::from_ref(&new), &at_a).is_err(), "moved, or another one?");
        identity.remember(&[new.clone(), a.clone()], &at_a).unwrap();
        let known = identity.gateways().unwrap();
        assert_eq!(known[0], KnownGateway { addresses: vec![a, new], enrolled: at_a });
        assert_eq!(known[1], KnownGateway { addresses: vec![b], enrolled: at_b });
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_change_of_key_is_taken_up_where_it_was_broken_off() {
        let folder = folder();
        let identity = Identity::open(&folder).unwrap();
        identity.remember(&[url("http://a")], &enrolled()).unwrap();
        let old = identity.key().public();
        assert!(identity.successor().unwrap().is_none() && identity.other_keys().unwrap().is_empty());
        let new = identity.make_successor().unwrap().public();
        assert_eq!(identity.make_successor().unwrap().public(), new, "the gateway may know it already");
        let others = identity.other_keys().unwrap();
        assert_eq!(others.iter().map(NodeKey::public).collect::<Vec<_>>(), std::slice::from_ref(&new));
        assert_eq!(identity.key().public(), old);
        identity.adopt(others.into_iter().next().unwrap()).unwrap();
        assert_eq!(identity.key().public(), new);
        assert_eq!(Identity::open(&folder).unwrap().key().public(), new);
        assert!(identity.successor().unwrap().is_none(), "its file is the node's now");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_old_key_stays_while_another_gateway_may_know_no_other() {
        let folder = folder();
        let identity = Identity::open(&folder).unwrap();
        let old = identity.key().public();
        for address in ["http://a", "http://b"] {
            identity.remember(&[url(address)], &enrolled()).unwrap();
        }
        identity.adopt(identity.make_successor().unwrap()).unwrap();
        assert_eq!(identity.key().public(), old);
        assert_eq!(Identity::open(&folder).unwrap().key().public(), old);
        identity.succeed(identity.make_successor().unwrap()).unwrap();
        assert!(identity.key().public() != old);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_key_that_another_program_has_replaced_is_found() {
        let folder = folder();
        let (running, rotating) = (Identity::open(&folder).unwrap(), Identity::open(&folder).unwrap());
        let successor = rotating.make_successor().unwrap();
        rotating.succeed(successor).unwrap();
        let others = running.other_keys().unwrap();
        assert_eq!(others.len(), 1);
        running.refresh();
        assert_eq!(running.key().public(), rotating.key().public());
        assert!(running.other_keys().unwrap().is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
