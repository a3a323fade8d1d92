//! One node that is asked for a file, and its answer.

use std::ops::Range;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use futures_util::stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use openapi::blob::{BlobAddress, Outline};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::{Node, NodeBody};

/// A node begins to answer within this; it may have to read the whole file for its outline first.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Between two pieces of an answer.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// A whole answer takes no longer.
pub(super) const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// Why a node did not give what it offers.
pub(super) enum Refusal {
    /// It failed.
    Failed(String),
    /// It gave what is not the file.
    Lied,
}

/// True when the node offers the file and is there.
pub(super) fn gives(node: &Node, address: &BlobAddress) -> bool {
    let way = node.best();
    let mut files = way.offer().models.iter().flat_map(|model| &model.manifest.files);
    way.is_open() && files.any(|file| file.address().as_ref() == Some(address))
}

/// Asks a node, and takes its answer's head if it announces exactly what was asked for.
pub(super) async fn ask(node: &Node, path: &str, range: Option<Range<u64>>) -> Result<Response<NodeBody>, String> {
    let mut request = Request::get(path);
    if let Some(range) = &range {
        request = request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end - 1));
    }
    let request = request.body(Full::<Bytes>::default()).map_err(|error| error.to_string())?;
    let called = timeout(ANSWER_WITHIN, node.call(request)).await.map_err(|_| "it is silent".to_owned())?;
    let answer = called.map_err(|error| error.to_string())?;
    let expected = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    if answer.status() != expected {
        return Err(format!("it answered {}", answer.status()));
    }
    let announced = answer.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    match range {
        Some(range) if announced != Some(range.end - range.start) => {
            Err(format!("it announced {announced:?} bytes and not {}", range.end - range.start))
        }
        _ => Ok(answer),
    }
}

pub(super) async fn outline_from(node: &Node, address: BlobAddress) -> Result<Outline, Refusal> {
    let answer = ask(node, &address.outline_path(), None).await.map_err(Refusal::Failed)?;
    let listed = read(answer, address.outline_bytes()).await.map_err(Refusal::Failed)?;
    Outline::proven(address, &listed).map_err(|_| Refusal::Lied)
}

/// A whole answer of at most so many bytes.
pub(super) async fn read(answer: Response<NodeBody>, most: u64) -> Result<Bytes, String> {
    let most = usize::try_from(most).map_err(|error| error.to_string())?;
    match timeout(WHOLE_WITHIN, Limited::new(answer.into_body(), most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

/// The bytes of an answer as they come, which hold `places` until they have come or the asker has gone.
pub(super) fn handed_on<Places: Send + 'static>(answer: Response<NodeBody>, places: Places) -> Body {
    let deadline = Instant::now() + WHOLE_WITHIN;
    let pieces = stream::try_unfold((answer.into_body(), places), move |(mut body, places)| async move {
        loop {
            let until = deadline.min(Instant::now() + SILENCE);
            match timeout_at(until, body.frame()).await.map_err(axum::Error::new)? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(axum::Error::new)?.into_data() {
                        return Ok::<_, axum::Error>(Some((bytes, (body, places))));
                    }
                }
            }
        }
    });
    Body::from_stream(pieces)
}
