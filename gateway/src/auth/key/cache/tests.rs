//! Keys in memory, over a real Postgres and its feed of changes.

use super::*;
use crate::auth::key::{Fresh, KeyPatch, NewKey, Scope, change, create, revoke};
use crate::auth::user::somebody;
use crate::changes::{Feed, Heard};
use crate::limits::{self, Limits, Subject};

fn secrets() -> Arc<Secrets> {
    Arc::new(Secrets::derive(&[7; 32]).unwrap())
}

/// Keys that hear of nothing.
fn deaf(database: &PgPool) -> Keys {
    Keys::new(database.clone(), secrets(), Arc::default())
}

/// Keys as a replica has them.
async fn replica(database: &PgPool) -> Arc<Keys> {
    let last_look = Arc::<LastLook>::default();
    let keys = Arc::new(Keys::new(database.clone(), secrets(), Arc::clone(&last_look)));
    let mut feed = Feed::new(database.connect_options().as_ref().clone(), last_look);
    assert_eq!(feed.hear().await, Heard::Everything);
    feed.taken_in();
    let hearing = Arc::clone(&keys);
    tokio::spawn(async move {
        loop {
            match feed.hear().await {
                Heard::Changes(changes) => hearing.heard(&changes),
                Heard::Everything => hearing.ask_again().await.unwrap(),
            }
            feed.taken_in();
        }
    });
    keys
}

async fn new_key(database: &PgPool, owner: (Uuid, Uuid)) -> (Uuid, String) {
    let fresh = Fresh::draw(&secrets()).unwrap();
    let made = create(database, owner, NewKey::unlimited("test", Scope::Inference), &fresh).await.unwrap();
    (made.id, fresh.into_text())
}

async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !done().await {
        assert!(since.elapsed() < Duration::from_secs(1), "{what} within a second");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Keys {
    /// As if the record had been asked for and answered so long ago.
    fn age(&self, text: &str, asked: Duration, answered: Duration) {
        let public_id = public_id(text).unwrap();
        let cached = self.cache.get(public_id).unwrap();
        let ago = |span| Instant::now().checked_sub(span).unwrap();
        self.cache.insert(public_id.to_owned(), Cached { asked: ago(asked), answered: ago(answered), ..cached });
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_revocation_reaches_every_replica_and_what_runs_there(database: PgPool) {
    let owner = somebody(&database).await;
    let ((id, text), (_, other)) = (new_key(&database, owner).await, new_key(&database, owner).await);
    let (one, two) = (replica(&database).await, replica(&database).await);
    let (_, first) = one.find_and_watch(&text).await.unwrap();
    let (_, second) = two.find_and_watch(&text).await.unwrap();
    let (_, spared) = two.find_and_watch(&other).await.unwrap();
    assert!(revoke(&database, owner.0, id).await.unwrap());
    let both = async { tokio::join!(first.revoked().cancelled_owned(), second.revoked().cancelled_owned()) };
    tokio::time::timeout(Duration::from_secs(1), both).await.expect("what runs ends within a second");
    for keys in [&one, &two] {
        assert!(matches!(keys.find(&text).await, Err(KeyError::Wrong)));
        assert!(keys.find(&other).await.is_ok());
    }
    assert!(!spared.revoked().is_cancelled());
    drop((first, second, spared));
    assert!(one.in_use.ids().is_empty() && two.in_use.ids().is_empty());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn limits_of_key_user_and_account_come_with_the_key_and_are_heard_of(database: PgPool) {
    let owner = somebody(&database).await;
    let (id, text) = new_key(&database, owner).await;
    let keys = replica(&database).await;
    assert_eq!(keys.find(&text).await.unwrap().limits, limits::KeyLimits::default());
    for (subject, requests) in [(Subject::Key(id), 1), (Subject::User(owner.1), 2), (Subject::Account(owner.0), 3)] {
        let limits = Limits { requests_per_minute: Some(requests), ..Limits::default() };
        limits::set(&mut database.acquire().await.unwrap(), subject, &limits).await.unwrap();
    }
    eventually("the new limits hold", async || {
        let key = keys.find(&text).await.unwrap();
        assert_eq!(key.subjects(), [id, owner.1, owner.0]);
        key.limits.all().map(|limits| limits.requests_per_minute) == [Some(1), Some(2), Some(3)]
    })
    .await;
    let end = OffsetDateTime::now_utc() - time::Duration::seconds(1);
    change(&database, owner.0, id, KeyPatch { expires_at: Some(Some(end)), ..KeyPatch::default() }).await.unwrap();
    eventually("the key has expired", async || matches!(keys.find(&text).await, Err(KeyError::Expired(_)))).await;
    let altered = format!("{}x", &text[..text.len() - 1]);
    let with_another_secret = keys.find(if altered == text { "sk-cw-a-b" } else { &altered }).await;
    assert!(matches!(with_another_secret, Err(KeyError::Wrong)), "only its holder learns that it has expired");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn while_changes_are_heard_of_nothing_is_asked_twice(database: PgPool) {
    let owner = somebody(&database).await;
    let (id, text) = new_key(&database, owner).await;
    let (deaf, hearing) = (deaf(&database), replica(&database).await);
    for keys in [&deaf, &*hearing] {
        keys.find(&text).await.unwrap();
        keys.age(&text, FRESH, FRESH);
    }
    // A change that nobody announces tells who asks the database.
    sqlx::query!("alter table keys disable trigger keys_announce").execute(&database).await.unwrap();
    revoke(&database, owner.0, id).await.unwrap();
    assert!(hearing.find(&text).await.is_ok());
    assert!(matches!(deaf.find(&text).await, Err(KeyError::Wrong)));
    hearing.age(&text, FRESH_WHILE_HEARING, FRESH_WHILE_HEARING);
    assert!(matches!(hearing.find(&text).await, Err(KeyError::Wrong)));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn known_keys_outlive_the_database_for_a_while(database: PgPool) {
    let owner = somebody(&database).await;
    let (_, text) = new_key(&database, owner).await;
    let keys = deaf(&database);
    keys.find(&text).await.unwrap();
    assert!(matches!(keys.find("sk-cw-unknown-secret").await, Err(KeyError::Wrong)));
    database.close().await;
    assert!(keys.find(&text).await.is_ok());
    assert!(matches!(keys.find("sk-cw-unknown-secret").await, Err(KeyError::Wrong)), "it was asked for a moment ago");
    assert!(matches!(keys.find("sk-cw-another-secret").await, Err(KeyError::Database(_))));
    keys.age(&text, FRESH, KEPT - FRESH);
    assert!(keys.find(&text).await.is_ok());
    keys.age(&text, FRESH, KEPT);
    assert!(matches!(keys.find(&text).await, Err(KeyError::Database(_))));
    keys.last_look.was(Instant::now().checked_sub(FRESH).unwrap());
    assert!(keys.find(&text).await.is_ok(), "a look at the changes is as good as an answer");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_was_asked_before_a_change_is_not_kept_after_it(database: PgPool) {
    let owner = somebody(&database).await;
    let (id, text) = new_key(&database, owner).await;
    let keys = deaf(&database);
    let key = keys.find(&text).await.unwrap();
    let now = Instant::now();
    let cached = Cached { key: Some(key), asked: now, answered: now };
    let before = keys.changes();
    keys.heard(&[Change::Key { id, revoked: false }]);
    assert!(!keys.keep(public_id(&text).unwrap(), cached.clone(), before));
    assert!(keys.cache.get(public_id(&text).unwrap()).is_none());
    assert!(keys.keep(public_id(&text).unwrap(), cached, keys.changes()));
    keys.heard(&[Change::Price(id), Change::Node(id)]);
    assert!(keys.cache.get(public_id(&text).unwrap()).is_some(), "that is none of the keys' business");
    keys.ask_again().await.unwrap();
    assert!(keys.cache.get(public_id(&text).unwrap()).is_none());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn in_doubt_the_keys_in_use_are_asked_for(database: PgPool) {
    let owner = somebody(&database).await;
    let ((id, text), (_, other)) = (new_key(&database, owner).await, new_key(&database, owner).await);
    let keys = deaf(&database);
    let ((_, ended), (_, spared)) =
        (keys.find_and_watch(&text).await.unwrap(), keys.find_and_watch(&other).await.unwrap());
    revoke(&database, owner.0, id).await.unwrap();
    keys.ask_again().await.unwrap();
    assert!(ended.revoked().is_cancelled() && !spared.revoked().is_cancelled());
    assert!(matches!(keys.find(&text).await, Err(KeyError::Wrong)));
}
