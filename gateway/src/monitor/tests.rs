use clap::Parser;
use openapi::log::hash::Hash;
use openapi::log::tree::TreeHead;
use openapi::verify::What;

use super::alarm::Alarm;
use super::*;
use crate::verify::tests::serving::{Folder, checkpoint, head_of, serve};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    settings: MonitorSettings,
}

fn settings(source: &str, folder: &Folder, more: &[&str]) -> MonitorSettings {
    Program::parse_from(["monitor", source, "--folder", folder.path(), "--once"].iter().chain(more)).settings
}

/// Whoever has seen nothing but what is in the folder.
async fn monitor(source: &str, folder: &Folder) -> Monitor {
    Monitor::open(&settings(source, folder, &[]), Source::open(source).unwrap()).await.unwrap()
}

async fn ending(settings: &MonitorSettings) -> Ending {
    run(settings, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn a_log_that_grows_is_followed_from_look_to_look_and_from_one_start_to_the_next() {
    let (log, state) = (Folder::with_log(), Folder::new());
    let newest = log.read("checkpoint");
    log.write("checkpoint", checkpoint(head_of(100)).to_string());
    let gateway = serve(&log).await;
    let mut first = monitor(&gateway, &state).await;
    let looked = first.look().await.unwrap();
    assert_eq!((looked.seen.entries, looked.seen.new_entries, looked.alarms.len()), (100, 100, 0));
    assert_eq!(state.read("believed.checkpoint"), log.read("checkpoint"));
    log.write("checkpoint", checkpoint(head_of(200)).to_string());
    assert_eq!(first.look().await.unwrap().seen.new_entries, 100);
    log.write("checkpoint", &newest);
    let looked = monitor(&gateway, &state).await.look().await.unwrap();
    assert!(looked.alarms.is_empty(), "{:?}", looked.alarms);
    assert_eq!((looked.seen.new_receipts, looked.seen.new_epochs.as_slice()), (28, [1, 2].as_slice()));
    assert_eq!(ending(&settings(&gateway, &state, &[])).await, Ending::Quiet);
    log.write("checkpoint", checkpoint(head_of(150)).to_string());
    let looked = monitor(&gateway, &state).await.look().await.unwrap();
    assert!(looked.alarms.is_empty() && state.read("believed.checkpoint") == newest, "a replica that is behind");
}

#[tokio::test]
async fn a_fork_is_an_alarm_with_both_heads_kept() {
    let (log, state) = (Folder::with_log(), Folder::new());
    let gateway = serve(&log).await;
    assert_eq!(ending(&settings(&gateway, &state, &[])).await, Ending::Quiet);
    let believed = log.read("checkpoint");
    let whole: u64 = believed.lines().nth(1).unwrap().parse().unwrap();
    for (size, says) in [(whole, "has forked"), (100, "has forked"), (whole + 1, "do not lead")] {
        let other = checkpoint(TreeHead { size, root: Hash([7; 32]) }).to_string();
        log.write("checkpoint", &other);
        if size > whole {
            // What comes after is made up too.
            for (folder, more) in [("tile/entries", &b"\0\x01x"[..]), ("documents", b"\n")] {
                let kept = std::fs::read(log.0.join(format!("{folder}/001.p/{}", whole - 256))).unwrap();
                log.write(&format!("{folder}/001.p/{}", size - 256), [kept.as_slice(), more].concat());
            }
        }
        let looked = monitor(&gateway, &state).await.look().await.unwrap();
        let line = looked.alarms.last().unwrap().line();
        assert!(line.contains(says) && line.contains(&serde_json::to_string(&other).unwrap()), "{line}");
        assert_eq!(ending(&settings(&gateway, &state, &["--json"])).await, Ending::Alarm);
        assert_eq!(state.read("believed.checkpoint"), believed, "what is believed stays");
    }
    let kept: Vec<_> = std::fs::read_dir(state.0.join("alarms")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 8, "what was made up is none that is known, too");
    for folder in kept {
        assert_eq!(std::fs::read_to_string(folder.join("believed.checkpoint")).unwrap(), believed);
        assert!(folder.join("shown.checkpoint").exists() && folder.join("alarm.json").exists());
    }
}

#[tokio::test]
async fn a_document_that_is_another_is_an_alarm_and_so_is_its_epoch() {
    let (log, state) = (Folder::with_log(), Folder::new());
    let documents = log.read("documents/000");
    let receipt = documents.lines().last().unwrap();
    log.write("documents/000", documents.replace(receipt, &receipt.replace("eyJ", "eyK")));
    let mut monitor = monitor(log.path(), &state).await;
    let looked = monitor.look().await.unwrap();
    let whats: Vec<What> = looked.alarms.iter().map(Alarm::what).collect();
    assert_eq!(whats, [What::Documents, What::Documents], "{:?}", looked.alarms);
    assert_eq!(monitor.look().await.unwrap().alarms.len(), 0, "it is said once");
}

#[tokio::test]
async fn receipts_that_are_gone_are_none() {
    let (log, state) = (Folder::with_log(), Folder::new());
    let documents = log.read("documents/000");
    let receipt = documents.lines().last().unwrap();
    log.write("documents/000", documents.replace(receipt, ""));
    let looked = monitor(log.path(), &state).await.look().await.unwrap();
    assert_eq!((looked.alarms.len(), looked.seen.missing), (0, 1), "{:?}", looked.alarms);
    let words = looked.seen.to_string();
    assert!(
        words.ends_with("1 more not published any more; epochs 1 to 2 made again; nothing speaks against it"),
        "{words}"
    );
}

#[tokio::test]
async fn a_program_is_told_of_an_alarm() {
    use std::os::unix::fs::PermissionsExt;
    let (log, state) = (Folder::with_log(), Folder::new());
    state.write("tell", format!("#!/bin/sh\ncat > {}/told\n", state.path()));
    let program = state.0.join("tell");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let more = ["--alarm", program.to_str().unwrap()];
    assert_eq!(ending(&settings(log.path(), &state, &more)).await, Ending::Quiet);
    log.write("checkpoint", checkpoint(TreeHead { size: 100, root: Hash([7; 32]) }).to_string());
    assert_eq!(ending(&settings(log.path(), &state, &more)).await, Ending::Alarm);
    assert!(
        state.read("told").starts_with(r#"{"alarm":"growth","says":"the log has forked"#),
        "{}",
        state.read("told")
    );
}

#[tokio::test]
async fn a_log_that_can_t_be_read_is_away_and_a_changed_copy_is_unreadable() {
    let (empty, log, state) = (Folder::new(), Folder::with_log(), Folder::new());
    assert_eq!(ending(&settings(empty.path(), &state, &[])).await, Ending::Away);
    assert_eq!(ending(&settings(log.path(), &state, &[])).await, Ending::Quiet);
    let entries = std::fs::read(state.0.join("tile/entries/000")).unwrap();
    state.write("tile/entries/000", [&entries[..20], b"x", &entries[21..]].concat());
    assert_eq!(ending(&settings(log.path(), &state, &[])).await, Ending::Unreadable);
    assert_eq!(ending(&settings("/no/such", &Folder::new(), &[])).await, Ending::Unreadable);
}
