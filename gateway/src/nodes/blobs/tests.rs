//! Files between nodes at the ends of real connections, some of them dishonest.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::routing::get;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use openapi::blob::LONGEST_RANGE;
use openapi::manifest::ManifestFile;
use openapi::node::Offer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::scripted::Scripted;
use super::super::way::Way;
use super::super::{connection, lock};
use super::giver::{SILENCE, WHOLE_WITHIN};
use super::*;

const GROUP: usize = GROUP_BYTES as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    Spoils,
    LiesInOutline,
    Fails,
    AnnouncesLess,
    /// Sends one byte of a piece, and then nothing.
    Stalls,
}

#[derive(Clone)]
struct Giver {
    manner: Manner,
    content: Arc<Vec<u8>>,
    asked: Arc<AtomicUsize>,
}

async fn give_outline(State(giver): State<Giver>) -> Response {
    let mut listed = Outline::of(giver.content.as_slice()).unwrap().to_bytes();
    match giver.manner {
        Manner::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Manner::LiesInOutline => listed[0] ^= 1,
        _ => {}
    }
    listed.into_response()
}

async fn give_range(State(giver): State<Giver>, headers: HeaderMap) -> Response {
    giver.asked.fetch_add(1, Ordering::Relaxed);
    let address = Outline::of(giver.content.as_slice()).unwrap().address();
    let range = address.requested(Some(headers[header::RANGE].to_str().unwrap())).unwrap();
    let mut bytes = giver.content[range.start as usize..range.end as usize].to_vec();
    match giver.manner {
        Manner::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Manner::Spoils => bytes[1] ^= 1,
        Manner::AnnouncesLess => drop(bytes.pop()),
        Manner::Stalls => {
            let body = stream::unfold(Some(vec![bytes[0]]), |first| async {
                match first {
                    Some(first) => Some((Ok::<_, std::io::Error>(first), None)),
                    None => std::future::pending().await,
                }
            });
            let length = [(header::CONTENT_LENGTH, bytes.len())];
            return (StatusCode::PARTIAL_CONTENT, length, Body::from_stream(body)).into_response();
        }
        Manner::Honest | Manner::LiesInOutline => {}
    }
    (StatusCode::PARTIAL_CONTENT, bytes).into_response()
}

struct Scene {
    nodes: Nodes,
    blobs: Blobs,
    blamed: Arc<Mutex<Vec<Uuid>>>,
    content: Arc<Vec<u8>>,
    address: BlobAddress,
    asker: Uuid,
}

impl Scene {
    fn new() -> Self {
        let content: Arc<Vec<u8>> = Arc::new((0..3 * GROUP + 5).map(|byte| (byte % 251) as u8).collect());
        let address = Outline::of(content.as_slice()).unwrap().address();
        let blamed = Arc::<Mutex<Vec<Uuid>>>::default();
        let told = Arc::clone(&blamed);
        let blobs = Blobs::new(move |node| lock(&told).push(node));
        Self { nodes: Nodes::default(), blobs, blamed, content, address, asker: Uuid::now_v7() }
    }

    fn offer(&self) -> Offer {
        let mut offer = Scripted::offer();
        offer.models[0].manifest.files = vec![ManifestFile {
            path: "m.gguf".to_owned(),
            bytes: self.address.bytes,
            sha256: String::new(),
            blake3: Some(self.address.blake3.to_string()),
        }];
        offer
    }

    /// A connected node, and how often it was asked for a piece.
    async fn join(&self, manner: Manner) -> (Uuid, Arc<AtomicUsize>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (id, asked) = (Uuid::now_v7(), Arc::<AtomicUsize>::default());
        let giver = Giver { manner, content: Arc::clone(&self.content), asked: Arc::clone(&asked) };
        let router = Router::new().route(BLOB_PATH, get(give_range)).route(OUTLINE_PATH, get(give_outline));
        let service = TowerToHyperService::new(router.with_state(giver));
        tokio::spawn(async move {
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(theirs), service).await
        });
        let (sender, _) = connection::open(ours, &TaskTracker::new()).await.unwrap();
        self.nodes.add(id, Arc::new(Way::tunnel(self.offer(), sender, CancellationToken::new())));
        (id, asked)
    }

    fn wish(&self, avoid: &[Uuid]) -> Wish {
        Wish { asker: self.asker, address: self.address, avoid: avoid.to_vec() }
    }

    /// The bytes of the second group and who gave them.
    async fn second_group(&self, avoid: &[Uuid]) -> Result<(Bytes, Uuid), ApiError> {
        let response = self.blobs.range(&self.nodes, self.wish(avoid), Some("bytes=1048576-2097151")).await?;
        let source = response.headers()[SOURCE_HEADER].to_str().unwrap().parse().unwrap();
        Ok((response.into_body().collect().await.unwrap().to_bytes(), source))
    }

    async fn complain(&self, source: Uuid, group: u64) -> Result<(), ApiError> {
        self.blobs.judge(&self.nodes, self.wish(&[]), BadGroup { source, group }).await
    }

    fn blamed(&self) -> Vec<Uuid> {
        lock(&self.blamed).clone()
    }
}

#[tokio::test]
async fn a_piece_comes_from_a_node_that_has_the_file_and_names_it() {
    let scene = Scene::new();
    let (giver, _) = scene.join(Manner::Honest).await;
    let (bytes, source) = scene.second_group(&[]).await.unwrap();
    assert_eq!((source, &bytes[..]), (giver, &scene.content[GROUP..2 * GROUP]));
    let outline = scene.blobs.outline(&scene.nodes, scene.wish(&[])).await.unwrap();
    assert_eq!(outline.headers()[SOURCE_HEADER], giver.to_string());
    let listed = outline.into_body().collect().await.unwrap().to_bytes();
    assert!(Outline::proven(scene.address, &listed).is_ok());
    assert_eq!((scene.blobs.giving.of(giver), scene.blobs.asking.of(scene.asker)), (0, 0));
    assert_eq!(scene.blobs.turns.available_permits(), AT_ONCE);
}

#[tokio::test]
async fn nobody_gives_to_himself_nor_what_shall_not_come_from_him_nor_what_he_has_not() {
    let mut scene = Scene::new();
    let (giver, asked) = scene.join(Manner::Honest).await;
    assert_eq!(scene.second_group(&[giver]).await.unwrap_err().status, 404);
    let other = BlobAddress { bytes: scene.address.bytes - 1, ..scene.address };
    let wish = Wish { address: other, ..scene.wish(&[]) };
    assert_eq!(scene.blobs.range(&scene.nodes, wish, Some("bytes=0-1")).await.unwrap_err().status, 404);
    scene.asker = giver;
    assert_eq!(scene.second_group(&[]).await.unwrap_err().status, 404);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn another_node_is_asked_when_one_fails() {
    for manner in [Manner::Fails, Manner::AnnouncesLess] {
        let scene = Scene::new();
        let (failing, _) = scene.join(manner).await;
        assert_eq!(scene.second_group(&[]).await.unwrap_err().status, 404, "{manner:?}");
        let (honest, _) = scene.join(Manner::Honest).await;
        for _ in 0..8 {
            assert_eq!(scene.second_group(&[]).await.unwrap().1, honest);
        }
        assert!(!scene.blamed().contains(&failing), "to fail is no lie");
    }
}

#[tokio::test]
async fn a_false_outline_is_found_here_and_blamed() {
    let scene = Scene::new();
    let (liar, _) = scene.join(Manner::LiesInOutline).await;
    assert!(scene.blobs.outline(&scene.nodes, scene.wish(&[])).await.is_err());
    assert_eq!(scene.blamed(), [liar]);
    let (honest, _) = scene.join(Manner::Honest).await;
    for _ in 0..8 {
        let outline = scene.blobs.outline(&scene.nodes, scene.wish(&[])).await.unwrap();
        assert_eq!(outline.headers()[SOURCE_HEADER], honest.to_string(), "who was found wrong is asked last");
    }
    assert_eq!(scene.blamed(), [liar]);
}

#[tokio::test]
async fn a_bad_group_costs_its_source_rank_once_the_gateway_has_seen_it() {
    let scene = Scene::new();
    let (liar, asked) = scene.join(Manner::Spoils).await;
    scene.complain(liar, 1).await.unwrap();
    assert_eq!(scene.blamed(), [liar]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let (honest, _) = scene.join(Manner::Honest).await;
    for _ in 0..8 {
        assert_eq!(scene.second_group(&[]).await.unwrap().1, honest);
    }
    assert_eq!(scene.second_group(&[honest]).await.unwrap().1, liar, "if there is nobody else");
}

#[tokio::test]
async fn nobody_can_be_slandered() {
    let scene = Scene::new();
    let (honest, _) = scene.join(Manner::Honest).await;
    let (helper, _) = scene.join(Manner::LiesInOutline).await;
    for group in 0..4 {
        scene.complain(honest, group).await.unwrap();
    }
    assert_eq!(scene.complain(honest, 4).await.unwrap_err().status, 400);
    assert_eq!(scene.complain(honest, u64::MAX).await.unwrap_err().status, 400);
    assert_eq!(scene.complain(Uuid::now_v7(), 0).await.unwrap_err().status, 404);
    // The hash of the file with the length of two groups fits a list of larger subtrees: no honest node offers that.
    let shorter = BlobAddress { bytes: 2 * GROUP_BYTES, ..scene.address };
    let wish = Wish { address: shorter, ..scene.wish(&[]) };
    let complaint = BadGroup { source: honest, group: 0 };
    assert_eq!(scene.blobs.judge(&scene.nodes, wish, complaint).await.unwrap_err().status, 404);
    assert!(!scene.blamed().contains(&honest));
    let (away, _) = scene.join(Manner::Fails).await;
    assert_eq!(scene.complain(away, 0).await.unwrap_err().status, 503, "what can't be seen is not believed");
    assert!(scene.blamed().iter().all(|blamed| *blamed == helper), "{:?}", scene.blamed());
}

#[tokio::test(start_paused = true)]
async fn few_pieces_are_under_way_and_a_silent_node_holds_none_for_ever() {
    let scene = Scene::new();
    let (first, _) = scene.join(Manner::Stalls).await;
    let (second, _) = scene.join(Manner::Stalls).await;
    let range = Some("bytes=0-9");
    let wish = |asker: Uuid| Wish { asker, ..scene.wish(&[]) };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(scene.blobs.range(&scene.nodes, wish(scene.asker), range).await.unwrap());
    }
    assert_eq!(scene.blobs.range(&scene.nodes, wish(scene.asker), range).await.unwrap_err().status, 429);
    held.push(scene.blobs.range(&scene.nodes, wish(Uuid::now_v7()), range).await.unwrap());
    assert_eq!((scene.blobs.giving.of(first), scene.blobs.giving.of(second)), (2, 2), "they share it");
    let refused = scene.blobs.range(&scene.nodes, wish(Uuid::now_v7()), range).await.unwrap_err();
    assert_eq!((refused.status, refused.retry_after.is_some()), (503, true));
    let begin = Instant::now();
    for piece in held {
        assert!(piece.into_body().collect().await.is_err());
    }
    assert!(begin.elapsed() >= SILENCE && begin.elapsed() < WHOLE_WITHIN);
    assert_eq!(scene.blobs.turns.available_permits(), AT_ONCE);
    assert_eq!((scene.blobs.asking.of(scene.asker), scene.blobs.giving.of(first)), (0, 0));
}

#[test]
fn a_wish_is_read_from_path_and_headers() {
    let (asker, avoided) = (Uuid::now_v7(), [Uuid::now_v7(), Uuid::now_v7()]);
    let mut headers = HeaderMap::new();
    headers.insert(AVOID_HEADER, format!("{}, {},nonsense", avoided[0], avoided[1]).parse().unwrap());
    let address = format!("{}-{LONGEST_RANGE}", blake3::hash(b"a"));
    let wish = Wish::of(asker, &address, &headers).ok().unwrap();
    assert_eq!((wish.asker, wish.address.to_string(), wish.avoid), (asker, address, avoided.to_vec()));
    for address in ["a.gguf".to_owned(), format!("{}-{}", blake3::hash(b"a"), u64::MAX)] {
        assert_eq!(Wish::of(asker, &address, &headers).err().unwrap().status, 400);
    }
}
