//! What nodes ask for their models.

use std::collections::HashMap;

use axum::http::StatusCode;
use openapi::node::Offer;
use openapi::price::Price;
use openapi::units::Nanocredits;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sqlx::types::Json as SqlJson;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::not_past;
use super::usage::filters::without_nul;
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path, Query};
use crate::error::Problem;
use crate::prices::table::{self, Row};

/// A price to come.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrice {
    /// Name or content address of a model that the node offers; all of them if not given.
    model: Option<String>,
    /// Nanocredits for a token of the prompt that is computed.
    #[serde(deserialize_with = "part")]
    prompt: Nanocredits,
    /// For a token of the prompt that the node still had computed.
    #[serde(deserialize_with = "part")]
    cached: Nanocredits,
    /// For a token of the answer.
    #[serde(deserialize_with = "part")]
    completion: Nanocredits,
    /// From when it counts, as `2027-01-31T00:00:00Z`; now if not given.
    #[serde(default, with = "time::serde::rfc3339::option")]
    effective_from: Option<OffsetDateTime>,
}

/// A part of a price, which may be absurd.
fn part<'de, D: Deserializer<'de>>(from: D) -> Result<Nanocredits, D::Error> {
    let part = serde_json::Number::deserialize(from)?.as_u64().map(Nanocredits::new);
    part.filter(|part| *part <= Price::HIGHEST).ok_or_else(|| D::Error::custom(bounds()))
}

fn bounds() -> String {
    let highest = Price::HIGHEST.get();
    format!("a token costs a whole number of nanocredits from 0 to {highest}, which is one credit")
}

/// A price.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceView {
    version: i64,
    node: Uuid,
    /// The model's content address.
    model: String,
    /// The model's name; null while no node that serves it is connected to the gateway that answers.
    model_name: Option<String>,
    price: Price,
    #[serde(with = "time::serde::rfc3339")]
    effective_from: OffsetDateTime,
    /// False: it is to come.
    in_force: bool,
    /// Whose word it is: `node`, `operator` or `gateway`.
    source: String,
}

/// All prices.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceList {
    data: Vec<PriceView>,
}

/// Which prices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    node: Option<Uuid>,
    /// A content address, or the name of a model that is served now.
    model: Option<String>,
}

/// Lists the prices that count now, and those to come, in nanocredits per token.
#[utoipa::path(get, path = "/api/prices", tag = "Prices", security(("session" = [])), params(Filter),
    responses((status = 200, body = PriceList), Problem))]
pub async fn list(app: App, _: User, Query(filter): Query<Filter>) -> Result<Json<PriceList>, Problem> {
    let names = names(&app);
    let models: Option<Vec<String>> = filter.model.map(|asked| {
        let named = names.iter().filter(|(_, name)| **name == asked).map(|(id, _)| id.clone());
        named.chain([without_nul(&asked)]).collect()
    });
    let rows = table::list(&app.database, filter.node, models.as_deref()).await?;
    Ok(Json(views(rows, &names)))
}

/// Sets the price of a node's models, now or from a later time on. Requests under way are billed as they were admitted.
#[utoipa::path(post, path = "/api/nodes/{id}/prices", tag = "Prices", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = NewPrice, responses((status = 201, body = PriceList), Problem))]
pub async fn set(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(new): Json<NewPrice>,
) -> Result<(StatusCode, Json<PriceList>), Problem> {
    let price = Price { prompt: new.prompt, cached: new.cached, completion: new.completion };
    not_past(new.effective_from)?;
    let offer = sqlx::query_scalar!(
        r#"select offer as "offer: SqlJson<Offer>" from nodes where id = $1 and account_id = $2 and removed_at is null"#,
        id,
        user.account
    );
    let offer = offer.fetch_optional(&app.database).await?.ok_or_else(|| Problem::not_found("node"))?;
    let models = offered(offer.map(|SqlJson(offer)| offer), new.model.as_deref())?;
    let rows = table::set(&app.database, (id, &models), price, new.effective_from, user.id).await?;
    app.prices.reload(&app.database, id).await?;
    Ok((StatusCode::CREATED, Json(views(rows, &names(&app)))))
}

/// The content addresses of the models that are meant.
fn offered(offer: Option<Offer>, asked: Option<&str>) -> Result<Vec<String>, Problem> {
    let offer =
        offer.ok_or_else(|| Problem::bad_request("This node has offered nothing yet. Let it connect first."))?;
    let models = offer.models.iter().map(|model| (model.manifest.id(), &model.manifest.name));
    let meant = models.filter(|(id, name)| asked.is_none_or(|asked| asked == id || asked == name.as_str()));
    let meant: Vec<String> = meant.map(|(id, _)| id).collect();
    if meant.is_empty() { Err(Problem::bad_request("This node does not offer this model.")) } else { Ok(meant) }
}

/// The names of the models that are served now, by their content addresses.
fn names(app: &App) -> HashMap<String, String> {
    app.nodes.models(|_| true, |_, _| None).into_iter().map(|model| (model.manifest, model.id)).collect()
}

fn views(rows: Vec<Row>, names: &HashMap<String, String>) -> PriceList {
    let now = OffsetDateTime::now_utc();
    let view = |row: Row| PriceView {
        version: row.version,
        node: row.node,
        model_name: names.get(&row.model).cloned(),
        model: row.model,
        price: row.price,
        effective_from: row.effective_from,
        in_force: row.effective_from <= now,
        source: row.source,
    };
    PriceList { data: rows.into_iter().map(view).collect() }
}

#[cfg(test)]
mod tests {
    use openapi::manifest::ModelManifest;
    use openapi::node::OfferedModel;

    use super::*;

    #[test]
    fn a_price_is_for_what_the_node_offers() {
        let manifest = |name: &str| ModelManifest {
            name: name.to_owned(),
            files: vec![],
            quantisation: "Q4_1".to_owned(),
            licence: "Apache-2.0".to_owned(),
            authors: vec![],
        };
        let (one, two) = (manifest("one"), manifest("two"));
        let offered_model =
            |manifest: &ModelManifest| OfferedModel { manifest: manifest.clone(), ..OfferedModel::default() };
        let offer = Some(Offer { models: [&one, &two].map(offered_model).to_vec(), ..Offer::default() });
        assert_eq!(offered(offer.clone(), None).unwrap(), [one.id(), two.id()]);
        assert_eq!(offered(offer.clone(), Some("two")).unwrap(), [two.id()]);
        assert_eq!(offered(offer.clone(), Some(&one.id())).unwrap(), [one.id()]);
        assert!(offered(offer, Some("three")).is_err() && offered(None, None).is_err());
    }
}
