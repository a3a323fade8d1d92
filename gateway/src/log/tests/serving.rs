//! What everybody reads of it, and what others make of that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use openapi::log::policy::Policy;
use openapi::log::proof::LogProof;
use openapi::log::tile::{Tile, new_entries, new_hashes};
use openapi::log::{bundle, consistency};
use serde_json::Value;
use sqlx::PgPool;
use tlog_tiles::{TileHashReader, TileReader};
use tower_service::Service;

use super::*;
use crate::log::routes::routes;

const SIZE: u64 = 100_000;

/// What was answered: status, content type, how it may be kept, body.
struct Answer {
    status: StatusCode,
    kind: String,
    keep: String,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

struct Served {
    app: App,
    router: Router,
}

impl Served {
    async fn of(database: &PgPool) -> Self {
        let app = app(database).await;
        Self { router: routes().with_state(app.clone()), app }
    }

    async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (head, body) = self.router.clone().call(request).await.unwrap().into_parts();
        let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        Answer {
            status: head.status,
            kind: header(CONTENT_TYPE),
            keep: header(CACHE_CONTROL),
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn refused(&self, path: &str) -> (u16, String) {
        let answer = self.get(path).await;
        assert_eq!(answer.kind, "application/problem+json", "{path}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status.as_u16(), problem["detail"].as_str().unwrap().to_owned())
    }
}

/// Tiles that were fetched, as their reader wants them.
struct Fetched(HashMap<String, Vec<u8>>);

impl TileReader for Fetched {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let path = |tile: &tlog_tiles::Tile| format!("/tile/{}", tile.path().strip_prefix("tile/8/").unwrap());
        Ok(tiles.iter().map(|tile| self.0[&path(tile)].clone()).collect())
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn other_people_s_clients_verify_what_is_served(database: PgPool) {
    grown_to(&database, SIZE).await;
    let served = Served::of(&database).await;
    let signed: SignedCheckpoint = served.get("/log/checkpoint").await.text().parse().unwrap();
    let head = signed.checkpoint().tree();
    assert_eq!(head.size, SIZE);
    let mut fetched = HashMap::new();
    for tile in new_hashes(0, SIZE) {
        let answer = served.get(&format!("/log{tile}")).await;
        assert_eq!((answer.status, answer.kind.as_str()), (StatusCode::OK, "application/octet-stream"), "{tile}");
        assert!(answer.keep.contains("immutable"));
        fetched.insert(tile.to_string(), answer.body.to_vec());
    }
    let (fetched, root) = (Fetched(fetched), tlog_tiles::Hash(head.root.0));
    let reader = TileHashReader::new(SIZE, root, &fetched);
    for index in [0, 255, 256, 40_000, 65_535, 65_536, SIZE - 1] {
        let theirs = tlog_tiles::prove_record(SIZE, index, &reader).unwrap();
        let leaf = leaf(index);
        tlog_tiles::check_record(&theirs, SIZE, root, index, tlog_tiles::Hash(leaf.0)).unwrap();
        let proof = LogProof::read(&served.get(&format!("/log/proof/{}", leaf.to_hex())).await.body).unwrap();
        assert_eq!((proof.index, proof.inclusion.len()), (index, theirs.len()));
        assert!(proof.inclusion.iter().zip(&theirs).all(|(ours, theirs)| ours.0 == theirs.0));
    }
    for old in [1, 256, 12_345, 65_536] {
        let theirs = tlog_tiles::prove_tree(SIZE, old, &reader).unwrap();
        let ours = served.get(&format!("/log/consistency?old={old}&new={SIZE}")).await;
        let expected: String = theirs.iter().map(|hash| format!("{}\n", Hash(hash.0))).collect();
        assert_eq!(ours.text(), expected);
        let proof: Vec<Hash> = ours.text().lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(consistency::verify(head_of(&entries(0..old)), head, &proof), Ok(()));
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn entries_and_partial_tiles_stay_as_they_were_served(database: PgPool) {
    let log = grown_to(&database, 300).await;
    let served = Served::of(&database).await;
    let mut before: HashMap<String, Bytes> = HashMap::new();
    for tile in new_hashes(0, 300).chain(new_entries(0, 300)) {
        before.insert(tile.to_string(), served.get(&format!("/log{tile}")).await.body);
    }
    assert_eq!(served.refused("/log/tile/entries/001.p/45").await.0, 404);
    add(&database, &entries(300..600)).await;
    grow(&log, &database).await.unwrap();
    for (path, body) in &before {
        assert_eq!(served.get(&format!("/log{path}")).await.body, body, "{path}");
    }
    let mut found = Vec::new();
    for tile in new_entries(0, 600) {
        let body = served.get(&format!("/log{tile}")).await.body;
        let read = bundle::decode(&body, tile.width()).unwrap();
        found.extend(read.into_iter().map(|entry| std::str::from_utf8(entry).unwrap().parse::<Entry>().unwrap()));
    }
    assert_eq!(found, entries(0..600));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_documents_of_a_bundle_stand_in_the_order_of_its_entries(database: PgPool) {
    let log = grown_to(&database, 255).await;
    let documents: Vec<String> = (0..3).map(|number| format!("{{\"v\":{number}}}")).collect();
    let mut transaction = database.begin().await.unwrap();
    crate::log::publish(&mut transaction, Kind::Statement, &documents).await.unwrap();
    transaction.commit().await.unwrap();
    grow(&log, &database).await.unwrap();
    let served = Served::of(&database).await;
    let first = served.get("/log/documents/000").await;
    assert_eq!((first.kind.as_str(), first.keep.as_str()), ("text/plain; charset=utf-8", "public, max-age=60"));
    assert_eq!(
        first.text(),
        format!("{}{}\n", "\n".repeat(255), documents[0]),
        "what nobody has kept is an empty line"
    );
    assert_eq!(served.get("/log/documents/001.p/2").await.text(), format!("{}\n{}\n", documents[1], documents[2]));
    assert_eq!(served.get("/log/documents/001.p/1").await.text(), format!("{}\n", documents[1]));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_proof_and_the_policy_convince_whoever_has_nothing_else(database: PgPool) {
    let log = grown_to(&database, 77).await;
    let served = Served::of(&database).await;
    let policy = served.get("/log/policy").await;
    assert_eq!((policy.kind.as_str(), policy.keep.as_str()), ("text/plain; charset=utf-8", "public, max-age=60"));
    let policy = Policy::read(&policy.body).unwrap();
    let key = served.get("/log/key").await;
    assert_eq!(key.text(), format!("{}\n", policy.logs()[0].key));
    for number in [0, 50, 76] {
        let by_leaf = served.get(&format!("/log/proof/{}", leaf(number).to_hex())).await;
        let by_index = served.get(&format!("/log/proof?index={number}")).await;
        assert_eq!((by_leaf.status, &by_leaf.body), (StatusCode::OK, &by_index.body));
        let proof = LogProof::read(&by_leaf.body).unwrap();
        proof.verify(leaf(number), &policy).unwrap();
        assert!(proof.verify(leaf(number + 1), &policy).is_err());
    }
    add(&database, &[entry(77)]).await;
    let path = format!("/log/proof/{}", leaf(77).to_hex());
    let (status, sentence) = served.refused(&path).await;
    assert!(status == 404 && sentence.contains("ask again"), "{sentence}");
    grow(&log, &database).await.unwrap();
    assert_eq!(served.get(&path).await.status, StatusCode::OK);
    let written = served.app.log.proof(&database, leaf(77)).await.unwrap().unwrap();
    assert_eq!(written, served.get(&path).await.text());
    assert_eq!(crate::log::index_of(&database, leaf(77)).await.unwrap(), Some(77));
    assert_eq!(crate::log::index_of(&database, leaf(78)).await.unwrap(), None);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn wrong_questions_are_answered_with_a_sentence(database: PgPool) {
    let served = Served::of(&database).await;
    assert_eq!(served.refused("/log/checkpoint").await, (404, "Nothing has been logged yet.".to_owned()));
    grown_to(&database, 300).await;
    let nothing = Tile::new(openapi::log::tile::Row::Hashes { level: 0 }, 7, 256).unwrap();
    for (path, status, sentence) in [
        ("/log", 404, ""),
        ("/log/nothing", 404, "There are /log/checkpoint"),
        ("/log/tile/0/1", 400, "looks like /tile/0/x001/x234/067"),
        ("/log/tile/9/000", 400, "looks like"),
        ("/log/documents/1", 400, "In place of /log/documents, "),
        ("/log/documents/001.p/45", 404, "not grown to these entries"),
        ("/log/epochs?before=x", 400, "/log/epochs?before="),
        ("/log/tile/0/000.p/0", 400, "looks like"),
        ("/log/tile/0/000.p/256", 400, "looks like"),
        ("/log/tile/data/000", 400, "looks like"),
        (&format!("/log{nothing}"), 404, "not grown to this tile"),
        ("/log/tile/0/001", 404, "not grown to this tile"),
        ("/log/tile/0/001.p/45", 404, "not grown to this tile"),
        ("/log/tile/0/x009/x223/x372/x036/x854/775", 404, "not grown to this tile"),
        ("/log/proof", 400, "Say which leaf"),
        ("/log/proof?index=", 400, "Say which leaf"),
        ("/log/proof?index=-1", 400, "Say which leaf"),
        ("/log/proof?index=1&more=2", 400, "Say which leaf"),
        ("/log/proof?index=300", 404, "not in the log"),
        ("/log/proof?index=18446744073709551615", 404, "not in the log"),
        ("/log/proof/abc", 400, "64 lower-case hexadecimal"),
        (&format!("/log/proof/{}", "A".repeat(64)), 400, "64 lower-case hexadecimal"),
        (&format!("/log/proof/{}", "a".repeat(64)), 404, "not in the log"),
        ("/log/consistency", 400, "/log/consistency?old=10&new=20"),
        ("/log/consistency?old=1", 400, "/log/consistency?old=10&new=20"),
        ("/log/consistency?old=2&new=1", 400, "only grows"),
        ("/log/consistency?old=2&new=301", 404, "has 300 leaves, not 301"),
    ] {
        if sentence.is_empty() {
            assert_eq!(served.get(path).await.status, StatusCode::NOT_FOUND);
            continue;
        }
        let (found, detail) = served.refused(path).await;
        assert!(found == status && detail.contains(sentence), "{path}: {found} {detail}");
    }
    for path in ["/log/consistency?old=0&new=300", "/log/consistency?old=300&new=300"] {
        assert_eq!(served.get(path).await.text(), "", "{path}: nothing needs a proof");
    }
}

/// The running loop, with nobody's help.
#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_enqueued_is_proven_soon(database: PgPool) {
    let served = Served::of(&database).await;
    let running = tokio::spawn(crate::log::run(served.app.clone()));
    for number in 0..3 {
        add(&database, &[entry(number)]).await;
        served.app.log.wake();
        let began = Instant::now();
        let path = format!("/log/proof/{}", leaf(number).to_hex());
        while served.get(&path).await.status != StatusCode::OK {
            // It takes a second at most, where the machine does nothing else.
            assert!(began.elapsed() < Duration::from_secs(10), "it is not logged");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(served.app.log.figures().damaged, 0);
    served.app.closing.cancel();
    running.await.unwrap();
}
