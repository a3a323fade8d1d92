//! What nodes ask for their models. A request is billed by the version that was in force when it was admitted, so versions
//! stay in memory for a while after others have followed them. [`table`] is the only writer of the table `prices`.

pub mod table;

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use anyhow::bail;
use openapi::node::Offer;
use openapi::price::Price;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use uuid::Uuid;

/// One price in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceVersion {
    pub version: i64,
    pub price: Price,
    pub effective_from: OffsetDateTime,
}

/// A node's models, each with its versions in the order in which they come into force.
type Models = HashMap<String, Vec<PriceVersion>>;

/// The prices of all nodes, in memory.
pub struct Prices {
    default: Price,
    nodes: RwLock<HashMap<Uuid, Models>>,
    /// One reading at a time, so that what was read first is not kept last.
    reading: Mutex<()>,
}

impl Prices {
    /// Reads all prices. `default` is for models for which a node asks none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(database: &PgPool, default: Price) -> Result<Self, sqlx::Error> {
        let prices = Self { default, nodes: RwLock::default(), reading: Mutex::new(()) };
        prices.reload_all(database).await?;
        Ok(prices)
    }

    /// The price of a model on a node at a time, as far back as an hour. Clocks differ: before the first version counts
    /// the first. `None` for a node that never connected, or a model that it never offered.
    pub fn of(&self, node: Uuid, model_id: &str, at: OffsetDateTime) -> Option<PriceVersion> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let versions = nodes.get(&node)?.get(model_id)?;
        versions.iter().rev().find(|version| version.effective_from <= at).or_else(|| versions.first()).copied()
    }

    /// Takes note of what a node asks for, when it connects: a price that it did not name before is a new version, and a
    /// model without any price gets the gateway's default. What its operator has set since stays.
    ///
    /// # Errors
    /// When a price is beyond reason: then the offer is refused. When the database fails.
    pub async fn welcome(&self, database: &PgPool, node: Uuid, offer: &Offer) -> anyhow::Result<()> {
        for model in &offer.models {
            if model.price.is_some_and(|price| !price.is_sane()) {
                bail!(
                    "the node asks more than {} nanocredits for a token of the model '{}': lower its price",
                    Price::HIGHEST.get(),
                    model.manifest.name
                );
            }
        }
        table::keep_offer(database, node, offer, self.default).await?;
        Ok(self.reload(database, node).await?)
    }

    /// Reads a node's prices again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reload(&self, database: &PgPool, node: Uuid) -> Result<(), sqlx::Error> {
        let _turn = self.reading.lock().await;
        let fresh = read(database, Some(node)).await?.remove(&node).unwrap_or_default();
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).insert(node, fresh);
        Ok(())
    }

    /// Reads all prices again: at the start, and when notices may have been missed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reload_all(&self, database: &PgPool) -> Result<(), sqlx::Error> {
        let _turn = self.reading.lock().await;
        let fresh = read(database, None).await?;
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

async fn read(database: &PgPool, node: Option<Uuid>) -> Result<HashMap<Uuid, Models>, sqlx::Error> {
    let mut nodes: HashMap<Uuid, Models> = HashMap::new();
    for row in table::recent(database, node).await? {
        nodes.entry(row.node).or_default().entry(row.model).or_default().push(PriceVersion {
            version: row.version,
            price: row.price,
            effective_from: row.effective_from,
        });
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use openapi::manifest::ModelManifest;
    use openapi::node::OfferedModel;
    use openapi::units::Nanocredits;
    use time::Duration;

    use super::*;
    use crate::auth::user::{self, NewUser};

    /// An operator's user and node.
    async fn node(database: &PgPool) -> (Uuid, Uuid) {
        let new = NewUser { email: "a@example.com", name: "A", password_hash: "-", is_admin: false };
        let id = user::create(database, new).await.unwrap().unwrap();
        let account = user::find(database, id).await.unwrap().unwrap().account_id;
        let node = Uuid::now_v7();
        sqlx::query!(
            "insert into nodes (id, account_id, name, public_key) values ($1, $2, 'n', $3)",
            node,
            account,
            [0u8; 32].as_slice()
        )
        .execute(database)
        .await
        .unwrap();
        (id, node)
    }

    fn price(each: u64) -> Price {
        let each = Nanocredits::new(each);
        Price { prompt: each, cached: each, completion: each }
    }

    fn offer(price: Option<Price>) -> (Offer, String) {
        let manifest = ModelManifest {
            name: "m".into(),
            files: vec![],
            quantisation: "Q4_1".into(),
            licence: "Apache-2.0".into(),
            authors: vec![],
        };
        let id = manifest.id();
        let models = vec![OfferedModel { manifest, context_length: 8, price, ..OfferedModel::default() }];
        (Offer { version: "1".into(), models, slots: 1, ..Offer::default() }, id)
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_price_that_is_older_than_the_log_is_logged_once(database: PgPool) {
        let (operator, node) = node(&database).await;
        let waiting = async || {
            let count = sqlx::query_scalar!(r#"select count(*) as "count!" from log_queue where kind = 'price-list'"#);
            count.fetch_one(&database).await.unwrap()
        };
        sqlx::query!(
            "insert into prices (node_id, model, prompt_nanocredits, cached_nanocredits, completion_nanocredits,
                effective_from, source, created_at)
             values ($1, 'm', 1, 1, 1, now() - interval '1 year', 'node', now() - interval '1 year')",
            node
        )
        .execute(&database)
        .await
        .unwrap();
        table::announce(&database).await.unwrap();
        assert_eq!(waiting().await, 1);
        table::set(&database, (node, &["m".to_owned()]), price(9), None, operator).await.unwrap();
        table::announce(&database).await.unwrap();
        assert_eq!(waiting().await, 2, "the operator's, as it was set");
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_connecting_node_s_word_counts_once_and_its_operator_s_stays(database: PgPool) {
        let (operator, node) = node(&database).await;
        let prices = Prices::open(&database, price(7)).await.unwrap();
        let (_, model) = offer(None);
        let welcome = async |asks| prices.welcome(&database, node, &offer(asks).0).await.map(drop);
        let now = || prices.of(node, &model, OffsetDateTime::now_utc() + Duration::seconds(1)).unwrap().price;
        assert_eq!(prices.of(node, &model, OffsetDateTime::now_utc()), None);
        welcome(None).await.unwrap();
        assert_eq!(now(), price(7), "the gateway's default");
        welcome(Some(price(5))).await.unwrap();
        assert_eq!(now(), price(5));
        welcome(None).await.unwrap();
        assert_eq!(now(), price(5), "no word is no news");
        table::set(&database, (node, std::slice::from_ref(&model)), price(9), None, operator).await.unwrap();
        prices.reload(&database, node).await.unwrap();
        welcome(Some(price(5))).await.unwrap();
        assert_eq!(now(), price(9), "a tunnel that breaks and returns does not undo the operator's word");
        let insane = welcome(Some(price(2_000_000_000))).await.unwrap_err().to_string();
        assert!(insane.contains("'m'") && insane.contains("lower its price"), "{insane}");
        welcome(Some(price(6))).await.unwrap();
        assert_eq!(now(), price(6));
        let versions =
            sqlx::query_scalar!(r#"select count(*) as "n!" from prices"#).fetch_one(&database).await.unwrap();
        assert_eq!(versions, 4);
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn each_time_has_its_version_and_those_long_followed_are_forgotten(database: PgPool) {
        let (operator, node) = node(&database).await;
        let now = OffsetDateTime::now_utc();
        let at = |minutes| now + Duration::minutes(minutes);
        for (minutes, each) in [(-200, 1), (-90, 2), (-30, 3), (30, 4), (30, 5)] {
            let model = ["m".to_owned()];
            table::set(&database, (node, &model), price(each), Some(at(minutes)), operator).await.unwrap();
        }
        let prices = Prices::open(&database, price(7)).await.unwrap();
        let of = |minutes| prices.of(node, "m", at(minutes)).unwrap().price;
        assert_eq!([-60, -31, -29, 29, 31].map(of), [2, 2, 3, 3, 5].map(price));
        assert_eq!(of(-150), price(2), "the first that is remembered");
        assert_eq!((prices.of(node, "other", now), prices.of(Uuid::now_v7(), "m", now)), (None, None));
        let listed = table::list(&database, Some(node), None).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|row| (row.price, row.effective_from > now)).collect();
        // Of the two for the same time the later one counts; the other never does, and says so by not being there.
        assert_eq!(listed, [(price(3), false), (price(5), true)]);
        sqlx::query!("update nodes set removed_at = now()").execute(&database).await.unwrap();
        prices.reload(&database, node).await.unwrap();
        assert_eq!(prices.of(node, "m", now), None);
    }
}
