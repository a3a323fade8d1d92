//! A response before it is computed: what it goes on from is found, and every item has an id.

use std::time::Duration;

use openapi::error::{ApiError, echo};
use openapi::responses::{Given, Item, Response, ResponseRequest, response_of, response_text};
use time::OffsetDateTime;
use uuid::Uuid;

use super::table::{self, NoPast, Past};
use crate::app::App;
use crate::body::LIMIT_BYTES;
use crate::error::Failure;

/// The last byte of an answer waits no longer than this for the database.
const STORE_WITHIN: Duration = Duration::from_secs(2);

/// A response that is about to be computed.
pub(super) struct Draft {
    id: Uuid,
    account: Uuid,
    previous: Option<Uuid>,
    past: Past,
    input: Vec<Item>,
    /// Without output.
    pub(super) response: Response,
    pub(super) stream: bool,
    /// The chat completion that gives the answer.
    pub(super) chat: Vec<u8>,
}

impl Draft {
    /// Reads what is asked, in the name of a request of this account.
    pub(super) async fn read(app: &App, account: Uuid, id: Uuid, body: &[u8]) -> Result<Self, Failure> {
        let mut asked = ResponseRequest::parse(body)?;
        let previous = asked.response.previous_response_id.as_deref();
        let (previous, past) = match previous {
            None => (None, Past::default()),
            Some(text) => past(app, account, text).await?,
        };
        let mut input = Vec::with_capacity(asked.input.len());
        for (index, given) in std::mem::take(&mut asked.input).into_iter().enumerate() {
            let mut item = match given {
                Given::Item(item) => item,
                Given::Reference(id) => referenced(app, account, &past, (index, &id)).await?,
            };
            item.name(id, index);
            input.push(item);
        }
        let chat = asked.chat(past.items.iter().chain(&input))?;
        let mut response = asked.response;
        response.id = response_text(id);
        response.created_at = now();
        if let Some(model) = app.aliases.stands_for(&response.model) {
            response.model = model;
        }
        response.store &= app.responses.store;
        Ok(Self { id, account, previous, past, input, response, stream: asked.stream, chat })
    }

    /// Keeps the response that came of it, if that is wished for. False when it is not kept: the answer says so, and goes
    /// out all the same, as it has been paid for.
    pub(super) async fn keep(&self, app: &App, response: &Response) -> bool {
        if !self.response.store {
            return false;
        }
        let new = table::New {
            id: self.id,
            account: self.account,
            previous: self.previous,
            input: &self.input,
            response,
            past_bytes: self.past.bytes,
        };
        match tokio::time::timeout(STORE_WITHIN, table::insert(&app.database, &new)).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::warn!(%error, response = response.id, "a response could not be stored"),
            Err(_) => tracing::warn!(response = response.id, "a response could not be stored in time"),
        }
        false
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    OffsetDateTime::now_utc().unix_timestamp().unsigned_abs()
}

async fn past(app: &App, account: Uuid, text: &str) -> Result<(Option<Uuid>, Past), Failure> {
    const PARAM: &str = "previous_response_id";
    let limit = i64::try_from(LIMIT_BYTES).unwrap_or(i64::MAX);
    let found = match response_of(text).filter(|_| text.starts_with("resp_")) {
        None => Err(NoPast::Unknown),
        Some(id) => table::past(&app.database, account, id, limit).await?.map(|past| (Some(id), past)),
    };
    found.map_err(|why| {
        let text = echo(text);
        let (code, message) = match why {
            NoPast::Unknown => {
                ("previous_response_not_found", format!("Previous response with id '{text}' not found."))
            }
            NoPast::Broken => (
                "previous_response_not_found",
                format!(
                    "What the previous response with id '{text}' goes on from is not stored any more. Begin a new \
                     conversation, or give all of it as 'input'."
                ),
            ),
            NoPast::TooLong => (
                "conversation_too_long",
                format!("The conversation up to '{text}' has more than {LIMIT_BYTES} bytes. Begin a new one."),
            ),
        };
        ApiError::invalid(message).with_param(PARAM).with_code(code).into()
    })
}

/// The item that is meant, from the conversation so far or from any of the account's responses.
async fn referenced(app: &App, account: Uuid, past: &Past, (index, id): (usize, &str)) -> Result<Item, Failure> {
    let is_meant = |item: &&Item| item.id() == id;
    if let Some(item) = past.items.iter().find(is_meant) {
        return Ok(item.clone());
    }
    let kept = match response_of(id) {
        None => None,
        Some(response) => table::find(&app.database, account, response).await?,
    };
    let item = kept.and_then(|kept| kept.input.iter().chain(&kept.response.output).find(is_meant).cloned());
    item.ok_or_else(|| {
        let message = format!("Item with id '{}' not found.", echo(id));
        ApiError::new(404, "invalid_request_error", None, message).with_param(&format!("input[{index}].id")).into()
    })
}
