//! What a request asks of the nodes that may answer it, as far as energy goes: fields of its `provider` object, which
//! has OpenRouter's name and shape.

use openapi::energy::Tier;
use openapi::error::ApiError;
use openapi::fields::{wrong_type, wrong_value};
use serde_json::{Map, Value};

const SORT: &str = "provider.sort";
const MOST_CARBON: &str = "provider.max_gco2e_per_mtok";
const LOWEST_TIER: &str = "provider.min_energy_tier";

/// What comes first among nodes that could all answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sort {
    /// The cheapest.
    Price,
    /// The most tokens a second.
    Throughput,
    /// The soonest first byte.
    Latency,
    /// The least additional energy.
    Energy,
    /// The least additional carbon.
    Carbon,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Price, Self::Throughput, Self::Latency, Self::Energy, Self::Carbon];

    /// The word in `provider.sort`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Energy => "energy",
            Self::Carbon => "carbon",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.word() == word)
    }
}

/// What a request asks of the nodes' energy. Nothing, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    pub sort: Option<Sort>,
    /// Micrograms of CO₂ equivalent that a million tokens may stand for, prompt and answer together.
    pub max_micrograms_per_million_tokens: Option<u64>,
    /// The worst tier that a node's figures may have.
    pub min_tier: Option<Tier>,
}

impl Preference {
    /// Reads the request's `provider`. Fields that are not about energy are left to others.
    ///
    /// # Errors
    /// 400 for a value that is not of its field's type or range; `param` names the field.
    pub fn read(provider: Option<&Value>) -> Result<Self, ApiError> {
        let fields = match provider {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(fields)) => fields,
            Some(other) => return Err(wrong_type("provider", "an object", other)),
        };
        Ok(Self {
            sort: read_sort(fields)?,
            max_micrograms_per_million_tokens: read_most_carbon(fields)?,
            min_tier: read_lowest_tier(fields)?,
        })
    }
}

fn read_sort(fields: &Map<String, Value>) -> Result<Option<Sort>, ApiError> {
    let Some(word) = text(fields, "sort", SORT)? else { return Ok(None) };
    let supported = "'price', 'throughput', 'latency', 'energy' and 'carbon'";
    Sort::from_word(word).map(Some).ok_or_else(|| wrong_value(SORT, word, supported))
}

/// Grams come in as a decimal, and are kept as whole micrograms.
fn read_most_carbon(fields: &Map<String, Value>) -> Result<Option<u64>, ApiError> {
    let Some(value) = present(fields, "max_gco2e_per_mtok") else { return Ok(None) };
    let grams = value.as_f64().ok_or_else(|| wrong_type(MOST_CARBON, "a decimal", value))?;
    if !grams.is_finite() || grams <= 0.0 {
        let message = format!("Invalid '{MOST_CARBON}': expected a decimal above 0, but got {grams} instead.");
        return Err(ApiError::invalid(message).with_param(MOST_CARBON).with_code("decimal_below_min_value"));
    }
    // Saturates: whoever allows more than 18 tonnes for a million tokens allows everything.
    Ok(Some((grams * 1e6).round() as u64))
}

fn read_lowest_tier(fields: &Map<String, Value>) -> Result<Option<Tier>, ApiError> {
    let Some(letter) = text(fields, "min_energy_tier", LOWEST_TIER)? else { return Ok(None) };
    let tier = Tier::from_letter(letter).filter(|tier| *tier != Tier::X);
    tier.map(Some).ok_or_else(|| wrong_value(LOWEST_TIER, letter, "'A', 'B', 'C', 'D' and 'E'"))
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str, param: &str) -> Result<Option<&'a str>, ApiError> {
    match present(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(param, "a string", other)),
    }
}

/// A field's value; `null` counts as absent, as it does in the rest of the body.
fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_read_and_others_are_left_alone() {
        let provider = json!({"sort": "carbon", "max_gco2e_per_mtok": 12.5, "min_energy_tier": "C", "order": ["a"]});
        let preference = Preference::read(Some(&provider)).unwrap();
        let expected = Preference {
            sort: Some(Sort::Carbon),
            max_micrograms_per_million_tokens: Some(12_500_000),
            min_tier: Some(Tier::C),
        };
        assert_eq!(preference, expected);
        for nothing in [json!({}), json!(null), json!({"sort": null, "max_gco2e_per_mtok": null, "only": ["b"]})] {
            assert_eq!(Preference::read(Some(&nothing)), Ok(Preference::default()));
        }
        assert_eq!(Preference::read(None), Ok(Preference::default()));
    }

    #[test]
    fn every_sort_is_read_by_its_word() {
        for sort in Sort::ALL {
            let read = Preference::read(Some(&json!({"sort": sort.word()}))).unwrap();
            assert_eq!(read.sort, Some(sort));
        }
    }

    #[test]
    fn a_wrong_value_names_its_field() {
        for (provider, param) in [
            (json!({"sort": "green"}), "provider.sort"),
            (json!({"sort": "Energy"}), "provider.sort"),
            (json!({"sort": ["energy"]}), "provider.sort"),
            (json!({"max_gco2e_per_mtok": 0}), "provider.max_gco2e_per_mtok"),
            (json!({"max_gco2e_per_mtok": -1.5}), "provider.max_gco2e_per_mtok"),
            (json!({"max_gco2e_per_mtok": "NaN"}), "provider.max_gco2e_per_mtok"),
            (json!({"min_energy_tier": "X"}), "provider.min_energy_tier"),
            (json!({"min_energy_tier": "a"}), "provider.min_energy_tier"),
            (json!({"min_energy_tier": 3}), "provider.min_energy_tier"),
            (json!("carbon"), "provider"),
            (json!([]), "provider"),
        ] {
            let error = Preference::read(Some(&provider)).unwrap_err();
            assert_eq!((error.status, error.detail.kind.as_str()), (400, "invalid_request_error"), "{provider}");
            assert_eq!(error.detail.param.as_deref(), Some(param), "{provider}");
        }
    }

    proptest! {
        #[test]
        fn grams_keep_their_micrograms(micrograms in 1_u64..1 << 50) {
            let provider = json!({"max_gco2e_per_mtok": micrograms as f64 / 1e6});
            let read = Preference::read(Some(&provider)).unwrap();
            prop_assert_eq!(read.max_micrograms_per_million_tokens, Some(micrograms));
        }
    }
}
