//! What is noted can't be changed, and is shown to those whom it concerns.

use sqlx::{Executor, PgPool};
use uuid::Uuid;

use super::Who;
use super::table::{Act, add, list};
use crate::auth::user::somebody;

fn act(who: Option<Who>, act: &str, status: u16) -> Act {
    Act { id: Uuid::now_v7(), who, address: Some("192.0.2.7".to_owned()), act: act.to_owned(), status }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn acts_are_kept_in_their_order_and_by_account(database: PgPool) {
    let mut ids = Vec::new();
    for (which, status) in [(0, 201), (1, 204), (0, 403)] {
        let (account, user) = somebody(&database).await;
        let who = Who { user, account, session: None, key: Some(Uuid::now_v7()) };
        let noted = act((which == 0).then_some(who), "POST /api/keys", status);
        add(&database, &noted).await.unwrap();
        ids.push((noted.id, account));
    }
    let all = list(&database, None, None, 10).await.unwrap();
    assert_eq!(all.iter().map(|row| row.status).collect::<Vec<_>>(), [403, 204, 201]);
    assert!(all[0].email.is_some() && all[1].email.is_none(), "nobody's name is at the command line");
    let one = list(&database, Some(ids[0].1), None, 10).await.unwrap();
    assert_eq!(one.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[0].0]);
    let older = list(&database, None, Some(ids[1].0), 10).await.unwrap();
    assert_eq!(older.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[0].0]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nothing_that_was_noted_can_be_changed(database: PgPool) {
    add(&database, &act(None, "admin grant\n\0", 0)).await.unwrap();
    assert_eq!(list(&database, None, None, 1).await.unwrap()[0].act, "admin grant");
    for statement in ["update audit_log set status = 200", "delete from audit_log", "truncate audit_log"] {
        let error = database.execute(statement).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
}
