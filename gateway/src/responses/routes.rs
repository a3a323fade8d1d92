//! The paths under `/v1/responses`. Whoever holds an inference key of the account sees the account's responses, and
//! nobody else's.

use std::fmt::Display;

use axum::extract::Query;
use axum::http::Uri;
use axum::response::Response as Reply;
use openapi::error::{ApiError, echo};
use openapi::fields::wrong_value;
use openapi::responses::{DeletedResponse, Item, ItemList, Response, response_of};
use openapi::schema::ResponseStreamEvent;
use uuid::Uuid;

use super::table;
use crate::app::App;
use crate::auth::Caller;
use crate::body::{Json, LIMIT_BYTES, RawJson, Segment};
use crate::error::Failure;
use crate::idempotency::Submission;
use crate::inference::described::{NoAnswer, ResponseBody};

/// Items in a page: the usual number and the most.
const ITEMS: (usize, usize) = (20, 100);

/// Answers a text or items, whole or streamed, and keeps the answer unless `store` is false.
#[utoipa::path(post, path = "/v1/responses", tag = "OpenAI", security(("key" = [])), params(Submission),
    request_body = ResponseBody,
    responses((status = 200, description = "The response", content((Response = "application/json"), (ResponseStreamEvent = "text/event-stream"))),
        NoAnswer, Failure))]
pub async fn create(
    app: App,
    caller: Caller,
    submission: Submission,
    RawJson(body): RawJson,
) -> Result<Reply, Failure> {
    super::serve(&app, caller, submission, body).await
}

/// A response that is kept.
#[utoipa::path(get, path = "/v1/responses/{id}", tag = "OpenAI", security(("key" = [])), params(("id" = String, Path)),
    responses((status = 200, body = Response), (status = 400, description = "It can't be streamed again"), Failure))]
pub async fn show(app: App, caller: Caller, Segment(id): Segment, uri: Uri) -> Result<Json<Response>, Failure> {
    if asked(&uri)?.iter().any(|(name, value)| name == "stream" && value == "true") {
        return Err(ApiError::unsupported("stream").into());
    }
    Ok(Json(find(&app, &caller, &id).await?.response))
}

/// Forgets a response. A conversation that goes on from it can't be gone on with any more.
#[utoipa::path(delete, path = "/v1/responses/{id}", tag = "OpenAI", security(("key" = [])), params(("id" = String, Path)),
    responses((status = 200, body = DeletedResponse), Failure))]
pub async fn delete(app: App, caller: Caller, Segment(id): Segment) -> Result<Json<DeletedResponse>, Failure> {
    let key = key(&id)?;
    if table::delete(&app.database, caller.key.account, key).await? {
        return Ok(Json(DeletedResponse { id, object: "response".to_owned(), deleted: true }));
    }
    Err(not_found(&id).into())
}

/// What a response was made from: the conversation that it goes on from, and its own input. `after`, `limit` and `order`
/// turn the pages, the latest first unless `order` is `asc`.
#[utoipa::path(get, path = "/v1/responses/{id}/input_items", tag = "OpenAI", security(("key" = [])),
    params(("id" = String, Path), ("after" = Option<String>, Query), ("limit" = Option<u32>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = ItemList), Failure))]
pub async fn input_items(app: App, caller: Caller, Segment(id): Segment, uri: Uri) -> Result<Json<ItemList>, Failure> {
    let page = Page::read(&asked(&uri)?)?;
    let kept = find(&app, &caller, &id).await?;
    let previous = kept.response.previous_response_id.as_deref().and_then(response_of);
    let past = match previous {
        Some(previous) => {
            let limit = i64::try_from(LIMIT_BYTES).unwrap_or(i64::MAX);
            // Of a conversation whose beginning is gone, what is left.
            table::past(&app.database, caller.key.account, previous, limit).await?.unwrap_or_default()
        }
        None => table::Past::default(),
    };
    let items = past.items.into_iter().chain(kept.input).collect();
    Ok(Json(page.of(items)?))
}

/// Refuses, as OpenAI does: a response is computed while its client waits, and ends when that leaves.
#[utoipa::path(post, path = "/v1/responses/{id}/cancel", tag = "OpenAI", security(("key" = [])), params(("id" = String, Path)),
    responses((status = 400, description = "A response can't be cancelled"), Failure))]
pub async fn cancel(app: App, caller: Caller, Segment(id): Segment) -> Result<Json<Response>, Failure> {
    find(&app, &caller, &id).await?;
    let message = "Cannot cancel a synchronous response. It ends when its connection is closed; an account's running \
                   request is also ended by POST /api/requests/{id}/cancel.";
    Err(ApiError::invalid(message).into())
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<table::Kept, Failure> {
    let kept = table::find(&app.database, caller.key.account, key(id)?).await?;
    kept.ok_or_else(|| not_found(id).into())
}

fn key(id: &str) -> Result<Uuid, ApiError> {
    response_of(id).filter(|_| id.starts_with("resp_")).ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> ApiError {
    ApiError::new(404, "invalid_request_error", None, format!("Response with id '{}' not found.", echo(id)))
        .with_param("id")
}

fn asked(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    query.map(|Query(query)| query).map_err(|_| ApiError::invalid("The query of this URL can't be read."))
}

/// Which of the items are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    after: Option<String>,
    limit: usize,
    ascending: bool,
}

impl Page {
    fn read(query: &[(String, String)]) -> Result<Self, ApiError> {
        let (usual, most) = ITEMS;
        let mut page = Self { after: None, limit: usual, ascending: false };
        for (name, value) in query {
            match name.as_str() {
                "after" => page.after = Some(value.clone()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=most).contains(limit));
                    page.limit = limit.ok_or_else(|| wrong("limit", value, format_args!("1 to {most}")))?;
                }
                "order" if value == "asc" || value == "desc" => page.ascending = value == "asc",
                "order" => return Err(wrong("order", value, "'asc' and 'desc'")),
                _ => {}
            }
        }
        Ok(page)
    }

    fn of(&self, mut items: Vec<Item>) -> Result<ItemList, ApiError> {
        if !self.ascending {
            items.reverse();
        }
        let from = match &self.after {
            None => 0,
            Some(after) => {
                let at = items.iter().position(|item| item.id() == after);
                at.ok_or_else(|| wrong("after", after, "the ids of this response's items"))? + 1
            }
        };
        let has_more = items.len() - from > self.limit;
        let data: Vec<Item> = items.into_iter().skip(from).take(self.limit).collect();
        let id = |item: Option<&Item>| item.map(|item| item.id().to_owned());
        let (first_id, last_id) = (id(data.first()), id(data.last()));
        Ok(ItemList { object: "list".to_owned(), data, first_id, last_id, has_more })
    }
}

fn wrong(name: &str, value: &str, allowed: impl Display) -> ApiError {
    wrong_value(name, value, &allowed.to_string())
}

#[cfg(test)]
mod tests {
    use openapi::responses::{ItemStatus, Speaker};

    use super::*;

    fn page(query: &str) -> Result<Page, ApiError> {
        Page::read(&asked(&format!("/v1/responses/resp_1/input_items{query}").parse().unwrap())?)
    }

    fn items(count: usize) -> Vec<Item> {
        let item = |index| Item::Message {
            id: format!("msg_{index}"),
            role: Speaker::User,
            status: ItemStatus::Completed,
            content: Vec::new(),
        };
        (0..count).map(item).collect()
    }

    #[test]
    fn pages_lead_through_all_items_in_either_order() {
        for (order, expected) in [("asc", [0, 1, 2, 3, 4]), ("desc", [4, 3, 2, 1, 0])] {
            let (mut query, mut seen) = (format!("?limit=2&order={order}"), Vec::new());
            loop {
                let list = page(&query).unwrap().of(items(5)).unwrap();
                assert_eq!(list.first_id.as_deref(), list.data.first().map(Item::id));
                seen.extend(list.data.iter().map(|item| item.id().to_owned()));
                if !list.has_more {
                    break;
                }
                query = format!("?limit=2&order={order}&after={}", list.last_id.unwrap());
            }
            assert_eq!(seen, expected.map(|index| format!("msg_{index}")));
        }
        assert_eq!(page("?include[]=x").unwrap(), Page { after: None, limit: 20, ascending: false });
    }

    #[test]
    fn wrong_pages_name_their_parameter() {
        for (query, param) in
            [("?limit=0", "limit"), ("?limit=101", "limit"), ("?limit=x", "limit"), ("?order=up", "order")]
        {
            assert_eq!(page(query).unwrap_err().detail.param.as_deref(), Some(param), "{query}");
        }
        let unknown = page("?after=msg_9").unwrap().of(items(2)).unwrap_err();
        assert_eq!(unknown.detail.param.as_deref(), Some("after"));
    }

    #[test]
    fn only_ids_of_responses_name_one() {
        let id = Uuid::from_u128(7);
        assert_eq!(key(&openapi::responses::response_text(id)), Ok(id));
        for wrong in ["resp_", "x", &format!("msg_{}_0", id.simple())] {
            assert_eq!(key(wrong).unwrap_err().status, 404, "{wrong}");
        }
    }
}
