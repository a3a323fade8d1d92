//! A process that dies at any instant loses nothing that it acknowledged.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Scratch, open};

const ROUNDS: usize = 50;
/// A line of the child begins with this; the test harness prints lines of its own.
const MARK: &str = "acknowledged";

fn record(what: &str, id: Uuid) -> Vec<u8> {
    format!("{what} {id} ").repeat(1 + id.as_bytes()[15] as usize % 40).into_bytes()
}

/// Not a test of its own: the process that is killed. Reads its folder from standard input.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test below"]
async fn child() {
    let mut folder = String::new();
    std::io::stdin().read_line(&mut folder).unwrap();
    if folder.trim().is_empty() {
        return;
    }
    let journal = open(Path::new(folder.trim())).journal;
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let journal = journal.clone();
        tasks.spawn(async move {
            loop {
                let id = Uuid::now_v7();
                journal.admit(id, &record("admit", id)).await.unwrap();
                writeln!(std::io::stdout(), "{MARK} admit {id}").unwrap();
                if !id.as_bytes()[15].is_multiple_of(3) {
                    journal.settle(id, &record("settle", id)).await;
                    writeln!(std::io::stdout(), "{MARK} settle {id}").unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
}

/// Lets a child run until it has acknowledged so many, kills it, and returns all that it acknowledged.
fn killed_after(folder: &Path, count: usize) -> Vec<(String, Uuid)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::tests::kill::child", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", folder.display()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut found, mut line) = (Vec::new(), String::new());
    // A last line without an end was not acknowledged.
    while lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        if let Some((_, said)) = line.split_once(MARK) {
            let (what, id) = said.trim().split_once(' ').unwrap();
            found.push((what.to_owned(), id.parse().unwrap()));
            if found.len() == count {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    assert!(!child.wait().unwrap().success() && found.len() >= count, "the child ended by itself");
    found
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let scratch = Scratch::new("kill");
    let (mut acknowledged, mut cuts) = (0, 0);
    let mut expected = HashMap::new();
    for _ in 0..ROUNDS {
        for (what, id) in killed_after(&scratch.0, fastrand::usize(1..300)) {
            acknowledged += 1;
            expected.insert(id, what);
        }
        let again = open(&scratch.0);
        cuts += usize::from(again.cut.is_some());
        let waiting = again.journal.oldest(usize::MAX).await;
        let settled: HashSet<Vec<u8>> = waiting.iter().map(|(_, record)| record.clone()).collect();
        assert_eq!(settled.len(), waiting.len(), "a record is there twice");
        let open: HashMap<Uuid, Vec<u8>> = again.open.into_iter().collect();
        for (id, what) in &expected {
            let is_settled = settled.contains(&record("settle", *id));
            let is_open = open.get(id).is_some_and(|found| *found == record("admit", *id));
            assert!(is_settled || (what == "admit" && is_open), "{what} of {id} is lost");
            assert!(!(is_settled && open.contains_key(id)), "{id} is settled and open");
        }
        // Sometimes a shipper was there.
        if fastrand::bool() {
            again.journal.remove(&waiting.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>());
            expected.retain(|id, _| open.contains_key(id) && !settled.contains(&record("settle", *id)));
        }
        again.journal.close().await;
    }
    eprintln!("{ROUNDS} processes killed, {acknowledged} records acknowledged, all there; {cuts} torn tails cut");
}
