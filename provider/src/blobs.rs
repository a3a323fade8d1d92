//! What this node gives to other nodes: the files of its models, by address, a piece at a time. The gateway asks for them
//! through the tunnel, and nothing from outside ever names a path.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use axum::body::{Body, Bytes};
use axum::extract::{self, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use openapi::blob::{BlobAddress, Outline};
use openapi::error::ApiError;
use openapi::manifest::ModelManifest;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::OnceCell;

use crate::error::Failure;
use crate::router::Doorway;

/// What is read at once.
const BLOCK_BYTES: u64 = 256 << 10;

/// The files that can be asked for.
#[derive(Default)]
pub struct Blobs(HashMap<BlobAddress, Blob>);

struct Blob {
    path: PathBuf,
    outline: OnceCell<Bytes>,
}

impl Blobs {
    /// The files of a model that lie, verified, in `folder`.
    pub fn new(manifest: &ModelManifest, folder: &Path) -> Self {
        let blob = |path: &str| Blob { path: folder.join(path), outline: OnceCell::new() };
        Self(manifest.files.iter().filter_map(|file| Some((file.address()?, blob(&file.path)))).collect())
    }

    /// Those of another model beside them.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn find(&self, address: &str) -> Result<(BlobAddress, &Blob), ApiError> {
        let found = address.parse().ok().and_then(|address| Some((address, self.0.get(&address)?)));
        found.ok_or_else(|| {
            ApiError::new(
                404,
                "invalid_request_error",
                Some("blob_not_found"),
                "This node has no file of this address.",
            )
        })
    }

    /// The outline of a file, as it is sent.
    async fn outline(&self, address: &str) -> Result<Bytes, ApiError> {
        let (address, blob) = self.find(address)?;
        let outline = blob.outline.get_or_try_init(|| async {
            let path = blob.path.clone();
            tokio::task::spawn_blocking(move || kept_outline(address, &path)).await?
        });
        outline.await.cloned().map_err(|error| unreadable(&blob.path, &error))
    }

    /// A piece of a file, read as it is sent.
    async fn range(&self, address: &str, range: Option<&str>) -> Result<Response, ApiError> {
        let (address, blob) = self.find(address)?;
        let range = address.requested(range)?;
        let file = open_at(&blob.path, range.start).await.map_err(|error| unreadable(&blob.path, &error))?;
        let length = range.end - range.start;
        let blocks = stream::try_unfold((file, length), |(mut file, left)| async move {
            let next = left.min(BLOCK_BYTES);
            let mut block = vec![0; usize::try_from(next).map_err(io::Error::other)?];
            file.read_exact(&mut block).await?;
            io::Result::Ok((next > 0).then(|| (Bytes::from(block), (file, left - next))))
        });
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, length.to_string()),
            (header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, address.bytes)),
        ];
        Ok((StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(blocks)).into_response())
    }
}

/// The outline of one of this node's files.
pub(crate) async fn outline(
    State(door): State<Doorway>,
    extract::Path(address): extract::Path<String>,
) -> Result<Response, Failure> {
    let outline = door.node.blobs.outline(&address).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], outline).into_response())
}

/// A piece of one of this node's files.
pub(crate) async fn range(
    State(door): State<Doorway>,
    extract::Path(address): extract::Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    Ok(door.node.blobs.range(&address, range).await?)
}

async fn open_at(path: &Path, start: u64) -> io::Result<File> {
    let mut file = File::open(path).await?;
    file.seek(SeekFrom::Start(start)).await?;
    Ok(file)
}

/// The outline that an earlier run has left beside the file; else it is made, and left there.
fn kept_outline(address: BlobAddress, path: &Path) -> io::Result<Bytes> {
    let beside = path.with_added_extension("outline");
    if let Ok(kept) = std::fs::read(&beside)
        && Outline::proven(address, &kept).is_ok()
    {
        return Ok(kept.into());
    }
    let outline = Outline::of(std::fs::File::open(path)?)?;
    if outline.address() != address {
        return Err(io::Error::other("it is not the file that the manifest names"));
    }
    let outline = outline.to_bytes();
    // The model's folder may be one that this user can only read: then each start makes it anew.
    if let Err(error) = std::fs::write(&beside, &outline) {
        tracing::debug!(path = %beside.display(), %error, "the outline of a file could not be kept");
    }
    Ok(outline.into())
}

fn unreadable(path: &Path, error: &io::Error) -> ApiError {
    tracing::error!(path = %path.display(), %error, "a file of the model can't be given to another node");
    ApiError::internal()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use openapi::blob::GROUP_BYTES;
    use openapi::manifest::ManifestFile;

    use super::*;

    struct Kept {
        folder: PathBuf,
        content: Vec<u8>,
        address: BlobAddress,
        manifest: ModelManifest,
    }

    impl Kept {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("commonwatt-blobs-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let content: Vec<u8> = (0..GROUP_BYTES + 70_000).map(|byte| (byte % 251) as u8).collect();
            std::fs::write(folder.join("m.gguf"), &content).unwrap();
            let address = Outline::of(content.as_slice()).unwrap().address();
            let file = ManifestFile {
                path: "m.gguf".to_owned(),
                bytes: address.bytes,
                sha256: String::new(),
                blake3: Some(address.blake3.to_string()),
            };
            let unaddressed = ManifestFile { path: "old.gguf".to_owned(), blake3: None, ..file.clone() };
            let manifest = ModelManifest {
                name: "m".to_owned(),
                files: vec![file, unaddressed],
                quantisation: String::new(),
                licence: String::new(),
                authors: Vec::new(),
            };
            Self { folder, content, address, manifest }
        }

        fn blobs(&self) -> Blobs {
            Blobs::new(&self.manifest, &self.folder)
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[tokio::test]
    async fn a_piece_is_the_bytes_that_were_asked_for() {
        let kept = Kept::new("piece");
        let (blobs, address) = (kept.blobs(), kept.address.to_string());
        let end = kept.content.len();
        for (asked, given) in
            [("bytes=0-0", 0..1), ("bytes=5-700004", 5..700_005), ("bytes=1048575-8388608", 1_048_575..end)]
        {
            let response = blobs.range(&address, Some(asked)).await.unwrap();
            assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
            let range = format!("bytes {}-{}/{end}", given.start, given.end - 1);
            assert_eq!(response.headers()[header::CONTENT_RANGE], range);
            assert_eq!(response.headers()[header::CONTENT_LENGTH], given.len().to_string());
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), kept.content[given]);
        }
        for (asked, status) in [(None, 400), (Some("bytes=0-8388608"), 400), (Some("bytes=2000000-2000001"), 416)] {
            assert_eq!(blobs.range(&address, asked).await.unwrap_err().status, status, "{asked:?}");
        }
    }

    #[tokio::test]
    async fn only_files_of_the_manifest_are_given_and_only_by_address() {
        let kept = Kept::new("known");
        let blobs = kept.blobs();
        assert_eq!(blobs.0.len(), 1);
        let longer = BlobAddress { bytes: kept.address.bytes + 1, ..kept.address };
        for address in ["m.gguf", "../m.gguf", "", &longer.to_string()] {
            assert_eq!(blobs.range(address, Some("bytes=0-0")).await.unwrap_err().status, 404, "{address}");
            assert_eq!(blobs.outline(address).await.unwrap_err().status, 404, "{address}");
        }
    }

    #[tokio::test]
    async fn an_outline_is_made_once_kept_and_not_believed_blindly() {
        let kept = Kept::new("outline");
        let address = kept.address.to_string();
        let outline = kept.blobs().outline(&address).await.unwrap();
        assert!(Outline::proven(kept.address, &outline).is_ok());
        let beside = kept.folder.join("m.gguf.outline");
        assert_eq!(std::fs::read(&beside).unwrap(), outline);
        std::fs::write(&beside, b"damaged").unwrap();
        assert_eq!(kept.blobs().outline(&address).await.unwrap(), outline);
        assert_eq!(std::fs::read(&beside).unwrap(), outline);
        std::fs::write(kept.folder.join("m.gguf"), b"gone").unwrap();
        assert_eq!(kept.blobs().outline(&address).await.unwrap(), outline, "it needs the file no more");
        std::fs::remove_file(&beside).unwrap();
        assert_eq!(kept.blobs().outline(&address).await.unwrap_err().status, 500);
    }

    #[tokio::test]
    async fn a_file_that_was_cut_short_breaks_the_answer_off() {
        let kept = Kept::new("short");
        std::fs::write(kept.folder.join("m.gguf"), &kept.content[..10]).unwrap();
        let response = kept.blobs().range(&kept.address.to_string(), Some("bytes=0-99")).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
    }
}
