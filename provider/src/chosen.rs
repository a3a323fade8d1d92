//! Which models a node is to serve and what they cost, as its operator writes it.

use std::str::FromStr;

use openapi::price::Price;
use openapi::units::Nanocredits;

use crate::pull::SourceChoice;

/// A model, `NAME` or `NAME=SOURCE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub name: String,
    /// Where to fetch it, if that is another place than where all are fetched.
    pub source: Option<SourceChoice>,
}

/// A price, for all models or as `NAME=prompt,cached,completion` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrice {
    pub model: Option<String>,
    pub price: Price,
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, source) = match text.split_once('=') {
            Some((name, source)) => (name, Some(source.parse().map_err(|error| format!("{error}"))?)),
            None => (text, None),
        };
        let name = name.trim().to_owned();
        if name.is_empty() { Err("a model has a name".to_owned()) } else { Ok(Self { name, source }) }
    }
}

impl FromStr for ModelPrice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((model, parts)) => Ok(Self { model: Some(model.trim().to_owned()), price: price(parts)? }),
            None => Ok(Self { model: None, price: price(text)? }),
        }
    }
}

/// The price of a model: its own, or else that of all.
pub fn price_of(prices: &[ModelPrice], model: &str) -> Option<Price> {
    let own = prices.iter().find(|price| price.model.as_deref() == Some(model));
    own.or_else(|| prices.iter().find(|price| price.model.is_none())).map(|price| price.price)
}

/// Reads a price: three whole numbers, or nothing.
fn price(text: &str) -> Result<Price, String> {
    let parts: Result<Vec<u64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let price = match parts.as_deref() {
        Ok(&[prompt, cached, completion]) => Price {
            prompt: Nanocredits::new(prompt),
            cached: Nanocredits::new(cached),
            completion: Nanocredits::new(completion),
        },
        _ => return Err("give three whole numbers of nanocredits, as in 100,10,400".to_owned()),
    };
    if price.is_sane() { Ok(price) } else { Err(format!("no part may be above {}", Price::HIGHEST.get())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_say_where_it_lies() {
        let chosen = |text: &str| text.parse::<Chosen>();
        assert_eq!(chosen("a"), Ok(Chosen { name: "a".to_owned(), source: None }));
        let path = SourceChoice::Path("/models/b=1".into());
        assert_eq!(chosen("b=/models/b=1"), Ok(Chosen { name: "b".to_owned(), source: Some(path) }));
        assert_eq!(chosen("c=peers").unwrap().source, Some(SourceChoice::Peers));
        assert!(chosen("").is_err() && chosen("=x").is_err() && chosen("a=").is_err());
    }

    #[test]
    fn a_model_s_own_price_counts_before_that_of_all() {
        let prices = ["9,8,7", "a=1,2,3"].map(|text| text.parse::<ModelPrice>().unwrap());
        let completion = |prices: &[ModelPrice], model| price_of(prices, model).map(|price| price.completion.get());
        assert_eq!((completion(&prices, "a"), completion(&prices, "b")), (Some(3), Some(7)));
        assert_eq!(completion(&prices[1..], "b"), None, "the gateway's own list decides");
    }

    #[test]
    fn a_price_is_three_numbers() {
        let asked = price("100, 10,400").unwrap();
        assert_eq!((asked.prompt.get(), asked.cached.get(), asked.completion.get()), (100, 10, 400));
        for wrong in ["", "1", "1,2", "1,2,3,4", "1,2,x", "-1,2,3", "1.5,2,3", "1,2,1000000001", "a=", "a=1,2"] {
            assert!(wrong.parse::<ModelPrice>().is_err(), "{wrong}");
        }
    }
}
