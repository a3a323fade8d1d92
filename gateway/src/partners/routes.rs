//! Partners for administrators, and what a partner itself asks.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use openapi::error::ApiError;
use openapi::netting::{NETTINGS_PATH, Netting, Proposal};
use openapi::receipt::ReceiptId;
use openapi::units::Nanocredits;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::agree::{self, Wanted};
use super::client::Asked;
use super::net::{self, Reply};
use super::table::{self, Kept, Netted, Partner};
use crate::api::ledger::Money;
use crate::api::{administrators_only, checked_name};
use crate::app::App;
use crate::auth::{Caller, User};
use crate::body::{Json, Path, Query, SmallJson};
use crate::error::{Failure, Problem};
use crate::ledger::statement;

const LATER_SECONDS: u32 = 30;

/// A gateway that is to be a partner.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPartner {
    name: String,
    /// Whose keys it asks with here, and which earns what it answers: an account of its own, made with `POST /api/users`.
    account: Uuid,
    /// What comes before `/v1`, such as `https://gateway.example`.
    url: String,
    /// An inference key that it has given us: with it, it answers our users. Kept encrypted, never shown again.
    key: Option<String>,
}

/// What is to be otherwise.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartnerChange {
    /// Another key of the partner's.
    key: Option<String>,
    /// Believe the keys that its log has now, in place of those that it had.
    #[serde(default)]
    trust_log: bool,
}

/// The partner that was made.
#[derive(Serialize, ToSchema)]
pub struct PartnerId {
    id: Uuid,
}

/// A partner.
#[derive(Serialize, ToSchema)]
pub struct PartnerView {
    id: Uuid,
    name: String,
    account: Uuid,
    url: String,
    /// What its log is called.
    gateway: String,
    /// As a node here; null when it does not answer us.
    node: Option<Uuid>,
    /// It answers the replica that answers this.
    connected: bool,
    /// Leaves of its log that were read for what it bills.
    read_until: u64,
    /// Why nothing is read or netted now.
    failure: Option<String>,
    /// What it has earned here and was neither offset nor paid.
    earned: Money,
    /// What it can still spend here.
    credit: Money,
    /// Receipts of it that are disputed.
    disputed: u64,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// All partners.
#[derive(Serialize, ToSchema)]
pub struct PartnerList {
    /// What this gateway's log is called.
    gateway: String,
    data: Vec<PartnerView>,
}

/// Which invoices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InvoicesQuery {
    /// From this leaf of its log on: `next` of the page before. 0 if not given.
    #[serde(default)]
    after: u64,
    /// Only those that are disputed.
    #[serde(default)]
    disputed: bool,
}

/// A receipt of a partner, for an answer that we had from it.
#[derive(Serialize, ToSchema)]
pub struct InvoiceView {
    /// The leaf of its log.
    index: u64,
    /// Our attempt.
    #[schema(value_type = Option<String>)]
    attempt: Option<ReceiptId>,
    #[serde(flatten)]
    cost: Money,
    /// Why it is not owed; null when it is.
    dispute: Option<String>,
    /// The partner's compact JWS.
    receipt: String,
    #[serde(with = "time::serde::rfc3339")]
    received_at: OffsetDateTime,
}

/// A page of 200.
#[derive(Serialize, ToSchema)]
pub struct InvoiceList {
    data: Vec<InvoiceView>,
    /// Give it as `after` for the next page; null on the last one.
    next: Option<u64>,
}

/// What was offset.
#[derive(Serialize, ToSchema)]
pub struct NettingView {
    number: u32,
    /// SHA-256 of the document that both have signed: it is at `/log/document/<digest>`.
    document: String,
    /// What its receipts say that we owe, and ours that it owes.
    we_owe: Money,
    they_owe: Money,
    /// What of it nobody has to pay.
    offset: Money,
    /// Leaves of our log and of its log up to which receipts are in it.
    our_end: u64,
    their_end: u64,
    #[serde(with = "time::serde::rfc3339")]
    agreed_at: OffsetDateTime,
}

/// What was offset with a partner, the newest first.
#[derive(Serialize, ToSchema)]
pub struct NettingList {
    data: Vec<NettingView>,
}

/// The document that both have signed.
#[derive(Serialize, ToSchema)]
pub struct AgreedNetting {
    /// An `Agreed` as compact JWS (EdDSA).
    document: String,
}

/// What this gateway counts instead.
#[derive(Serialize, ToSchema)]
pub struct OtherNetting {
    netting: Netting,
}

/// Makes another gateway a partner, once it can be reached. For administrators.
#[utoipa::path(post, path = "/api/partners", tag = "Partners", security(("session" = [])), request_body = NewPartner,
    responses((status = 201, body = PartnerId), Problem))]
pub async fn create(
    app: App,
    user: User,
    Json(new): Json<NewPartner>,
) -> Result<(StatusCode, Json<PartnerId>), Problem> {
    administrators_only(&user)?;
    let wanted = Wanted { name: checked_name(&new.name)?, account: new.account, url: &new.url, key: new.key };
    let id = agree::begin(&app, user.id, wanted).await?;
    Ok((StatusCode::CREATED, Json(PartnerId { id })))
}

/// Lists the partners, and what stands open with each. For administrators.
#[utoipa::path(get, path = "/api/partners", tag = "Partners", security(("session" = [])),
    responses((status = 200, body = PartnerList), Problem))]
pub async fn list(app: App, user: User) -> Result<Json<PartnerList>, Problem> {
    administrators_only(&user)?;
    let mut data = Vec::new();
    for partner in table::list(&app.database).await? {
        let found = statement::balance(&app.database, partner.account).await?;
        let (earned, credit) = found.map_or((0, 0), |found| (found.operator, found.customer));
        data.push(PartnerView {
            disputed: table::disputed(&app.database, partner.id).await?,
            connected: partner.node.is_some_and(|node| app.nodes.get(node).is_some()),
            earned: earned.into(),
            credit: credit.into(),
            id: partner.id,
            name: partner.name,
            account: partner.account,
            url: partner.url,
            gateway: partner.origin,
            node: partner.node,
            read_until: partner.read_until,
            failure: partner.failure,
            created_at: partner.created_at,
        });
    }
    Ok(Json(PartnerList { gateway: app.log.origin().to_owned(), data }))
}

/// Gives a partner another key, or believes its log's new keys. For administrators.
#[utoipa::path(patch, path = "/api/partners/{id}", tag = "Partners", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = PartnerChange, responses((status = 204), Problem))]
pub async fn change(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(change): Json<PartnerChange>,
) -> Result<StatusCode, Problem> {
    let partner = of_id(&app, &user, id).await?;
    if change.trust_log {
        agree::trust_log(&app, &partner).await?;
    }
    if let Some(key) = change.key {
        agree::set_key(&app, user.id, &partner, key).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a partnership: nothing is asked of it any more, and its keys are those of any customer. For administrators.
#[utoipa::path(delete, path = "/api/partners/{id}", tag = "Partners", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 204), Problem))]
pub async fn end(app: App, user: User, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let partner = of_id(&app, &user, id).await?;
    agree::end(&app, &partner).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a partner has billed, in the order of its log. For administrators.
#[utoipa::path(get, path = "/api/partners/{id}/invoices", tag = "Partners", security(("session" = [])),
    params(("id" = Uuid, Path), InvoicesQuery), responses((status = 200, body = InvoiceList), Problem))]
pub async fn invoices(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Query(query): Query<InvoicesQuery>,
) -> Result<Json<InvoiceList>, Problem> {
    let partner = of_id(&app, &user, id).await?;
    let kept = table::invoices(&app.database, partner.id, (query.after, u64::MAX), query.disputed).await?;
    let next = (kept.len() == table::MOST as usize).then(|| kept.last().map(|last| last.index + 1)).flatten();
    let view = |kept: Kept| InvoiceView {
        index: kept.index,
        attempt: kept.attempt,
        cost: kept.nanocredits.to_bigint().into(),
        dispute: kept.dispute,
        receipt: kept.receipt,
        received_at: kept.received_at,
    };
    Ok(Json(InvoiceList { data: kept.into_iter().map(view).collect(), next }))
}

/// Owns up to what a partner has billed and was disputed: it is owed from now on. For administrators.
#[utoipa::path(post, path = "/api/partners/{id}/invoices/{index}/accept", tag = "Partners", security(("session" = [])),
    params(("id" = Uuid, Path), ("index" = u64, Path)), responses((status = 204), Problem))]
pub async fn accept(app: App, user: User, Path((id, index)): Path<(Uuid, u64)>) -> Result<StatusCode, Problem> {
    let partner = of_id(&app, &user, id).await?;
    if table::own_up(&app.database, &partner, index, user.id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found("disputed invoice"))
}

/// What was offset with a partner. For administrators.
#[utoipa::path(get, path = "/api/partners/{id}/nettings", tag = "Partners", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = NettingList), Problem))]
pub async fn nettings(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<NettingList>, Problem> {
    let partner = of_id(&app, &user, id).await?;
    let netted = table::nettings(&mut *app.database.acquire().await?, partner.id).await?;
    let money = |nanocredits: Nanocredits| Money::from(nanocredits.to_bigint());
    let view = |netted: Netted| NettingView {
        number: netted.number,
        document: HEXLOWER.encode(&netted.digest),
        we_owe: money(netted.we_owe),
        they_owe: money(netted.they_owe),
        offset: money(netted.we_owe.min(netted.they_owe)),
        our_end: netted.our_end,
        their_end: netted.their_end,
        agreed_at: netted.agreed_at,
    };
    Ok(Json(NettingList { data: netted.into_iter().map(view).collect() }))
}

/// Nets with a partner at once, all that the closed epochs of both have; 409 says why not. For administrators.
#[utoipa::path(post, path = "/api/partners/{id}/nettings", tag = "Partners", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 201, body = NettingList), Problem))]
pub async fn propose(app: App, user: User, id: Path<Uuid>) -> Result<(StatusCode, Json<NettingList>), Problem> {
    let partner = of_id(&app, &user, id.0).await?;
    let conflict = |reason: String| Problem::of(StatusCode::CONFLICT, reason);
    let asked = Asked::open(&app, &partner).await.map_err(|error| conflict(format!("{error:#}.")))?;
    let asked =
        asked.ok_or_else(|| conflict("It has given us no key, so it is for the partner to propose.".to_owned()))?;
    match net::propose(&app, &partner, &asked).await {
        Ok(true) => Ok((StatusCode::CREATED, nettings(app, user, id).await?)),
        Ok(false) => Err(conflict("There is nothing to net: close an epoch here and there first.".to_owned())),
        Err(error) => Err(conflict(format!("The partner does not agree: {error:#}."))),
    }
}

/// A partner proposes to offset what both owe each other. 409 says what this gateway counts instead.
#[utoipa::path(post, path = NETTINGS_PATH, tag = "Partners", security(("key" = [])), request_body = Proposal,
    responses((status = 200, body = AgreedNetting), (status = 409, description = "This gateway counts otherwise: so", body = OtherNetting), Failure))]
pub async fn proposed(app: App, caller: Caller, SmallJson(body): SmallJson) -> Result<Response, Failure> {
    let partners = table::list(&app.database).await?;
    let partner = partners.into_iter().find(|partner| partner.account == caller.key.account);
    let partner = partner.ok_or_else(|| {
        let message = "Your account is not a partner of this gateway: its administrators decide who is.";
        ApiError::new(403, "invalid_request_error", Some("not_a_partner"), message)
    })?;
    let Proposal { netting } =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
    match net::answer(&app, &partner, &netting).await {
        Ok(Reply::Agreed(document)) => Ok(Json(AgreedNetting { document }).into_response()),
        Ok(Reply::Otherwise(netting)) => {
            Ok((StatusCode::CONFLICT, Json(OtherNetting { netting: *netting })).into_response())
        }
        Ok(Reply::Later(message)) => {
            let error = ApiError::new(503, "server_error", Some("not_read_yet"), message);
            Err(error.with_retry_after(LATER_SECONDS).into())
        }
        Err(error) => {
            tracing::warn!(partner = partner.name, "a netting is refused: {error:#}");
            Err(ApiError::invalid(format!("This netting is refused: {error:#}.")).with_code("netting_refused").into())
        }
    }
}

async fn of_id(app: &App, user: &User, id: Uuid) -> Result<Partner, Problem> {
    administrators_only(user)?;
    table::find(&app.database, id).await?.ok_or_else(|| Problem::not_found("partner"))
}
