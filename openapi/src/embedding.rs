//! `POST /v1/embeddings`: what is asked and what is answered.
//! Source: OpenAI API reference, "Embeddings".

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::refuse_unknown;
use crate::completion::{Prompt, prompts};
use crate::energy::EnergyUsage;
use crate::error::ApiError;
use crate::fields::{Fields, wrong_value};
use crate::price::{BilledTokens, Price};

/// Texts of one request, as OpenAI allows.
pub const MOST_INPUTS: usize = 2048;
/// The longest answer that a node gives: as many vectors as can be asked for, of 1024 dimensions written as numbers or of
/// 4096 in base64.
pub const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Accepted and without effect on the answer.
const NOTES: &[&str] = &["user", "safety_identifier", "service_tier", "provider", "models"];

/// A request for the vectors of some texts, read and validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingRequest {
    pub model: String,
    /// At least one; each has a vector of its own.
    pub inputs: Vec<Prompt>,
    /// How long the vectors are to be; as long as the model makes them if not given.
    pub dimensions: Option<u32>,
    pub encoding: Encoding,
}

/// How a vector is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// A list of numbers.
    #[default]
    Float,
    /// Base64 of its numbers as `f32`, little-endian.
    Base64,
}

impl Encoding {
    /// The most bytes that a number takes.
    const fn bytes(self) -> usize {
        match self {
            // A sign, nine digits, and before them `0.00000` or behind them an exponent; a comma.
            Self::Float => 18,
            Self::Base64 => 6,
        }
    }

    /// The most bytes of an answer with so many vectors.
    #[must_use]
    pub const fn answer_bytes(self, inputs: usize, dimensions: usize) -> usize {
        const AROUND_A_VECTOR: usize = 128;
        const AROUND_THEM_ALL: usize = 4096;
        AROUND_THEM_ALL + inputs * (AROUND_A_VECTOR + dimensions * self.bytes())
    }
}

impl EmbeddingRequest {
    /// Reads and validates a request body.
    ///
    /// # Errors
    /// 400 that names the field and says what is expected.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let request = Self {
            model: fields.string("model")?.ok_or_else(|| ApiError::missing("model"))?,
            inputs: prompts(&mut fields, "input", MOST_INPUTS)?,
            dimensions: fields.integer("dimensions", 1..=u32::MAX.into())?.and_then(|count| u32::try_from(count).ok()),
            encoding: match fields.string("encoding_format")?.as_deref() {
                None | Some("float") => Encoding::Float,
                Some("base64") => Encoding::Base64,
                Some(other) => return Err(wrong_value("encoding_format", other, "'float' and 'base64'")),
            },
        };
        refuse_unknown(&mut fields, NOTES)?;
        Ok(request)
    }
}

/// The answer: a vector for each text, in the order in which they were sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingList {
    /// Always `list`.
    pub object: String,
    pub data: Vec<Embedding>,
    pub model: String,
    pub usage: EmbeddingUsage,
}

impl EmbeddingList {
    /// The answer with these vectors.
    pub fn new(model: String, data: Vec<Embedding>, usage: EmbeddingUsage) -> Self {
        Self { object: "list".to_owned(), data, model, usage }
    }
}

/// One text's vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: String,
    /// Which of the texts.
    pub index: u32,
    pub embedding: Vector,
}

/// A vector of length 1, as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

impl Embedding {
    /// The vector of the text at this place.
    pub fn new(index: u32, vector: Vec<f32>, encoding: Encoding) -> Self {
        let embedding = match encoding {
            Encoding::Float => Vector::Float(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
                Vector::Base64(BASE64.encode(&bytes))
            }
        };
        Self { object: "embedding".to_owned(), index, embedding }
    }
}

/// What the vectors took. Source of the token fields: OpenAI API reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingUsage {
    pub prompt_tokens: u64,
    /// The same: nothing else is made of tokens.
    pub total_tokens: u64,
    /// What they cost in credits, as an exact decimal such as `0.00001234`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// What they cost in energy, and how well that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyUsage>,
}

impl EmbeddingUsage {
    /// The usage of so many tokens.
    pub fn new(prompt_tokens: u64, energy: Option<EnergyUsage>) -> Self {
        Self { prompt_tokens, total_tokens: prompt_tokens, cost: None, energy }
    }

    /// The same with what it cost.
    #[must_use]
    pub fn at(mut self, price: &Price) -> Self {
        let tokens = BilledTokens { prompt: self.prompt_tokens, ..BilledTokens::default() };
        self.cost = Some(price.cost(&tokens).credits());
        self
    }
}

/// The beginning of a vector, so many numbers of it, as a vector of length 1. Models that learn to say the most important
/// first mean about the same by it (Kusupati et al., "Matryoshka Representation Learning", 2022).
#[must_use]
pub fn beginning(mut vector: Vec<f32>, dimensions: usize) -> Vec<f32> {
    vector.truncate(dimensions);
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
    vector
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(rest: &str) -> Result<EmbeddingRequest, ApiError> {
        EmbeddingRequest::parse(format!(r#"{{"model":"m",{rest}}}"#).as_bytes())
    }

    #[test]
    fn inputs_are_texts_or_token_ids_one_or_many() {
        let inputs = |input: &str| parse(&format!(r#""input":{input}"#)).unwrap().inputs;
        assert_eq!(inputs("\"hi\""), [Prompt::Text("hi".into())]);
        assert_eq!(inputs("[1,2]"), [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(inputs(r#"["a","b"]"#), ["a", "b"].map(|text| Prompt::Text(text.into())));
        assert_eq!(inputs("[[1],[2,3]]"), [Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])]);
        assert_eq!(inputs(&format!("[{}]", vec!["\"a\""; MOST_INPUTS].join(","))).len(), MOST_INPUTS);
    }

    #[test]
    fn every_mistake_names_its_field() {
        let many = format!(r#""input":[{}]"#, vec!["\"a\""; MOST_INPUTS + 1].join(","));
        for (rest, param, code) in [
            (r#""inputs":"a""#, "input", "missing_required_parameter"),
            (r#""input":"""#, "input", "empty_string"),
            (r#""input":[]"#, "input", "empty_string"),
            (r#""input":["a",""]"#, "input", "empty_string"),
            (r#""input":[[1],[]]"#, "input", "empty_string"),
            (r#""input":7"#, "input", "invalid_type"),
            (r#""input":["a",7]"#, "input", "invalid_type"),
            (r#""input":[-1]"#, "input", "invalid_type"),
            (&many, "input", "array_above_max_length"),
            (r#""input":"a","dimensions":0"#, "dimensions", "integer_below_min_value"),
            (r#""input":"a","dimensions":"8""#, "dimensions", "invalid_type"),
            (r#""input":"a","encoding_format":"hex""#, "encoding_format", "invalid_value"),
            (r#""input":"a","stream":true"#, "stream", "unknown_parameter"),
            (r#""input":"a","dimension":8"#, "dimension", "unknown_parameter"),
        ] {
            let detail = parse(rest).unwrap_err().detail;
            assert_eq!((detail.param.as_deref(), detail.code.as_deref()), (Some(param), Some(code)), "{rest}");
        }
    }

    #[test]
    fn base64_is_little_endian_as_openai_s() {
        let base64 = Embedding::new(0, vec![1.0, -0.5], Encoding::Base64);
        assert_eq!(
            serde_json::to_string(&base64).unwrap(),
            r#"{"object":"embedding","index":0,"embedding":"AACAPwAAAL8="}"#
        );
        let float = Embedding::new(3, vec![1.0, -0.5], Encoding::Float);
        assert_eq!(
            serde_json::to_string(&float).unwrap(),
            r#"{"object":"embedding","index":3,"embedding":[1.0,-0.5]}"#
        );
    }

    #[test]
    fn what_is_paid_for_is_the_prompt() {
        let price = Price { prompt: crate::units::Nanocredits::new(20), ..Price::default() };
        let usage = EmbeddingUsage::new(7, None).at(&price);
        assert_eq!((usage.total_tokens, usage.cost.as_deref()), (7, Some("0.00000014")));
    }

    proptest! {
        #[test]
        fn a_beginning_has_length_one_and_the_same_direction(
            vector in prop::collection::vec(-1000.0_f32..1000.0, 1..200),
            dimensions in 1_usize..250,
        ) {
            prop_assume!(vector.iter().take(dimensions).any(|number| number.abs() > 1e-3));
            let short = beginning(vector.clone(), dimensions);
            prop_assert_eq!(short.len(), dimensions.min(vector.len()));
            let length: f64 = short.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            prop_assert!((length - 1.0).abs() < 1e-6, "{}", length);
            let scale = vector.iter().take(dimensions).map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            for (short, long) in short.iter().zip(&vector) {
                prop_assert!((f64::from(*short) * scale - f64::from(*long)).abs() <= scale * 1e-6);
            }
        }

        #[test]
        fn no_answer_is_longer_than_foreseen(bits in prop::collection::vec(any::<u32>(), 1..100)) {
            let vector: Vec<f32> = bits.into_iter().map(f32::from_bits).filter(|number| number.is_finite()).collect();
            for encoding in [Encoding::Float, Encoding::Base64] {
                let data = vec![Embedding::new(0, vector.clone(), encoding)];
                let answer = EmbeddingList::new("m".to_owned(), data, EmbeddingUsage::new(1, None));
                let bytes = serde_json::to_string(&answer).unwrap().len();
                prop_assert!(bytes <= encoding.answer_bytes(1, vector.len()), "{}", bytes);
            }
        }
    }

    #[test]
    fn a_vector_of_nothing_stays_nothing() {
        assert_eq!(beginning(vec![0.0, 0.0, 1.0], 2), [0.0, 0.0]);
    }
}
