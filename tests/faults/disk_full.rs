//! The journal's disk fills up under load: nothing more is let in, what runs ends well, and with room again all goes on.
//! Needs a file system of its own, and so the right to mount one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::load::{Ask, Pace, Seen, begin};
use tests::mock::Order;
use tests::{Database, Gateway};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::stage::{Stage, ask_once, mixed, say};

const CHANGES_WITHIN: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_full_disk_lets_nothing_in_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIPPED: a full disk, since this user may not mount a file system of its own");
        return;
    };
    let journal = disk.0.join("journal");
    let settings = [("COMMONWATT_JOURNAL", journal.to_str().unwrap()), ("COMMONWATT_JOURNAL_FREE_MEGABYTES", "64")];
    let mut stage = Stage::on(Gateway::start_with(Database::create().await, &settings).await).await;
    stage.warm_up().await;
    let clients = stage.clients();
    let long = Ask::stream(Order { tokens: 40, every_us: 100_000, ..Order::default() });
    let running: Vec<_> = (0..8)
        .map(|_| {
            let (clients, long) = (clients.clone(), long.clone());
            tokio::spawn(async move { ask_once(&clients, &long).await })
        })
        .collect();
    // At a steady pace: whoever is refused at once would ask at once.
    let load = begin(stage.clients(), Pace::Open { per_second: 100 }, mixed);
    sleep(Duration::from_millis(500)).await;
    let filler = disk.fill();
    let refused = ask_until(&mut stage, |seen| seen.status == 503).await;
    for running in running {
        let seen = running.await.unwrap();
        assert!(seen.done, "an answer that ran when the disk became full failed: {seen:?}");
        stage.seen.push(seen);
    }
    assert_eq!(ask_once(&clients, &short()).await.status, 503, "there is no room yet");
    std::fs::remove_file(filler).unwrap();
    ask_until(&mut stage, |seen| seen.done).await;
    stage.keep(load).await;
    let (asked, completed) = (stage.seen.len(), stage.completed());
    let odd =
        stage.seen.iter().find(|seen| !seen.done && (seen.status, seen.retry_after) != (503, refused.retry_after));
    assert!(odd.is_none() && refused.retry_after.is_some(), "neither an answer nor a 503 with Retry-After: {odd:?}");
    let audit = stage.close().await;
    say(format!(
        "disk full: {asked} requests, {completed} completed, {} refused with 503 and Retry-After {}, 0 lost, books balanced; {audit}",
        asked - completed,
        refused.retry_after.unwrap()
    ));
}

fn short() -> Ask {
    Ask::whole(Order::default())
}

/// Asks until a reply is as wanted.
async fn ask_until(stage: &mut Stage, wanted: fn(&Seen) -> bool) -> Seen {
    let (clients, deadline) = (stage.clients(), Instant::now() + CHANGES_WITHIN);
    loop {
        let seen = ask_once(&clients, &short()).await;
        stage.seen.push(seen.clone());
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {CHANGES_WITHIN:?}: {seen:?}");
        sleep(ASK_EVERY).await;
    }
}

/// 300 MiB in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("disk-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=300m", "tmpfs"]).arg(&folder);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        let disk = Self(folder);
        mounted.then_some(disk)
    }

    /// Takes every byte that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let block = vec![1; 64 * 1024];
        while file.write_all(&block).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        detach(&self.0);
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn detach(folder: &Path) {
    // A gateway that is being killed may still use it: it goes with its last user.
    let _ = Command::new("umount").arg("--lazy").arg(folder).output();
}
