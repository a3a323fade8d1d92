//! A whole epoch, made again from the log: every receipt of it, every statement, every total. The log is fed entry by entry from
//! its first to its last, since keys, splits and prices are logged before the receipts that go by them, and statements after.
//! Only figures are kept in memory.
//!
//! - [`sample`]: which receipts are read of a log that is too long to read all
//! - [`compare`]: what the epoch says, held against what was made again
//! - [`findings`]: what comes of it, in words

mod compare;
mod findings;
mod sample;

use std::collections::{BTreeMap, HashMap, HashSet};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::follow::{Followed, Follower, Told};
use super::{Finding, Input, Unreadable, Verdict, What, read};
use crate::log::checkpoint::SignedCheckpoint;
use crate::log::entry::{Entry, Kind};
use crate::log::hash::Hash;
use crate::log::policy::Policy;
use crate::log::tree::Frontier;
use crate::receipt::Receipt;
use crate::statement::{ClosedEpoch, Closing, Counted, Statement};

pub use sample::Sample;

/// The audit of an epoch.
#[derive(Debug)]
pub struct Auditor {
    claimed: ClosedEpoch,
    /// Of its document, as the epoch of the log has it.
    digest: [u8; 32],
    follower: Follower,
    sample: Option<Sample>,
    /// None once something is missing that totals are made of.
    closing: Option<Closing>,
    /// All receipts were, so that totals could be made again.
    counted_all: bool,
    counts: Counts,
    /// The leaves of the epoch's receipts alone.
    receipts: Frontier,
    /// Of each receipt's name the first bytes of its hash.
    named: HashSet<u64>,
    /// The log's, when the epoch ended.
    root: Option<Hash>,
    /// All that the log has: its index, its document's digest, and what it says.
    epochs: BTreeMap<u32, Vec<LoggedEpoch>>,
    /// By their digest in hexadecimal: those of this epoch and of the one before.
    statements: HashMap<String, Statement>,
    wrong: BTreeMap<What, Tally>,
}

#[derive(Debug)]
struct LoggedEpoch {
    index: u64,
    digest: [u8; 32],
    epoch: ClosedEpoch,
}

/// How many receipts the epoch has, and what became of them.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    logged: u64,
    /// Not in the sample.
    passed_over: u64,
    /// Documents that are not published any more, or can't be read.
    missing: u64,
}

/// How often something doesn't hold, and what was found first.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    first: Vec<String>,
}

/// So many are said in words.
const SAID: usize = 3;

impl Auditor {
    /// Begins with the epoch's document. Of `keys`, a JSON Web Key Set, the signature counts; without them, those that the log
    /// tells of are believed. With a sample not all receipts are read, and totals can't be made again.
    ///
    /// # Errors
    /// When the document is no epoch's, or the keys are none.
    pub fn begin(document: &str, keys: Option<&[u8]>, sample: Option<Sample>) -> Result<Self, Unreadable> {
        let claimed: ClosedEpoch = read::logged(Input::Epoch, document, ClosedEpoch::to_document)?;
        let follower = Follower::begin(keys)?;
        let root = (claimed.epoch.end_index == 0).then(|| follower.head().root);
        Ok(Self {
            digest: Sha256::digest(document).into(),
            closing: sample.is_none().then(|| Closing::begin(claimed.epoch, [])),
            claimed,
            counted_all: false,
            follower,
            sample,
            counts: Counts::default(),
            receipts: Frontier::new(),
            named: HashSet::new(),
            root,
            epochs: BTreeMap::new(),
            statements: HashMap::new(),
            wrong: BTreeMap::new(),
        })
    }

    /// Whether the document of the entry at an index is needed, if this is the entry.
    pub fn wants(&self, index: u64, entry: &[u8]) -> bool {
        let Some(entry) = std::str::from_utf8(entry).ok().and_then(|text| text.parse::<Entry>().ok()) else {
            return false;
        };
        match entry.kind {
            Kind::Epoch => true,
            Kind::Statement => index >= self.claimed.epoch.first_index,
            kind if Follower::needs(kind) => index < self.claimed.epoch.end_index,
            Kind::Receipt => self.is_within(index) && self.is_sampled(&entry.leaf()),
            _ => self.is_within(index) && self.sample.is_none(),
        }
    }

    /// Takes the log's next entry, with its document where that is wanted and there.
    pub fn take(&mut self, entry: &[u8], document: Option<&str>) {
        let is_wanted = self.wants(self.follower.head().size, entry);
        let followed = self.follower.take(entry, document.filter(|_| is_wanted));
        let index = followed.index;
        for wrong in &followed.wrong {
            self.note(wrong.what, wrong.says.clone());
        }
        let is_receipt = followed.entry.is_some_and(|entry| entry.kind == Kind::Receipt);
        if is_receipt && self.is_within(index) {
            self.count(&followed, is_wanted);
        } else if is_wanted {
            self.keep(&followed);
        }
        let head = self.follower.head();
        if head.size == self.claimed.epoch.end_index {
            self.root = Some(head.root);
        }
    }

    /// What was found, when the log was taken up to this checkpoint.
    pub fn end(self, checkpoint: &SignedCheckpoint, policy: &Policy) -> Verdict {
        self.verdict(checkpoint, policy)
    }

    fn is_within(&self, index: u64) -> bool {
        (self.claimed.epoch.first_index..self.claimed.epoch.end_index).contains(&index)
    }

    fn is_sampled(&self, leaf: &Hash) -> bool {
        self.sample.as_ref().is_none_or(|sample| sample.picks(leaf))
    }

    fn note(&mut self, what: What, says: String) {
        self.wrong.entry(what).or_default().add(says);
    }

    fn count(&mut self, followed: &Followed, is_wanted: bool) {
        self.counts.logged += 1;
        self.receipts.push(followed.leaf, |_, _| ());
        match &followed.told {
            Some(Told::Receipt(receipt)) => self.count_receipt(followed, receipt),
            _ if is_wanted => {
                self.counts.missing += 1;
                self.closing = None;
            }
            _ => self.counts.passed_over += 1,
        }
    }

    fn count_receipt(&mut self, followed: &Followed, receipt: &Receipt) {
        let index = followed.index;
        let name = Hash::leaf(receipt.id.to_string().as_bytes());
        let (first, _) = name.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        if !self.named.insert(u64::from_be_bytes(*first)) {
            self.note(What::Receipts, format!("entry {index}: receipt {} is in the epoch twice", receipt.id));
        }
        let Some(operator) = self.claimed.nodes.get(&receipt.node) else {
            let says = format!("entry {index}: the epoch doesn't say who operates node {}", receipt.node);
            self.note(What::Nodes, says);
            self.closing = None;
            return;
        };
        // Figures that contradict each other make no total, and have been named.
        if receipt.check().is_err() {
            self.closing = None;
        }
        if let Some(closing) = &mut self.closing {
            closing.count(&Counted { leaf: followed.leaf, operator, receipt });
        }
    }

    fn keep(&mut self, followed: &Followed) {
        let (index, Some(entry)) = (followed.index, followed.entry) else { return };
        match &followed.told {
            Some(Told::Epoch(epoch)) => {
                let logged = LoggedEpoch { index, digest: entry.hash, epoch: (**epoch).clone() };
                self.epochs.entry(epoch.epoch.number).or_default().push(logged);
            }
            Some(Told::Statement(statement)) => {
                let of = statement.epoch.number;
                if of == self.claimed.epoch.number || of.checked_add(1) == Some(self.claimed.epoch.number) {
                    self.statements.insert(HEXLOWER.encode(&entry.hash), (**statement).clone());
                }
            }
            // What is wrong with it has been noted.
            None if !followed.wrong.is_empty() => {}
            None => self.note(What::Documents, format!("entry {index}: {entry} is not published")),
            _ => {}
        }
    }

    /// Whether nothing of a kind was found to be wrong, in words.
    fn tallied(&mut self, what: What, right: String) -> Finding {
        match self.wrong.remove(&what) {
            Some(tally) => Finding::fails(what, tally.words()),
            None => Finding::holds(what, right),
        }
    }
}

impl Tally {
    fn add(&mut self, says: String) {
        self.count += 1;
        if self.first.len() < SAID {
            self.first.push(says);
        }
    }

    fn words(&self) -> String {
        let said = self.first.join("; ");
        let mut text: String = said.chars().take(1).flat_map(char::to_uppercase).chain(said.chars().skip(1)).collect();
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        text + "."
    }
}
