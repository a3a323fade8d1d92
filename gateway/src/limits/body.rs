//! Limits as people write and read them: credits as decimals, energy in joules, networks as text.

use openapi::error::echo;
use openapi::units::Nanocredits;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Limits;
use crate::auth::address::network;
use crate::error::Problem;

const MICROJOULES_PER_JOULE: u64 = 1_000_000;
const LONGEST_LIST: usize = 100;
const LONGEST_NAME: usize = 200;

/// Limits as they are given. What is left out stays as it is, null takes the limit away.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsBody {
    /// Requests begun within a minute.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    requests_per_minute: Option<Option<u64>>,
    /// Tokens within a minute, prompts and answers.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    tokens_per_minute: Option<Option<u64>>,
    /// Requests at the same time.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    concurrent_requests: Option<Option<u64>>,
    /// Credits in a day (UTC), a decimal such as `"2.5"`.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    credits_per_day: Option<Option<String>>,
    /// Credits in a month (UTC), a decimal such as `"40"`.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    credits_per_month: Option<Option<String>>,
    /// Joules in a day (UTC).
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    joules_per_day: Option<Option<u64>>,
    /// The models that may be asked, as they are sent in `model`; whoever may ask a model may do so under its aliases.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    models: Option<Option<Vec<String>>>,
    /// Addresses and networks, such as `192.0.2.7` and `2001:db8::/32`, from which requests may come.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    networks: Option<Option<Vec<String>>>,
}

/// Tells a field that is null from one that is not there.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl LimitsBody {
    /// These limits, with what the body gives in their place.
    ///
    /// # Errors
    /// With a sentence about the first that is wrong.
    pub fn applied_to(self, mut limits: Limits) -> Result<Limits, Problem> {
        for (field, body, limit) in [
            ("requests_per_minute", self.requests_per_minute, &mut limits.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute, &mut limits.tokens_per_minute),
            ("concurrent_requests", self.concurrent_requests, &mut limits.concurrent_requests),
        ] {
            put(limit, body, |count| within_bigint(field, Some(count)))?;
        }
        for (field, body, limit) in [
            ("credits_per_day", self.credits_per_day, &mut limits.nanocredits_per_day),
            ("credits_per_month", self.credits_per_month, &mut limits.nanocredits_per_month),
        ] {
            put(limit, body, |text| credits(field, &text))?;
        }
        put(&mut limits.microjoules_per_day, self.joules_per_day, |joules| {
            within_bigint("joules_per_day", joules.checked_mul(MICROJOULES_PER_JOULE))
        })?;
        put(&mut limits.models, self.models, |names| list("models", names, model))?;
        put(&mut limits.networks, self.networks, |texts| {
            list("networks", texts, |text| {
                let advice = || format!("'{}' is neither an address nor a network such as 192.0.2.0/24.", echo(&text));
                network(&text).ok_or_else(|| Problem::bad_request(advice()))
            })
        })?;
        Ok(limits)
    }
}

fn put<B, T>(
    limit: &mut Option<T>,
    body: Option<Option<B>>,
    read: impl FnOnce(B) -> Result<T, Problem>,
) -> Result<(), Problem> {
    if let Some(body) = body {
        *limit = body.map(read).transpose()?;
    }
    Ok(())
}

fn within_bigint(field: &str, count: Option<u64>) -> Result<u64, Problem> {
    let fits = count.filter(|&count| i64::try_from(count).is_ok());
    fits.ok_or_else(|| Problem::bad_request(format!("`{field}` is too large. Use null for no limit.")))
}

fn credits(field: &str, text: &str) -> Result<u64, Problem> {
    let advice = || format!("`{field}` is a decimal of credits with up to nine decimals, such as \"2.5\".");
    Nanocredits::from_credits(text).map(Nanocredits::get).ok_or_else(|| Problem::bad_request(advice()))
}

fn model(name: String) -> Result<String, Problem> {
    if (1..=LONGEST_NAME).contains(&name.len()) && !name.contains('\0') {
        Ok(name)
    } else {
        Err(Problem::bad_request(format!("A name in `models` has 1 to {LONGEST_NAME} bytes.")))
    }
}

fn list<T>(field: &str, items: Vec<String>, read: impl FnMut(String) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
    if !(1..=LONGEST_LIST).contains(&items.len()) {
        let advice = format!("`{field}` has 1 to {LONGEST_LIST} entries. Use null to allow all.");
        return Err(Problem::bad_request(advice));
    }
    items.into_iter().map(read).collect()
}

/// Limits as they are shown; null is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LimitsView {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    concurrent_requests: Option<u64>,
    credits_per_day: Option<String>,
    nanocredits_per_day: Option<u64>,
    credits_per_month: Option<String>,
    nanocredits_per_month: Option<u64>,
    joules_per_day: Option<u64>,
    microjoules_per_day: Option<u64>,
    models: Option<Vec<String>>,
    networks: Option<Vec<String>>,
}

impl From<&Limits> for LimitsView {
    fn from(limits: &Limits) -> Self {
        let credits = |limit: Option<u64>| limit.map(|count| Nanocredits::new(count).credits());
        Self {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            concurrent_requests: limits.concurrent_requests,
            credits_per_day: credits(limits.nanocredits_per_day),
            nanocredits_per_day: limits.nanocredits_per_day,
            credits_per_month: credits(limits.nanocredits_per_month),
            nanocredits_per_month: limits.nanocredits_per_month,
            joules_per_day: limits.microjoules_per_day.map(|count| count / MICROJOULES_PER_JOULE),
            microjoules_per_day: limits.microjoules_per_day,
            models: limits.models.clone(),
            networks: limits.networks.as_ref().map(|list| list.iter().map(ToString::to_string).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value, limits: Limits) -> Result<Limits, String> {
        let body: LimitsBody = serde_json::from_value(body).map_err(|error| error.to_string())?;
        body.applied_to(limits).map_err(|problem| serde_json::to_value(problem).unwrap()["detail"].to_string())
    }

    #[test]
    fn what_is_written_is_shown_again_in_both_units() {
        let limits = read(
            json!({"requests_per_minute": 60, "credits_per_day": "2.5", "credits_per_month": "0", "joules_per_day": 3,
                "models": ["a"], "networks": ["192.0.2.7", "2001:db8::1/32"]}),
            Limits::default(),
        )
        .unwrap();
        assert_eq!(
            serde_json::to_value(LimitsView::from(&limits)).unwrap(),
            json!({"requests_per_minute": 60, "tokens_per_minute": null, "concurrent_requests": null,
                "credits_per_day": "2.5", "nanocredits_per_day": 2_500_000_000_u64,
                "credits_per_month": "0", "nanocredits_per_month": 0, "joules_per_day": 3,
                "microjoules_per_day": 3_000_000, "models": ["a"], "networks": ["192.0.2.7/32", "2001:db8::/32"]})
        );
    }

    #[test]
    fn what_is_left_out_stays_and_null_takes_it_away() {
        let before = Limits {
            requests_per_minute: Some(1),
            tokens_per_minute: Some(2),
            models: Some(vec![]),
            ..Limits::default()
        };
        assert_eq!(read(json!({}), before.clone()).unwrap(), before);
        let after = read(json!({"requests_per_minute": null, "tokens_per_minute": 3, "models": null}), before).unwrap();
        assert_eq!(after, Limits { tokens_per_minute: Some(3), ..Limits::default() });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, names) in [
            (json!({"requests_per_minute": -1}), "-1"),
            (json!({"requests_per_minute": 1.5}), "1.5"),
            (json!({"requests_per_minute": 9_223_372_036_854_775_808_u64}), "`requests_per_minute`"),
            (json!({"joules_per_day": 9_223_372_036_855_u64}), "`joules_per_day`"),
            (json!({"joules_per_day": u64::MAX}), "`joules_per_day`"),
            (json!({"credits_per_day": 2}), "string"),
            (json!({"credits_per_day": "-2"}), "`credits_per_day`"),
            (json!({"credits_per_month": "9223372037"}), "`credits_per_month`"),
            (json!({"nanocredits_per_day": 1}), "nanocredits_per_day"),
            (json!({"models": []}), "`models`"),
            (json!({"models": [""]}), "`models`"),
            (json!({"models": ["a\0"]}), "`models`"),
            (json!({"models": vec!["a"; 101]}), "`models`"),
            (json!({"networks": []}), "`networks`"),
            (json!({"networks": ["10.0.0.0/33"]}), "10.0.0.0/33"),
        ] {
            let refusal = read(body.clone(), Limits::default()).unwrap_err();
            assert!(refusal.contains(names), "{body}: {refusal}");
        }
    }
}
