//! The requests: who sends them, how long they are, and what their `provider` objects ask for.

use openapi::region::Region;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::fleet::{NODES_OF_AN_OPERATOR, Node, USUAL_PRICE, log_normal, operator};
use crate::nodes::preference::Preference;

/// Senders. The first two send a fifth of everything each.
pub(super) const ACCOUNTS: usize = 2_000;
/// One account in so many denies data collection for all of its requests.
const DENIES: usize = 20;
const EU: &[&str] = &["DE", "FR", "SE", "PL", "NL"];

/// One kind of request.
pub(super) struct Kind {
    /// What it asks, and the same from an account that denies data collection.
    pub(super) preferences: [Preference; 2],
    pub(super) wants: Wants,
}

/// What the `provider` object means, told a second time and without the code that is on trial.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    countries: Option<&'static [&'static str]>,
    denies: bool,
    quantisation: Option<&'static str>,
    most: Option<u64>,
    only: Option<Vec<Uuid>>,
    not: Option<Uuid>,
    /// Which figure of its energy matters is not told again: the node's own word is all there is to it.
    pub(super) energy: bool,
}

impl Wants {
    /// True when its data may not be just anywhere.
    pub(super) fn is_strict(&self) -> bool {
        self.denies || self.countries.is_some()
    }

    /// True when a request of an account that denies data collection may go there.
    pub(super) fn allow(&self, node: &Node, denied: bool) -> bool {
        let region = node.region.as_ref().map(Region::country);
        let owners = [node.id, node.operator];
        self.countries.is_none_or(|countries| region.is_some_and(|region| countries.contains(&region)))
            && (!(self.denies || denied) || node.denies_data_collection)
            && self.quantisation.is_none_or(|quantisation| quantisation == node.quantisation)
            && self.most.is_none_or(|most| node.price.completion.get() <= most)
            && self.only.as_ref().is_none_or(|only| only.iter().any(|name| owners.contains(name)))
            && self.not.is_none_or(|not| !owners.contains(&not))
    }
}

/// All kinds of one model: first the one that asks for nothing, then each field alone, then in pairs.
pub(super) struct Kinds {
    kinds: Vec<Kind>,
    singles: usize,
}

impl Kinds {
    pub(super) fn new(nodes: &[Node], model: usize, random: &mut fastrand::Rng) -> Self {
        let fields = fields(nodes, model, random);
        let mut kinds = vec![kind(&json!({}), Wants::default())];
        kinds.extend(fields.iter().map(|(object, wants)| kind(object, wants.clone())));
        let pairs = fields.iter().enumerate().flat_map(|(at, one)| fields[..at].iter().map(move |other| (one, other)));
        kinds.extend(pairs.filter_map(|(one, other)| both(one, other)));
        Self { kinds, singles: fields.len() }
    }

    /// Seven of ten ask for nothing, two for one thing, one for two.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> usize {
        match random.u8(..10) {
            0..7 => 0,
            7..9 => random.usize(1..=self.singles),
            _ => random.usize(self.singles + 1..self.kinds.len()),
        }
    }

    pub(super) fn get(&self, kind: usize) -> &Kind {
        &self.kinds[kind]
    }
}

type Field = (Value, Wants);

fn fields(nodes: &[Node], model: usize, random: &mut fastrand::Rng) -> Vec<Field> {
    let mut own: Vec<&Node> = nodes.iter().filter(|node| node.model == model).collect();
    random.shuffle(&mut own);
    let any = Wants::default;
    let names: Vec<&str> = own.iter().take(3).map(|node| node.name.as_str()).collect();
    let only: Vec<Uuid> = own.iter().skip(3).take(8).map(|node| node.id).collect();
    let not = operator(random.usize(..nodes.len().div_ceil(NODES_OF_AN_OPERATOR)));
    let most = Wants { most: Some(USUAL_PRICE * 6 / 10), ..any() };
    let energy = || Wants { energy: true, ..any() };
    let within = |countries| Wants { countries: Some(countries), ..any() };
    let mut fields: Vec<Field> = ["price", "throughput", "latency", "energy", "carbon"]
        .map(|word| (json!({"sort": word}), any()))
        .into_iter()
        .collect();
    fields.extend([
        (json!({"regions": ["EU"]}), within(EU)),
        (json!({"regions": ["US"]}), within(&["US"])),
        (json!({"regions": ["DE", "FR"]}), within(&["DE", "FR"])),
        (json!({"regions": ["SE"]}), within(&["SE"])),
        (json!({"data_collection": "deny"}), Wants { denies: true, ..any() }),
        (json!({"quantizations": ["int8"]}), Wants { quantisation: Some("Q8_0"), ..any() }),
        // Credits for a million tokens.
        (json!({"max_price": {"completion": USUAL_PRICE as f64 * 0.6 / 1e3}}), most),
        (json!({"only": &only}), Wants { only: Some(only.clone()), ..any() }),
        (json!({"ignore": [not]}), Wants { not: Some(not), ..any() }),
        (json!({"order": names}), any()),
        (json!({"allow_fallbacks": false}), any()),
        (json!({"min_energy_tier": "C"}), energy()),
        (json!({"max_gco2e_per_mtok": 400}), energy()),
    ]);
    fields
}

/// Both at once, unless it is the same field.
fn both((one, wants): &Field, (other, more): &Field) -> Option<Kind> {
    let (one, other) = (one.as_object()?, other.as_object()?);
    if one.keys().any(|key| other.contains_key(key)) {
        return None;
    }
    // With a list and nobody else, what is not in the list is not suitable; the pair is left to the table of the unit tests.
    let object: Map<String, Value> = one.clone().into_iter().chain(other.clone()).collect();
    if object.contains_key("order") && object.contains_key("allow_fallbacks") {
        return None;
    }
    let wants = Wants {
        countries: wants.countries.or(more.countries),
        denies: wants.denies || more.denies,
        quantisation: wants.quantisation.or(more.quantisation),
        most: wants.most.or(more.most),
        only: wants.only.clone().or_else(|| more.only.clone()),
        not: wants.not.or(more.not),
        energy: wants.energy || more.energy,
    };
    Some(kind(&Value::Object(object), wants))
}

fn kind(object: &Value, wants: Wants) -> Kind {
    let preference = Preference::read(Some(object)).unwrap();
    let denies = Preference::read(Some(&json!({"data_collection": "deny"}))).unwrap();
    Kind { preferences: [preference.clone(), preference.merged(&denies)], wants }
}

/// Who sends: 0 and 1 a fifth each, the rest by Zipf's law.
pub(super) fn account(random: &mut fastrand::Rng) -> usize {
    match random.u8(..10) {
        0..2 => 0,
        2..4 => 1,
        // Zipf's law for the exponent 1 has the logarithm for its distribution.
        _ => 2 + (((ACCOUNTS - 2) as f64).powf(random.f64()) as usize).min(ACCOUNTS - 2) - 1,
    }
}

/// Whether this account has data collection denied in its settings.
pub(super) fn denies(account: usize) -> bool {
    account % DENIES == DENIES - 1
}

/// Tokens of prompt and answer.
pub(super) fn lengths(random: &mut fastrand::Rng) -> (u64, u64) {
    let prompt = log_normal(random, 400.0, 1.0).clamp(10.0, 16_000.0);
    (prompt as u64, log_normal(random, USUAL_ANSWER as f64 * 0.7, 0.85).clamp(5.0, 6_000.0) as u64)
}

/// About the mean of the answers' lengths.
pub(super) const USUAL_ANSWER: u64 = 500;
/// About the mean of the prompts' lengths.
pub(super) const USUAL_PROMPT: u64 = 650;
