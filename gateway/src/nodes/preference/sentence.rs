//! What a request asked for that no node can give, in words.

use std::fmt::Display;

use openapi::energy::Tier;
use openapi::error::echo;
use openapi::units::Nanocredits;

use super::{Exclusion, Preference};

/// As many of a list's elements as a sentence repeats.
const MOST: usize = 5;

impl Exclusion {
    /// What the client asked for, as the beginning of a sentence that goes on with what there is instead.
    pub fn sentence(self, preference: &Preference) -> String {
        match self {
            Self::NotNamed => format!("'provider.only' asks for {}", listed(&preference.only)),
            Self::Ignored => format!("'provider.ignore' asks for none of {}", listed(&preference.ignore)),
            Self::Partner => "this has to be answered by nodes of this gateway itself".to_owned(),
            Self::NotInOrder => {
                let order = listed(&preference.order);
                format!("'provider.order' asks for {order}, and 'provider.allow_fallbacks' for nobody else")
            }
            Self::WrongRegion => format!("'provider.regions' asks for {}", listed(&preference.regions)),
            Self::CollectsData => "'provider.data_collection' asks for nodes that collect no data".to_owned(),
            Self::WrongQuantisation => {
                format!("'provider.quantizations' asks for {}", listed(&preference.quantisations))
            }
            Self::TooDear => too_dear(preference),
            Self::LacksParameters => {
                "'provider.require_parameters' asks for nodes that support every parameter of the request".to_owned()
            }
            Self::TierTooLow => {
                let tier = preference.min_tier.map_or("?", Tier::letter);
                format!("'provider.min_energy_tier' asks for figures of tier {tier} or better")
            }
            Self::TooMuchCarbon => {
                let most = preference.max_micrograms_per_million_tokens.unwrap_or_default() as f64 / 1e6;
                format!("'provider.max_gco2e_per_mtok' asks for at most {most} g CO2e for a million tokens")
            }
        }
    }
}

fn too_dear(preference: &Preference) -> String {
    let most = preference.max_price.unwrap_or_default();
    // A thousandth of a credit for a million tokens is a nanocredit for each.
    let credits =
        |part: Nanocredits, of: &str| format!("{} credits for a million tokens of the {of}", part.get() as f64 / 1e3);
    let prompt = most.prompt.map(|part| credits(part, "prompt"));
    let completion = most.completion.map(|part| credits(part, "answer"));
    let parts: Vec<String> = prompt.into_iter().chain(completion).collect();
    format!("'provider.max_price' asks for at most {}", parts.join(" and "))
}

fn listed<T: Display>(elements: &[T]) -> String {
    let shown: Vec<String> = elements.iter().take(MOST).map(|element| echo(&element.to_string())).collect();
    let more = elements.len().saturating_sub(MOST);
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sentence_says_which_field_asks_for_what() {
        let many: Vec<String> = (1..=100).map(|number| format!("node-{number}\n{}", "x".repeat(90))).collect();
        let preference = Preference::read(Some(&json!({
            "only": ["Alpha"], "ignore": many, "order": ["b", "c"], "regions": ["EU", "us-ca"],
            "quantizations": ["int4", "Q8_0"], "max_price": {"prompt": 0.5, "completion": "2"},
            "max_gco2e_per_mtok": 12.5, "min_energy_tier": "C"
        })))
        .unwrap();
        for (exclusion, sentence) in [
            (Exclusion::NotNamed, "'provider.only' asks for Alpha"),
            (Exclusion::NotInOrder, "'provider.order' asks for b, c, and 'provider.allow_fallbacks' for nobody else"),
            (Exclusion::WrongRegion, "'provider.regions' asks for EU, US-CA"),
            (Exclusion::WrongQuantisation, "'provider.quantizations' asks for int4, Q8_0"),
            (
                Exclusion::TooDear,
                "'provider.max_price' asks for at most 0.5 credits for a million tokens of the prompt and 2 credits for a \
                 million tokens of the answer",
            ),
            (Exclusion::TierTooLow, "'provider.min_energy_tier' asks for figures of tier C or better"),
            (
                Exclusion::TooMuchCarbon,
                "'provider.max_gco2e_per_mtok' asks for at most 12.5 g CO2e for a million tokens",
            ),
        ] {
            assert_eq!(exclusion.sentence(&preference), sentence);
        }
        let ignored = Exclusion::Ignored.sentence(&preference);
        assert!(ignored.starts_with("'provider.ignore' asks for none of node-1x"), "{ignored}");
        assert!(ignored.ends_with(" and 95 more") && ignored.len() < 600 && !ignored.contains('\n'), "{ignored}");
    }
}
