//! Feeds over a real Postgres.

use sqlx::PgPool;
use uuid::Uuid;

use super::*;
use crate::changes::announce;

fn feed(database: &PgPool) -> Feed {
    Feed::new(database.connect_options().as_ref().clone(), Arc::default())
}

async fn begun(database: &PgPool) -> Feed {
    let mut feed = feed(database);
    assert_eq!(heard(&mut feed).await, Heard::Everything);
    feed
}

async fn heard(feed: &mut Feed) -> Heard {
    let heard = tokio::time::timeout(Duration::from_secs(10), feed.hear()).await.expect("news within ten seconds");
    feed.taken_in();
    heard
}

fn cancel() -> Change {
    Change::Cancel { request: Uuid::now_v7(), account: Uuid::now_v7() }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn every_feed_hears_of_a_change_within_a_second(database: PgPool) {
    let (mut one, mut two) = (begun(&database).await, begun(&database).await);
    for change in
        [cancel(), Change::Price(Uuid::now_v7()), Change::Node(Uuid::now_v7()), Change::Limits(Uuid::now_v7())]
    {
        announce(&database, change).await.unwrap();
        let since = Instant::now();
        let news = tokio::join!(heard(&mut one), heard(&mut two));
        assert_eq!(news, (Heard::Changes(vec![change]), Heard::Changes(vec![change])));
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_notice_is_not_waited_for_until_the_next_look(database: PgPool) {
    let mut feed = begun(&database).await;
    const ROUNDS: u32 = 10;
    let mut waited = Duration::ZERO;
    for _ in 0..ROUNDS {
        let announcing = async {
            // The feed waits already.
            tokio::time::sleep(LOOKS_APART * 2).await;
            announce(&database, cancel()).await.unwrap();
            Instant::now()
        };
        let (announced, _) = tokio::join!(announcing, heard(&mut feed));
        waited += announced.elapsed();
    }
    assert!(waited < LOOK_EVERY / 2 * ROUNDS, "{waited:?} in {ROUNDS} rounds");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_change_without_a_notice_is_found(database: PgPool) {
    let mut feed = begun(&database).await;
    let node = Uuid::now_v7();
    sqlx::query!("insert into changes (kind, subject) values ('node', $1)", node).execute(&database).await.unwrap();
    let since = Instant::now();
    assert_eq!(heard(&mut feed).await, Heard::Changes(vec![Change::Node(node)]));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_commits_late_is_heard_once(database: PgPool) {
    let (before, first, second, third) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let mut earliest = database.begin().await.unwrap();
    sqlx::query!("select announce('node', $1)", before).execute(&mut *earliest).await.unwrap();
    let mut feed = begun(&database).await;
    let mut slow = database.begin().await.unwrap();
    sqlx::query!("select announce('node', $1)", first).execute(&mut *slow).await.unwrap();
    announce(&database, Change::Node(second)).await.unwrap();
    assert_eq!(heard(&mut feed).await, Heard::Changes(vec![Change::Node(second)]));
    slow.commit().await.unwrap();
    assert_eq!(heard(&mut feed).await, Heard::Changes(vec![Change::Node(first)]));
    earliest.commit().await.unwrap();
    assert_eq!(heard(&mut feed).await, Heard::Changes(vec![Change::Node(before)]));
    announce(&database, Change::Node(third)).await.unwrap();
    assert_eq!(heard(&mut feed).await, Heard::Changes(vec![Change::Node(third)]), "none of the others again");
    assert!(feed.place.unwrap().heard.len() <= 4);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_killed_connection_is_made_anew_and_caught_up_with(database: PgPool) {
    let mut feed = begun(&database).await;
    let mut own = database.acquire().await.unwrap();
    let killed = sqlx::query_scalar!(
        r#"select count(pg_terminate_backend(pid)) as "count!" from pg_stat_activity
           where datname = current_database() and pid <> pg_backend_pid()"#
    )
    .fetch_one(&mut *own)
    .await
    .unwrap();
    assert!(killed >= 1);
    let change = cancel();
    let (kind, subject, account) = change.row();
    sqlx::query!("insert into changes (kind, subject, account_id) values ($1, $2, $3)", kind, subject, account)
        .execute(&mut *own)
        .await
        .unwrap();
    assert_eq!(heard(&mut feed).await, Heard::Changes(vec![change]));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_look_without_an_answer_is_given_up_and_memory_is_not_current(database: PgPool) {
    let mut feed = begun(&database).await;
    let last_look = Arc::clone(&feed.last_look);
    assert!(last_look.is_current());
    let mut hold = database.begin().await.unwrap();
    sqlx::query!("lock table changes in access exclusive mode").execute(&mut *hold).await.unwrap();
    let hearing = tokio::spawn(async move { (heard(&mut feed).await, feed) });
    while last_look.is_current() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let change = cancel();
    let (_, subject, account) = change.row();
    sqlx::query!("select announce('cancel', $1, $2)", subject, account).execute(&mut *hold).await.unwrap();
    hold.commit().await.unwrap();
    assert_eq!(hearing.await.unwrap().0, Heard::Changes(vec![change]));
    assert!(last_look.is_current());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn in_doubt_everything_may_have_changed(database: PgPool) {
    let mut feed = begun(&database).await;
    feed.place.as_mut().unwrap().at -= LONGEST_ABSENCE;
    assert_eq!(heard(&mut feed).await, Heard::Everything, "after a long absence");
    feed.place.as_mut().unwrap().since += 1_000_000;
    assert_eq!(heard(&mut feed).await, Heard::Everything, "another database");
    feed.last_look = Arc::default();
    announce(&database, cancel()).await.unwrap();
    assert!(matches!(feed.hear().await, Heard::Changes(_)));
    assert!(!feed.last_look.is_current(), "before the news is taken in");
    feed.doubt();
    assert_eq!(heard(&mut feed).await, Heard::Everything, "after news that could not be taken in");
    assert!(feed.last_look.is_current());
}
