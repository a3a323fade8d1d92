//! Every field alone and every two fields together, against a table of nodes and a judge that knows nothing of
//! [`Preference`]: it looks at the JSON and at the nodes as texts.

use std::collections::HashSet;

use openapi::price::Price;
use openapi::region::Region;
use openapi::units::Nanocredits;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Attributes, Exclusion, Preference};

/// What the requests in here have in them.
const PARAMETERS: [&str; 2] = ["temperature", "tools"];

/// A node as a table would show it.
struct Row {
    /// Of the node; the operator has hundreds.
    id: u128,
    name: &'static str,
    region: &'static str,
    denies: bool,
    quantisation: &'static str,
    /// Nanocredits per token for prompt, cached prompt and answer.
    price: Option<[u64; 3]>,
    parameters: Option<&'static str>,
}

const fn row(id: u128, name: &'static str, region: &'static str, quantisation: &'static str) -> Row {
    Row { id, name, region, denies: false, quantisation, price: Some([500, 50, 2_000]), parameters: None }
}

const NODES: [Row; 12] = [
    Row { denies: true, ..row(101, "alpha", "DE", "Q4_1") },
    Row { price: Some([501, 50, 2_000]), ..row(102, "Beta", "FR", "Q8_0") },
    Row { parameters: Some("temperature tools seed"), ..row(103, "gamma", "US-CA", "F16") },
    Row { parameters: Some("temperature"), denies: true, ..row(201, "delta", "US", "Q4_K_M") },
    Row { price: None, ..row(202, "epsilon", "US-NY", "BF16") },
    Row { price: Some([0, 0, 0]), ..row(203, "GRÜN", "NO", "FP8") },
    Row { price: Some([100, 600, 100]), ..row(301, "eta", "IS", "Q5_K_M") },
    Row { parameters: Some(""), ..row(302, "Theta", "GB", "F32") },
    Row { denies: true, ..row(303, "iota", "", "MXFP4") },
    Row { denies: true, price: Some([400, 50, 2_001]), ..row(401, "kappa", "SE-SE3", "IQ4_NL") },
    Row { denies: true, parameters: Some("tools temperature"), ..row(402, "lambda", "SE", "q4_1") },
    Row { price: Some([1_000_000_000, 0, 1]), ..row(403, "alpha", "CH", "none") },
];

impl Row {
    fn node(&self) -> Uuid {
        Uuid::from_u128(self.id)
    }

    fn operator(&self) -> Uuid {
        Uuid::from_u128(self.id / 100)
    }

    /// Some are.
    fn is_partner(&self) -> bool {
        self.id.is_multiple_of(2)
    }
}

/// Each field with values that take in some of the nodes.
fn fields() -> Vec<(&'static str, Value)> {
    let (kappa, second) = (Uuid::from_u128(401).to_string(), Uuid::from_u128(2).to_string().to_uppercase());
    vec![
        ("order", json!(["lambda", "ALPHA"])),
        ("order", json!([second, "beta", kappa])),
        ("only", json!(["grün", "Alpha", kappa, second])),
        ("only", json!(["nobody"])),
        ("ignore", json!(["Alpha", second])),
        ("ignore", json!(["nobody"])),
        ("allow_fallbacks", json!(true)),
        ("allow_fallbacks", json!(false)),
        ("require_parameters", json!(true)),
        ("require_parameters", json!(false)),
        ("partners", json!(true)),
        ("partners", json!(false)),
        ("data_collection", json!("allow")),
        ("data_collection", json!("deny")),
        ("quantizations", json!(["int4"])),
        ("quantizations", json!(["Q4_1", "fp16", "fp8"])),
        ("quantizations", json!(["unknown", "bf16", "int8", "fp32", "fp4"])),
        ("max_price", json!({"prompt": 0.5})),
        ("max_price", json!({"completion": "2"})),
        ("max_price", json!({"prompt": "0.5", "completion": 0.1})),
        ("sort", json!("carbon")),
        ("regions", json!(["EU"])),
        ("regions", json!(["EEA"])),
        ("regions", json!(["US", "GB"])),
        ("regions", json!(["US-CA", "SE-SE3", "CH"])),
        ("max_gco2e_per_mtok", json!(1)),
        ("min_energy_tier", json!("A")),
    ]
}

fn list(provider: &Value, key: &str) -> Vec<String> {
    let elements = provider[key].as_array().cloned().unwrap_or_default();
    elements.iter().map(|element| element.as_str().unwrap().to_owned()).collect()
}

/// The index of the first name that means the node.
fn index(names: &[String], row: &Row) -> Option<usize> {
    let own = [row.node().to_string(), row.operator().to_string(), row.name.to_lowercase()];
    names.iter().position(|name| own.contains(&name.to_lowercase()))
}

fn is_in(area: &str, region: &str) -> bool {
    match area {
        "EU" => region.starts_with("DE") || region.starts_with("FR") || region.starts_with("SE"),
        "EEA" => is_in("EU", region) || region == "NO" || region == "IS",
        _ => region == area || region.starts_with(&format!("{area}-")),
    }
}

fn is_quantised(wanted: &str, row: &Row) -> bool {
    let class = match row.quantisation {
        "Q4_1" | "q4_1" | "Q4_K_M" | "IQ4_NL" => "int4",
        "Q8_0" => "int8",
        "F16" => "fp16",
        "BF16" => "bf16",
        "FP8" => "fp8",
        "F32" => "fp32",
        "MXFP4" => "fp4",
        "Q5_K_M" | "none" => "unknown",
        other => panic!("{other}"),
    };
    wanted == class || wanted.to_uppercase() == row.quantisation.to_uppercase()
}

fn is_dear(most: &Value, price: Option<[u64; 3]>) -> bool {
    let Some(price) = price else { return true };
    let limit = |key: &str| match &most[key] {
        Value::Null => f64::INFINITY,
        Value::String(text) => text.parse().unwrap(),
        number => number.as_f64().unwrap(),
    };
    let credits_per_million = price.map(|nanocredits| nanocredits as f64 * 1e6 / 1e9);
    let [prompt, cached, completion] = credits_per_million;
    prompt > limit("prompt") || cached > limit("prompt") || completion > limit("completion")
}

/// The verdict as a word of [`Exclusion`]; empty for a node that will do.
fn judged(provider: &Value, row: &Row) -> &'static str {
    let [only, ignore, order] = ["only", "ignore", "order"].map(|key| list(provider, key));
    let [regions, quantisations] = ["regions", "quantizations"].map(|key| list(provider, key));
    let supported = row.parameters.map(|words| words.split(' ').collect::<HashSet<_>>());
    let faults = [
        (!only.is_empty() && index(&only, row).is_none(), "not_named"),
        (index(&ignore, row).is_some(), "ignored"),
        (provider["partners"] == false && row.is_partner(), "partner"),
        (provider["allow_fallbacks"] == false && !order.is_empty() && index(&order, row).is_none(), "not_in_order"),
        (!regions.is_empty() && !regions.iter().any(|area| is_in(area, row.region)), "wrong_region"),
        (provider["data_collection"] == "deny" && !row.denies, "collects_data"),
        (
            !quantisations.is_empty() && !quantisations.iter().any(|wanted| is_quantised(wanted, row)),
            "wrong_quantisation",
        ),
        (provider.get("max_price").is_some_and(|most| is_dear(most, row.price)), "too_dear"),
        (
            provider["require_parameters"] == true
                && supported.is_some_and(|supported| !PARAMETERS.iter().all(|word| supported.contains(word))),
            "lacks_parameters",
        ),
    ];
    faults.into_iter().find(|(is_at_fault, _)| *is_at_fault).map_or("", |(_, word)| word)
}

/// What [`Preference`] finds: the verdict and the place in the order.
fn found(preference: &Preference, row: &Row) -> (&'static str, usize) {
    let region: Option<Region> = row.region.parse().ok();
    let parameters: Option<Vec<String>> = row.parameters.map(|words| words.split(' ').map(str::to_owned).collect());
    let attributes = Attributes {
        node: row.node(),
        name: row.name,
        operator: row.operator(),
        region: region.as_ref(),
        is_partner: row.is_partner(),
        denies_data_collection: row.denies,
        quantisation: row.quantisation,
        price: row.price.map(|price| {
            let [prompt, cached, completion] = price.map(Nanocredits::new);
            Price { prompt, cached, completion }
        }),
        parameters: parameters.as_deref(),
    };
    let exclusion = preference.excludes(&attributes, &PARAMETERS.map(str::to_owned));
    (exclusion.map_or("", Exclusion::word), preference.place(&attributes))
}

#[test]
fn every_field_and_every_two_fields_judge_as_the_oracle_does() {
    let fields = fields();
    let mut verdicts = HashSet::new();
    for (one, value) in &fields {
        for (other, second) in &fields {
            let mut provider = json!({});
            provider[one] = value.clone();
            // With the same field twice the later value counts, so that each stands alone once.
            provider[other] = second.clone();
            let preference = Preference::read(Some(&provider)).unwrap();
            let order = list(&provider, "order");
            for row in &NODES {
                let place = index(&order, row).unwrap_or(order.len());
                let expected = (judged(&provider, row), place);
                assert_eq!(found(&preference, row), expected, "{provider} of {} {}", row.id, row.name);
                verdicts.insert(expected.0);
            }
        }
    }
    let of_energy = [Exclusion::TierTooLow, Exclusion::TooMuchCarbon];
    let seen: HashSet<_> =
        Exclusion::ALL.into_iter().filter(|one| !of_energy.contains(one)).map(Exclusion::word).collect();
    assert_eq!(verdicts, seen.into_iter().chain([""]).collect(), "each verdict is given to somebody");
}

#[test]
fn alone_each_value_lets_in_whom_it_should() {
    for (field, value, expected) in [
        ("only", json!(["grün", "Alpha"]), vec![101, 203, 403]),
        ("ignore", json!(["GRÜN", Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)]), vec![401, 402, 403]),
        ("order", json!(["alpha"]), NODES.map(|row| row.id).to_vec()),
        ("data_collection", json!("deny"), vec![101, 201, 303, 401, 402]),
        ("regions", json!(["EU"]), vec![101, 102, 401, 402]),
        ("regions", json!(["US"]), vec![103, 201, 202]),
        ("regions", json!(["US-CA"]), vec![103]),
        ("quantizations", json!(["q4_1", "fp16"]), vec![101, 103, 402]),
        ("max_price", json!({"prompt": 0.4, "completion": 2}), vec![203]),
        ("require_parameters", json!(true), vec![101, 102, 103, 202, 203, 301, 303, 401, 402, 403]),
    ] {
        let provider = json!({ field: value });
        let preference = Preference::read(Some(&provider)).unwrap();
        let let_in = NODES.iter().filter(|row| found(&preference, row).0.is_empty()).map(|row| row.id);
        assert_eq!(let_in.collect::<Vec<_>>(), expected, "{provider}");
    }
}
