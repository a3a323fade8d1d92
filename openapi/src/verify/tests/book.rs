//! A log with two epochs in it, and whatever may be wrong with the second.

use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::making::{ORIGIN, gateway, keys, log_key, node_receipt, paid, policy, price, signer, witness};
use crate::log::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::log::entry::{Entry, Kind};
use crate::log::hash::Hash;
use crate::log::proof::LogProof;
use crate::log::tile::new_entries;
use crate::log::tree::{Frontier, Node, TreeHead};
use crate::log::{bundle, cosignature, inclusion};
use crate::price::{BilledTokens, Split};
use crate::receipt::{Alone, AuthorShare, NodeReceipt, Receipt, ReceiptId, Shares, check};
use crate::statement::{ClosedEpoch, Closing, Counted, Epoch, Movement, Statement};
use crate::units::{Microjoules, Microseconds, Nanocredits};

/// When the second epoch began, in microseconds since 1970.
pub(super) const SECOND: u64 = 1_790_000_000_000_000;
const WEEK: u64 = 604_800_000_000;
/// When the second split came into force, in the second epoch.
const SPLIT_AT: (u64, &str) = (SECOND + 3_600_000_000, "2026-09-21T15:13:20.000000Z");
const NODES: [(u128, &str); 2] = [(0x01a2_15af_0000_7000_8000_0000_0000_0001, "operator:a"), (7, "operator:b")];

/// What is otherwise than it should be in the second epoch.
#[derive(Clone, Copy)]
pub(super) struct Changes {
    /// Receipts, before they are signed and logged.
    pub(super) logged: fn(&mut Vec<Receipt>),
    /// Receipts that statements are made of.
    pub(super) stated: fn(&mut Vec<Receipt>),
    pub(super) movements: fn(&mut Vec<(&'static str, Movement)>),
    pub(super) statements: fn(&mut [Statement]),
    pub(super) epoch: fn(&mut ClosedEpoch),
    /// The second split comes into the log when its receipts are there.
    pub(super) split_late: bool,
    /// What is owed when the first epoch begins.
    pub(super) owed_before: &'static [(&'static str, i64)],
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            logged: |_| (),
            stated: |_| (),
            movements: |_| (),
            statements: |_| (),
            epoch: |_| (),
            split_late: false,
            owed_before: &[],
        }
    }
}

/// A log.
#[derive(Default)]
pub(super) struct Book {
    pub(super) entries: Vec<(Entry, String)>,
    tree: Frontier,
    nodes: HashMap<Node, Hash>,
    /// Of the second epoch, by party.
    pub(super) statements: Vec<Statement>,
    /// Of both.
    pub(super) epochs: Vec<ClosedEpoch>,
}

pub(super) fn split(version: i32) -> Split {
    let gateway_ppm = if version == 1 { 80_000 } else { 40_000 };
    Split { operator_ppm: 930_000 - gateway_ppm, authors_ppm: 50_000, gateway_ppm, audit_fund_ppm: 20_000 }
}

/// The receipt of this number, of an answer in the epoch that began then. Nodes take turns; the second signs nothing.
pub(super) fn receipt(epoch: u64, number: u64) -> Receipt {
    let at = Microseconds::new(epoch + number * 60_000_000);
    let (node, _) = NODES[usize::from(number % 3 == 1)];
    let request = Uuid::from_u128(u128::from(epoch) << 64 | u128::from(number));
    let tokens = BilledTokens { prompt: 30 + number, cached: number % 13, completion: 5 + number % 7 };
    let node = Uuid::from_u128(node);
    let said = NodeReceipt {
        node,
        request,
        prompt_tokens: tokens.prompt,
        cached_tokens: tokens.cached,
        completion_tokens: tokens.completion,
        started_at: at,
        ..node_receipt()
    };
    let cost = price().cost(&tokens);
    let mut energy = paid().energy.unwrap();
    energy.microjoules = Microjoules::new(61_400 + number);
    energy.facility_microjoules = check::facility(energy.microjoules, energy.idle_microjoules, energy.pue_milli);
    energy.micrograms_co2e = Some(check::carbon(energy.facility_microjoules, 350_000));
    let mut receipt = Receipt {
        id: ReceiptId { request, attempt: 1 },
        node,
        node_receipt: signer(2).sign(&said),
        started_at: at,
        prompt_tokens: tokens.prompt,
        cached_tokens: tokens.cached,
        completion_tokens: tokens.completion,
        price_version: Some(3),
        nanocredits: cost,
        energy: Some(energy),
        ..paid()
    };
    if number % 3 == 1 {
        (receipt.node_receipt, receipt.node_key, receipt.alone) = (None, None, Some(Alone::Attached));
        receipt.price_version = Some(4);
    }
    share(&mut receipt, if at.get() < SPLIT_AT.0 { 1 } else { 2 });
    receipt
}

/// Shares what was paid by a split.
pub(super) fn share(receipt: &mut Receipt, version: i32) {
    let due = split(version).divide(receipt.nanocredits, 1);
    receipt.shares = Some(Shares {
        version,
        split: split(version),
        operator: due.operator,
        authors: vec![AuthorShare { author: "HuggingFaceTB".to_owned(), nanocredits: due.authors[0] }],
        gateway: due.gateway,
        audit_fund: due.audit_fund,
    });
}

pub(super) fn payout(party: &'static str, nanocredits: i64) -> (&'static str, Movement) {
    let event = Uuid::from_u128(u128::from(nanocredits.unsigned_abs()));
    let at = Microseconds::new(SECOND + 1);
    (party, Movement { event, at, kind: "payout".to_owned(), nanocredits: -nanocredits })
}

/// With members in the order of their names, whatever order `serde_json` keeps in this build.
fn document(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&String, &Value> = members.iter().collect();
            let member = |(name, value): (&String, &Value)| format!("{}:{}", json!(name), document(value));
            format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

impl Book {
    /// So many receipts in the second epoch, after a third as many in the first and so many short entries.
    pub(super) fn new(receipts: u64, padding: u64, changes: &Changes) -> Self {
        let mut book = Self::default();
        let key = gateway();
        let x = BASE64URL_NOPAD.encode(&key.public().0);
        let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid(), "x": x});
        book.add(Kind::Key, document(&key));
        book.add(Kind::Split, document(&json!({"version": 1, "split": split(1), "effective_from": null})));
        for (version, (node, _)) in [3, 4].into_iter().zip(NODES) {
            let (node, model) = (Uuid::from_u128(node), paid().model);
            let from = "2026-09-01T00:00:00Z";
            let price = json!({"v": 1, "version": version, "node": node, "model": model, "price": price(), "effective_from": from, "source": "node"});
            book.add(Kind::PriceList, document(&price));
        }
        (0..padding).for_each(|at| book.add(Kind::Verdict, format!("{{\"v\":{at}}}")));
        let first: Vec<Receipt> = (0..receipts / 3).map(|number| receipt(SECOND - WEEK, number)).collect();
        first.iter().for_each(|receipt| book.log(receipt));
        let grant = Movement { kind: "grant".to_owned(), nanocredits: 99, ..payout("", 1).1 };
        book.close(
            SECOND - WEEK,
            &first,
            &[("gateway", grant)],
            &Changes { owed_before: changes.owed_before, ..Changes::default() },
        );
        let second = document(&json!({"version": 2, "split": split(2), "effective_from": SPLIT_AT.1}));
        if !changes.split_late {
            book.add(Kind::Split, second.clone());
        }
        let mut logged: Vec<Receipt> = (0..receipts).map(|number| receipt(SECOND, number)).collect();
        (changes.logged)(&mut logged);
        logged.iter().for_each(|receipt| book.log(receipt));
        if changes.split_late {
            book.add(Kind::Split, second);
        }
        let mut stated = logged;
        (changes.stated)(&mut stated);
        let mut movements = vec![payout("operator:a", 3_000)];
        (changes.movements)(&mut movements);
        book.close(SECOND, &stated, &movements, changes);
        book.add(Kind::Verdict, "{}".to_owned());
        book
    }

    fn add(&mut self, kind: Kind, document: String) {
        let entry = Entry::of(kind, document.as_bytes());
        let nodes = &mut self.nodes;
        self.tree.push(entry.leaf(), |node, hash| assert_eq!(nodes.insert(node, hash), None));
        self.entries.push((entry, document));
    }

    fn log(&mut self, receipt: &Receipt) {
        self.add(Kind::Receipt, gateway().sign(receipt).unwrap());
    }

    fn close(&mut self, began: u64, stated: &[Receipt], movements: &[(&str, Movement)], changes: &Changes) {
        let before = self.epochs.last();
        let epoch = Epoch {
            number: before.map_or(1, |before| before.epoch.number + 1),
            first_index: before.map_or(0, |before| before.epoch.end_index),
            end_index: self.tree.size(),
            began_at: Microseconds::new(began),
            ended_at: Microseconds::new(began + WEEK),
        };
        let opening = self.statements.iter().map(|statement| (statement.party.clone(), statement.closing));
        let first = self.epochs.is_empty();
        let owed_before =
            changes.owed_before.iter().filter(|_| first).map(|(party, owed)| ((*party).to_owned(), *owed));
        let mut closing = Closing::begin(epoch, opening.chain(owed_before));
        for receipt in stated {
            let token = gateway().sign(receipt).unwrap();
            let leaf = Entry::of(Kind::Receipt, token.as_bytes()).leaf();
            let (_, operator) = NODES.into_iter().find(|(node, _)| Uuid::from_u128(*node) == receipt.node).unwrap();
            closing.count(&Counted { leaf, operator, receipt });
        }
        for (party, movement) in movements {
            closing.move_money(party, movement.clone());
        }
        let mut closed = closing.end(ORIGIN, self.tree.head().root);
        (changes.statements)(&mut closed.statements);
        for statement in &closed.statements {
            let document = statement.to_document();
            let digest = Entry::of(Kind::Statement, document.as_bytes()).hash;
            closed.epoch.statements.insert(statement.party.clone(), data_encoding::HEXLOWER.encode(&digest));
            self.add(Kind::Statement, document);
        }
        (changes.epoch)(&mut closed.epoch);
        self.add(Kind::Epoch, closed.epoch.to_document());
        self.epochs.push(closed.epoch);
        self.statements = closed.statements;
    }

    pub(super) fn head(&self) -> TreeHead {
        self.tree.head()
    }

    pub(super) fn statement(&self, party: &str) -> &Statement {
        self.statements.iter().find(|statement| statement.party == party).unwrap()
    }

    /// Signed by the log, and by both witnesses.
    pub(super) fn checkpoint(&self) -> SignedCheckpoint {
        let mut signed = SignedCheckpoint::new(Checkpoint::new(ORIGIN, self.head(), &[]).unwrap(), &log_key()).unwrap();
        for (name, time) in [('a', 1_790_700_100), ('b', 1_790_700_160)] {
            signed.add(cosignature::sign(&signed, time, &witness(name)).unwrap());
        }
        signed
    }

    /// That the log has a document.
    pub(super) fn proof(&self, document: &str) -> String {
        let index = self.entries.iter().position(|(_, logged)| logged == document).unwrap() as u64;
        let inclusion = inclusion::prove(index, self.tree.size(), |node| self.nodes.get(&node).copied()).unwrap();
        LogProof { extra: Vec::new(), index, inclusion, checkpoint: self.checkpoint() }.to_string()
    }

    /// The receipts of a party in the second epoch, one a line.
    pub(super) fn receipts(&self, is_theirs: fn(&Receipt) -> bool) -> String {
        let from = usize::try_from(self.epochs[1].epoch.first_index).unwrap();
        let receipts = self.entries[from..].iter().filter(|(entry, _)| entry.kind == Kind::Receipt);
        let theirs = |token: &str| -> bool {
            is_theirs(&crate::receipt::jws::Jws::read(token).unwrap().claimed::<Receipt>().unwrap())
        };
        receipts.filter(|(_, token)| theirs(token)).map(|(_, token)| format!("{token}\n")).collect()
    }
}

/// More than it was.
pub(super) fn more(nanocredits: &mut Nanocredits) {
    *nanocredits += Nanocredits::new(1);
}

/// A log as files, under the paths at which a gateway serves it: with a bundle that is full and one that isn't.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let book = Book::new(21, 250, &Changes::default());
    let mut files = Vec::new();
    for tile in new_entries(0, book.head().size) {
        let start = usize::try_from(tile.start()).unwrap();
        let entries = &book.entries[start..start + usize::from(tile.width())];
        let texts: Vec<String> = entries.iter().map(|(entry, _)| entry.to_string()).collect();
        let path = tile.to_string();
        files.push((path[1..].to_owned(), bundle::encode(texts.iter().map(String::as_bytes)).unwrap()));
        let documents: String = entries.iter().map(|(_, document)| format!("{document}\n")).collect();
        files.push((path.replace("/tile/entries", "documents"), documents.into_bytes()));
    }
    let listed = book.epochs.iter().rev().map(|epoch| {
        let document = epoch.to_document();
        let digest = data_encoding::HEXLOWER.encode(&Entry::of(Kind::Epoch, document.as_bytes()).hash);
        files.push((format!("document/{digest}"), document.into_bytes()));
        let Epoch { number, first_index, end_index, .. } = epoch.epoch;
        format!(
            r#"{{"number":{number},"document":"{digest}","first_index":{first_index},"end_index":{end_index},"ended_at":"{}"}}"#,
            ["2026-09-21T14:13:20Z", "2026-09-28T14:13:20Z"][usize::from(number == 2)]
        )
    });
    let listed = listed.collect::<Vec<_>>().join(",");
    files.push(("epochs".to_owned(), format!(r#"{{"origin":"{ORIGIN}","data":[{listed}]}}"#).into_bytes()));
    files.push(("policy".to_owned(), policy().into_bytes()));
    files.push(("jwks.json".to_owned(), keys().into_bytes()));
    files.push(("checkpoint".to_owned(), book.checkpoint().to_string().into_bytes()));
    files
}

/// A party's statement in that log, its proof and its receipts.
pub(super) fn statement_files() -> Vec<(String, Vec<u8>)> {
    let book = Book::new(21, 250, &Changes::default());
    let document = book.statement("operator:a").to_document();
    let (proof, receipts) = (book.proof(&document), book.receipts(|receipt| receipt.alone.is_none()));
    [("statement.json", format!("{document}\n")), ("statement.tlog-proof", proof), ("receipts.jws", receipts)]
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .into()
}
