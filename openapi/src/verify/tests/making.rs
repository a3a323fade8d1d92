//! A gateway, a node, a log and two witnesses, and what they sign. Always the same bytes.

use std::collections::{BTreeMap, HashMap};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::chat::FinishReason;
use crate::energy::{Boundary, Energy, Grid, Status, Tier};
use crate::log::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::log::hash::Hash;
use crate::log::key::{KeyKind, SigningKey};
use crate::log::proof::LogProof;
use crate::log::tree::{Frontier, Node, TreeHead};
use crate::log::{consistency, cosignature, inclusion};
use crate::price::{Price, Split};
use crate::receipt::commitment::{Commitment, Salt};
use crate::receipt::jws::{self, Signer};
use crate::receipt::{Alone, AuthorShare, NodeReceipt, Receipt, ReceiptEnergy, Shares};
use crate::units::{Microjoules, Microseconds, Nanocredits};

pub(super) const REQUEST: &str =
    r#"{"model":"smollm2-135m-instruct","messages":[{"role":"user","content":"Hello"}],"stream":true}"#;
pub(super) const ANSWER: &str = concat!(
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\" there.\"},\"finish_reason\":\"stop\"}]}\n\n",
    ": energy {\"joules\":0.0614}\n\n",
    ": commonwatt {\"cost\":\"0.0000042\"}\n\n",
    "data: [DONE]\n\n",
);
pub(super) const WHOLE_ANSWER: &str = r#"{"choices":[{"message":{"role":"assistant","content":"Hello there."}}]}"#;
pub(super) const SALT: Salt = Salt([7; 32]);
pub(super) const ORIGIN: &str = "log.commonwatt.example";
/// Which entry of the log the receipt is.
const INDEX: u64 = 23;
/// How many entries there are before more come, and then.
const SIZES: [u64; 2] = [30, 40];

pub(super) fn signer(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32]).unwrap()
}

pub(super) fn gateway() -> Signer {
    signer(1)
}

fn units(nanocredits: u64) -> Nanocredits {
    Nanocredits::new(nanocredits)
}

fn joules(microjoules: u64) -> Microjoules {
    Microjoules::new(microjoules)
}

pub(super) fn price() -> Price {
    Price { prompt: units(100), cached: units(25), completion: units(400) }
}

fn streamed() -> Commitment {
    let mut committing = SALT.answer();
    ANSWER
        .split_inclusive("\n\n")
        .filter(|event| !event.starts_with(':'))
        .for_each(|event| committing.push(event.as_bytes()));
    committing.end()
}

pub(super) fn node_receipt() -> NodeReceipt {
    NodeReceipt {
        v: 1,
        node: "01a215af-0000-7000-8000-000000000001".parse().unwrap(),
        gateway: BASE64URL_NOPAD.encode(&gateway().public().0),
        sequence: 1,
        previous: String::new(),
        request: "01a215af-e0b0-7050-8c8f-8d4239ba91f1".parse().unwrap(),
        attempt: 1,
        model: "bafkreib3n4smmk5kq2zr5mpwm6fxn4q".to_owned(),
        engine: "commonwatt-node 0.1.0".to_owned(),
        prompt_tokens: 31,
        cached_tokens: 12,
        begun_tokens: 0,
        completion_tokens: 5,
        started_at: Microseconds::new(1_790_000_000_000_000),
        duration_microseconds: Microseconds::new(420_000),
        energy: Energy::exact(joules(61_400), (Tier::B, Boundary::NodeDc), "rapl"),
        price: price(),
        seed: 42,
        request_commitment: SALT.request(REQUEST.as_bytes()),
        answer_commitment: streamed(),
        finish_reason: Some(FinishReason::Stop),
    }
}

fn energy() -> ReceiptEnergy {
    ReceiptEnergy {
        microjoules: joules(61_400),
        low_microjoules: joules(58_330),
        high_microjoules: joules(70_610),
        marginal_microjoules: joules(30_000),
        prefill_microjoules: joules(12_000),
        idle_microjoules: joules(2_000),
        tier: Tier::B,
        boundary: Boundary::NodeDc,
        method: "rapl".to_owned(),
        status: Status::Final,
        believed: true,
        pue_milli: 1_200,
        facility_microjoules: joules(76_080),
        grid: Some(Grid {
            zone: "DE".to_owned(),
            mg_per_kwh: 350_000,
            source: "ember".to_owned(),
            basis: "location".to_owned(),
        }),
        micrograms_co2e: Some(7),
    }
}

pub(super) fn paid() -> Receipt {
    let said = node_receipt();
    Receipt {
        v: 1,
        id: "01a215af-e0b0-7050-8c8f-8d4239ba91f1.1".parse().unwrap(),
        gateway: said.gateway.clone(),
        node: said.node,
        node_receipt: signer(2).sign(&said),
        node_key: Some(BASE64URL_NOPAD.encode(&signer(2).public().0)),
        alone: None,
        partner_receipt: None,
        model: said.model,
        outcome: "completed".to_owned(),
        started_at: said.started_at,
        duration_microseconds: Microseconds::new(430_000),
        prompt_tokens: 31,
        cached_tokens: 12,
        completion_tokens: 5,
        price: price(),
        price_version: Some(3),
        is_paid: true,
        nanocredits: units(4_200),
        shares: Some(Shares {
            version: 1,
            split: Split { operator_ppm: 850_000, authors_ppm: 50_000, gateway_ppm: 80_000, audit_fund_ppm: 20_000 },
            operator: units(3_570),
            authors: vec![AuthorShare { author: "HuggingFaceTB".to_owned(), nanocredits: units(210) }],
            gateway: units(336),
            audit_fund: units(84),
        }),
        energy: Some(energy()),
        request_commitment: said.request_commitment,
        answer_commitment: Some(said.answer_commitment),
    }
}

/// Of a server that signs nothing, whose unstreamed answer was free.
pub(super) fn alone() -> Receipt {
    Receipt {
        node_receipt: None,
        node_key: None,
        alone: Some(Alone::Attached),
        is_paid: false,
        nanocredits: Nanocredits::ZERO,
        shares: None,
        energy: None,
        answer_commitment: Some(SALT.whole_answer(WHOLE_ANSWER.as_bytes())),
        ..paid()
    }
}

/// What the gateway serves of a receipt.
pub(super) fn file(token: &str, proof: Option<&str>) -> String {
    let salt = serde_json::to_value(SALT).unwrap();
    let (id, kid) = (paid().id.to_string(), gateway().kid().to_owned());
    let file = json!({"object": "receipt", "id": id, "receipt": token, "kid": kid, "salt": salt, "proof": proof, "others": []});
    pretty(file)
}

/// The gateway's key, the one of before, and one of another kind.
pub(super) fn keys() -> String {
    let key = |signer: Signer| json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": signer.kid(), "x": BASE64URL_NOPAD.encode(&signer.public().0)});
    let keys = json!({"keys": [key(gateway()), key(signer(9)), {"kty": "EC", "crv": "P-256", "x": "", "y": ""}]});
    pretty(keys)
}

/// A file whose members are in one order, however the library that writes them is built.
fn pretty(value: Value) -> String {
    serde_json::to_string_pretty(&sorted(value)).unwrap() + "\n"
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, Value> = members.into_iter().collect();
            members.into_iter().map(|(name, value)| (name, sorted(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        value => value,
    }
}

pub(super) fn log_key() -> SigningKey {
    SigningKey::new(ORIGIN, KeyKind::Note, &[3; 32]).unwrap()
}

pub(super) fn witness(name: char) -> SigningKey {
    SigningKey::new(&format!("witness-{name}.example"), KeyKind::Cosignature, &[name as u8; 32]).unwrap()
}

/// Both witnesses have to have seen a tree.
pub(super) fn policy() -> String {
    let [log, a, b] = [log_key(), witness('a'), witness('b')].map(|key| key.verifier().to_string());
    format!("log {log}\nwitness a {a}\nwitness b {b}\ngroup both all a b\nquorum both\n")
}

/// A log with one receipt in it.
pub(super) struct Log {
    nodes: HashMap<Node, Hash>,
    heads: Vec<TreeHead>,
}

impl Log {
    /// The entries from `fork` on are others than usual.
    pub(super) fn with(token: &str, fork: u64) -> Self {
        let (mut frontier, mut nodes) = (Frontier::new(), HashMap::new());
        let mut heads = vec![frontier.head()];
        for index in 0..SIZES[1] {
            let entry = match index {
                INDEX => format!("receipt sha256:{}", jws::digest(token)),
                _ if index >= fork => format!("another {index}"),
                _ => format!("entry {index}"),
            };
            frontier.push(Hash::leaf(entry.as_bytes()), |node, hash| assert_eq!(nodes.insert(node, hash), None));
            heads.push(frontier.head());
        }
        Self { nodes, heads }
    }

    fn node(&self) -> impl Fn(Node) -> Option<Hash> {
        |node| self.nodes.get(&node).copied()
    }

    pub(super) fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        let checkpoint = Checkpoint::new(ORIGIN, self.heads[usize::try_from(size).unwrap()], &[]).unwrap();
        let mut signed = SignedCheckpoint::new(checkpoint, &log_key()).unwrap();
        for (name, time) in [('a', 1_790_000_100), ('b', 1_790_000_160)] {
            signed.add(cosignature::sign(&signed, time, &witness(name)).unwrap());
        }
        signed
    }

    pub(super) fn proof(&self) -> String {
        let inclusion = inclusion::prove(INDEX, SIZES[1], self.node()).unwrap();
        LogProof { extra: Vec::new(), index: INDEX, inclusion, checkpoint: self.checkpoint(SIZES[1]) }.to_string()
    }

    /// Hashes, each on a line.
    pub(super) fn consistency(&self) -> String {
        let hashes = consistency::prove(SIZES[0], SIZES[1], self.node()).unwrap();
        hashes.iter().map(|hash| format!("{hash}\n")).collect()
    }
}

/// Everything as files: other tests, other programs and other languages verify them too.
pub(super) fn files() -> Vec<(&'static str, String)> {
    let sign = |claims: &Receipt| gateway().sign(claims).unwrap();
    let token = sign(&paid());
    let (log, forked) = (Log::with(&token, u64::MAX), Log::with(&token, 35));
    let proof = log.proof();
    let overcharged = sign(&Receipt { nanocredits: units(5_200), ..paid() });
    vec![
        ("paid.json", file(&token, Some(&proof))),
        ("paid.jws", format!("{token}\n")),
        ("paid.tlog-proof", proof),
        ("alone.json", file(&sign(&alone()), None)),
        ("overcharged.json", file(&overcharged, None)),
        ("forged.json", file(&forged(), None)),
        ("keys.json", keys()),
        ("policy.txt", policy()),
        ("request.json", REQUEST.to_owned()),
        ("answer.sse", ANSWER.to_owned()),
        ("answer.json", WHOLE_ANSWER.to_owned()),
        ("old.checkpoint", log.checkpoint(SIZES[0]).to_string()),
        ("new.checkpoint", log.checkpoint(SIZES[1]).to_string()),
        ("forked.checkpoint", forked.checkpoint(SIZES[1]).to_string()),
        ("consistency.txt", log.consistency()),
    ]
}

/// A stranger has put another cost into a receipt, and the gateway's name on it.
fn forged() -> String {
    let token = signer(5).sign(&Receipt { nanocredits: units(1), ..paid() }).unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let head = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"JWT"}}"#, gateway().kid());
    format!("{}.{rest}", BASE64URL_NOPAD.encode(head.as_bytes()))
}
