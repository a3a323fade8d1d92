//! Changed and rotated keys on a real Postgres.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::auth::key::{create, list, revoke};
use crate::auth::user::somebody;
use crate::secrets::Secrets;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn fresh() -> Fresh {
    Fresh::draw(&Secrets::derive(&[7; 32]).unwrap()).unwrap()
}

async fn new_key(database: &PgPool, owner: (Uuid, Uuid), scope: Scope) -> Uuid {
    create(database, owner, NewKey::unlimited("test", scope), &fresh()).await.unwrap().id
}

async fn summary(database: &PgPool, account: Uuid, id: Uuid) -> KeySummary {
    list(database, account).await.unwrap().into_iter().find(|key| key.id == id).unwrap()
}

fn limiting(body: Value) -> KeyPatch<'static> {
    KeyPatch { limits: Some(Some(serde_json::from_value(body).unwrap())), ..KeyPatch::default() }
}

fn status(problem: &Problem) -> Value {
    serde_json::to_value(problem).unwrap()["status"].clone()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_patch_changes_what_it_names(database: PgPool) {
    let owner = somebody(&database).await;
    let id = new_key(&database, owner, Scope::Inference).await;
    let end = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + HOUR;
    let all =
        KeyPatch { name: Some("other"), expires_at: Some(Some(end)), ..limiting(json!({"tokens_per_minute": 7})) };
    change(&database, owner.0, id, all).await.unwrap();
    change(&database, owner.0, id, limiting(json!({"joules_per_day": 5}))).await.unwrap();
    let key = summary(&database, owner.0, id).await;
    assert_eq!((key.name.as_str(), key.expires_at), ("other", Some(end)));
    let limits = Limits { tokens_per_minute: Some(7), microjoules_per_day: Some(5_000_000), ..Limits::default() };
    assert_eq!(key.limits, (&limits).into());
    let none = KeyPatch { name: None, limits: Some(None), expires_at: Some(None) };
    change(&database, owner.0, id, none).await.unwrap();
    let key = summary(&database, owner.0, id).await;
    assert_eq!((key.name.as_str(), key.expires_at, key.limits), ("other", None, (&Limits::default()).into()));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_patch_that_is_refused_changes_nothing(database: PgPool) {
    let owner = somebody(&database).await;
    let id = new_key(&database, owner, Scope::Management).await;
    let wrong = KeyPatch { name: Some("other"), ..limiting(json!({"requests_per_minute": 7})) };
    assert_eq!(status(&change(&database, owner.0, id, wrong).await.unwrap_err()), 400);
    assert_eq!(summary(&database, owner.0, id).await.name, "test");
    change(&database, owner.0, id, limiting(json!({"networks": ["::1"]}))).await.unwrap();
    let (stranger, _) = somebody(&database).await;
    let theirs = change(&database, stranger, id, KeyPatch::default()).await.unwrap_err();
    assert_eq!(status(&theirs), 404);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_rotated_key_has_a_successor_like_it_and_ends_after_the_overlap(database: PgPool) {
    let owner = somebody(&database).await;
    let id = new_key(&database, owner, Scope::Inference).await;
    change(&database, owner.0, id, limiting(json!({"models": ["a"], "credits_per_day": "1"}))).await.unwrap();
    let before = OffsetDateTime::now_utc();
    let new = rotate(&database, owner, id, HOUR, &fresh()).await.unwrap();
    let (old, stored) = (summary(&database, owner.0, id).await, summary(&database, owner.0, new.id).await);
    assert_eq!((&new.name, new.scope, &new.limits, new.expires_at), (&old.name, old.scope, &old.limits, None));
    assert_eq!((&stored.limits, &stored.prefix), (&new.limits, &new.prefix));
    assert!(old.prefix != new.prefix && old.replaced_by == Some(new.id) && old.revoked_at.is_none());
    let ends_in = old.expires_at.unwrap() - before;
    assert!(
        (HOUR - Duration::from_secs(5)..HOUR + Duration::from_secs(30)).contains(&ends_in.unsigned_abs()),
        "{ends_in}"
    );
    let again = rotate(&database, owner, id, HOUR, &fresh()).await.unwrap_err();
    assert_eq!(status(&again), 409);
    assert!(serde_json::to_string(&again).unwrap().contains(&new.id.to_string()), "it names the successor");
    rotate(&database, owner, new.id, HOUR, &fresh()).await.unwrap();
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn rotation_prolongs_no_key_and_revives_none(database: PgPool) {
    let owner = somebody(&database).await;
    let soon = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + Duration::from_secs(60);
    let short = new_key(&database, owner, Scope::Management).await;
    let end = KeyPatch { expires_at: Some(Some(soon)), ..KeyPatch::default() };
    change(&database, owner.0, short, end).await.unwrap();
    let new = rotate(&database, owner, short, HOUR, &fresh()).await.unwrap();
    assert_eq!((new.scope, new.expires_at), (Scope::Management, Some(soon)));
    assert_eq!(summary(&database, owner.0, short).await.expires_at, Some(soon));
    let gone = new_key(&database, owner, Scope::Inference).await;
    let next = rotate(&database, owner, gone, Duration::ZERO, &fresh()).await.unwrap();
    assert!(summary(&database, owner.0, gone).await.expires_at.unwrap() <= OffsetDateTime::now_utc());
    revoke(&database, owner.0, next.id).await.unwrap();
    assert_eq!(status(&rotate(&database, owner, next.id, HOUR, &fresh()).await.unwrap_err()), 409);
    let expired = new_key(&database, owner, Scope::Inference).await;
    let past = KeyPatch { expires_at: Some(Some(soon - HOUR)), ..KeyPatch::default() };
    change(&database, owner.0, expired, past).await.unwrap();
    assert_eq!(status(&rotate(&database, owner, expired, HOUR, &fresh()).await.unwrap_err()), 409);
    let stranger = somebody(&database).await;
    assert_eq!(status(&rotate(&database, stranger, short, HOUR, &fresh()).await.unwrap_err()), 404);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn another_end_is_announced_and_another_name_is_not(database: PgPool) {
    let owner = somebody(&database).await;
    let id = new_key(&database, owner, Scope::Inference).await;
    let announced = async || {
        sqlx::query_scalar!(r#"select count(*) as "count!" from changes where kind = 'key' and subject = $1"#, id)
            .fetch_one(&database)
            .await
            .unwrap()
    };
    change(&database, owner.0, id, KeyPatch { name: Some("other"), ..KeyPatch::default() }).await.unwrap();
    assert_eq!(announced().await, 0);
    rotate(&database, owner, id, HOUR, &fresh()).await.unwrap();
    assert_eq!(announced().await, 1);
    revoke(&database, owner.0, id).await.unwrap();
    assert_eq!(announced().await, 2);
}
