//! Events that administrators post to the ledger.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use openapi::units::Nanocredits;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::administrators_only;
use super::ledger::Money;
use crate::app::App;
use crate::auth::User;
use crate::body::Json;
use crate::error::Problem;
use crate::ledger::account::Account;
use crate::ledger::event::{Event, Posted, Posting, Refused};
use crate::ledger::movement::{Against, Direction, Movement, Order, move_credits};

const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 1..=200;

/// The header `Idempotency-Key`: whoever repeats a call with it repeats nothing but the answer.
pub struct IdempotencyKey(String);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let key = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
        key.filter(|key| KEY_LENGTHS.contains(&key.len())).map(|key| Self(key.to_owned())).ok_or_else(|| {
            Problem::bad_request(
                "Send the header 'Idempotency-Key' with 1 to 200 characters of your choice, new for each event: a call \
                 that is repeated with the same key is done once.",
            )
        })
    }
}

/// What administrators can post; settlements are made by requests.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// Credits bought: from outside to an account.
    TopUp,
    /// Credits given by the gateway.
    Grant,
    /// A request's price, or a part of it, given back.
    Refund,
    /// Something put right: credits may be negative.
    Adjustment,
    /// Earnings of an operator or an author that leave the ledger.
    Payout,
}

/// An event to be posted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMovement {
    kind: MovementKind,
    /// `customer:<account>` or the account's bare id; for payouts `operator:<account>` or `author:<name>`.
    account: String,
    /// Credits as a decimal string such as `12.5`, at most nine decimals; negative only to take by an adjustment.
    credits: String,
    /// Why, 1 to 500 characters.
    reason: String,
    /// The request that a refund is for.
    request: Option<Uuid>,
    /// The other side of an adjustment; `gateway` if not given.
    against: Option<Against>,
}

/// A line of an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct PostingView {
    account: String,
    #[serde(flatten)]
    amount: Money,
}

/// An event as it stands in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    id: Uuid,
    kind: String,
    request: Option<Uuid>,
    reason: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    postings: Vec<PostingView>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let view =
            |posting: Posting| PostingView { account: posting.account.to_string(), amount: posting.nanocredits.into() };
        Self {
            id: event.id,
            kind: event.kind,
            request: event.request,
            reason: event.reason,
            created_at: event.created_at,
            postings: event.postings.into_iter().map(view).collect(),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Database(error) => return error.into(),
            Refused::KeyUsed => StatusCode::CONFLICT,
            Refused::Wrong(_) | Refused::Unbalanced => StatusCode::BAD_REQUEST,
            Refused::NoAccount(_) | Refused::NoRequest => StatusCode::NOT_FOUND,
            Refused::NotEnough { .. } | Refused::Overdrawn | Refused::TooMuch => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::of(status, refused.to_string())
    }
}

impl NewMovement {
    fn read(&self) -> Result<(Movement, Nanocredits), Problem> {
        let (direction, credits) = match self.credits.strip_prefix('-') {
            Some(credits) => (Direction::Take, credits),
            None => (Direction::Give, self.credits.as_str()),
        };
        let amount = Nanocredits::from_credits(credits).ok_or_else(|| {
            Problem::bad_request("`credits` is a decimal string such as \"12.5\", with at most nine decimals.")
        })?;
        let wrong = |detail: &str| Err(Problem::bad_request(detail));
        if direction == Direction::Take && !matches!(self.kind, MovementKind::Adjustment) {
            return wrong("Only the `credits` of an adjustment may be negative.");
        }
        if self.request.is_some() != matches!(self.kind, MovementKind::Refund) {
            return wrong("A refund names the `request` that it is for, and nothing else does.");
        }
        if self.against.is_some() && !matches!(self.kind, MovementKind::Adjustment) {
            return wrong("Only an adjustment has `against`.");
        }
        Ok((self.movement(direction)?, amount))
    }

    fn movement(&self, direction: Direction) -> Result<Movement, Problem> {
        let account = match self.account.parse::<Uuid>() {
            Ok(account) => Account::Customer(account),
            Err(_) => self.account.parse().map_err(|error| Problem::bad_request(format!("`account`: {error}.")))?,
        };
        let movement = match (self.kind, account, self.request) {
            (MovementKind::Payout, earner, _) => Movement::Payout(earner),
            (MovementKind::TopUp, Account::Customer(account), _) => Movement::TopUp(account),
            (MovementKind::Grant, Account::Customer(account), _) => Movement::Grant(account),
            (MovementKind::Refund, Account::Customer(account), Some(request)) => Movement::Refund { account, request },
            (MovementKind::Adjustment, Account::Customer(account), _) => {
                Movement::Adjustment { account, against: self.against.unwrap_or(Against::Gateway), direction }
            }
            _ => return Err(Problem::bad_request("`account` must be a customer's: 'customer:<account>' or its id.")),
        };
        Ok(movement)
    }
}

/// Posts an event, once for its key: 201, and 200 with the same body when it is repeated. For administrators.
#[utoipa::path(post, path = "/api/ledger/events", tag = "Ledger", security(("session" = [])), request_body = NewMovement,
    params(("Idempotency-Key" = String, Header, description = "1 to 200 characters, new for each event")),
    responses((status = 201, body = EventView), (status = 200, body = EventView, description = "Posted before"),
        (status = 404, description = "There is no such account or request"), (status = 409, description = "The key was used for another event"),
        (status = 422, description = "There is not enough to take"), Problem))]
pub async fn post(
    app: App,
    user: User,
    key: IdempotencyKey,
    Json(new): Json<NewMovement>,
) -> Result<(StatusCode, Json<EventView>), Problem> {
    administrators_only(&user)?;
    let (movement, amount) = new.read()?;
    let idempotency_key = format!("user:{}:{}", user.id, key.0);
    let order = Order { idempotency_key: &idempotency_key, reason: &new.reason, created_by: Some(user.id) };
    Ok(match move_credits(&app.database, &movement, amount, order).await? {
        Posted::Now(event) => (StatusCode::CREATED, Json(event.into())),
        Posted::Before(event) => (StatusCode::OK, Json(event.into())),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<(Movement, Nanocredits), String> {
        let new: NewMovement = serde_json::from_value(body).map_err(|error| error.to_string())?;
        new.read().map_err(|problem| serde_json::to_value(problem).unwrap()["detail"].as_str().unwrap().to_owned())
    }

    const ACCOUNT: Uuid = Uuid::from_u128(7);

    #[test]
    fn each_kind_is_read() {
        let (account, amount) = (ACCOUNT, Nanocredits::new(1_500_000_000));
        let bare = json!({"kind": "top_up", "account": account, "credits": "1.5", "reason": "r"});
        assert_eq!(read(bare), Ok((Movement::TopUp(account), amount)));
        let named = json!({"kind": "grant", "account": format!("customer:{account}"), "credits": "1.5", "reason": "r"});
        assert_eq!(read(named), Ok((Movement::Grant(account), amount)));
        let refund = json!({"kind": "refund", "account": account, "credits": "1.5", "reason": "r", "request": account});
        assert_eq!(read(refund), Ok((Movement::Refund { account, request: account }, amount)));
        let taken =
            json!({"kind": "adjustment", "account": account, "credits": "-1.5", "reason": "r", "against": "losses"});
        let adjustment = Movement::Adjustment { account, against: Against::Losses, direction: Direction::Take };
        assert_eq!(read(taken), Ok((adjustment, amount)));
        let payout = json!({"kind": "payout", "account": "author:A", "credits": "1.5", "reason": "r"});
        assert_eq!(read(payout), Ok((Movement::Payout(Account::Author("A".to_owned())), amount)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence() {
        let with = |field: &str, value: Value| {
            let mut body = json!({"kind": "grant", "account": ACCOUNT, "credits": "1", "reason": "r"});
            body[field] = value;
            read(body).unwrap_err()
        };
        assert!(with("kind", json!("settlement")).contains("top_up"));
        assert!(with("account", json!("gateway")).contains("customer"));
        assert!(with("account", json!("nobody")).contains("operator:<id>"));
        for credits in ["-1", "1e3", "", "0.0000000001", "99999999999"] {
            assert!(with("credits", json!(credits)).contains("credits"), "{credits}");
        }
        assert!(with("credits", json!(1)).contains("string"));
        assert!(with("request", json!(ACCOUNT)).contains("refund"));
        assert!(with("kind", json!("refund")).contains("request"));
        assert!(with("against", json!("losses")).contains("adjustment"));
        assert!(with("currency", json!("EUR")).contains("unknown field"));
    }

    #[tokio::test]
    async fn a_key_has_1_to_200_characters() {
        let key = async |text: Option<&str>| {
            let mut request = axum::http::Request::new(());
            if let Some(text) = text {
                request.headers_mut().insert("idempotency-key", text.try_into().unwrap());
            }
            IdempotencyKey::from_request_parts(&mut request.into_parts().0, &()).await.ok().map(|key| key.0)
        };
        assert_eq!(key(Some("k")).await, Some("k".to_owned()));
        assert_eq!(key(Some(&"k".repeat(200))).await, Some("k".repeat(200)));
        for wrong in [None, Some(""), Some(&*"k".repeat(201)), Some("\u{e9}")] {
            assert_eq!(key(wrong).await, None);
        }
    }
}
