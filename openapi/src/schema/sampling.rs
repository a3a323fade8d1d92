//! How tokens are chosen, and when an answer ends.

use std::ops::RangeInclusive;

use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{KnownFormat, SchemaFormat};

use super::{Described, any_of, decimal, flag, integer, list, text};
use crate::sampling::{BIAS, MAX_STOP_STRINGS, MOST_CHOICES, PENALTY, SHARE, Sampling, TEMPERATURE, TOP_K};

impl Described {
    /// Adds what [`Sampling::read`] reads where an answer has no fewer tokens than `fewest`.
    pub(super) fn sampling(self, fewest: i64) -> Self {
        let most = || integer(&(fewest..=i64::from(i32::MAX)));
        let default = Sampling::default();
        self.optional("max_tokens", "The most tokens that the answer may have", most())
            .optional("max_completion_tokens", "The same under its newer name, which wins", most())
            .optional("temperature", "0 is greedy", number(TEMPERATURE, default.temperature))
            .optional(
                "top_p",
                "Only the likeliest tokens that have this share of the chances",
                number(SHARE, default.top_p),
            )
            .optional("top_k", "Only so many of the likeliest tokens; 0 and -1 mean all. Not OpenAI's", integer(&TOP_K))
            .optional(
                "min_p",
                "Only tokens at least this fraction as likely as the likeliest. Not OpenAI's",
                number(SHARE, default.min_p),
            )
            .optional(
                "frequency_penalty",
                "Taken from a token's logit for each time that it has come",
                number(PENALTY, default.frequency_penalty),
            )
            .optional(
                "presence_penalty",
                "Taken from a token's logit once it has come",
                number(PENALTY, default.presence_penalty),
            )
            .optional("logit_bias", "Added to the logits of tokens, by their ids", biases())
            .optional("seed", "The same seed, model and system_fingerprint give the same text", seed())
            .optional(
                "stop",
                "The answer ends before any of these, and none is shown",
                any_of([stop().into(), list(stop(), 0..=MAX_STOP_STRINGS).into()]),
            )
    }

    /// Adds what says how many answers there are, and whether they are streamed.
    pub(super) fn delivery(self) -> Self {
        let options = Described::inner().optional("include_usage", "Say in the last chunk what was used", flag());
        self.optional("n", "Answers, each with its own seed", integer(&(1..=MOST_CHOICES)).default(Some(1.into())))
            .optional("stream", "Send the answer piece by piece, as events", flag().default(Some(false.into())))
            .optional("stream_options", "Of a stream", options)
    }

    /// Adds notes for whoever runs the service.
    pub(super) fn user(self) -> Self {
        self.optional("user", "Who asks, in the caller's words; without effect on the answer", text()).optional(
            "safety_identifier",
            "Taken, without effect on the answer",
            text(),
        )
    }
}

fn number(range: RangeInclusive<f64>, default: f64) -> ObjectBuilder {
    decimal(&range).default(Some(default.into()))
}

fn seed() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}

fn stop() -> ObjectBuilder {
    text().min_length(Some(1))
}

fn biases() -> ObjectBuilder {
    let id = text().pattern(Some("^[0-9]+$")).build();
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(id))
        .additional_properties(Some(AdditionalProperties::RefOr(decimal(&BIAS).build().into())))
}
