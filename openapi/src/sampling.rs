//! The parameters that say how the next token is chosen and when an answer ends.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, wrong_type};

/// At most this many stop strings, as OpenAI allows.
pub(crate) const MAX_STOP_STRINGS: usize = 4;
/// The most answers to one prompt, as OpenAI allows.
pub const MOST_CHOICES: i64 = 128;
/// Of `top_k`; what is not positive means all tokens.
pub(crate) const TOP_K: RangeInclusive<i64> = -1..=2_147_483_647;
/// Of `temperature`.
pub(crate) const TEMPERATURE: RangeInclusive<f64> = 0.0..=2.0;
/// Of `top_p` and `min_p`.
pub(crate) const SHARE: RangeInclusive<f64> = 0.0..=1.0;
/// Of `frequency_penalty` and `presence_penalty`.
pub(crate) const PENALTY: RangeInclusive<f64> = -2.0..=2.0;
/// Of each of `logit_bias`.
pub(crate) const BIAS: RangeInclusive<f64> = -100.0..=100.0;

/// How tokens are chosen. Values are as OpenAI defines them; `top_k` and `min_p` are the field's usual extension.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 0 is greedy.
    pub temperature: f64,
    /// Nucleus mass, 0 to 1.
    pub top_p: f64,
    /// Only this many most likely tokens; `None` is all.
    pub top_k: Option<usize>,
    /// Only tokens at least this fraction as likely as the likeliest.
    pub min_p: f64,
    /// −2 to 2, per earlier occurrence in the answer.
    pub frequency_penalty: f64,
    /// −2 to 2, once a token has occurred in the answer.
    pub presence_penalty: f64,
    /// Added to the logits of these token ids, −100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed, model and build give the same answer.
    pub seed: Option<i64>,
    /// The most tokens that the answer may have.
    pub max_tokens: Option<u32>,
    /// The answer ends before any of these.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    /// OpenAI's defaults.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            min_p: 0.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
            max_tokens: None,
            stop: Vec::new(),
        }
    }
}

impl Sampling {
    /// Reads every sampling field of a request.
    ///
    /// # Errors
    /// 400 naming the first field that is wrong.
    pub fn read(fields: &mut Fields<'_>) -> Result<Self, ApiError> {
        Self::read_with(fields, 1)
    }

    /// The same where an answer may have no more than `fewest` tokens.
    pub(crate) fn read_with(fields: &mut Fields<'_>, fewest: i64) -> Result<Self, ApiError> {
        let default = Self::default();
        let max_tokens = max_tokens(fields, fewest)?;
        Ok(Self {
            temperature: fields.number("temperature", TEMPERATURE)?.unwrap_or(default.temperature),
            top_p: fields.number("top_p", SHARE)?.unwrap_or(default.top_p),
            top_k: fields.integer("top_k", TOP_K)?.and_then(|k| usize::try_from(k).ok()).filter(|k| *k > 0),
            min_p: fields.number("min_p", SHARE)?.unwrap_or(default.min_p),
            frequency_penalty: fields.number("frequency_penalty", PENALTY)?.unwrap_or(default.frequency_penalty),
            presence_penalty: fields.number("presence_penalty", PENALTY)?.unwrap_or(default.presence_penalty),
            logit_bias: logit_bias(fields)?,
            seed: fields.integer("seed", i64::MIN..=i64::MAX)?,
            max_tokens,
            stop: stop(fields)?,
        })
    }
}

/// The most tokens that a request wants, under either of its names; the newer one counts.
///
/// # Errors
/// 400 when it is no integer, or less than `fewest`.
pub fn max_tokens(fields: &mut Fields<'_>, fewest: i64) -> Result<Option<u32>, ApiError> {
    let old = fields.integer("max_tokens", fewest..=i64::from(i32::MAX))?;
    let new = fields.integer("max_completion_tokens", fewest..=i64::from(i32::MAX))?;
    Ok(new.or(old).and_then(|most| u32::try_from(most).ok()))
}

fn stop(fields: &mut Fields<'_>) -> Result<Vec<String>, ApiError> {
    let strings = match fields.take("stop")? {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                other => Err(wrong_type("stop", "a string or an array of strings", &other)),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(wrong_type("stop", "a string or an array of strings", &other)),
    };
    if strings.len() > MAX_STOP_STRINGS {
        return Err(ApiError::invalid(format!(
            "Invalid 'stop': array too long. Expected an array with maximum length {MAX_STOP_STRINGS}, but got an \
             array with length {} instead.",
            strings.len()
        ))
        .with_param("stop")
        .with_code("array_above_max_length"));
    }
    if strings.iter().any(String::is_empty) {
        return Err(ApiError::invalid("Invalid 'stop': a stop string can't be empty.")
            .with_param("stop")
            .with_code("invalid_value"));
    }
    Ok(strings)
}

fn logit_bias(fields: &mut Fields<'_>) -> Result<Vec<(u32, f32)>, ApiError> {
    let map = match fields.take("logit_bias")? {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) => map,
        Some(other) => return Err(wrong_type("logit_bias", "an object", &other)),
    };
    map.iter()
        .map(|(token, bias)| {
            let id = token.parse().ok();
            let bias = bias.as_f64().filter(|bias| BIAS.contains(bias));
            id.zip(bias.map(|bias| bias as f32)).ok_or_else(|| {
                ApiError::invalid("Invalid 'logit_bias': keys are token ids and values lie between -100 and 100.")
                    .with_param("logit_bias")
                    .with_code("invalid_value")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Sampling, ApiError> {
        Sampling::read(&mut Fields::parse(body.as_bytes())?)
    }

    #[test]
    fn defaults_are_openai_s() {
        let sampling = read("{}").unwrap();
        assert_eq!((sampling.temperature, sampling.top_p, sampling.max_tokens), (1.0, 1.0, None));
        assert!(sampling.stop.is_empty() && sampling.seed.is_none());
    }

    #[test]
    fn the_newer_name_of_max_tokens_wins() {
        assert_eq!(read(r#"{"max_tokens":5,"max_completion_tokens":7}"#).unwrap().max_tokens, Some(7));
    }

    #[test]
    fn bad_stops_and_biases_name_their_field() {
        for (body, param) in [
            (r#"{"stop":["a","b","c","d","e"]}"#, "stop"),
            (r#"{"stop":[1]}"#, "stop"),
            (r#"{"stop":""}"#, "stop"),
            (r#"{"logit_bias":{"x":1}}"#, "logit_bias"),
            (r#"{"logit_bias":{"1":101}}"#, "logit_bias"),
            (r#"{"max_tokens":0}"#, "max_tokens"),
        ] {
            assert_eq!(read(body).unwrap_err().detail.param.as_deref(), Some(param), "{body}");
        }
    }
}
