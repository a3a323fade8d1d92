//! From JSON.

use openapi::energy::Tier;
use openapi::error::ApiError;
use openapi::fields::{wrong_type, wrong_value};
use serde_json::Value;

use super::object::{Object, too_long};
use super::{Area, DataCollection, Hedge, MaxPrice, Name, Preference, Quantisation, Sort};

const PATH: &str = "provider";
/// The object form of `sort`.
const SORT: &str = "provider.sort";
/// All that is understood.
pub(super) const FIELDS: [&str; 14] = [
    "order",
    "only",
    "ignore",
    "allow_fallbacks",
    "require_parameters",
    "data_collection",
    "quantizations",
    "max_price",
    "sort",
    "regions",
    "max_gco2e_per_mtok",
    "min_energy_tier",
    "hedge_after_ms",
    "partners",
];
/// Characters of a name.
pub(super) const LONGEST_NAME: usize = 100;
/// Micrograms for a million tokens: who allows a kilogram for each token allows everything.
const MOST_CARBON: f64 = 1e15;

impl Preference {
    /// Reads the request's `provider`. An empty list asks for nothing, as `null` does.
    ///
    /// # Errors
    /// 400 for a field that is not known, and for a value that is not of its field's type or range; `param` names the
    /// field.
    pub fn read(provider: Option<&Value>) -> Result<Self, ApiError> {
        let Some(value) = provider.filter(|value| !value.is_null()) else { return Ok(Self::default()) };
        let fields = Object::new(PATH, value)?;
        fields.knows(&FIELDS)?;
        Ok(Self {
            order: fields.list("order", read_name)?,
            only: fields.list("only", read_name)?,
            ignore: fields.list("ignore", read_name)?,
            allow_fallbacks: fields.flag("allow_fallbacks")?,
            require_parameters: fields.flag("require_parameters")?,
            data_collection: read_data_collection(&fields)?,
            quantisations: fields.list("quantizations", read_quantisation)?,
            max_price: fields.get("max_price").map(MaxPrice::read).transpose()?.flatten(),
            sort: read_sort(&fields)?,
            regions: fields.list("regions", read_area)?,
            max_micrograms_per_million_tokens: read_most_carbon(&fields)?,
            min_tier: read_lowest_tier(&fields)?,
            hedge: Hedge::read(&fields)?,
            partners: fields.flag("partners")?,
        })
    }
}

fn read_name(text: &str, param: &str) -> Result<Name, ApiError> {
    let length = text.chars().count();
    if length == 0 {
        let message = format!(
            "Invalid '{param}': empty string. Expected a string with minimum length 1, but got an empty string instead."
        );
        return Err(ApiError::invalid(message).with_param(param).with_code("empty_string"));
    }
    if length > LONGEST_NAME {
        return Err(too_long(param, "string", LONGEST_NAME, length));
    }
    Ok(Name::new(text))
}

fn read_quantisation(word: &str, param: &str) -> Result<Quantisation, ApiError> {
    let supported = "'int4', 'int8', 'fp4', 'fp6', 'fp8', 'fp16', 'bf16', 'fp32', 'unknown', and names as manifests have \
                     them, such as 'Q4_1'";
    Quantisation::new(word).ok_or_else(|| wrong_value(param, word, supported))
}

fn read_area(text: &str, param: &str) -> Result<Area, ApiError> {
    text.parse().map_err(|no_region| {
        let message = format!("Invalid value for '{param}': {no_region}. 'EU' and 'EEA' are also understood.");
        ApiError::invalid(message).with_param(param).with_code("invalid_value")
    })
}

fn read_data_collection(fields: &Object<'_>) -> Result<Option<DataCollection>, ApiError> {
    const KEY: &str = "data_collection";
    match fields.text(KEY)? {
        None => Ok(None),
        Some("allow") => Ok(Some(DataCollection::Allow)),
        Some("deny") => Ok(Some(DataCollection::Deny)),
        Some(other) => Err(wrong_value(&fields.param(KEY), other, "'allow' and 'deny'")),
    }
}

/// A word, or an object that has it in `by`. Its `partition` is about requests for several models: with one there is only
/// OpenRouter's default.
fn read_sort(fields: &Object<'_>) -> Result<Option<Sort>, ApiError> {
    let value = match fields.get("sort") {
        Some(value @ Value::Object(_)) => value,
        Some(Value::String(word)) => return sort_of(word, SORT).map(Some),
        None => return Ok(None),
        Some(other) => return Err(wrong_type(SORT, "a string or an object", other)),
    };
    let object = Object::new(SORT, value)?;
    object.knows(&["by", "partition"])?;
    if let Some(other) = object.text("partition")?.filter(|partition| *partition != "model") {
        return Err(wrong_value(&object.param("partition"), other, "'model'"));
    }
    object.text("by")?.map(|word| sort_of(word, &object.param("by"))).transpose()
}

fn sort_of(word: &str, param: &str) -> Result<Sort, ApiError> {
    let supported = "'price', 'throughput', 'latency', 'energy' and 'carbon'";
    Sort::from_word(word).ok_or_else(|| wrong_value(param, word, supported))
}

/// Grams come in as a decimal, and are kept as whole micrograms.
fn read_most_carbon(fields: &Object<'_>) -> Result<Option<u64>, ApiError> {
    const KEY: &str = "max_gco2e_per_mtok";
    let Some(value) = fields.get(KEY) else { return Ok(None) };
    let param = fields.param(KEY);
    let grams = value.as_f64().ok_or_else(|| wrong_type(&param, "a decimal", value))?;
    let micrograms = (grams * 1e6).round();
    if micrograms < 1.0 {
        let message = format!(
            "Invalid '{param}': decimal below minimum value. Expected a value >= 0.000001, but got {grams} instead."
        );
        return Err(ApiError::invalid(message).with_param(&param).with_code("decimal_below_min_value"));
    }
    Ok(Some(micrograms.min(MOST_CARBON) as u64))
}

fn read_lowest_tier(fields: &Object<'_>) -> Result<Option<Tier>, ApiError> {
    const KEY: &str = "min_energy_tier";
    let Some(letter) = fields.text(KEY)? else { return Ok(None) };
    let tier = Tier::from_letter(letter).filter(|tier| *tier != Tier::X);
    tier.map(Some).ok_or_else(|| wrong_value(&fields.param(KEY), letter, "'A', 'B', 'C', 'D' and 'E'"))
}
