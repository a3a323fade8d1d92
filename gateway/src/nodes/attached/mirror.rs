//! What a partner offers, as this gateway offers it: the same models, at prices of which the partner gets its own in full and
//! the split's other parts come on top.

use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use openapi::model::{Model, ModelKind, ModelList};
use openapi::price::{Price, Split};
use openapi::units::Nanocredits;
use time::OffsetDateTime;
use uuid::Uuid;

use super::described::{DescribedModel, Description, MOST_MODELS};
use super::{Attached, table};
use crate::app::App;
use crate::ledger::split;

const LOOK_EVERY: Duration = Duration::from_secs(15);
const LONGEST_LIST: usize = 4 << 20;
/// The partner has a queue of its own, and says when it is full.
const SLOTS: u32 = 256;
const MILLION: u64 = 1_000_000;

/// Takes over what the partner offers whenever that is something else, until it can't be asked.
pub(super) async fn follow(app: &App, id: Uuid, server: &Attached, known: &Description) -> anyhow::Error {
    let mut known = known.clone();
    loop {
        match look(app, server).await {
            Ok(now) if now == known => {}
            Ok(now) => match table::describe(app, id, &now).await {
                Ok(()) => known = now,
                Err(error) => return error,
            },
            Err(error) => return error,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What the partner offers to us now.
///
/// # Errors
/// When it can't be asked.
pub(super) async fn look(app: &App, server: &Attached) -> anyhow::Result<Description> {
    let splits = split::list(&mut *app.database.acquire().await?).await?;
    let split = split::of(&splits, OffsetDateTime::now_utc()).context("no split is in force")?.split;
    Ok(description(server.models().await?, &split))
}

impl Attached {
    /// What it says that it serves.
    async fn models(&self) -> anyhow::Result<ModelList> {
        let answer =
            self.client.send((Method::GET, "/models"), None, Bytes::new()).await.map_err(anyhow::Error::msg)?;
        if !answer.status().is_success() {
            bail!("it answered {} when it was asked for its models", answer.status());
        }
        let body = Limited::new(answer.into_body(), LONGEST_LIST).collect().await.map_err(anyhow::Error::from_boxed)?;
        serde_json::from_slice(&body.to_bytes()).context("its list of models is not that of a gateway")
    }
}

/// As an attached server is described. Authors are paid by the partner, aliases are its own, and vectors are not bought.
fn description(models: ModelList, split: &Split) -> Description {
    let is_bought = |model: &Model| model.kind == ModelKind::Text && model.alias_of.is_none();
    let described = |model: Model| {
        let asks = model.prices.map(|prices| prices.lowest);
        DescribedModel {
            name: model.id,
            upstream_name: model.manifest,
            context_length: model.context_length,
            quantisation: None,
            licence: None,
            authors: Vec::new(),
            price: asks.map(|price| with_fee(&price, split)),
            max_price: asks,
        }
    };
    let models = models.data.into_iter().filter(is_bought).take(MOST_MODELS).map(described).collect();
    Description { models, slots: SLOTS, region: None, denies_data_collection: false, zone: None }
}

/// The least price of which the operator's part is this one.
fn with_fee(price: &Price, split: &Split) -> Price {
    // Whose model has no authors here gets their part too.
    let kept = u64::from(split.operator_ppm) + u64::from(split.authors_ppm);
    let whole = |part: Nanocredits| match kept {
        0 => part,
        kept => Nanocredits::new(part.get().saturating_mul(MILLION).div_ceil(kept)),
    };
    Price { prompt: whole(price.prompt), cached: whole(price.cached), completion: whole(price.completion) }
}

#[cfg(test)]
mod tests {
    use openapi::price::BilledTokens;
    use proptest::prelude::*;

    use super::*;

    fn model(name: &str) -> Model {
        Model::new(name.to_owned(), 1, "Ada".to_owned(), format!("address of {name}"), 512)
    }

    #[test]
    fn texts_are_bought_by_their_address_at_the_lowest_price() {
        let mut small = model("small");
        for asks in ["100,10,400", "90,20,900"] {
            small.add_node(512, Some(asks.parse().unwrap()));
        }
        let alias = Model { alias_of: Some("small".to_owned()), ..model("fast") };
        let models = ModelList::from(vec![small, alias, model("vectors").of_kind(ModelKind::Embedding), model("free")]);
        let split = Split { operator_ppm: 700_000, authors_ppm: 100_000, gateway_ppm: 150_000, audit_fund_ppm: 50_000 };
        let described = description(models, &split);
        let names: Vec<_> = described.models.iter().map(|model| (&*model.name, &*model.upstream_name)).collect();
        assert_eq!(names, [("small", "address of small"), ("free", "address of free")]);
        assert_eq!(described.models[0].max_price, "90,10,400".parse().ok());
        assert_eq!(described.models[0].price, "113,13,500".parse().ok());
        assert_eq!((described.models[1].price, &described.models[0].authors), (None, &Vec::new()));
        assert_eq!(described.check(), Ok(()));
    }

    proptest! {
        #[test]
        fn the_partner_s_part_is_never_less_than_it_asks(
            (prompt, completion) in (0_u64..1_000_000, 0_u64..1_000_000),
            (tokens, answer) in (0_u64..10_000, 0_u64..10_000),
            (operator, gateway) in (1_u32..900_000, 0_u32..100_000),
        ) {
            let split = Split {
                operator_ppm: operator,
                authors_ppm: 1_000_000 - operator - gateway,
                gateway_ppm: gateway,
                audit_fund_ppm: 0,
            };
            let asks = Price { prompt: Nanocredits::new(prompt), cached: Nanocredits::ZERO, completion: Nanocredits::new(completion) };
            let billed = BilledTokens { prompt: tokens, cached: 0, completion: answer };
            let shares = split.divide(with_fee(&asks, &split).cost(&billed), 0);
            prop_assert!(shares.operator >= asks.cost(&billed));
        }
    }
}
