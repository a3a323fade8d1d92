//! What a node says that it sells, read with suspicion. What is refused here, the node is told.

use axum::BoxError;
use http_body_util::{BodyExt, Limited};
use openapi::error::echo;
use openapi::node::Offer;
use openapi::price::Price;

const LONGEST: usize = 1024 * 1024;

/// An offer that can't be taken up; says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OfferRefused(String);

/// Reads an offer from a node's answer.
///
/// # Errors
/// [`OfferRefused`], or that the answer broke off.
pub(super) async fn read<B>(body: B) -> anyhow::Result<Offer>
where
    B: hyper::body::Body,
    B::Error: Into<BoxError>,
{
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| anyhow::anyhow!(error))?;
    Ok(parse(&body.to_bytes())?)
}

/// What this says that is for sale.
///
/// # Errors
/// What its operator has to change.
pub fn parse(body: &[u8]) -> Result<Offer, OfferRefused> {
    let highest = Price::HIGHEST.get();
    let offer = serde_json::from_slice::<Offer>(body).map_err(|error| {
        let error = error.to_string();
        OfferRefused(format!(
            "The offer can't be read: {}. Prices are whole numbers of nanocredits for a token, from 0 to {highest}; a node of \
             this gateway's version writes all of it as it should be.",
            echo(&error)
        ))
    })?;
    let too_dear = offer.models.iter().find(|model| model.price.is_some_and(|price| !price.is_sane()));
    too_dear.map_or(Ok(offer.clone()), |model| {
        Err(OfferRefused(format!(
            "The node asks more than {highest} nanocredits for a token of the model '{}', which is the highest price: lower it \
             with COMMONWATT_PRICE.",
            echo(&model.manifest.name)
        )))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn offer(price: &str) -> Vec<u8> {
        let manifest = json!({"name": "m", "files": [], "quantisation": "q", "licence": "l", "authors": []});
        let model = json!({"manifest": manifest, "context_length": 8, "price": "PRICE"});
        let offer = json!({"version": "1", "models": [model], "slots": 1, "queue": 0}).to_string();
        let price = format!("{{\"prompt\":{price},\"cached\":0,\"completion\":{price}}}");
        offer.replace("\"PRICE\"", &price).into_bytes()
    }

    #[test]
    fn absurd_prices_are_refused_with_the_bound_and_honest_ones_are_not() {
        for good in ["0", "400", "1000000000"] {
            assert!(parse(&offer(good)).is_ok(), "{good}");
        }
        for absurd in [
            "-1",
            "1000000001",
            "1000000000000000000",
            "18446744073709551615",
            "18446744073709551616",
            "1e400",
            "0.5",
            "\"9\"",
            "null",
        ] {
            let refused = parse(&offer(absurd)).unwrap_err().to_string();
            assert!(refused.contains("1000000000"), "{absurd}: {refused}");
        }
    }

    #[test]
    fn a_refusal_is_short_whatever_was_sent() {
        let mut long: Value = serde_json::from_slice(&offer("0")).unwrap();
        long["slots"] = json!("x".repeat(100_000));
        let refused = parse(long.to_string().as_bytes()).unwrap_err().to_string();
        assert!(refused.len() < 1_000, "{}", refused.len());
    }
}
