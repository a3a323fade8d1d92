//! A database in which requests were made up, with all that real ones leave.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde::Serialize;
use tests::books::number;
use tests::{Gateway, MODEL};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use uuid::Uuid;

use super::Cost;
use crate::figures::say;

const DAYS: u64 = 30;

/// Tables that grow with every request.
const TABLES: [&str; 5] = ["requests", "attempts", "request_energy", "events", "postings"];

#[derive(Serialize)]
pub(crate) struct Filled {
    /// Rows by table, and the bytes of the whole database.
    rows: Vec<(String, i64)>,
    bytes: i64,
    seconds: u64,
    /// Requests with later ids were really asked.
    #[serde(skip)]
    since: Uuid,
}

impl Filled {
    /// Makes so many requests up, as `make million` does.
    pub(super) async fn fill(gateway: &Gateway, requests: u64) -> Self {
        let (begun, database) = (Instant::now(), &gateway.database);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("operations/million");
        let file = |name: &str| format!("begin;\n\\i {}\ncommit;\n", folder.join(name).display());
        // Four of five are the first account's, of which `requests` speaks there.
        let mut script = format!("\\set requests {}\n\\set days {DAYS}\n\\set model {MODEL}\n", requests * 4 / 5);
        script += &file("world.sql");
        for day in 0..DAYS {
            script += &format!("\\set day {day}\n{}", file("day.sql"));
        }
        script += "alter table postings enable trigger events_add_up_to_zero;\nvacuum analyze;\ncheckpoint;\n";
        psql(&database.url, &script).await;
        let mut rows = Vec::new();
        for table in TABLES {
            rows.push((table.to_owned(), number(database, &format!("select count(*) from {table}")).await));
        }
        let bytes = number(database, "select pg_database_size(current_database())").await;
        let filled = Self { rows, bytes, seconds: begun.elapsed().as_secs(), since: Uuid::now_v7() };
        filled.print();
        filled
    }

    /// Those who asked have their rows, and the ledger adds up with all that was made up.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) async fn check(&self, gateway: &Gateway, asked: &[Cost]) -> Result<(), String> {
        let database = &gateway.database;
        let booked = format!("from requests where id >= '{}' and outcome = 'completed'", self.since);
        let rows = number(database, &format!("select count(*) {booked}")).await;
        let tokens = number(database, &format!("select coalesce(sum(completion_tokens), 0)::bigint {booked}")).await;
        let answered: usize = asked.iter().map(|cost| cost.requests).sum();
        let expected = [answered as i64, asked.iter().map(|cost| cost.tokens.cast_signed()).sum()];
        if [rows, tokens] != expected {
            return Err(format!("{rows} rows with {tokens} tokens were booked, and not {expected:?}"));
        }
        say(&gateway.admin(&["audit"]).await);
        Ok(())
    }

    fn print(&self) {
        let rows: Vec<String> = self.rows.iter().map(|(table, rows)| format!("{rows} {table}")).collect();
        let all: i64 = self.rows.iter().map(|(_, rows)| rows).sum();
        let (gigabytes, seconds) = (self.bytes / 1_000_000_000, self.seconds);
        say(&format!("made up in {seconds} s: {}; {all} rows, {gigabytes} GB", rows.join(", ")));
    }
}

async fn psql(url: &str, script: &str) {
    let mut command = Command::new("psql");
    command
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().expect("psql, of Debian's package postgresql-client");
    child.stdin.take().expect("piped").write_all(script.as_bytes()).await.expect("psql reads");
    assert!(child.wait().await.expect("psql ends").success(), "psql says why above");
}
