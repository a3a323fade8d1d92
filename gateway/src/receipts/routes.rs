//! Receipts for whoever paid: with any inference key of the account, or as one of its users.

use axum::http::StatusCode;
use openapi::error::{ApiError, echo};
use openapi::receipt::ReceiptId;
use openapi::receipt::commitment::Salt;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::table::{self, Kept};
use crate::app::App;
use crate::auth::{Caller, User};
use crate::body::{Json, Path, Segment};
use crate::error::{Failure, Problem};
use crate::log::{Entry, Kind};

const READY_SECONDS: u32 = 2;
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
    /// That it is in the public log, as C2SP tlog-proof file. Null until it is.
    proof: Option<String>,
    /// Receipts of the request's other attempts.
    #[schema(value_type = Vec<String>)]
    others: Vec<ReceiptId>,
}

/// The receipt of an attempt, by its own id, or by a request's: then that of the last attempt. It is there a few seconds
/// after the answer.
#[utoipa::path(get, path = "/v1/receipts/{id}", tag = "Receipts", security(("key" = [])), params(("id" = String, Path)),
    responses((status = 200, body = FullReceipt), Failure))]
pub async fn show(app: App, caller: Caller, Segment(id): Segment) -> Result<Json<FullReceipt>, Failure> {
    let asked = asked(&id).ok_or_else(|| not_found(&id))?;
    match find(&app, caller.key.account, asked).await? {
        Found::Receipt(receipt) => Ok(Json(*receipt)),
        Found::NotReady => Err(not_ready().into()),
        Found::Nothing => Err(not_found(&id).into()),
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
    let Kept { id, noted, signed } = kept.remove(at);
    let Some((receipt, kid)) = signed else { return Ok(Found::NotReady) };
    let leaf = Entry::of(Kind::Receipt, receipt.as_bytes()).leaf();
    let proof = app.log.proof(&app.database, leaf).await?;
    let others = kept.into_iter().map(|one| one.id).collect();
    let (object, salt) = ("receipt", noted.salt);
    Ok(Found::Receipt(Box::new(FullReceipt { object, id, receipt, kid, salt, proof, others })))
}

/// Which request is meant, and which attempt of it, if one is.
fn asked(id: &str) -> Option<(Uuid, Option<u32>)> {
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
        assert_eq!(asked(request), Some((request.parse().unwrap(), None)));
        assert_eq!(asked(&format!("{request}.2")), Some((request.parse().unwrap(), Some(2))));
        for wrong in ["", "x", &format!("{request}."), &format!("{request}.0"), &format!("{request}.x")] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }
}
