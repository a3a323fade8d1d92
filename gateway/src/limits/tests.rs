//! The table of limits on a real Postgres.

use super::*;

async fn set_and_read(database: &PgPool, subject: Subject, id: Uuid, limits: &Limits) -> Limits {
    let mut connection = database.acquire().await.unwrap();
    set(&mut connection, subject, limits).await.unwrap();
    of(&mut connection, id).await.unwrap()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn limits_come_back_as_they_were_set_and_are_announced(database: PgPool) {
    let all = Limits {
        requests_per_minute: Some(0),
        tokens_per_minute: Some(1),
        concurrent_requests: Some(2),
        nanocredits_per_day: Some(i64::MAX as u64),
        nanocredits_per_month: Some(9_007_199_254_740_993),
        microjoules_per_day: Some(5),
        models: Some(vec!["a \"quoted\", name".to_owned(), "b".to_owned()]),
        networks: Some(vec![network("192.0.2.0/24").unwrap(), network("2001:db8::1").unwrap()]),
    };
    for subject in [Subject::Key, Subject::User, Subject::Account] {
        let id = Uuid::now_v7();
        assert_eq!(set_and_read(&database, subject(id), id, &all).await, all);
        let one = Limits { models: Some(vec!["c".to_owned()]), ..Limits::default() };
        assert_eq!(set_and_read(&database, subject(id), id, &one).await, one);
        assert_eq!(set_and_read(&database, subject(id), id, &Limits::default()).await, Limits::default());
        let announced = sqlx::query_scalar!(
            r#"select count(*) as "count!" from changes where kind = 'limits' and subject = $1"#,
            id
        );
        assert_eq!(announced.fetch_one(&database).await.unwrap(), 3);
    }
    let left = sqlx::query_scalar!(r#"select count(*) as "count!" from limits"#).fetch_one(&database).await.unwrap();
    assert_eq!(left, 0, "who has no limits has no row");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_damaged_row_is_an_error_and_not_the_absence_of_limits(database: PgPool) {
    let id = Uuid::now_v7();
    sqlx::query!("insert into limits (subject, kind, networks) values ($1, 'key', '{nonsense}')", id)
        .execute(&database)
        .await
        .unwrap();
    let error = of(&mut database.acquire().await.unwrap(), id).await.unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn users_and_accounts_are_told_apart(database: PgPool) {
    let (account, user) = crate::auth::user::somebody(&database).await;
    for (kind, id, there) in [
        (Kind::User, user, true),
        (Kind::Account, account, true),
        (Kind::User, account, false),
        (Kind::Account, user, false),
    ] {
        assert_eq!(exists(&database, kind, id).await.unwrap(), there);
    }
    assert!(crate::auth::user::owns(&database, user, account).await.unwrap());
    assert!(!crate::auth::user::owns(&database, user, user).await.unwrap());
}

#[test]
fn a_management_key_has_networks_only() {
    let networks = Limits { networks: Some(vec![network("::1").unwrap()]), ..Limits::default() };
    assert!(networks.suit(Scope::Management).is_ok());
    let both = Limits { concurrent_requests: Some(1), ..networks };
    assert!(both.suit(Scope::Management).is_err());
    assert!(both.suit(Scope::Inference).is_ok());
}
