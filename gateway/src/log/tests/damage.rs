//! Whoever has the database can change rows, and it is found out.

use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::*;
use crate::log::audit::Auditor;

const SIZE: u64 = 70_000;
const TABLES: [&str; 3] = ["log_leaves", "log_tiles", "log_checkpoints"];

/// Somebody to whom triggers don't apply, as to a superuser who means harm.
struct Intruder(PgConnection);

impl Intruder {
    async fn at(database: &PgPool) -> Self {
        let mut connection = PgConnection::connect_with(&database.connect_options()).await.unwrap();
        connection.execute("set session_replication_role = replica").await.unwrap();
        let mut intruder = Self(connection);
        for table in TABLES {
            intruder.does(&format!("create table good_{table} as table {table}")).await;
        }
        intruder
    }

    async fn does(&mut self, statement: &str) {
        let done = self.0.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement} changes nothing");
    }

    /// Puts back what was there.
    async fn undo(&mut self) {
        for table in TABLES {
            let statement = format!("truncate {table} cascade; insert into {table} table good_{table}");
            self.0.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        }
    }
}

/// What an auditor says who looks at these tiles, among others.
async fn found(log: &Log, database: &PgPool, tile: u64) -> Vec<String> {
    Auditor::default().look(log, database, Some(tile..=tile)).await.unwrap();
    log.alarm.words()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_row_that_is_edited_or_deleted_raises_the_alarm_that_names_it(database: PgPool) {
    let log = grown_to(&database, SIZE).await;
    assert_eq!(found(&log, &database, 3).await, Vec::<String>::new());
    let mut intruder = Intruder::at(&database).await;
    let other = "receipt sha256:1111111111111111111111111111111111111111111111111111111111111111";
    let edits = [
        (format!("update log_leaves set entry = '{other}' where index = 777"), "leaf 777 is not what was logged"),
        ("update log_leaves set kind = 'key' where index = 777".to_owned(), "leaf 777 is not what was logged"),
        (
            format!(
                "update log_leaves set kind = 'receipt', entry = '{other}', leaf_hash = sha256('\\x00'::bytea || '{other}'::bytea)
                 where index = 777"
            ),
            "the hash at index 777 of /tile/0/003",
        ),
        ("delete from log_leaves where index = 777".to_owned(), "leaf 777 is missing"),
        (
            "update log_tiles set hashes = overlay(hashes placing '\\x00' from 9 * 32) where level = 0 and index = 3".to_owned(),
            "the hash at index 776 of /tile/0/003",
        ),
        ("delete from log_tiles where level = 0 and index = 3".to_owned(), "/tile/0/003 is missing"),
        (
            "update log_tiles set hashes = overlay(hashes placing '\\x00' from 4 * 32) where level = 1 and index = 0".to_owned(),
            "the hash at index 3 of /tile/1/000",
        ),
    ];
    for (edit, expected) in edits {
        intruder.does(&edit).await;
        // Whatever it finds, it goes on to append: the edge is as it was.
        let words = found(&log, &database, 3).await;
        assert!(words.iter().any(|word| word.contains(expected)), "{edit}: {words:?}");
        assert_eq!(log.figures().damaged, words.len() as u64);
        intruder.undo().await;
        assert_eq!(found(&log, &database, 3).await, Vec::<String>::new(), "after {edit}");
    }
}

/// A leaf of which all traces were made to fit, up to the first tile that is not full.
#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nothing_is_appended_to_what_was_not_signed(database: PgPool) {
    let log = grown_to(&database, SIZE).await;
    let mut intruder = Intruder::at(&database).await;
    let last = SIZE - 1;
    let edge = "update log_tiles set hashes = overlay(hashes placing '\\x00' from 31) where (level, index) =";
    let edits = [
        (format!("{edge} (0, {})", last / 256), "do not have the root"),
        (format!("{edge} (1, 1)"), "do not have the root"),
        (format!("{edge} (2, 0)"), "do not have the root"),
        ("delete from log_tiles where (level, index) = (1, 1)".to_owned(), "/tile/1/001.p/17 is missing"),
        (
            format!(
                "update log_tiles set hashes = substring(hashes for 64) where (level, index) = (0, {})",
                last / 256
            ),
            "has 2 hashes",
        ),
        (format!("delete from log_leaves where index = {last}"), "there are 69999 leaves"),
        ("insert into log_leaves values (70000, 'key', 'x', sha256('x'))".to_owned(), "there are 70001 leaves"),
        ("update log_checkpoints set root = sha256('x') where size = 70000".to_owned(), "another size or root"),
        ("update log_checkpoints set note = replace(note, '70000', '70001') where size = 70000".to_owned(), "70000"),
        ("update log_checkpoints set note = 'x' where size = 70000".to_owned(), "the checkpoint of 70000 leaves"),
        ("delete from log_checkpoints where size = 70000".to_owned(), "the newest checkpoint was of 70000 leaves"),
        (
            "insert into log_checkpoints select 70001, root, note from log_checkpoints where size = 70000".to_owned(),
            "the checkpoint of 70001 leaves",
        ),
        ("truncate log_checkpoints cascade; delete from log_leaves".to_owned(), "and is another one, of 0 leaves"),
    ];
    add(&database, &entries(SIZE..SIZE + 1)).await;
    for (edit, expected) in edits {
        intruder.does(&edit).await;
        let failed = log.append(&database).await.unwrap_err().to_string();
        assert!(failed.contains(expected), "{edit}: {failed}");
        assert_eq!((counts(&database).await[0], log.figures().damaged), (1, 1), "{edit}");
        if !edit.contains("truncate") {
            let mut connection = database.acquire().await.unwrap();
            let served = checkpoints::last_good(&mut connection, &log.keys).await.unwrap().unwrap();
            assert!(served.checkpoint().tree().size <= SIZE, "the last good one is served");
        }
        intruder.undo().await;
        found(&log, &database, 0).await;
        assert_eq!(log.figures().damaged, 0, "after {edit}");
    }
    log.append(&database).await.unwrap();
    assert_eq!(newest(&log, &database).await.checkpoint().tree(), head_of(&entries(0..SIZE + 1)));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn rows_beyond_the_edge_are_not_taken_for_ours(database: PgPool) {
    let log = grown_to(&database, 256).await;
    let mut intruder = Intruder::at(&database).await;
    intruder.does("insert into log_tiles values (0, 1, sha256('x'))").await;
    add(&database, &entries(256..260)).await;
    let failed = log.append(&database).await.unwrap_err().to_string();
    assert!(failed.contains("beyond the newest checkpoint"), "{failed}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_auditor_comes_round_to_every_tile(database: PgPool) {
    let log = grown_to(&database, 20 * 256 + 5).await;
    let mut intruder = Intruder::at(&database).await;
    let mut auditor = Auditor::default();
    for index in [0, 11 * 256 + 9, 20 * 256 + 4] {
        intruder.does(&format!("update log_leaves set entry = 'x' where index = {index}")).await;
        for _ in 0..6 {
            auditor.look(&log, &database, None).await.unwrap();
        }
        assert_eq!(log.alarm.words(), [format!("leaf {index} is not what was logged")]);
        intruder.undo().await;
        auditor.look(&log, &database, None).await.unwrap();
        assert_eq!(log.figures().damaged, 0, "what is right again is forgotten at the next look");
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_service_can_add_and_neither_change_nor_remove(database: PgPool) {
    let log = grown_to(&database, 300).await;
    add(&database, &[entry(300)]).await;
    let mut connection = PgConnection::connect_with(&database.connect_options()).await.unwrap();
    let owners = [
        "update log_leaves set kind = 'key'",
        "delete from log_leaves",
        "update log_checkpoints set size = size + 1",
        "delete from log_checkpoints",
        "truncate log_checkpoints, log_cosignatures",
        "delete from log_tiles",
        "truncate log_tiles",
        "update log_tiles set hashes = substring(hashes for 32)",
        "update log_tiles set hashes = overlay(hashes placing '\\x00' from 5)",
        "update log_tiles set index = index + 9, hashes = hashes || hashes where length(hashes) < 4000",
        "update log_queue set kind = 'key'",
        "update log_cosignatures set line = ''",
    ];
    for statement in owners {
        let error = connection.execute(statement).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("23001"), "{statement}: {error}");
    }
    connection.execute("set role commonwatt_service").await.unwrap();
    let tiles = |statement: &&str| statement.starts_with("update log_tiles");
    for statement in owners.into_iter().filter(|statement| !tiles(statement)) {
        let error = connection.execute(statement).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}: {error}");
    }
    let serving = sqlx::postgres::PgPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move { connection.execute("set role commonwatt_service").await.map(drop) })
    });
    let serving = serving.connect_with((*database.connect_options()).clone()).await.unwrap();
    add(&serving, &entries(301..303)).await;
    grow(&log, &serving).await.unwrap();
    assert_eq!(logged(&database).await, entries(0..303));
}
