//! A log, entry by entry: whether each document is the one of its entry, and whether each receipt follows from what the log has
//! told before: the keys that sign, the splits, the prices.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::read::{self, Key, Signed};
use super::{Input, Unreadable, What, signed};
use crate::error::echo;
use crate::log::entry::{Entry, Kind};
use crate::log::hash::Hash;
use crate::log::tree::{Frontier, TreeHead};
use crate::netting::Agreed;
use crate::price::{Price, Split};
use crate::receipt::Receipt;
use crate::receipt::jws::Jws;
use crate::statement::{ClosedEpoch, Statement};
use crate::units::Microseconds;

/// Whoever follows a log from its first entry.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    tree: Frontier,
    /// Nobody else's signature counts.
    trusted: Option<Vec<Key>>,
    /// Keys that the log has told of.
    keys: Vec<Key>,
    splits: BTreeMap<i32, LoggedSplit>,
    prices: HashMap<i64, LoggedPrice>,
}

/// An entry, and what came of it.
#[derive(Debug)]
pub struct Followed {
    pub index: u64,
    pub leaf: Hash,
    /// None where the entry is none that this program knows.
    pub entry: Option<Entry>,
    /// None where the document is missing or is not what it should be.
    pub told: Option<Told>,
    /// Empty where nothing speaks against it.
    pub wrong: Vec<Wrong>,
}

/// A document that was read.
#[derive(Clone, Debug)]
pub enum Told {
    Receipt(Box<Receipt>),
    Statement(Box<Statement>),
    Epoch(Box<ClosedEpoch>),
    /// A key, a split, a price, a manifest or a verdict.
    Other,
}

/// What doesn't hold, and of which kind that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: What,
    /// In a sentence that says which entry it is.
    pub says: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoggedSplit {
    version: i32,
    split: Split,
    effective_from: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoggedPrice {
    v: u8,
    version: i64,
    node: Uuid,
    model: String,
    price: Price,
    effective_from: Moment,
    source: String,
}

/// In microseconds since 1970, as receipts have it. Written as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Moment(i128);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| format!("{} is no moment", echo(&text)))?;
        Ok(Self(at.unix_timestamp_nanos().div_euclid(1_000)))
    }
}

impl From<Microseconds> for Moment {
    fn from(at: Microseconds) -> Self {
        Self(i128::from(at.get()))
    }
}

impl Follower {
    /// Before the first entry. `keys`, a JSON Web Key Set, are those whose signature counts; without them it is those that the
    /// log itself tells of.
    ///
    /// # Errors
    /// When the keys are none.
    pub fn begin(keys: Option<&[u8]>) -> Result<Self, Unreadable> {
        Ok(Self { trusted: keys.map(read::keys).transpose()?, ..Self::default() })
    }

    /// The tree of what was taken so far.
    pub fn head(&self) -> TreeHead {
        self.tree.head()
    }

    /// Whether the keys were given, and not taken from the log.
    pub(super) fn trusts_given(&self) -> bool {
        self.trusted.is_some()
    }

    /// Whether what comes later is judged by documents of this kind.
    pub fn needs(kind: Kind) -> bool {
        matches!(kind, Kind::Key | Kind::Split | Kind::PriceList)
    }

    /// Takes the next entry, with its document where that is at hand.
    pub fn take(&mut self, entry: &[u8], document: Option<&str>) -> Followed {
        let (index, leaf) = (self.tree.size(), Hash::leaf(entry));
        self.tree.push(leaf, |_, _| ());
        let mut followed = Followed { index, leaf, entry: None, told: None, wrong: Vec::new() };
        let read = std::str::from_utf8(entry).ok().and_then(|text| text.parse::<Entry>().ok());
        let Some(entry) = read else {
            followed.says(What::Documents, &"it is of no kind that this program knows");
            return followed;
        };
        followed.entry = Some(entry);
        let Some(document) = document else { return followed };
        if <[u8; 32]>::from(Sha256::digest(document)) != entry.hash {
            followed
                .says(What::Documents, &format!("it is {entry}, and the document that is served for it is another"));
            return followed;
        }
        match self.read(entry.kind, document, &mut followed) {
            Ok(told) => followed.told = Some(told),
            Err(why) => followed.says(What::Documents, &format!("its {} is none: {why}", entry.kind.word())),
        }
        followed
    }

    /// # Errors
    /// When the document is not what its entry says.
    fn read(&mut self, kind: Kind, document: &str, followed: &mut Followed) -> Result<Told, String> {
        match kind {
            Kind::Receipt => return self.receipt(document, followed).map(|receipt| Told::Receipt(Box::new(receipt))),
            Kind::Statement => {
                let statement = read::logged(Input::Statement, document, Statement::to_document);
                return statement.map(|statement| Told::Statement(Box::new(statement))).map_err(|error| error.why);
            }
            Kind::Epoch => {
                let epoch = read::logged(Input::Epoch, document, ClosedEpoch::to_document);
                return epoch.map(|epoch| Told::Epoch(Box::new(epoch))).map_err(|error| error.why);
            }
            Kind::Key => {
                let set = format!("{{\"keys\":[{document}]}}");
                self.keys.extend(read::keys(set.as_bytes()).map_err(|error| error.why)?);
            }
            Kind::Split => {
                let split: LoggedSplit = serde_json::from_str(document).map_err(|error| error.to_string())?;
                let version = split.version;
                if self.splits.insert(version, split.clone()).is_some_and(|before| before != split) {
                    followed.says(What::Splits, &format!("split {version} is logged twice, and not as the same"));
                }
            }
            Kind::PriceList => {
                let price: LoggedPrice = serde_json::from_str(document).map_err(|error| error.to_string())?;
                let version = price.version;
                if self.prices.insert(version, price.clone()).is_some_and(|before| before != price) {
                    followed.says(What::Prices, &format!("price {version} is logged twice, and not as the same"));
                }
            }
            Kind::Netting => {
                let agreed = Jws::read(document).and_then(|jws| read::claims::<Agreed>(&jws));
                agreed.map_err(|error| error.to_string())?;
            }
            Kind::Manifest | Kind::Verdict => {}
        }
        Ok(Told::Other)
    }

    fn receipt(&self, token: &str, followed: &mut Followed) -> Result<Receipt, String> {
        let jws = Jws::read(token).map_err(|error| error.to_string())?;
        let claims: Receipt = read::claims(&jws).map_err(|error| error.to_string())?;
        let signed = Signed { jws, claims };
        let keys = self.trusted.as_deref().unwrap_or(&self.keys);
        let signature = signed::gateway(&signed, Some(keys));
        let claims = signed.claims;
        let mut says = |what, why: &str| followed.says(what, &format!("receipt {}: {why}", claims.id));
        if signature.holds != Some(true) {
            says(What::Signature, signature.says.trim_end_matches('.'));
        }
        if let Err(contradiction) = claims.check() {
            says(What::Receipts, &contradiction.to_string());
        }
        if let Err(why) = self.check_price(&claims) {
            says(What::Prices, &why);
        }
        if let Err(why) = self.check_split(&claims) {
            says(What::Splits, &why);
        }
        Ok(claims)
    }

    /// Whether the log has told of the receipt's price before it, and of the same.
    fn check_price(&self, receipt: &Receipt) -> Result<(), String> {
        let Some(version) = receipt.price_version else { return Ok(()) };
        let Some(logged) = self.prices.get(&version) else {
            return Err(format!("its price, version {version}, was not logged before it"));
        };
        if (logged.node, &logged.model) != (receipt.node, &receipt.model) {
            return Err(format!("price {version} is that of another node or model"));
        }
        if logged.price != receipt.price {
            let words =
                |price: Price| format!("{},{},{}", price.prompt.get(), price.cached.get(), price.completion.get());
            let (said, logged) = (words(receipt.price), words(logged.price));
            return Err(format!(
                "its price is {said} nanocredits per token, and price {version} is logged as {logged}"
            ));
        }
        if logged.effective_from > receipt.started_at.into() {
            return Err(format!("price {version} came into force after its request was let in"));
        }
        Ok(())
    }

    /// Whether it is shared by the split that was in force, of those that the log has told of before it.
    fn check_split(&self, receipt: &Receipt) -> Result<(), String> {
        let Some(shares) = &receipt.shares else { return Ok(()) };
        let version = shares.version;
        let Some(logged) = self.splits.get(&version) else {
            return Err(format!("its split, {version}, was not logged before it"));
        };
        if logged.split != shares.split {
            return Err(format!("its parts are not those of split {version} as it is logged"));
        }
        let at = Moment::from(receipt.started_at);
        let begun = self.splits.values().filter(|split| split.effective_from.is_none_or(|from| from <= at));
        match begun.max_by_key(|split| (split.effective_from, split.version)) {
            Some(in_force) if in_force.version == version => Ok(()),
            Some(in_force) => {
                Err(format!("it is shared by split {version}, and split {} was in force", in_force.version))
            }
            None => Err(format!("split {version} was not in force when its request was let in")),
        }
    }
}

impl Followed {
    fn says(&mut self, what: What, why: &impl std::fmt::Display) {
        self.wrong.push(Wrong { what, says: format!("entry {}: {why}", self.index) });
    }
}
