use std::time::Duration;

use openapi::energy::Tier;
use openapi::units::Nanocredits;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn read(provider: &Value) -> Preference {
    Preference::read(Some(provider)).unwrap()
}

fn message(provider: &Value) -> String {
    Preference::read(Some(provider)).unwrap_err().detail.message
}

#[test]
fn every_field_is_read() {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let provider = json!({
        "order": ["Alpha", id], "only": ["b"], "ignore": ["c"], "allow_fallbacks": false, "require_parameters": true,
        "data_collection": "deny", "quantizations": ["INT4", "q8_0"], "max_price": {"prompt": 0.5, "completion": "2.0009"},
        "sort": "carbon", "regions": ["EU", "de", "US-CA"], "max_gco2e_per_mtok": 12.5, "min_energy_tier": "C",
        "hedge_after_ms": 800,
        "partners": true,
    });
    let text = |text: &str| Name::Text(text.to_owned());
    let expected = Preference {
        order: vec![text("Alpha"), Name::Id(Uuid::parse_str(id).unwrap())],
        only: vec![text("b")],
        ignore: vec![text("c")],
        allow_fallbacks: Some(false),
        require_parameters: Some(true),
        data_collection: Some(DataCollection::Deny),
        quantisations: vec![Quantisation::Class(Class::Int4), Quantisation::Exact("q8_0".to_owned())],
        max_price: Some(MaxPrice { prompt: Some(Nanocredits::new(500)), completion: Some(Nanocredits::new(2_000)) }),
        sort: Some(Sort::Carbon),
        regions: vec![Area::Eu, Area::Region("DE".parse().unwrap()), Area::Region("US-CA".parse().unwrap())],
        max_micrograms_per_million_tokens: Some(12_500_000),
        min_tier: Some(Tier::C),
        hedge: Some(Hedge::After(Duration::from_millis(800))),
        partners: Some(true),
    };
    assert_eq!(read(&provider), expected);
}

#[test]
fn nothing_is_asked_by_null_or_by_what_is_empty() {
    for nothing in [
        json!({}),
        json!(null),
        json!({"sort": null, "max_gco2e_per_mtok": null, "only": null, "max_price": null, "allow_fallbacks": null}),
        json!({"order": [], "only": [], "ignore": [], "quantizations": [], "regions": [], "max_price": {}, "sort": {}}),
        json!({"max_price": {"prompt": null, "request": null}, "sort": {"by": null, "partition": "model"}}),
    ] {
        assert_eq!(read(&nothing), Preference::default(), "{nothing}");
    }
    assert_eq!(Preference::read(None), Ok(Preference::default()));
    assert_eq!(Preference::default().to_value(), json!({}));
}

#[test]
fn every_sort_is_read_by_its_word_in_both_forms() {
    for sort in Sort::ALL {
        for form in [json!(sort.word()), json!({"by": sort.word()}), json!({"by": sort.word(), "partition": "model"})] {
            assert_eq!(read(&json!({"sort": form})).sort, Some(sort), "{form}");
        }
    }
}

#[test]
fn a_wrong_value_names_its_field() {
    let many = vec!["a"; 101];
    for (provider, param, code) in [
        (json!("carbon"), "provider", "invalid_type"),
        (json!([]), "provider", "invalid_type"),
        (json!({"order": "a"}), "provider.order", "invalid_type"),
        (json!({"only": many}), "provider.only", "array_above_max_length"),
        (json!({"only": ["a", "b", 3]}), "provider.only[2]", "invalid_type"),
        (json!({"only": ["a", null]}), "provider.only[1]", "invalid_type"),
        (json!({"ignore": [""]}), "provider.ignore[0]", "empty_string"),
        (json!({"ignore": ["ä".repeat(101)]}), "provider.ignore[0]", "string_above_max_length"),
        (json!({"allow_fallbacks": "no"}), "provider.allow_fallbacks", "invalid_type"),
        (json!({"require_parameters": 1}), "provider.require_parameters", "invalid_type"),
        (json!({"data_collection": "Deny"}), "provider.data_collection", "invalid_value"),
        (json!({"data_collection": false}), "provider.data_collection", "invalid_type"),
        (json!({"quantizations": ["int4", "int3"]}), "provider.quantizations[1]", "invalid_value"),
        (json!({"regions": ["UK"]}), "provider.regions[0]", "invalid_value"),
        (json!({"regions": ["DE", {"country": "FR"}]}), "provider.regions[1]", "invalid_type"),
        (json!({"max_price": 3}), "provider.max_price", "invalid_type"),
        (json!({"max_price": {"prompt": true}}), "provider.max_price.prompt", "invalid_type"),
        (json!({"max_price": {"prompt": "cheap"}}), "provider.max_price.prompt", "invalid_value"),
        (json!({"max_price": {"prompt": "-"}}), "provider.max_price.prompt", "invalid_value"),
        (json!({"max_price": {"completion": -0.5}}), "provider.max_price.completion", "decimal_below_min_value"),
        (json!({"max_price": {"image": 1}}), "provider.max_price.image", "unsupported_parameter"),
        (json!({"max_price": {"cached": 1}}), "provider.max_price.cached", "unknown_parameter"),
        (json!({"sort": "green"}), "provider.sort", "invalid_value"),
        (json!({"sort": "Energy"}), "provider.sort", "invalid_value"),
        (json!({"sort": ["energy"]}), "provider.sort", "invalid_type"),
        (json!({"sort": {"by": "green"}}), "provider.sort.by", "invalid_value"),
        (json!({"sort": {"by": "price", "partition": "none"}}), "provider.sort.partition", "invalid_value"),
        (json!({"sort": {"by": "price", "then": "latency"}}), "provider.sort.then", "unknown_parameter"),
        (json!({"max_gco2e_per_mtok": 0}), "provider.max_gco2e_per_mtok", "decimal_below_min_value"),
        (json!({"max_gco2e_per_mtok": -1.5}), "provider.max_gco2e_per_mtok", "decimal_below_min_value"),
        (json!({"max_gco2e_per_mtok": "NaN"}), "provider.max_gco2e_per_mtok", "invalid_type"),
        (json!({"min_energy_tier": "X"}), "provider.min_energy_tier", "invalid_value"),
        (json!({"min_energy_tier": "a"}), "provider.min_energy_tier", "invalid_value"),
        (json!({"min_energy_tier": 3}), "provider.min_energy_tier", "invalid_type"),
        (json!({"hedge_after_ms": 0}), "provider.hedge_after_ms", "invalid_value"),
        (json!({"hedge_after_ms": 60_001}), "provider.hedge_after_ms", "invalid_value"),
        (json!({"hedge_after_ms": -1}), "provider.hedge_after_ms", "invalid_value"),
        (json!({"hedge_after_ms": 1.5}), "provider.hedge_after_ms", "invalid_type"),
        (json!({"hedge_after_ms": "soon"}), "provider.hedge_after_ms", "invalid_value"),
        (json!({"hedge_after_ms": true}), "provider.hedge_after_ms", "invalid_type"),
        (json!({"preferred_max_latency": 2}), "provider.preferred_max_latency", "unknown_parameter"),
        (json!({"zdr": null}), "provider.zdr", "unknown_parameter"),
    ] {
        let error = Preference::read(Some(&provider)).unwrap_err();
        assert_eq!((error.status, error.detail.kind.as_str()), (400, "invalid_request_error"), "{provider}");
        assert_eq!(error.detail.param.as_deref(), Some(param), "{provider}");
        assert_eq!(error.detail.code.as_deref(), Some(code), "{provider}");
        assert!(error.detail.message.contains(&format!("'{param}'")), "{}", error.detail.message);
    }
}

#[test]
fn messages_say_what_to_do() {
    assert_eq!(
        message(&json!({"zdr": true})),
        "Unknown parameter: 'provider.zdr'. Instead of 'zdr', give 'data_collection': 'deny'. Known in 'provider' are \
         'order', 'only', 'ignore', 'allow_fallbacks', 'require_parameters', 'data_collection', 'quantizations', \
         'max_price', 'sort', 'regions', 'max_gco2e_per_mtok', 'min_energy_tier', 'hedge_after_ms', 'partners'."
    );
    assert_eq!(
        message(&json!({"regions": ["UK"]})),
        "Invalid value for 'provider.regions[0]': 'UK' is not a region: in ISO 3166-1 it is GB. 'EU' and 'EEA' are also \
         understood."
    );
    assert_eq!(
        message(&json!({"order": vec!["a"; 101]})),
        "Invalid 'provider.order': array too long. Expected an array with maximum length 100, but got an array with length \
         101 instead."
    );
    assert_eq!(
        message(&json!({"max_price": {"audio": 1}})),
        "Unsupported parameter: 'provider.max_price.audio' is not supported here. All prices are per token: give 'prompt' \
         and 'completion'."
    );
}

#[test]
fn a_hostile_key_is_cut() {
    let error = Preference::read(Some(&json!({ "x\n".repeat(100_000): 1 }))).unwrap_err();
    assert!(error.detail.message.len() < 500 && !error.detail.message.contains('\n'));
    assert!(error.detail.param.is_some_and(|param| param.len() < 100));
}

#[test]
fn a_second_node_is_tried_unless_only_the_best_is_wanted() {
    for (provider, may) in [
        (json!({}), true),
        (json!({"allow_fallbacks": true}), true),
        (json!({"allow_fallbacks": false}), false),
        (json!({"allow_fallbacks": false, "only": ["a", "b"]}), false),
        (json!({"allow_fallbacks": false, "order": ["a", "b"]}), true),
    ] {
        assert_eq!(read(&provider).may_fall_back(), may, "{provider}");
    }
}

#[test]
fn what_is_not_asked_comes_from_the_account_and_what_it_denies_stays_denied() {
    let defaults = json!({
        "only": ["a"], "ignore": ["c", "d"], "data_collection": "deny", "regions": ["EU"], "sort": "energy",
        "max_price": {"prompt": 1}, "allow_fallbacks": false,
    });
    let asked = json!({
        "only": ["b"], "ignore": ["d", "e"], "data_collection": "allow", "max_price": {"completion": 2}, "order": ["b"],
    });
    let merged = json!({
        "only": ["b"], "ignore": ["d", "e", "c"], "data_collection": "deny", "max_price": {"completion": 2},
        "order": ["b"], "regions": ["EU"], "sort": "energy", "allow_fallbacks": false,
    });
    assert_eq!(read(&asked).merged(&read(&defaults)).to_value(), merged);
    let allowed = read(&json!({"data_collection": "deny"})).merged(&read(&json!({"data_collection": "allow"})));
    assert_eq!(allowed.data_collection, Some(DataCollection::Deny), "a request may ask for more");
    let alone = read(&json!({"hedge_after_ms": "off"})).merged(&read(&json!({"hedge_after_ms": 800})));
    assert_eq!(alone.hedge, Some(Hedge::Off), "a request may do without");
    let apart = read(&json!({"partners": true})).merged(&read(&json!({"partners": false})));
    assert_eq!(apart.partners, Some(false), "what the account denies stays denied");
}

#[test]
fn what_was_given_is_shown_as_it_was_given() {
    let given = json!({
        "order": ["Alpha", "grüner-Knoten"], "quantizations": ["int4", "Q4_K_M"], "max_gco2e_per_mtok": 12,
        "max_price": {"prompt": 0.29, "completion": 2}, "sort": "price", "regions": ["EEA", "SE-SE3"],
        "allow_fallbacks": true, "data_collection": "allow", "require_parameters": false, "min_energy_tier": "B",
        "hedge_after_ms": "auto",
    });
    assert_eq!(read(&given).to_value(), given);
    assert_eq!(serde_json::to_value(read(&given)).unwrap(), given);
}

fn names() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof!["[a-zA-Z0-9 ]{1,8}", "\\PC{1,100}", Just(Uuid::from_u128(7).to_string())];
    proptest::collection::vec(name, 0..4)
}

fn words(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(words, 0..=words.len())
}

fn maybe<T: Clone + std::fmt::Debug>(some: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(some)
}

fn preferences() -> impl Strategy<Value = Preference> {
    let nodes = (names(), names(), names());
    let prices = (maybe(0_u64..2_000_000_000), maybe(0_u64..5_000));
    let flags = (maybe(any::<bool>()), maybe(any::<bool>()), maybe(proptest::sample::select(vec!["allow", "deny"])));
    let lists = (words(&["int4", "unknown", "Q4_1", "IQ2_XXS"]), words(&["EU", "EEA", "DE", "US-CA", "SE-SE3"]));
    let sort = maybe(proptest::sample::select(Sort::ALL.map(Sort::word).to_vec()));
    let hedge = maybe(prop_oneof![Just(json!("auto")), Just(json!("off")), (1_u32..=60_000).prop_map(Value::from)]);
    let energy = (maybe(1e-6..1e10), maybe(proptest::sample::select(vec!["A", "E"])), hedge);
    (nodes, prices, flags, lists, sort, energy).prop_map(|(nodes, prices, flags, lists, sort, energy)| {
        let credits = |part: Option<u64>| part.map(|part| Nanocredits::new(part).credits());
        read(&json!({
            "order": nodes.0, "only": nodes.1, "ignore": nodes.2,
            "max_price": {"prompt": credits(prices.0), "completion": prices.1},
            "allow_fallbacks": flags.0, "require_parameters": flags.1, "data_collection": flags.2,
            "quantizations": lists.0, "regions": lists.1, "sort": sort,
            "max_gco2e_per_mtok": energy.0, "min_energy_tier": energy.1, "hedge_after_ms": energy.2,
        }))
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same(preference in preferences()) {
        let text = serde_json::to_string(&preference).unwrap();
        prop_assert_eq!(read(&serde_json::from_str(&text).unwrap()), preference);
    }

    #[test]
    fn merging_once_is_enough(preference in preferences(), defaults in preferences()) {
        let merged = preference.clone().merged(&defaults);
        prop_assert_eq!(merged.clone().merged(&defaults), merged.clone());
        prop_assert_eq!(preference.clone().merged(&Preference::default()), preference.clone());
        prop_assert_eq!(Preference::default().merged(&preference), preference);
        for ignored in &defaults.ignore {
            prop_assert!(merged.ignore.contains(ignored));
        }
    }

    #[test]
    fn grams_keep_their_micrograms(micrograms in 1_u64..1_000_000_000_000_000) {
        let provider = json!({"max_gco2e_per_mtok": micrograms as f64 / 1e6});
        prop_assert_eq!(read(&provider).max_micrograms_per_million_tokens, Some(micrograms));
    }
}
