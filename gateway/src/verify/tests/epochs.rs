//! Statements, epochs and copies, of the log in `tests/epochs`.

use super::serving::{Folder, checkpoint, head_of, serve};
use super::*;

fn snapshot(text: &str, number: u8) -> (String, u8) {
    (text.trim_end().to_owned(), number)
}

pub(super) async fn told(words: &[&str]) -> (String, u8) {
    let Program { action } = Program::parse_from(["verify"].iter().chain(words));
    let Told { text, ending } = run(&action).await;
    (text, ending as u8)
}

#[tokio::test]
async fn a_statement_that_holds() {
    let line = "statement statement.json --proof statement.tlog-proof --policy log/./policy --receipts receipts.jws --keys \
                log/jwks.json";
    assert_eq!(told_of("epochs", line).await, snapshot(include_str!("../snapshots/statement.txt"), 0));
    let (text, ending) = told_of("epochs", "statement statement.json").await;
    assert!(ending == 1 && text.ends_with("so nothing is proven (operator:a, epoch 2)."), "{text}");
    let (text, ending) = told_of("epochs", "statement log/jwks.json").await;
    assert!(ending == 2 && text.starts_with("error: the statement: unknown field `keys`"), "{text}");
}

#[tokio::test]
async fn an_epoch_in_a_folder_holds() {
    assert_eq!(
        told_of("epochs", "epoch ./log --policy log/./policy").await,
        snapshot(include_str!("../snapshots/epoch.txt"), 0)
    );
    let (text, ending) = told_of("epochs", "epoch ./log --epoch 1 --keys log/jwks.json").await;
    assert!(ending == 0 && text.starts_with("epoch 1\n"), "{text}");
    assert!(text.contains("The policy is the source's own"), "{text}");
    let sampled = "epoch ./log --policy log/./policy --sample 4 --seed chance";
    assert_eq!(told_of("epochs", sampled).await, snapshot(include_str!("../snapshots/sample.txt"), 0));
    let (text, ending) = told_of("epochs", "epoch ./log --epoch 3").await;
    assert!(ending == 2 && text.ends_with("has no epoch 3: the newest is 2"), "{text}");
}

#[tokio::test]
async fn an_epoch_of_a_gateway_and_one_of_its_copy_are_the_same() {
    let (log, copy) = (Folder::with_log(), Folder::new());
    let gateway = serve(&log).await;
    let at_gateway = told(&["epoch", &gateway]).await;
    assert_eq!(at_gateway.1, 0, "{}", at_gateway.0);
    let (text, ending) = told(&["copy", &gateway, copy.path()]).await;
    assert!(ending == 0 && text.ends_with("and 2 epochs; 2 bundles are new."), "{text}");
    assert_eq!(told(&["epoch", copy.path()]).await, at_gateway);
    let (text, _) = told(&["copy", &gateway, copy.path()]).await;
    assert!(text.ends_with("0 bundles are new."), "{text}");
    let sampled = told(&["epoch", &gateway, "--sample", "7", "--seed", "a"]).await;
    assert_eq!(told(&["epoch", copy.path(), "--sample", "7", "--seed", "a"]).await, sampled);
}

#[tokio::test]
async fn a_copy_grows_with_its_log() {
    let (log, copy) = (Folder::with_log(), Folder::new());
    let newest = log.read("checkpoint");
    log.write("checkpoint", checkpoint(head_of(100)).to_string());
    let gateway = serve(&log).await;
    assert_eq!(told(&["copy", &gateway, copy.path()]).await.1, 0);
    assert!(copy.0.join("tile/entries/000.p/100").exists());
    log.write("checkpoint", newest);
    let (text, ending) = told(&["copy", &gateway, copy.path()]).await;
    assert!(ending == 0 && text.ends_with("2 bundles are new."), "{text}");
    assert!(!copy.0.join("tile/entries/000.p").exists() && !copy.0.join("documents/000.p").exists());
    assert_eq!(told(&["epoch", copy.path()]).await.1, 0);
    log.write("checkpoint", log.read("checkpoint").replace("log.commonwatt", "other"));
    let (text, ending) = told(&["copy", &gateway, copy.path()]).await;
    assert!(ending == 2 && text.contains("give each a folder of its own"), "{text}");
}

#[tokio::test]
async fn an_epoch_with_another_document_does_not_hold() {
    let log = Folder::with_log();
    let last = std::fs::read_dir(log.0.join("documents/001.p")).unwrap().next().unwrap().unwrap().path();
    let documents = std::fs::read_to_string(&last).unwrap();
    let receipt = documents.lines().nth(15).unwrap();
    std::fs::write(&last, documents.replace(receipt, &receipt.replace("eyJ", "eyK"))).unwrap();
    let (text, ending) = told(&["epoch", log.path()]).await;
    assert!(ending == 1 && text.contains("✗ documents  Entry 271: it is"), "{text}");
    let (text, ending) = told(&["epoch", log.path(), "--json"]).await;
    assert!(ending == 1 && text.starts_with(r#"{"verdict":{"epoch":2,"holds":false"#), "{text}");
}

#[tokio::test]
async fn what_is_no_log_is_said() {
    let (empty, log) = (Folder::new(), Folder::with_log());
    log.write("policy", "quorum");
    for (words, why) in [
        (["epoch", empty.path()], "has no policy"),
        (["epoch", log.path()], "the policy is none"),
        (["epoch", "gateway.example"], "gateway.example is neither a folder nor an address such as https://"),
        (["epoch", "/no/such"], "/no/such is neither"),
    ] {
        let (text, ending) = told(&words).await;
        assert!(ending == 2 && text.contains(why), "{text}");
    }
}
