//! Model files pass from node to node through the gateway, which knows who has them. It believes neither side: what a
//! node gives is verified by whoever asked, and a complaint counts when the gateway has seen for itself.
//!
//! Few pieces are under way at once, so that files never crowd out answers.

mod giver;

mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use openapi::blob::{
    AVOID_HEADER, BAD_GROUP_PATH, BLOB_PATH, BadGroup, BlobAddress, GROUP_BYTES, OUTLINE_PATH, Outline, SOURCE_HEADER,
};
use openapi::error::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use super::greeting::who;
use super::{Node, Nodes};
use crate::app::App;
use crate::body::{RawJson, Segment};
use crate::error::Failure;
use giver::Refusal;
use tally::{Place, Tally};

/// Calls of all nodes that are served at once.
const AT_ONCE: usize = 4;
/// Calls that one node may have under way: two pieces of a file and a complaint.
const FOR_AN_ASKER: u32 = 3;
/// A call waits this long for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Nodes that one call tries.
const TRIES: usize = 3;
/// For files up to half a tebibyte.
const LONGEST_OUTLINE: u64 = 16 << 20;

/// The exchange of files.
pub struct Blobs {
    turns: Arc<Semaphore>,
    /// Calls of each node, from the moment when they begin to wait.
    asking: Arc<Tally>,
    /// Calls that each node answers.
    giving: Arc<Tally>,
    found_wrong: Tally,
    blame: Box<dyn Fn(Uuid) + Send + Sync>,
}

/// Who asks for what.
struct Wish {
    asker: Uuid,
    address: BlobAddress,
    /// Nodes that it shall not come from.
    avoid: Vec<Uuid>,
}

/// A call that has its turn, which ends when this is dropped.
struct Turn {
    _permit: OwnedSemaphorePermit,
    _asking: Place,
}

/// Gives an enrolled node the outline of a file, from another node that has it.
#[utoipa::path(get, path = OUTLINE_PATH, tag = "Nodes", params(("address" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream"), Failure))]
pub async fn outline(app: App, Segment(address): Segment, headers: HeaderMap) -> Result<Response, Failure> {
    let wish = Wish::of(who(&app, &headers).await?.id, &address, &headers)?;
    Ok(app.blobs.outline(&app.nodes, wish).await?)
}

/// Gives an enrolled node a piece of a file, from another node that has it.
#[utoipa::path(get, path = BLOB_PATH, tag = "Nodes", params(("address" = String, Path), ("range" = String, Header)),
    responses((status = 206, content_type = "application/octet-stream"), Failure))]
pub async fn range(app: App, Segment(address): Segment, headers: HeaderMap) -> Result<Response, Failure> {
    let wish = Wish::of(who(&app, &headers).await?.id, &address, &headers)?;
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    Ok(app.blobs.range(&app.nodes, wish, range).await?)
}

/// Hears that a node gave bytes which are not the file's, and looks for itself.
#[utoipa::path(post, path = BAD_GROUP_PATH, tag = "Nodes", params(("address" = String, Path)), request_body = BadGroup,
    responses((status = 204, description = "The gateway has looked"), Failure))]
pub async fn bad_group(
    app: App,
    Segment(address): Segment,
    headers: HeaderMap,
    body: Result<RawJson, Failure>,
) -> Result<StatusCode, Failure> {
    let wish = Wish::of(who(&app, &headers).await?.id, &address, &headers)?;
    let RawJson(body) = body?;
    let complaint = serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
    app.blobs.judge(&app.nodes, wish, complaint).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Wish {
    fn of(asker: Uuid, address: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let address: BlobAddress =
            address.parse().map_err(|error| ApiError::invalid(format!("{error}")).with_param("address"))?;
        if address.outline_bytes() > LONGEST_OUTLINE {
            return Err(ApiError::invalid("Files as long as that are not exchanged.").with_param("address"));
        }
        let avoid = headers.get(AVOID_HEADER).and_then(|avoid| avoid.to_str().ok()).unwrap_or_default();
        Ok(Self { asker, address, avoid: avoid.split(',').filter_map(|node| node.trim().parse().ok()).collect() })
    }
}

impl Blobs {
    /// `blame` is called with each node that was seen to give what is not the file.
    pub fn new(blame: impl Fn(Uuid) + Send + Sync + 'static) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            asking: Arc::default(),
            giving: Arc::default(),
            found_wrong: Tally::default(),
            blame: Box::new(blame),
        }
    }

    async fn outline(&self, nodes: &Nodes, mut wish: Wish) -> Result<Response, ApiError> {
        let _turn = self.turn(wish.asker).await?;
        let (source, outline) = self.proven_outline(nodes, &mut wish).await?;
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (HeaderName::from_static(SOURCE_HEADER), source.to_string()),
        ];
        Ok((headers, outline.to_bytes()).into_response())
    }

    async fn range(&self, nodes: &Nodes, mut wish: Wish, range: Option<&str>) -> Result<Response, ApiError> {
        let range = wish.address.requested(range)?;
        let turn = self.turn(wish.asker).await?;
        for _ in 0..TRIES {
            let (source, giving) = self.choose(nodes, &wish)?;
            match giver::ask(&source, &wish.address.path(), Some(range.clone())).await {
                Ok(answer) => {
                    let headers = [
                        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
                        (
                            header::CONTENT_RANGE,
                            format!("bytes {}-{}/{}", range.start, range.end - 1, wish.address.bytes),
                        ),
                        (HeaderName::from_static(SOURCE_HEADER), source.id.to_string()),
                    ];
                    let body = giver::handed_on(answer, (turn, giving));
                    return Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response());
                }
                Err(reason) => self.pass_over(&source, &mut wish, &Refusal::Failed(reason)),
            }
        }
        Err(nobody_gives())
    }

    /// Fetches the group that `complaint` is about from the node that it is about. When that is not the file's, the node is
    /// to blame; when it can't be had, nobody is.
    async fn judge(&self, nodes: &Nodes, mut wish: Wish, complaint: BadGroup) -> Result<(), ApiError> {
        let address = wish.address;
        let accused = nodes.get(complaint.source).filter(|node| giver::gives(node, &address)).ok_or_else(nobody_has)?;
        let range = address.range(complaint.group);
        if range.is_empty() {
            return Err(ApiError::invalid("The file has no such group.").with_param("group"));
        }
        let _turn = self.turn(wish.asker).await?;
        // Anybody's will do, since it proves itself.
        wish.avoid.clear();
        let (_, outline) = self.proven_outline(nodes, &mut wish).await?;
        let answer = giver::ask(&accused, &address.path(), Some(range.clone())).await.map_err(|reason| {
            tracing::info!(node = %accused.id, reason, "a complaint about a group could not be judged");
            nobody_gives()
        })?;
        let content = giver::read(answer, GROUP_BYTES).await.map_err(|_| nobody_gives())?;
        if outline.check(complaint.group, &content).is_err() {
            self.found_wrong(accused.id, &address);
        }
        Ok(())
    }

    /// An outline and who gave it. Whoever lists other hashes is to blame, since it offers the file.
    async fn proven_outline(&self, nodes: &Nodes, wish: &mut Wish) -> Result<(Uuid, Outline), ApiError> {
        for _ in 0..TRIES {
            let (source, _giving) = self.choose(nodes, wish)?;
            match giver::outline_from(&source, wish.address).await {
                Ok(outline) => return Ok((source.id, outline)),
                Err(refusal) => self.pass_over(&source, wish, &refusal),
            }
        }
        Err(nobody_gives())
    }

    /// Takes a place among the few.
    async fn turn(&self, asker: Uuid) -> Result<Turn, ApiError> {
        const SECONDS: u32 = 2;
        let asking = self.asking.enter(asker, FOR_AN_ASKER).ok_or_else(|| {
            let message = "This node has as many files under way as it may. Ask again when one has come.";
            ApiError::new(429, "invalid_request_error", Some("too_many_blobs"), message).with_retry_after(SECONDS)
        })?;
        match timeout(TURN_WITHIN, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _permit: permit, _asking: asking }),
            _ => Err(ApiError::overloaded("Many nodes fetch files at the moment. Ask again shortly.", SECONDS)),
        }
    }

    /// The best node to ask: one that was never found wrong, then the one that gives least now, then the least loaded.
    fn choose(&self, nodes: &Nodes, wish: &Wish) -> Result<(Arc<Node>, Place), ApiError> {
        let now = std::time::Instant::now();
        let mut candidates = nodes.all();
        candidates.retain(|node| node.id != wish.asker && node.is_up(now) && giver::gives(node, &wish.address));
        candidates.retain(|node| !wish.avoid.contains(&node.id));
        fastrand::shuffle(&mut candidates);
        let rank = |node: &Node, giving| (self.found_wrong.of(node.id), giving, node.state().0.burden());
        self.giving.enter_least(candidates, rank).ok_or_else(nobody_has)
    }

    fn pass_over(&self, source: &Node, wish: &mut Wish, refusal: &Refusal) {
        match refusal {
            Refusal::Lied => self.found_wrong(source.id, &wish.address),
            Refusal::Failed(reason) => tracing::info!(node = %source.id, reason, "a node did not give a file"),
        }
        wish.avoid.push(source.id);
    }

    fn found_wrong(&self, node: Uuid, address: &BlobAddress) {
        tracing::warn!(%node, %address, "a node gave what is not the file that it offers");
        self.found_wrong.add(node);
        (self.blame)(node);
    }
}

fn nobody_has() -> ApiError {
    let message = "No other connected node has this file. Fetch it from a public source.";
    ApiError::new(404, "invalid_request_error", Some("blob_not_found"), message)
}

fn nobody_gives() -> ApiError {
    const SECONDS: u32 = 5;
    ApiError::overloaded("The nodes that have this file do not give it at the moment. Ask again shortly.", SECONDS)
}
