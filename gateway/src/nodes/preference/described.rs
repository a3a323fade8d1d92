//! As it stands in the description of the API.

use std::borrow::Cow;

use openapi::schema::{Described, Shape, any_of, decimal, flag, integer, list, text, word};
use utoipa::openapi::schema::ArrayBuilder;
use utoipa::{PartialSchema, ToSchema};

use super::hedge::LATEST_MILLISECONDS;
use super::object::MOST;
use super::read::LONGEST_NAME;
use super::{DataCollection, Preference, Sort};

const ABOUT: &str = "Which nodes may compute a request, as OpenRouter's `provider` and beyond. Fields that are not named here are \
                     refused.";

impl PartialSchema for Preference {
    fn schema() -> Shape {
        let policies = [DataCollection::Allow, DataCollection::Deny].map(DataCollection::word);
        Described::new(ABOUT)
            .optional("order", "Who is tried first, in this order", names())
            .optional("only", "Nobody but these", names())
            .optional("ignore", "None of these", names())
            .optional("allow_fallbacks", "Whether others are tried when those can't answer; true if not given", flag())
            .optional("require_parameters", "Only nodes that know every parameter of the request", flag())
            .optional("data_collection", "`deny`: only nodes whose operators say that nothing is kept", word(policies))
            .optional("quantizations", "Any of these: `int4`, `fp16`, `unknown`, `Q4_1` and the like", many(text()))
            .optional("max_price", "Credits for a million tokens", max_price())
            .optional("sort", "What comes first among nodes that could all answer", sort())
            .optional("regions", "In any of these: `DE`, `US-CA`, `EU`, `EEA` and the like", many(text()))
            .optional(
                "max_gco2e_per_mtok",
                "Grams of CO₂ equivalent for a million tokens",
                decimal(&(0.000_001..=f64::MAX)),
            )
            .optional(
                "min_energy_tier",
                "The worst tier that a node's figures may have",
                word(["A", "B", "C", "D", "E"]),
            )
            .optional("hedge_after_ms", "When a second node is asked as well", hedge())
            .optional(
                "partners",
                "Whether other gateways may be asked whose offers are listed here; true if not given",
                flag(),
            )
            .closed()
            .into()
    }
}

impl ToSchema for Preference {
    fn name() -> Cow<'static, str> {
        "Provider".into()
    }
}

fn many(items: impl Into<Shape>) -> ArrayBuilder {
    list(items, 0..=MOST)
}

/// Ids of nodes or of their operators' accounts, or names of nodes.
fn names() -> ArrayBuilder {
    many(text().min_length(Some(1)).max_length(Some(LONGEST_NAME)))
}

fn max_price() -> Described {
    let amount = || {
        let text = text().pattern(Some("^[0-9]+([.][0-9]+)?([eE][+-]?[0-9]{1,9})?$"));
        any_of([decimal(&(0.0..=f64::MAX)).into(), text.into()])
    };
    Described::inner()
        .optional("prompt", "For the prompt", amount())
        .optional("completion", "For the answer", amount())
        .closed()
}

fn sort() -> Shape {
    let words = || word(Sort::ALL.map(Sort::word));
    let object = Described::inner()
        .optional("by", "The same", words())
        .optional("partition", "OpenRouter's default alone", word(["model"]))
        .closed();
    any_of([words().into(), object.into()]).into()
}

fn hedge() -> Shape {
    let latest = i64::try_from(LATEST_MILLISECONDS).unwrap_or(i64::MAX);
    any_of([integer(&(1..=latest)).into(), word(["auto", "off"]).into()]).into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::read::FIELDS;
    use super::*;

    /// The field that is to blame for an object with this value.
    fn blamed(field: &str, value: &Value) -> Option<String> {
        Preference::read(Some(&json!({ field: value }))).err()?.detail.param
    }

    #[test]
    fn the_description_has_all_that_is_understood_and_nothing_else() {
        let schema = serde_json::to_value(Preference::schema()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        let described: std::collections::BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(described, FIELDS.into_iter().collect());
        assert_eq!(schema["additionalProperties"], false);
        for (field, property) in properties {
            assert_eq!(blamed(field, &Value::Null), None, "{field}");
            for word in property["enum"].as_array().into_iter().flatten() {
                assert_eq!(blamed(field, word), None, "{field}: {word}");
            }
            assert!(blamed(field, &json!({"no such": 1})).is_some(), "{field}");
        }
    }

    #[test]
    fn numbers_are_bounded_as_described() {
        for (field, allowed, forbidden) in [
            ("hedge_after_ms", json!(60_000), json!(60_001)),
            ("hedge_after_ms", json!(1), json!(0)),
            ("max_gco2e_per_mtok", json!(0.000_001), json!(0)),
            ("max_price", json!({"prompt": 0, "completion": "0.5e-1"}), json!({"prompt": -1})),
            ("max_price", json!({"prompt": "1"}), json!({"prompt": "1."})),
            ("sort", json!({"by": "price", "partition": "model"}), json!({"by": "price", "partition": "none"})),
            ("only", json!(["x".repeat(100)]), json!(["x".repeat(101)])),
            ("ignore", json!(vec!["x"; 100]), json!([""])),
        ] {
            assert_eq!(blamed(field, &allowed), None, "{field}: {allowed}");
            assert!(blamed(field, &forbidden).is_some_and(|param| param.contains(field)), "{field}: {forbidden}");
        }
    }
}
