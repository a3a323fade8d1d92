//! Why a request is not let in, as the client reads it. Statuses and headers as OpenAI's: "Rate limits" in its guides.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use openapi::error::ApiError;

use super::account::Standing;
use super::hold::Hold;
use super::what::{Need, Span, What};
use crate::error::{Failure, database_away};

/// Why there is no hold.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// There is no more of it.
    Exhausted { need: Need, standing: Option<Standing> },
    /// It asks for more than the limit ever allows.
    TooLarge { need: Need, amount: u64 },
    /// Nobody knows: the database is away.
    Away,
    /// The journal can take no more.
    Full,
}

impl Refusal {
    /// True when a smaller request might be let in.
    pub fn is_a_matter_of_size(&self) -> bool {
        match self {
            Self::Exhausted { need, .. } | Self::TooLarge { need, .. } => {
                !matches!(need.what, What::RequestsPerMinute | What::ConcurrentRequests)
            }
            Self::Away | Self::Full => false,
        }
    }

    /// The error in OpenAI's shape.
    pub fn error(&self) -> ApiError {
        match self {
            Self::Exhausted { need, .. } if need.what == What::Credit => insufficient_quota(),
            Self::Exhausted { need, standing } => exhausted(need, *standing),
            Self::TooLarge { need, amount } => too_large(need, *amount),
            Self::Away => database_away(),
            Self::Full => full(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Failure(self.error()).into_response();
        if let Self::Exhausted { need, standing: Some(standing) } = &self {
            response.headers_mut().extend(headers_of(need.what, standing));
        }
        response
    }
}

fn insufficient_quota() -> ApiError {
    ApiError::new(
        402,
        "insufficient_quota",
        Some("insufficient_quota"),
        "The account's credit does not cover the most that this request could cost. Top the account up, ask for fewer \
         tokens with 'max_tokens', or shorten the prompt. POST /v1/estimate says what a request can cost.",
    )
}

fn full() -> ApiError {
    const SECONDS: u32 = 10;
    let message = "The gateway can't write down what it would owe for this request at the moment. Try again shortly.";
    ApiError::overloaded(message, SECONDS)
}

fn exhausted(need: &Need, standing: Option<Standing>) -> ApiError {
    let seconds = match need.what.span() {
        Span::None => 1,
        _ => standing.map_or(1, |standing| seconds_until(standing.resets_in)),
    };
    let message = format!(
        "Rate limit reached: {} of this {} is {}. Please try again in {seconds} s.",
        need.what.word(),
        need.owner.word(),
        need.what.show(need.cap.unwrap_or(0)),
    );
    ApiError::new(429, kind(need.what), Some("rate_limit_exceeded"), message).with_retry_after(seconds)
}

fn too_large(need: &Need, amount: u64) -> ApiError {
    let message = format!(
        "Request too large: it may use {}, and {} of this {} is {}. Ask for fewer tokens with 'max_tokens' or shorten the prompt.",
        need.what.show(amount),
        need.what.word(),
        need.owner.word(),
        need.what.show(need.cap.unwrap_or(0)),
    );
    ApiError::new(429, kind(need.what), Some("rate_limit_exceeded"), message)
}

const fn kind(what: What) -> &'static str {
    match what {
        What::TokensPerMinute => "tokens",
        What::RequestsPerMinute | What::ConcurrentRequests => "requests",
        _ => "insufficient_quota",
    }
}

fn seconds_until(end: Duration) -> u32 {
    u32::try_from(end.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

impl Hold {
    /// OpenAI's headers for the limits of this request.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for what in [What::RequestsPerMinute, What::TokensPerMinute] {
            if let Some(standing) = self.standing(what) {
                headers.extend(headers_of(what, &standing));
            }
        }
        headers
    }
}

fn headers_of(what: What, standing: &Standing) -> HeaderMap {
    let names: [&'static str; 3] = match what {
        What::RequestsPerMinute => {
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"]
        }
        What::TokensPerMinute => {
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"]
        }
        _ => return HeaderMap::new(),
    };
    let reset = HeaderValue::try_from(format!("{}s", seconds_until(standing.resets_in)));
    let values = [Ok(HeaderValue::from(standing.cap)), Ok(HeaderValue::from(standing.remaining)), reset];
    let pairs = names.into_iter().zip(values);
    pairs.filter_map(|(name, value)| Some((HeaderName::from_static(name), value.ok()?))).collect()
}
