//! Downloads through a gateway that is played here, from nodes that are honest or not.

use std::{fs, sync::Mutex, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{self, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use openapi::blob::{AVOID_HEADER, BAD_GROUP_PATH, BLOB_PATH, OUTLINE_PATH, SOURCE_HEADER};
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

use super::{
    super::{
        catalogue::CatalogueEntry,
        pull_with,
        source::SourceChoice,
        testing::{Folder, entry_of, joined},
    },
    *,
};

const GROUP: usize = GROUP_BYTES as usize;

/// What a node gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Honest,
    /// One group has another byte.
    Spoils(u64),
    /// So many bytes of what was asked for, then the connection breaks.
    CutsOff(usize),
    /// The same, but as if that was all.
    EndsEarly(usize),
    /// One byte, then nothing.
    Stalls,
    /// Another list of hashes, and then the file itself.
    LiesInOutline,
    /// The gateway can't reach it.
    Fails,
}

struct Played {
    content: Vec<u8>,
    nodes: Vec<(Uuid, Node)>,
    /// Who was asked for which bytes.
    asked: Mutex<Vec<(Uuid, String)>>,
    reported: Mutex<Vec<BadGroup>>,
}

impl Played {
    /// The nodes in turn, but for those that shall not be asked.
    fn choose(&self, headers: &HeaderMap, what: &str) -> Option<(Uuid, Node)> {
        assert!(headers[header::AUTHORIZATION].to_str().unwrap().starts_with("Bearer ey"));
        let avoid = headers.get(AVOID_HEADER).map_or("", |avoid| avoid.to_str().unwrap());
        let mut asked = self.asked.lock().unwrap();
        let turns = self.nodes.iter().cycle().skip(asked.len()).take(self.nodes.len());
        let (id, node) =
            turns.copied().into_iter().find(|(id, _)| !avoid.split(',').any(|avoid| avoid == id.to_string()))?;
        asked.push((id, what.to_owned()));
        Some((id, node))
    }
}

async fn give_outline(State(played): State<Arc<Played>>, headers: HeaderMap) -> Response {
    let Some((id, node)) = played.choose(&headers, "outline") else { return StatusCode::NOT_FOUND.into_response() };
    let mut listed = Outline::of(played.content.as_slice()).unwrap().to_bytes();
    match node {
        Node::Fails => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Node::LiesInOutline => listed[40] ^= 1,
        _ => {}
    }
    ([(HeaderName::from_static(SOURCE_HEADER), id.to_string())], listed).into_response()
}

async fn give_range(State(played): State<Arc<Played>>, headers: HeaderMap) -> Response {
    let asked = headers[header::RANGE].to_str().unwrap();
    let Some((id, node)) = played.choose(&headers, asked) else { return StatusCode::NOT_FOUND.into_response() };
    let address = Outline::of(played.content.as_slice()).unwrap().address();
    let range = address.requested(Some(asked)).unwrap();
    let (mut content, start) = (played.content.clone(), range.start as usize);
    if let Node::Spoils(group) = node {
        content[group as usize * GROUP + 9] ^= 1;
    }
    let bytes = content[start..range.end as usize].to_vec();
    let body = match node {
        Node::Fails => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Node::CutsOff(sent) => {
            let parts = [Ok(bytes[..sent.min(bytes.len())].to_vec()), Err(io::Error::other("the test cuts here"))];
            // The pause lets what came before reach the client.
            Body::from_stream(stream::iter(parts).then(|part| async { (tokio::task::yield_now().await, part).1 }))
        }
        Node::EndsEarly(sent) => bytes[..sent.min(bytes.len())].to_vec().into(),
        Node::Stalls => Body::from_stream(stream::iter([io::Result::Ok(vec![bytes[0]])]).chain(stream::pending())),
        Node::Honest | Node::Spoils(_) | Node::LiesInOutline => bytes.into(),
    };
    (StatusCode::PARTIAL_CONTENT, [(HeaderName::from_static(SOURCE_HEADER), id.to_string())], body).into_response()
}

async fn hear(State(played): State<Arc<Played>>, extract::Path(_): extract::Path<String>, body: String) -> StatusCode {
    played.reported.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    StatusCode::NO_CONTENT
}

/// A node that pulls, and the gateway that it asks.
struct Scene {
    data: Folder,
    played: Arc<Played>,
    entry: CatalogueEntry,
    settings: PullSettings,
    _server: JoinSet<()>,
}

impl Scene {
    /// Of a file that has so many bytes.
    async fn new(bytes: usize, nodes: &[Node]) -> Self {
        let mut content = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        let entry = entry_of(&content, &[]);
        let nodes = nodes.iter().map(|node| (Uuid::now_v7(), *node)).collect();
        let played = Arc::new(Played { content, nodes, asked: Mutex::default(), reported: Mutex::default() });
        let router = Router::new()
            .route(BLOB_PATH, get(give_range))
            .route(OUTLINE_PATH, get(give_outline))
            .route(BAD_GROUP_PATH, post(hear))
            .with_state(Arc::clone(&played));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (gateway, data) = (format!("http://{}/", listener.local_addr().unwrap()), Folder::new());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let settings = PullSettings {
            peers: Some(joined(&gateway, data.path())),
            backoff: Duration::ZERO,
            stall_timeout: Duration::from_millis(300),
            ..PullSettings::default()
        };
        Self { data, played, entry, settings, _server: server }
    }

    async fn pull(&self) -> Result<(), String> {
        let pulled = pull_with(&self.entry, &SourceChoice::Peers, self.data.path(), &self.settings).await;
        let folder = pulled.map_err(|error| error.to_string())?;
        assert_eq!(fs::read(folder.join("weights.gguf")).unwrap(), self.played.content);
        Ok(())
    }

    fn partial(&self) -> PathBuf {
        let staging = self.data.path().join("models").join(format!("{}.staging", self.entry.files[0].sha256));
        fs::create_dir_all(&staging).unwrap();
        staging.join("weights.gguf.partial")
    }

    /// How often a node was asked for bytes.
    fn asked(&self, node: usize) -> usize {
        let id = self.played.nodes[node].0;
        self.played.asked.lock().unwrap().iter().filter(|(asked, what)| *asked == id && what != "outline").count()
    }

    fn ranges(&self) -> Vec<String> {
        let asked = self.played.asked.lock().unwrap();
        asked.iter().filter(|(_, what)| what != "outline").map(|(_, what)| what.clone()).collect()
    }

    fn reported(&self) -> Vec<BadGroup> {
        self.played.reported.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_file_comes_in_pieces_from_several_nodes() {
    let scene = Scene::new(19 * GROUP + 5, &[Node::Honest, Node::Honest]).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.ranges(), ["bytes=0-8388607", "bytes=8388608-16777215", "bytes=16777216-19922948"]);
    assert!(scene.asked(0) > 0 && scene.asked(1) > 0);
    assert_eq!(scene.reported(), []);
}

#[tokio::test]
async fn small_and_even_files_come_too() {
    for bytes in [1, GROUP - 1, GROUP, GROUP + 1, 8 * GROUP, 16 * GROUP] {
        Scene::new(bytes, &[Node::Honest]).await.pull().await.unwrap();
    }
}

#[tokio::test]
async fn a_bad_group_is_reported_costs_a_group_and_its_node_is_not_asked_again() {
    let scene = Scene::new(16 * GROUP, &[Node::Honest, Node::Spoils(3)]).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.reported(), [BadGroup { source: scene.played.nodes[1].0, group: 3 }]);
    assert_eq!(scene.asked(1), 1);
    assert!(scene.ranges().contains(&"bytes=3145728-8388607".to_owned()), "what was good before it is kept");
}

#[tokio::test]
async fn what_nobody_gives_rightly_is_given_up_and_names_the_node() {
    let scene = Scene::new(4 * GROUP, &[Node::Spoils(2)]).await;
    let told = scene.pull().await.unwrap_err();
    assert!(told.contains("answered 404 Not Found"), "{told}");
    assert_eq!((scene.asked(0), scene.reported().len()), (1, 1));
    let source = scene.played.nodes[0].0;
    let peers = scene.settings.peers.as_ref().unwrap();
    let gateway = Gateway::new(peers, &scene.settings).unwrap();
    let mut answer = gateway.range(&scene.entry.files[0].address().unwrap(), 0..1).await.unwrap();
    while gateway.next(&mut answer).await.unwrap().is_some() {}
    let error = gateway.is_wrong(&answer, &WrongGroup { group: 2 }).to_string();
    assert!(
        error.ends_with(&format!("with what node {source} gave: the bytes of group 2 are not the file's")),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_that_breaks_off_is_replaced_and_what_it_gave_is_kept() {
    for node in [Node::CutsOff(2 * GROUP + 7), Node::EndsEarly(2 * GROUP + 7)] {
        let scene = Scene::new(8 * GROUP, &[Node::Honest, node]).await;
        scene.pull().await.unwrap();
        assert_eq!(scene.ranges(), ["bytes=0-8388607", "bytes=2097152-8388607"], "{node:?}");
        assert_eq!(scene.reported(), [], "it is no lie");
    }
}

#[tokio::test]
async fn the_only_node_gets_more_chances_as_long_as_it_gives_something() {
    let scene = Scene::new(8 * GROUP, &[Node::CutsOff(GROUP + 7)]).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.asked(0), 8);
    let scene = Scene::new(8 * GROUP, &[Node::CutsOff(7)]).await;
    assert!(scene.pull().await.is_err());
    assert!(scene.asked(0) > 1);
}

#[tokio::test]
async fn a_silent_node_and_one_that_cannot_be_reached_are_replaced() {
    let scene = Scene::new(2 * GROUP, &[Node::Honest, Node::Stalls, Node::Fails]).await;
    scene.pull().await.unwrap();
    assert_eq!(scene.asked(1), 1);
}

#[tokio::test]
async fn an_outline_that_is_not_the_file_s_is_refused() {
    let scene = Scene::new(3 * GROUP, &[Node::LiesInOutline, Node::Honest]).await;
    scene.pull().await.unwrap();
    let asked = scene.played.asked.lock().unwrap();
    assert!(asked.iter().skip(1).all(|(node, _)| *node == scene.played.nodes[1].0), "{asked:?}");
}

#[tokio::test]
async fn a_pull_goes_on_after_the_groups_that_are_good() {
    let scene = Scene::new(4 * GROUP, &[Node::Honest]).await;
    fs::write(scene.partial(), &scene.played.content[..2 * GROUP + 100]).unwrap();
    scene.pull().await.unwrap();
    assert_eq!(scene.ranges(), ["bytes=2097152-4194303"]);

    let scene = Scene::new(4 * GROUP, &[Node::Honest]).await;
    let mut spoilt = scene.played.content[..3 * GROUP].to_vec();
    spoilt[GROUP] ^= 1;
    fs::write(scene.partial(), spoilt).unwrap();
    scene.pull().await.unwrap();
    assert_eq!(scene.ranges(), ["bytes=1048576-4194303"]);
}

#[tokio::test]
async fn what_arrived_before_a_failure_is_the_beginning_of_the_file() {
    let scene = Scene::new(12 * GROUP, &[Node::Spoils(9)]).await;
    assert!(scene.pull().await.is_err());
    let kept = fs::read(scene.partial()).unwrap();
    assert!(kept.is_empty() || kept == scene.played.content[..8 * GROUP]);
    assert_eq!(scene.reported(), [BadGroup { source: scene.played.nodes[0].0, group: 9 }]);
}

#[tokio::test]
async fn a_node_without_a_gateway_says_what_is_missing() {
    let scene = Scene::new(1, &[]).await;
    let settings = PullSettings { peers: None, ..scene.settings.clone() };
    let pulled = pull_with(&scene.entry, &SourceChoice::Peers, scene.data.path(), &settings).await;
    assert!(pulled.unwrap_err().to_string().contains("peers: this node has joined no gateway yet"));
    assert!(scene.pull().await.unwrap_err().contains("Other nodes: http://127.0.0.1"));
}
