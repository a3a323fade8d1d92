//! Back to JSON.

use std::fmt::Display;

use openapi::energy::Tier;
use openapi::units::Nanocredits;
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

use super::{Hedge, MaxPrice, Preference};

impl Preference {
    /// A `provider` object that reads as this preference, with the fields that were given and no others. Names stand in it
    /// as they were given; decimals are numbers.
    pub fn to_value(&self) -> Value {
        let carbon = self.max_micrograms_per_million_tokens.map(|micrograms| decimal(micrograms, 1_000_000));
        let fields = [
            ("order", list(&self.order)),
            ("only", list(&self.only)),
            ("ignore", list(&self.ignore)),
            ("allow_fallbacks", self.allow_fallbacks.map(Value::from)),
            ("require_parameters", self.require_parameters.map(Value::from)),
            ("data_collection", self.data_collection.map(|policy| policy.word().into())),
            ("quantizations", list(&self.quantisations)),
            ("max_price", self.max_price.map(max_price)),
            ("sort", self.sort.map(|sort| sort.word().into())),
            ("regions", list(&self.regions)),
            ("max_gco2e_per_mtok", carbon),
            ("min_energy_tier", self.min_tier.map(Tier::letter).map(Value::from)),
            ("hedge_after_ms", self.hedge.map(Hedge::to_value)),
            ("partners", self.partners.map(Value::from)),
        ];
        object(fields)
    }
}

/// As [`Preference::to_value`].
impl Serialize for Preference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

fn object<const COUNT: usize>(fields: [(&str, Option<Value>); COUNT]) -> Value {
    let given = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

fn list<T: Display>(elements: &[T]) -> Option<Value> {
    (!elements.is_empty()).then(|| elements.iter().map(ToString::to_string).collect())
}

fn max_price(most: MaxPrice) -> Value {
    let credits = |part: Option<Nanocredits>| part.map(|part| decimal(part.get(), 1_000));
    object([("prompt", credits(most.prompt)), ("completion", credits(most.completion))])
}

/// A count over a power of ten. Exact: what was read has 15 digits at most, and so many survive in a JSON number.
fn decimal(count: u64, unit: u64) -> Value {
    if count.is_multiple_of(unit) {
        return Value::from(count / unit);
    }
    Number::from_f64(count as f64 / unit as f64).map_or(Value::Null, Value::Number)
}
