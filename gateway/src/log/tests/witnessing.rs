//! Nodes that witness it, honest and otherwise, at the end of real HTTP/2 connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::log::cosignature;
use openapi::log::key::{KeyKind, SigningKey, VerifierKey};
use openapi::log::policy::Policy;
use openapi::log::proof::LogProof;
use openapi::log::witness::{AddCheckpoint, FollowedLog, Refusal};
use openapi::node::{ADD_CHECKPOINT_PATH, LOG_HEADER, LogKeys, WITNESS_PATH};
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use super::*;
use crate::auth::user::somebody;
use crate::log::policy;
use crate::log::witnesses::{Known, round};
use crate::nodes::connection;
use crate::nodes::scripted::Scripted;
use crate::nodes::way::Way;

/// A node's witness, as the specification has it.
struct Witness {
    node: Uuid,
    key: SigningKey,
    latest: Mutex<TreeHead>,
    /// What it was asked, by the size that it was to have seen last, and what it answered.
    asked: Mutex<Vec<(u64, u16)>>,
    gateway: String,
}

impl Witness {
    async fn join(app: &App, seed: u8) -> Arc<Self> {
        let node = Uuid::now_v7();
        known(&app.database, node, seed).await;
        let witness = Arc::new(Self {
            node,
            key: SigningKey::new(&format!("node-{seed}.example"), KeyKind::Cosignature, &[seed; 32]).unwrap(),
            latest: Mutex::new(TreeHead::EMPTY),
            asked: Mutex::default(),
            gateway: app.secrets.newest.ticket_public.clone(),
        });
        let router = Router::new()
            .route(WITNESS_PATH, get(async |State(witness): State<Arc<Self>>| format!("{}\n", witness.key.verifier())))
            .route(ADD_CHECKPOINT_PATH, post(add_checkpoint))
            .with_state(Arc::clone(&witness));
        connect(app, node, router).await;
        witness
    }

    fn followed(&self, headers: &HeaderMap) -> FollowedLog {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[self.node]);
        let key = DecodingKey::from_ed_components(&self.gateway).unwrap();
        let keys = jsonwebtoken::decode::<LogKeys>(headers[LOG_HEADER].to_str().unwrap(), &key, &validation);
        let LogKeys { origin, log_keys, .. } = keys.unwrap().claims;
        FollowedLog { origin, keys: log_keys.iter().map(|key| key.parse::<VerifierKey>().unwrap()).collect() }
    }

    fn answer(&self, headers: &HeaderMap, body: &[u8]) -> (u64, Result<String, Refusal>) {
        let request = AddCheckpoint::read(body).unwrap();
        let mut latest = self.latest.lock().unwrap();
        let judged = request.judge(Some(&self.followed(headers)), *latest).map(|tree| {
            *latest = tree;
            format!("{}\n", cosignature::sign(&request.checkpoint, 1_700_000_000, &self.key).unwrap())
        });
        (request.old_size, judged)
    }

    fn asked(&self) -> Vec<(u64, u16)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Makes a node known to the database.
async fn known(database: &PgPool, node: Uuid, seed: u8) {
    let ((account, _), key) = (somebody(database).await, [seed; 32]);
    let insert = sqlx::query!(
        "insert into nodes (id, account_id, name, public_key) values ($1, $2, 'n', $3)",
        node,
        account,
        key.as_slice()
    );
    insert.execute(database).await.unwrap();
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, headers: HeaderMap, body: Bytes) -> Response {
    let (old_size, judged) = witness.answer(&headers, &body);
    let (status, text) = match judged {
        Ok(text) => (200, text),
        Err(refusal) => (refusal.status(), refusal.body()),
    };
    witness.asked.lock().unwrap().push((old_size, status));
    (StatusCode::from_u16(status).unwrap(), text).into_response()
}

async fn connect(app: &App, node: Uuid, router: Router) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let http = http2::Builder::new(TokioExecutor::new());
        http.serve_connection(TokioIo::new(theirs), TowerToHyperService::new(router)).await
    });
    let (sender, _) = connection::open(ours, &TaskTracker::new()).await.unwrap();
    let way = Way::tunnel(Scripted::offer(), sender, CancellationToken::new());
    app.nodes.add(node, Arc::new(way));
}

async fn shown(app: &App) -> HashMap<Uuid, (i64, Option<String>, bool)> {
    let rows = crate::log::witnesses::table::list(&app.database).await.unwrap();
    rows.into_iter().map(|row| (row.node, (row.last_size, row.refusal, row.conflicts))).collect()
}

async fn log_of(app: &App, numbers: std::ops::Range<u64>) {
    add(&app.database, &entries(numbers)).await;
    grow(&app.log, &app.database).await.unwrap();
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn witnesses_cosign_each_newest_checkpoint_and_make_a_quorum(database: PgPool) {
    let app = app(&database).await;
    let witnesses = [Witness::join(&app, 1).await, Witness::join(&app, 2).await, Witness::join(&app, 3).await];
    let stranger = Uuid::now_v7();
    connect(&app, stranger, Router::new()).await;
    let mut known = Known::default();
    round(&app, &mut known).await.unwrap();
    assert!(witnesses.iter().all(|witness| witness.asked().is_empty()), "nothing is logged yet");
    log_of(&app, 0..300).await;
    round(&app, &mut known).await.unwrap();
    log_of(&app, 300..700).await;
    round(&app, &mut known).await.unwrap();
    round(&app, &mut known).await.unwrap();
    for witness in &witnesses {
        assert_eq!(witness.asked(), [(0, 200), (300, 200)], "each is asked once");
    }
    // One that is not asked any more falls behind, and two of three are enough.
    app.nodes
        .all()
        .into_iter()
        .filter(|node| node.id == witnesses[2].node)
        .for_each(|node| app.nodes.remove(node.id, &node.best()));
    log_of(&app, 700..800).await;
    round(&app, &mut known).await.unwrap();
    log_of(&app, 800..801).await;
    let mut connection = database.acquire().await.unwrap();
    let policy = Policy::read(&policy::write(&mut connection, &app.log.keys).await.unwrap()).unwrap();
    assert_eq!(policy.witnesses().count(), 3);
    let proof = LogProof::read(app.log.proof(&database, leaf(750)).await.unwrap().unwrap().as_bytes()).unwrap();
    assert_eq!(proof.checkpoint.checkpoint().tree().size, 800, "the newest that enough have cosigned");
    assert_eq!(proof.verify(leaf(750), &policy).unwrap().witnesses.len(), 2);
    let proof = LogProof::read(app.log.proof(&database, leaf(800)).await.unwrap().unwrap().as_bytes()).unwrap();
    assert_eq!(proof.checkpoint.checkpoint().tree().size, 801, "nobody has cosigned it yet");
    let shown = shown(&app).await;
    assert_eq!((shown.len(), shown[&witnesses[0].node].0, shown[&witnesses[2].node].0), (3, 800, 700));
    assert_eq!(app.log.figures().conflicts, 0);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_witness_that_has_seen_another_size_is_shown_the_way_from_there(database: PgPool) {
    let app = app(&database).await;
    let witness = Witness::join(&app, 1).await;
    log_of(&app, 0..500).await;
    // It was asked by another gateway of ours, whose answer was lost.
    *witness.latest.lock().unwrap() = head_of(&entries(0..123));
    round(&app, &mut Known::default()).await.unwrap();
    assert_eq!(witness.asked(), [(0, 409), (123, 200)]);
    log_of(&app, 500..600).await;
    round(&app, &mut Known::default()).await.unwrap();
    assert_eq!(witness.asked(), [(500, 200)], "a gateway that has started anew knows it from the database");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_witness_of_another_history_raises_the_alarm_until_it_cosigns(database: PgPool) {
    let app = app(&database).await;
    let (longer, forked) = (Witness::join(&app, 1).await, Witness::join(&app, 2).await);
    let same = Witness::join(&app, 3).await;
    log_of(&app, 0..100).await;
    *longer.latest.lock().unwrap() = TreeHead { size: 101, ..head_of(&entries(0..100)) };
    *forked.latest.lock().unwrap() = head_of(&entries(1..51));
    *same.latest.lock().unwrap() = head_of(&entries(1..101));
    round(&app, &mut Known::default()).await.unwrap();
    let told = shown(&app).await;
    let of = |witness: &Witness| told[&witness.node].clone();
    let (size, refusal, conflicts) = of(&longer);
    assert!(size == 0 && conflicts && refusal.unwrap().contains("101 leaves, and the log has 100"));
    for witness in [&forked, &same] {
        let (_, refusal, conflicts) = of(witness);
        assert!(conflicts && refusal.unwrap().starts_with("422"));
    }
    assert_eq!(app.log.figures().conflicts, 3);
    for witness in [&longer, &forked, &same] {
        *witness.latest.lock().unwrap() = head_of(&entries(0..60));
    }
    round(&app, &mut Known::default()).await.unwrap();
    assert_eq!(shown(&app).await[&longer.node], (100, None, false));
    assert_eq!(app.log.figures().conflicts, 0);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_a_node_makes_up_is_no_cosignature(database: PgPool) {
    let app = app(&database).await;
    log_of(&app, 0..10).await;
    let key = SigningKey::new("node.example", KeyKind::Cosignature, &[9; 32]).unwrap();
    let other = SigningKey::new("node.example", KeyKind::Cosignature, &[8; 32]).unwrap();
    let signed = newest(&app.log, &database).await;
    let by_other = format!("{}\n", cosignature::sign(&signed, 5, &other).unwrap());
    let vkey = format!("{}\n", key.verifier());
    let many = "x".repeat(1 << 20);
    let not_a_witness = format!("{}\n", app.log.keys.trusted().next().unwrap());
    let mut node = 100;
    for (key, status, answer) in [
        (vkey.clone(), 200, by_other),
        (vkey.clone(), 200, String::new()),
        (vkey.clone(), 200, many.clone()),
        (vkey.clone(), 409, "many\n".to_owned()),
        (vkey.clone(), 409, "0\n".to_owned()),
        (vkey, 500, "\u{0}\n".to_owned()),
        (many, 200, String::new()),
        (not_a_witness, 200, String::new()),
    ] {
        node += 1;
        let id = Uuid::now_v7();
        known(&database, id, node).await;
        let status = StatusCode::from_u16(status).unwrap();
        let router = Router::new()
            .route(WITNESS_PATH, get(async move || key))
            .route(ADD_CHECKPOINT_PATH, post(async move || (status, answer)));
        connect(&app, id, router).await;
    }
    round(&app, &mut Known::default()).await.unwrap();
    let told = shown(&app).await;
    assert!(told.values().all(|(size, _, conflicts)| *size == 0 && !conflicts), "{told:?}");
    let kept = sqlx::query_scalar!(r#"select count(*) as "count!" from log_cosignatures"#).fetch_one(&database).await;
    assert_eq!(kept.unwrap(), 0);
}

/// One that is silent holds up nobody else for longer than it is given.
#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_silent_witness_keeps_nobody_from_cosigning(database: PgPool) {
    let app = app(&database).await;
    log_of(&app, 0..10).await;
    let silent = Router::new().route(WITNESS_PATH, get(async || std::future::pending::<String>().await));
    connect(&app, Uuid::now_v7(), silent).await;
    let witness = Witness::join(&app, 1).await;
    let began = Instant::now();
    round(&app, &mut Known::default()).await.unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!(witness.asked(), [(0, 200)]);
}
