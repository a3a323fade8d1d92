//! A model whose bytes are not those that its manifest names.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tests::{Gateway, program};
use tokio::process::Command;
use uuid::Uuid;

/// A copy of the model with one wrong byte in the middle.
fn falsified(folder: &Path) -> PathBuf {
    let source = PathBuf::from(std::env::var("COMMONWATT_TEST_MODEL").unwrap());
    let file = if source.is_dir() { gguf_in(&source) } else { source };
    let copy = folder.join(file.file_name().unwrap());
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&copy, bytes).unwrap();
    copy
}

fn gguf_in(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "gguf")).unwrap()
}

#[tokio::test]
async fn wrong_weights_are_refused_by_name_before_anything_is_served() {
    let gateway = Gateway::start().await;
    let folder = std::env::temp_dir().join(format!("weights-{}", Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let wrong = falsified(&folder);
    for arguments in [&["pull"][..], &["serve", "--listen", "127.0.0.1:0", "--slots", "1"]] {
        let mut command = Command::new(program("commonwatt-node"));
        command.args(arguments).env("COMMONWATT_DATA", folder.join("data")).env("COMMONWATT_SOURCE", &wrong);
        if arguments[0] == "serve" {
            command.env("COMMONWATT_GATEWAY", gateway.url("")).env("COMMONWATT_TOKEN", gateway.enrolment_token().await);
        }
        let output = command.env("NO_COLOR", "1").stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}: {said}");
        let name = wrong.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name) && said.to_lowercase().contains("sha"), "{arguments:?}: {said}");
    }
    assert_eq!(gateway.nodes_now().await, 0, "it never came to the gateway");
    std::fs::remove_dir_all(folder).unwrap();
}
