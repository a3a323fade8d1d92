//! Receipts for whoever paid: with any inference key of the account, or as one of its users.

use axum::http::{StatusCode, Uri};
use openapi::error::{ApiError, echo};
use openapi::netting::RECEIPTS_PATH;
use openapi::receipt::ReceiptId;
use openapi::receipt::commitment::Salt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::table::{self, Kept};
use crate::app::App;
use crate::auth::{Caller, User};
use crate::body::{Json, Path, Segment};
use crate::error::{Failure, Problem};
use crate::log::read::receipts_between;
use crate::log::{self, Entry, Kind};

const READY_SECONDS: u32 = 2;
/// Receipts in one answer.
const MOST: usize = 100;
/// Leaves of the log, of all accounts, that are looked at for one.
const LOOK_AT: u64 = 4096;
const NOT_READY: &str = "This receipt is not signed yet: the node's part or the last reading of its energy is on its way. \
                         Try again shortly.";

/// A receipt, and what its owner alone has.
#[derive(Debug, Serialize, ToSchema)]
pub struct FullReceipt {
    object: &'static str,
    /// `<request>.<attempt>`
    #[schema(value_type = String)]
    id: ReceiptId,
    /// The gateway's compact JWS (EdDSA), with the node's in it. Its keys: `/.well-known/jwks.json`.
    receipt: String,
    /// Of the key that signed it.
    kid: String,
    /// With it the commitments say whether a prompt and an answer were these: 32 bytes in base64url.
    #[schema(value_type = String)]
    salt: Salt,
    /// Its leaf in the public log. Null until it is there.
    index: Option<u64>,
    /// That it is in the public log, as C2SP tlog-proof file. Null until it is.
    proof: Option<String>,
    /// What the client called the request with `x-client-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_request_id: Option<String>,
    /// Receipts of the request's other attempts.
    #[schema(value_type = Vec<String>)]
    others: Vec<ReceiptId>,
}

/// The receipt of an attempt, by its own id, or by a request's: then that of the last attempt. It is there a few seconds
/// after the answer.
#[utoipa::path(get, path = "/v1/receipts/{id}", tag = "Receipts", security(("key" = [])), params(("id" = String, Path)),
    responses((status = 200, body = FullReceipt), Failure))]
pub async fn show(app: App, caller: Caller, Segment(id): Segment) -> Result<Json<FullReceipt>, Failure> {
    let asked = named(&id).ok_or_else(|| not_found(&id))?;
    match find(&app, caller.key.account, asked).await? {
        Found::Receipt(receipt) => Ok(Json(*receipt)),
        Found::NotReady => Err(not_ready().into()),
        Found::Nothing => Err(not_found(&id).into()),
    }
}

/// Receipts, in the order of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptList {
    object: &'static str,
    data: Vec<FullReceipt>,
    /// Give it as `after` to go on. When it is what was given, there is nothing more yet.
    next: u64,
}

/// The receipts of all attempts of the key's account, in the order of the log, from a leaf of it on: `after`, 0 if not given. At
/// most `limit` at once, 1 to 100; a page may have fewer, or none, and still not be the last one.
#[utoipa::path(get, path = RECEIPTS_PATH, tag = "Receipts", security(("key" = [])),
    params(("after" = Option<u64>, Query), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = ReceiptList), Failure))]
pub async fn list(app: App, caller: Caller, uri: Uri) -> Result<Json<ReceiptList>, Failure> {
    let Asked { after, limit } = Asked::read(&uri)?;
    let mut connection = app.database.acquire().await?;
    let (leaves, mut next) = receipts_between(&mut connection, (after, after.saturating_add(LOOK_AT))).await?;
    let digests: Vec<Vec<u8>> = leaves.iter().map(|(_, entry)| entry.hash.to_vec()).collect();
    let mut kept = table::of_account(&mut connection, caller.key.account, &digests).await?;
    drop(connection);
    let mut data = Vec::new();
    for (index, entry) in leaves {
        let Some(one) = kept.remove(entry.hash.as_slice()) else { continue };
        if data.len() == limit {
            next = index;
            break;
        }
        data.extend(full(&app, one, Some(index), Vec::new()).await?);
    }
    Ok(Json(ReceiptList { object: "list", data, next }))
}

/// Which receipts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    after: u64,
    #[serde(default = "most")]
    limit: usize,
}

const fn most() -> usize {
    MOST
}

impl Asked {
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        let asked = axum::extract::Query::<Self>::try_from_uri(uri);
        let axum::extract::Query(asked) =
            asked.map_err(|error| ApiError::invalid(format!("The query is wrong: {}.", error.body_text())))?;
        if (1..=MOST).contains(&asked.limit) {
            return Ok(asked);
        }
        Err(ApiError::invalid(format!("'limit' is from 1 to {MOST}.")).with_param("limit"))
    }
}

/// The receipt of a request's last attempt, a few seconds after its answer.
#[utoipa::path(get, path = "/api/requests/{id}/receipt", tag = "Receipts", security(("session" = [])),
    params(("id" = Uuid, Path)), responses((status = 200, body = FullReceipt), Problem))]
pub async fn of_request(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<FullReceipt>, Problem> {
    match find(&app, user.account, (id, None)).await? {
        Found::Receipt(receipt) => Ok(Json(*receipt)),
        Found::NotReady => Err(Problem::of(StatusCode::NOT_FOUND, NOT_READY).after(READY_SECONDS)),
        Found::Nothing => Err(Problem::not_found("receipt")),
    }
}

/// What there is.
enum Found {
    Receipt(Box<FullReceipt>),
    /// There will be one.
    NotReady,
    Nothing,
}

async fn find(app: &App, account: Uuid, (request, attempt): (Uuid, Option<u32>)) -> Result<Found, Problem> {
    let mut kept = table::of_request(&app.database, account, request).await?;
    let at = kept.iter().rposition(|one| attempt.is_none_or(|attempt| one.id.attempt == attempt));
    let Some(at) = at else { return Ok(Found::Nothing) };
    let one = kept.remove(at);
    let Some((receipt, _)) = &one.signed else { return Ok(Found::NotReady) };
    let index = log::index_of(&app.database, Entry::of(Kind::Receipt, receipt.as_bytes()).leaf()).await?;
    let others = kept.into_iter().map(|one| one.id).collect();
    let found = full(app, one, index, others).await?;
    Ok(found.map_or(Found::NotReady, |found| Found::Receipt(Box::new(found))))
}

/// With its proof. None for one that is not signed.
async fn full(
    app: &App,
    kept: Kept,
    index: Option<u64>,
    others: Vec<ReceiptId>,
) -> Result<Option<FullReceipt>, Problem> {
    let Kept { id, noted, signed } = kept;
    let Some((receipt, kid)) = signed else { return Ok(None) };
    let proof = match index {
        Some(index) => app.log.proof_at(&app.database, index).await?,
        None => None,
    };
    let (object, salt, client_request_id) = ("receipt", noted.salt, noted.client_request);
    Ok(Some(FullReceipt { object, id, receipt, kid, salt, index, proof, client_request_id, others }))
}

/// Which request is meant, and which attempt of it, if one is.
fn named(id: &str) -> Option<(Uuid, Option<u32>)> {
    let receipt = || id.parse::<ReceiptId>().ok().map(|id| (id.request, Some(id.attempt)));
    receipt().or_else(|| Some((Uuid::try_parse(id).ok()?, None)))
}

fn not_found(id: &str) -> ApiError {
    let message = format!(
        "There is no receipt '{}' in your account. Receipts are named by the header x-commonwatt-receipt of an answer, or by \
         the id of a request; one of which nothing was computed has none.",
        echo(id)
    );
    ApiError::new(404, "invalid_request_error", Some("receipt_not_found"), message).with_param("id")
}

fn not_ready() -> ApiError {
    let mut error = ApiError::new(404, "invalid_request_error", Some("receipt_not_ready"), NOT_READY).with_param("id");
    error.retry_after = Some(READY_SECONDS);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_asked_for_by_its_id_or_by_its_request() {
        let request = "01a215af-e0b0-7050-8c8f-8d4239ba91f1";
        assert_eq!(named(request), Some((request.parse().unwrap(), None)));
        assert_eq!(named(&format!("{request}.2")), Some((request.parse().unwrap(), Some(2))));
        for wrong in ["", "x", &format!("{request}."), &format!("{request}.0"), &format!("{request}.x")] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }
}
