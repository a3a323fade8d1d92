//! What is kept, over a real database.

use openapi::responses::{Item, ItemStatus, Part, Response, Speaker, response_text};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::table::{self, Kept, New, NoPast, Past};

async fn account(database: &PgPool) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query!("insert into accounts (id, name) values ($1, 'a')", id).execute(database).await.unwrap();
    id
}

fn says(id: &str, role: Speaker, text: &str) -> Item {
    let text = text.to_owned();
    let part = match role {
        Speaker::Assistant => Part::OutputText { text, annotations: Vec::new(), logprobs: Vec::new() },
        _ => Part::InputText { text },
    };
    Item::Message { id: id.to_owned(), role, status: ItemStatus::Completed, content: vec![part] }
}

/// A turn: what somebody says, and what the model answers.
fn turn(id: Uuid, text: &str) -> Kept {
    let input = vec![says(&format!("msg_{}_in0", id.simple()), Speaker::User, text)];
    let output = vec![says(&format!("msg_{}_0", id.simple()), Speaker::Assistant, "yes")];
    let usage = json!({"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2, "cost": "0.1"});
    let usage = serde_json::from_value(usage).unwrap();
    Kept { input, response: Response { id: response_text(id), output, usage, store: true, ..Response::default() } }
}

/// Keeps a turn of this account that goes on from another one.
async fn keep(database: &PgPool, account: Uuid, previous: Option<Uuid>, text: &str) -> (Uuid, Kept) {
    let id = Uuid::now_v7();
    let kept = turn(id, text);
    let past_bytes = match previous {
        Some(previous) => {
            table::past(database, account, previous, i64::MAX).await.unwrap().map_or(0, |past| past.bytes)
        }
        None => 0,
    };
    let new = New { id, account, previous, input: &kept.input, response: &kept.response, past_bytes };
    table::insert(database, &new).await.unwrap();
    (id, kept)
}

async fn past(database: &PgPool, account: Uuid, id: Uuid) -> Result<Past, NoPast> {
    table::past(database, account, id, i64::MAX).await.unwrap()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_kept_is_its_account_s_alone_until_it_is_deleted(database: PgPool) {
    let (mine, theirs) = (account(&database).await, account(&database).await);
    // Nor does a NUL within a text keep it out.
    let (id, kept) = keep(&database, mine, None, "a\0b \u{1F30A}").await;
    assert_eq!(table::find(&database, mine, id).await.unwrap(), Some(kept));
    assert_eq!(table::find(&database, theirs, id).await.unwrap(), None);
    assert_eq!(past(&database, theirs, id).await, Err(NoPast::Unknown));
    assert!(!table::delete(&database, theirs, id).await.unwrap());
    assert!(table::delete(&database, mine, id).await.unwrap());
    assert_eq!(table::find(&database, mine, id).await.unwrap(), None);
    assert!(!table::delete(&database, mine, id).await.unwrap());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_conversation_is_gone_on_from_in_order_and_from_any_of_its_turns(database: PgPool) {
    let account = account(&database).await;
    let mut turns = Vec::new();
    for text in ["one", "two", "three"] {
        turns.push(keep(&database, account, turns.last().map(|(id, _)| *id), text).await);
    }
    for (count, (id, _)) in (1..).zip(&turns) {
        let expected: Vec<Item> = turns[..count]
            .iter()
            .flat_map(|(_, kept)| kept.input.iter().chain(&kept.response.output).cloned())
            .collect();
        assert_eq!(past(&database, account, *id).await.unwrap().items, expected);
    }
    let (fork, kept) = keep(&database, account, Some(turns[0].0), "fork").await;
    let items = past(&database, account, fork).await.unwrap().items;
    assert_eq!((items.len(), &items[2]), (4, &kept.input[0]));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_conversation_without_its_beginning_or_too_long_is_not_gone_on_from(database: PgPool) {
    let account = account(&database).await;
    let (first, _) = keep(&database, account, None, "one").await;
    let (second, _) = keep(&database, account, Some(first), "two").await;
    let (third, _) = keep(&database, account, Some(second), "three").await;
    let bytes = past(&database, account, third).await.unwrap().bytes;
    assert!(bytes > past(&database, account, second).await.unwrap().bytes);
    let within = |most| table::past(&database, account, third, most);
    assert!(within(bytes).await.unwrap().is_ok());
    assert_eq!(within(bytes - 1).await.unwrap(), Err(NoPast::TooLong));
    table::delete(&database, account, first).await.unwrap();
    assert_eq!(past(&database, account, third).await, Err(NoPast::Broken));
    assert_eq!(past(&database, account, first).await, Err(NoPast::Unknown));
    assert!(table::find(&database, account, third).await.unwrap().is_some());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_was_kept_for_long_enough_is_deleted(database: PgPool) {
    let account = account(&database).await;
    let (old, _) = keep(&database, account, None, "old").await;
    let (new, _) = keep(&database, account, None, "new").await;
    for (id, days) in [(old, 31), (new, 29)] {
        sqlx::query!("update responses set created_at = now() - make_interval(days => $2) where id = $1", id, days)
            .execute(&database)
            .await
            .unwrap();
    }
    let settings = super::Settings { store: true, keep_days: 30 };
    assert_eq!(super::Settings { keep_days: 0, ..settings }.sweep(&database).await.unwrap(), 0);
    assert_eq!(settings.sweep(&database).await.unwrap(), 1);
    assert!(table::find(&database, account, old).await.unwrap().is_none());
    assert!(table::find(&database, account, new).await.unwrap().is_some());
}
