//! Prices at rest: added, never changed.

use openapi::log::entry::Kind;
use openapi::node::Offer;
use openapi::price::Price;
use openapi::units::Nanocredits;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::log;

/// Whose word a price is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The node's own offer.
    Node,
    /// The node's operator, through the API.
    Operator,
    /// The gateway's default.
    Gateway,
}

impl Source {
    const fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Gateway => "gateway",
        }
    }
}

/// A version as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub version: i64,
    pub node: Uuid,
    /// The model's content address.
    pub model: String,
    pub price: Price,
    pub effective_from: OffsetDateTime,
    pub source: String,
}

/// The three prices as the table has them.
struct Parts {
    prompt: i64,
    cached: i64,
    completion: i64,
}

impl From<Parts> for Price {
    fn from(parts: Parts) -> Self {
        let part = |nanocredits: i64| Nanocredits::new(nanocredits.unsigned_abs());
        Self { prompt: part(parts.prompt), cached: part(parts.cached), completion: part(parts.completion) }
    }
}

/// Adds what is news in a node's offer.
pub(super) async fn keep_offer(
    database: &PgPool,
    node: Uuid,
    offer: &Offer,
    default: Price,
) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    // Two replicas that the same node calls at once take turns.
    sqlx::query!("select id from nodes where id = $1 for no key update", node)
        .fetch_optional(&mut *transaction)
        .await?;
    for model in &offer.models {
        let id = model.manifest.id();
        let known = Known::read(&mut transaction, node, &id).await?;
        if let Some((price, source)) = known.news(model.price, default) {
            let new = NewPrice { node, model: &id, price, effective_from: None, source, by: None };
            add(&mut transaction, new).await?;
        }
    }
    transaction.commit().await
}

/// The price of a version.
///
/// # Errors
/// When the database fails.
pub async fn of_version(database: &PgPool, version: i64) -> Result<Option<Price>, sqlx::Error> {
    let found = sqlx::query_as!(
        Parts,
        "select prompt_nanocredits as prompt, cached_nanocredits as cached, completion_nanocredits as completion
         from prices where version = $1",
        version
    );
    Ok(found.fetch_optional(database).await?.map(Price::from))
}

/// What the table holds of a model on a node.
struct Known {
    /// What the node itself asked last.
    asked: Option<Price>,
    has_price: bool,
}

impl Known {
    async fn read(connection: &mut PgConnection, node: Uuid, model: &str) -> Result<Self, sqlx::Error> {
        let asked = sqlx::query_as!(
            Parts,
            "select prompt_nanocredits as prompt, cached_nanocredits as cached, completion_nanocredits as completion
             from prices where node_id = $1 and model = $2 and source = 'node' order by version desc limit 1",
            node,
            model
        )
        .fetch_optional(&mut *connection)
        .await?;
        let has_price = sqlx::query_scalar!(
            r#"select exists (select from prices where node_id = $1 and model = $2 and effective_from <= now()) as "found!""#,
            node,
            model
        );
        Ok(Self { asked: asked.map(Price::from), has_price: has_price.fetch_one(connection).await? })
    }

    /// The version to add, if what the node asks now is news. A node repeats itself whenever its tunnel comes back, which
    /// must not undo what its operator has set since.
    fn news(&self, asks: Option<Price>, default: Price) -> Option<(Price, Source)> {
        match asks {
            Some(price) => (self.asked != asks).then_some((price, Source::Node)),
            None => (!self.has_price).then_some((default, Source::Gateway)),
        }
    }
}

/// A version to be added.
struct NewPrice<'a> {
    node: Uuid,
    model: &'a str,
    price: Price,
    /// `None`: now.
    effective_from: Option<OffsetDateTime>,
    source: Source,
    by: Option<Uuid>,
}

async fn add(connection: &mut PgConnection, new: NewPrice<'_>) -> Result<Row, sqlx::Error> {
    let added = sqlx::query!(
        "insert into prices (node_id, model, prompt_nanocredits, cached_nanocredits, completion_nanocredits,
            effective_from, source, created_by)
         values ($1, $2, $3, $4, $5, coalesce($6, now()), $7, $8) returning version, effective_from",
        new.node,
        new.model,
        new.price.prompt.to_bigint(),
        new.price.cached.to_bigint(),
        new.price.completion.to_bigint(),
        new.effective_from,
        new.source.word(),
        new.by
    )
    .fetch_one(&mut *connection)
    .await?;
    let row = Row {
        version: added.version,
        node: new.node,
        model: new.model.to_owned(),
        price: new.price,
        effective_from: added.effective_from,
        source: new.source.word().to_owned(),
    };
    log::publish(connection, Kind::PriceList, &[row.document()]).await?;
    Ok(row)
}

/// Has prices logged that are older than the log: no receipt may go by one that nobody can read.
///
/// # Errors
/// When the database fails.
pub async fn announce(database: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    let rows = sqlx::query!(
        "select version, node_id, model, prompt_nanocredits, cached_nanocredits, completion_nanocredits, effective_from, source
         from prices where created_at < coalesce((select min(logged_at) from log_documents where kind = 'price-list'), now())
         order by version"
    );
    let row = rows.fetch_all(&mut *transaction).await?.into_iter().map(|row| Row {
        version: row.version,
        node: row.node_id,
        model: row.model,
        price: Price::from(Parts {
            prompt: row.prompt_nanocredits,
            cached: row.cached_nanocredits,
            completion: row.completion_nanocredits,
        }),
        effective_from: row.effective_from,
        source: row.source,
    });
    let documents: Vec<String> = row.map(|row| row.document()).collect();
    log::publish(&mut transaction, Kind::PriceList, &documents).await?;
    transaction.commit().await
}

impl Row {
    /// As everybody can read it.
    fn document(&self) -> String {
        json!({
            "v": 1,
            "version": self.version,
            "node": self.node,
            "model": self.model,
            "price": self.price,
            "effective_from": self.effective_from.format(&Rfc3339).unwrap_or_default(),
            "source": self.source,
        })
        .to_string()
    }
}

/// Sets the price of some models of a node in its operator's name; `None` means from now on.
///
/// # Errors
/// When the database fails, or refuses the price.
pub async fn set(
    database: &PgPool,
    (node, models): (Uuid, &[String]),
    price: Price,
    effective_from: Option<OffsetDateTime>,
    by: Uuid,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let mut added = Vec::with_capacity(models.len());
    for model in models {
        let new = NewPrice { node, model, price, effective_from, source: Source::Operator, by: Some(by) };
        added.push(add(&mut transaction, new).await?);
    }
    transaction.commit().await?;
    Ok(added)
}

/// The versions that count now or later, of nodes that have not been removed: of one node or all, of these models or all.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool, node: Option<Uuid>, models: Option<&[String]>) -> Result<Vec<Row>, sqlx::Error> {
    since(database, OffsetDateTime::now_utc(), node, models).await
}

/// Those and the versions that counted in the last hour.
pub(super) async fn recent(database: &PgPool, node: Option<Uuid>) -> Result<Vec<Row>, sqlx::Error> {
    const KEPT: time::Duration = time::Duration::hours(1);
    since(database, OffsetDateTime::now_utc() - KEPT, node, None).await
}

/// All versions but those that others had followed at this time, in the order in which they come into force.
async fn since(
    database: &PgPool,
    at: OffsetDateTime,
    node: Option<Uuid>,
    models: Option<&[String]>,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select version, node_id, model, prompt_nanocredits as prompt, cached_nanocredits as cached,
               completion_nanocredits as completion, effective_from, source
           from (select p.*, lead(p.effective_from) over (
                     partition by p.node_id, p.model order by p.effective_from, p.version) as until
                 from prices p join nodes n on n.id = p.node_id
                 where n.removed_at is null and ($2::uuid is null or p.node_id = $2)
                     and ($3::text[] is null or p.model = any($3))) as p
           where until is null or (until > $1 and until > effective_from)
           order by node_id, model, effective_from, version"#,
        at,
        node,
        models
    )
    .fetch_all(database)
    .await?;
    let rows = rows.into_iter().map(|row| Row {
        version: row.version,
        node: row.node_id,
        model: row.model,
        price: Parts { prompt: row.prompt, cached: row.cached, completion: row.completion }.into(),
        effective_from: row.effective_from,
        source: row.source,
    });
    Ok(rows.collect())
}
