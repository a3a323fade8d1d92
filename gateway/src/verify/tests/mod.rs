mod epochs;
mod gateway;
pub(crate) mod serving;

use std::path::Path;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(subcommand)]
    action: VerifyAction,
}

/// What the program says of files in `tests/receipts`, and how it ends. A word is an argument; one with a dot, a file there.
async fn told_by(line: &str) -> (String, u8) {
    told_of("receipts", line).await
}

/// The same of files in a folder of `tests`.
async fn told_of(folder: &str, line: &str) -> (String, u8) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(folder);
    let word = |word: &str| if word.contains('.') { folder.join(word).display().to_string() } else { word.to_owned() };
    let Program { action } =
        Program::parse_from(["verify".to_owned()].into_iter().chain(line.split_whitespace().map(word)));
    let Told { text, ending } = run(&action).await;
    (text.replace(&folder.display().to_string(), "…"), ending as u8)
}

#[tokio::test]
async fn a_receipt_that_holds() {
    let line = "receipt paid.json --keys keys.json --policy policy.txt --request request.json --answer answer.sse";
    assert_eq!(told_by(line).await, (include_str!("../snapshots/paid.txt").trim_end().to_owned(), 0));
}

#[tokio::test]
async fn a_receipt_that_nobody_vouches_for() {
    assert_eq!(told_by("receipt paid.jws").await, (include_str!("../snapshots/alone.txt").trim_end().to_owned(), 1));
}

#[tokio::test]
async fn a_receipt_that_is_forged() {
    let line = "receipt forged.json --keys keys.json --policy policy.txt --request answer.json";
    assert_eq!(told_by(line).await, (include_str!("../snapshots/forged.txt").trim_end().to_owned(), 1));
}

#[tokio::test]
async fn a_log_that_grew() {
    let line = "log --old old.checkpoint --new new.checkpoint --consistency consistency.txt --policy policy.txt";
    assert_eq!(told_by(line).await, (include_str!("../snapshots/grown.txt").trim_end().to_owned(), 0));
}

#[tokio::test]
async fn a_log_that_has_forked() {
    let line = "log --old new.checkpoint --new forked.checkpoint --policy policy.txt";
    assert_eq!(told_by(line).await, (include_str!("../snapshots/forked.txt").trim_end().to_owned(), 1));
}

#[tokio::test]
async fn files_that_are_not_what_they_should_be() {
    let json = r#"{"unreadable":{"input":"keys","why":"missing field `keys` at line 9 column 1"}}"#;
    for (line, text) in [
        ("receipt keys.json", "error: the receipt: unknown field `keys`"),
        ("receipt paid.json --keys policy.txt", "error: the keys: expected value at line 1 column 1"),
        ("receipt paid.json --keys paid.json --json", json),
        ("receipt missing.json", "error: cannot read …/missing.json: No such file"),
        ("receipt - --keys -", "error: standard input can be one file only"),
        (
            "log --old keys.json --new new.checkpoint --policy policy.txt",
            "error: the old checkpoint: a note has a text",
        ),
    ] {
        let (told, status) = told_by(line).await;
        assert!(status == 2 && told.starts_with(text), "{line}: {told}");
    }
}

#[tokio::test]
async fn programs_get_the_same_as_json() {
    let (told, status) = told_by("receipt overcharged.json --keys keys.json --json").await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let verdict = &told["verdict"];
    assert_eq!((status, &verdict["holds"], &verdict["findings"][3]["what"]), (1, &false.into(), &"cost".into()));
    assert_eq!(verdict["findings"][3]["holds"], false);
}
