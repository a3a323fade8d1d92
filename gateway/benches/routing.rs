//! What a choice among ten thousand nodes costs: a look at those that may suit, and the choice among a few.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use gateway::nodes::choose::{Ask, Candidate, Chosen, Market, Mix, Room, best_of, dearest, few};
use gateway::nodes::marginal::{HONEST, Profile, State, Work};
use gateway::nodes::preference::{Attributes, Name, Preference, Sort};
use gateway::nodes::skip::Skip;
use openapi::energy::Tier;
use openapi::price::{BilledTokens, Price};
use openapi::region::Region;
use openapi::units::{Microjoules, Nanocredits};
use serde_json::{Value, json};
use uuid::Uuid;

const NODES: usize = 10_000;
const WORK: Work = Work { prompt: 500, completion: 300 };
const PROFILE: Profile = Profile {
    fixed_microjoules_per_step: Microjoules::new(3_000_000),
    decode_microjoules_per_token: Microjoules::new(65_000),
    prefill_microjoules_per_token: Microjoules::new(30_000),
    wake_microjoules: Microjoules::ZERO,
    tier: Tier::A,
    pue_milli: 1_200,
    mg_per_kwh: Some(300_000),
    believed: true,
};

struct Node {
    id: Uuid,
    name: String,
    operator: Uuid,
    region: Option<Region>,
    price: Price,
    profile: Profile,
    state: State,
    tokens_per_second: u32,
    first_byte: Duration,
}

impl Node {
    /// One in fifty is in Sweden, and two in five have no room.
    fn new(number: usize, random: &mut fastrand::Rng) -> Self {
        let slots = 1 << random.u32(..6);
        let price = Nanocredits::new(random.u64(400..3_600));
        let country = if number.is_multiple_of(50) { "SE" } else { "DE" };
        Self {
            id: Uuid::from_u128(random.u128(..)),
            name: format!("node-{number}"),
            operator: Uuid::from_u128(number as u128 / 50),
            region: country.parse().ok(),
            price: Price { prompt: price, cached: price, completion: price },
            profile: Profile {
                decode_microjoules_per_token: Microjoules::new(random.u64(25_000..100_000)),
                mg_per_kwh: Some(random.u64(20_000..700_000)),
                ..PROFILE
            },
            state: State {
                running: if random.u8(..5) < 2 { slots + 1 } else { random.u32(..slots) },
                slots,
                typical_first_byte: Duration::from_millis(random.u64(50..1_500)),
                handicap_ppm: HONEST,
            },
            tokens_per_second: random.u32(5..200),
            first_byte: Duration::from_millis(random.u64(50..1_500)),
        }
    }

    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            node: self.id,
            name: &self.name,
            operator: self.operator,
            region: self.region.as_ref(),
            is_partner: false,
            denies_data_collection: true,
            quantisation: "Q4_K_M",
            price: Some(self.price),
            parameters: None,
        }
    }

    fn candidate(&self) -> Candidate {
        let tokens = BilledTokens { prompt: WORK.prompt, cached: 0, completion: WORK.completion };
        let (price, tokens_per_second) = (self.price.cost(&tokens), self.tokens_per_second);
        Candidate {
            node: self.id,
            profile: Some(self.profile),
            state: self.state,
            price,
            tokens_per_second,
            first_byte: Some(self.first_byte),
        }
    }
}

/// What a request sees: as in `inference/route.rs`, with orders and names that are given, since they are made twice a second
/// for all requests.
struct Look<'a> {
    nodes: &'a [Node],
    names: &'a HashMap<String, u32>,
    order: Arc<[u32]>,
    preference: &'a Preference,
}

impl Market for Look<'_> {
    fn count(&self) -> usize {
        self.nodes.len()
    }

    fn look(&self, place: usize) -> Result<Room, Skip> {
        let node = self.nodes.get(place).ok_or(Skip::Unreachable)?;
        match self.preference.excludes(&node.attributes(), &[]) {
            Some(exclusion) => Err(Skip::Preference(exclusion)),
            None if node.state.is_full() => Err(Skip::Full),
            None => Ok(Room::Free),
        }
    }

    fn candidate(&self, place: usize) -> Option<Candidate> {
        self.nodes.get(place).map(Node::candidate)
    }

    fn rests_until(&self, _: usize) -> Option<Instant> {
        None
    }

    fn order(&self, _: Sort) -> Arc<[u32]> {
        Arc::clone(&self.order)
    }

    fn named(&self, name: &Name) -> Vec<u32> {
        self.names.get(&name.to_string()).copied().into_iter().collect()
    }
}

/// As `inference/route.rs` finds a node.
fn find(look: &Look<'_>) -> Option<Chosen<usize>> {
    let ask = Ask {
        preference: look.preference.clone(),
        work: WORK,
        latency_objective: Duration::from_secs(2),
        stand_in: PROFILE,
        usual_first_byte: Duration::ZERO,
        random: fastrand::u64(..),
    };
    best_of(few(look, &ask).candidates(look), &ask, Some)
}

fn order(nodes: &[Node], figure: impl Fn(&Node) -> u64) -> Arc<[u32]> {
    let mut figures: Vec<(u64, u32)> = nodes.iter().map(figure).zip(0..).collect();
    figures.sort_unstable();
    figures.into_iter().map(|(_, place)| place).collect()
}

fn routing(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(1);
    let nodes: Vec<Node> = (0..NODES).map(|number| Node::new(number, &mut random)).collect();
    let names = nodes.iter().map(|node| node.name.clone()).zip(0..).collect();
    let by_price = order(&nodes, |node| node.candidate().price.get());
    let by_energy = order(&nodes, |node| node.profile.marginal(WORK, &node.state).get());
    let by_carbon = order(&nodes, |node| {
        node.profile.marginal(WORK, &node.state).get() / 1_000 * node.profile.mg_per_kwh.unwrap_or_default()
    });
    let mut measure = |name: &str, object: Value, order: &Arc<[u32]>| {
        let Ok(preference) = Preference::read(Some(&object)) else { return };
        let look = Look { nodes: &nodes, names: &names, order: Arc::clone(order), preference: &preference };
        criterion.bench_function(name, |bench| bench.iter(|| find(&look)));
    };
    let none = Arc::default();
    measure("nothing is asked for", json!({}), &none);
    measure("sort by price", json!({"sort": "price"}), &by_price);
    measure("sort by energy", json!({"sort": "energy"}), &by_energy);
    measure("sort by carbon", json!({"sort": "carbon"}), &by_carbon);
    measure("a region of one in fifty", json!({"regions": ["SE"]}), &none);
    measure("an order of three", json!({"order": ["node-7", "node-77", "node-777"]}), &none);
    let offers: Vec<Price> = nodes.iter().map(|node| node.price).collect();
    let mix = Mix::of(WORK.prompt, WORK.completion);
    criterion.bench_function("how dear a node may be, twice a second", |bench| {
        bench.iter(|| dearest(&offers, |price| mix.cost(price), false));
    });
}

criterion_group!(benches, routing);
criterion_main!(benches);
