//! The gateway is killed and the end of its journal is damaged, as a power cut does it: it starts, says what it cut, and
//! loses the last record at most. Every single byte is tried beside the journal's code.

use std::path::{Path, PathBuf};

use tests::load::Ask;
use tests::mock::Order;
use tests::{Database, Gateway, books};
use uuid::Uuid;

use crate::stage::{Stage, ask_once, say};

const ASKED: usize = 8;

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// So many bytes are missing at the end.
    Torn(usize),
    /// Bytes follow that are no record.
    Garbage,
}

#[tokio::test]
async fn a_torn_journal_costs_the_last_record_at_most() {
    let folder = std::env::temp_dir().join(format!("torn-{}", Uuid::now_v7()));
    let settings = [("COMMONWATT_JOURNAL", folder.to_str().unwrap())];
    let mut stage = Stage::on(Gateway::start_with(Database::create().await, &settings).await).await;
    let damages = [Damage::Garbage, Damage::Torn(1), Damage::Torn(40)];
    let mut lost = 0;
    for damage in damages {
        lost += damaged(&mut stage, &folder.join("records"), damage).await;
    }
    let audit = stage.close().await;
    let completed = audit.ended("completed") + lost;
    assert_eq!((completed as usize, audit.ended("gateway_failed")), (ASKED * damages.len(), lost), "{audit}");
    std::fs::remove_dir_all(&folder).unwrap();
    say(format!(
        "journal damaged {} times: {completed} requests, {lost} last ones free, books balanced; {audit}",
        damages.len()
    ));
}

/// How many answers are free because of it.
async fn damaged(stage: &mut Stage, records: &Path, damage: Damage) -> u64 {
    let clients = stage.clients();
    let mut seen = Vec::new();
    for _ in 0..ASKED {
        seen.push(ask_once(&clients, &Ask::stream(Order::default())).await);
    }
    assert!(seen.iter().all(|seen| seen.done), "{seen:?}");
    stage.gateway().kill().await;
    harm(&newest(records), damage);
    stage.gateway().restart().await;
    let log = stage.gateways[0].log();
    assert!(log.contains("was damaged after byte"), "{damage:?}: it says nothing:\n{log}");
    books::shipped(&stage.gateways[0]).await;
    stage.gateway().nodes(2).await;
    let free: Vec<Uuid> = sqlx::query_scalar("select id from requests where outcome = 'gateway_failed'")
        .fetch_all(&stage.database().pool)
        .await
        .unwrap();
    let before = seen.len();
    seen.retain(|seen| !free.contains(&seen.request.unwrap()));
    let lost = before - seen.len();
    stage.seen.extend(seen);
    assert!(lost <= usize::from(matches!(damage, Damage::Torn(_))), "{damage:?} costs {lost} records");
    lost as u64
}

fn newest(records: &Path) -> PathBuf {
    let files = std::fs::read_dir(records).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|end| end == "jnl"));
    let number = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    journals.max_by_key(number).unwrap()
}

fn harm(file: &Path, damage: Damage) {
    let bytes = std::fs::read(file).unwrap();
    // The rest of the file was made in advance and is empty.
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let harmed = match damage {
        Damage::Torn(missing) => bytes[..end - missing].to_vec(),
        Damage::Garbage => [&bytes[..end], &[0xA5; 100]].concat(),
    };
    std::fs::write(file, harmed).unwrap();
}
