//! What a token may cost at most.

use openapi::error::ApiError;
use openapi::fields::{wrong_type, wrong_value};
use openapi::price::Price;
use openapi::units::Nanocredits;
use serde_json::Value;

use super::object::Object;

const PATH: &str = "provider.max_price";
/// OpenRouter's fields for what has no price of its own here.
const UNSUPPORTED: [&str; 3] = ["request", "image", "audio"];
/// Nanocredits per token are thousandths of credits per million tokens.
const DECIMALS: i64 = 3;

/// The highest price of a token that is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MaxPrice {
    /// For a token of the prompt, whether the node still had it computed or not.
    pub prompt: Option<Nanocredits>,
    /// For a token of the answer.
    pub completion: Option<Nanocredits>,
}

impl MaxPrice {
    /// Reads `max_price`, which counts in credits per million tokens. None when it limits nothing.
    pub(super) fn read(value: &Value) -> Result<Option<Self>, ApiError> {
        let object = Object::new(PATH, value)?;
        if let Some(unsupported) = UNSUPPORTED.into_iter().find(|key| object.get(key).is_some()) {
            return Err(not_supported(&object.param(unsupported)));
        }
        object.knows(&["prompt", "completion", "request", "image", "audio"])?;
        let part = |key| object.get(key).map(|value| read_part(&object.param(key), value)).transpose();
        let limits = Self { prompt: part("prompt")?, completion: part("completion")? };
        Ok(Some(limits).filter(|limits| *limits != Self::default()))
    }

    /// True when it says what each token may cost.
    pub fn is_complete(&self) -> bool {
        self.prompt.is_some() && self.completion.is_some()
    }

    /// True when a part of the price is higher.
    pub(super) fn is_below(&self, price: &Price) -> bool {
        let exceeds = |most: Option<Nanocredits>, part: Nanocredits| most.is_some_and(|most| part > most);
        exceeds(self.prompt, price.prompt.max(price.cached)) || exceeds(self.completion, price.completion)
    }
}

fn not_supported(param: &str) -> ApiError {
    let message = format!(
        "Unsupported parameter: '{param}' is not supported here. All prices are per token: give 'prompt' and 'completion'."
    );
    ApiError::invalid(message).with_param(param).with_code("unsupported_parameter")
}

fn read_part(param: &str, value: &Value) -> Result<Nanocredits, ApiError> {
    let text = match value {
        Value::Number(number) => &number.to_string(),
        Value::String(text) => text,
        other => return Err(wrong_type(param, "a decimal or a string with a decimal", other)),
    };
    if let Some(magnitude) = text.strip_prefix('-')
        && per_token(magnitude).is_some()
    {
        let message =
            format!("Invalid '{param}': decimal below minimum value. Expected a value >= 0, but got {text} instead.");
        return Err(ApiError::invalid(message).with_param(param).with_code("decimal_below_min_value"));
    }
    per_token(text).ok_or_else(|| wrong_value(param, text, "decimals of credits for a million tokens, such as '0.5'"))
}

/// Nanocredits per token from a decimal of credits per million tokens, rounded down: a maximum must not grow. What is
/// above [`Price::HIGHEST`] is held there, since nothing is dearer.
fn per_token(text: &str) -> Option<Nanocredits> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let count = i64::try_from(whole.len()).ok()? + i64::from(exponent) + DECIMALS;
    let mut digits = whole.bytes().chain(fraction.bytes()).map(|digit| u64::from(digit - b'0'));
    let mut nanocredits = 0_u64;
    for _ in 0..count {
        let Some(digit) = digits.next().or((nanocredits > 0).then_some(0)) else { break };
        nanocredits = nanocredits * 10 + digit;
        if nanocredits >= Price::HIGHEST.get() {
            return Some(Price::HIGHEST);
        }
    }
    Some(Nanocredits::new(nanocredits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact_and_rounded_down() {
        for (text, nanocredits) in [
            ("0", 0),
            ("1", 1_000),
            ("0.5", 500),
            ("0.29", 290),
            ("1.0", 1_000),
            ("0.0019", 1),
            ("0.000999999999999999999999999", 0),
            ("2.5e-1", 250),
            ("25e-5", 0),
            ("1E3", 1_000_000),
            ("1e+2", 100_000),
            ("0e2147483647", 0),
            ("1e-2147483648", 0),
            ("1e2147483647", 1_000_000_000),
            ("999999.9999", 999_999_999),
            ("1000000.001", 1_000_000_000),
            ("99999999999999999999999999", 1_000_000_000),
        ] {
            assert_eq!(per_token(text), Some(Nanocredits::new(nanocredits)), "{text}");
        }
        for text in
            ["", ".", "1.", ".5", "+1", "-1", "1,5", "1e", "1e1.5", "e1", "0x1", "NaN", "inf", " 1", "1e9999999999"]
        {
            assert_eq!(per_token(text), None, "{text}");
        }
    }

    #[test]
    fn a_cached_token_is_a_token_of_the_prompt() {
        let most = MaxPrice { prompt: Some(Nanocredits::new(5)), completion: Some(Nanocredits::new(9)) };
        let price = |prompt, cached, completion| Price {
            prompt: Nanocredits::new(prompt),
            cached: Nanocredits::new(cached),
            completion: Nanocredits::new(completion),
        };
        assert!(!most.is_below(&price(5, 5, 9)));
        for dearer in [price(6, 0, 0), price(0, 6, 0), price(0, 0, 10)] {
            assert!(most.is_below(&dearer), "{dearer:?}");
        }
        assert!(!MaxPrice::default().is_below(&price(u64::MAX, u64::MAX, u64::MAX)));
    }

    proptest! {
        #[test]
        fn a_maximum_never_grows_and_shrinks_by_less_than_a_nanocredit(
            whole in 0_u64..1_000_000, fraction in "[0-9]{1,30}", shift in 0_i32..20)
        {
            let read = per_token(&format!("{whole}.{fraction}")).unwrap();
            let thousandths: u64 = format!("{fraction:0<3.3}").parse().unwrap();
            prop_assert_eq!(read.get(), whole * 1_000 + thousandths);
            let shifted = format!("0.{}{whole}{fraction}e{}", "0".repeat(shift as usize), shift + whole.to_string().len() as i32);
            prop_assert_eq!(per_token(&shifted), Some(read));
        }
    }
}
