//! A node that misbehaves on purpose. Its enrolment, tunnel and tickets are the real ones; only its answers are scripted.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use openapi::energy::{Boundary, Energy, EnergyOffer, Tier};
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::manifest::{ManifestFile, ModelManifest};
use openapi::node::{NodeStatus, OFFER_PATH, Offer, OfferedModel, STATUS_PATH};
use openapi::sse;
use openapi::units::Microjoules;
use provider::identity::Identity;
use provider::{enrol, tunnel};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Gateway, MODEL};

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers with this many pieces, one every so many milliseconds.
    Answers { pieces: usize, every_ms: u64 },
    /// Says nothing after the headers.
    Hangs,
    /// Sends a few pieces, then nothing.
    StallsAfter(usize),
    /// Sends a few pieces, then breaks off.
    BreaksAfter(usize),
    /// Sends what is no answer.
    Garbage,
    /// Sends a frame that is no usage frame.
    GarbageFrame,
    /// Answers as another model.
    AnotherModel,
    /// Fails at once.
    Fails,
    /// Has no room.
    Busy,
    /// Answers at once, and says another energy each time: of every tier in turn, from ten millijoules to a kilojoule. None of
    /// them is settled, so that nobody judges them.
    AnyEnergy,
}

/// A connected scripted node.
pub struct ScriptedNode {
    stop: CancellationToken,
    asked: Arc<AtomicUsize>,
    pub id: Uuid,
}

impl ScriptedNode {
    /// Enrols with the gateway and waits until it is connected.
    ///
    /// # Panics
    /// When the gateway refuses.
    pub async fn join(gateway: &Gateway, behaviour: Behaviour) -> Self {
        let before = gateway.nodes_now().await;
        let folder = std::env::temp_dir().join(format!("scripted-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).expect("a folder");
        let identity = Identity::open(&folder).expect("an identity");
        let url = url::Url::parse(&gateway.url("")).expect("a URL");
        let enrolled =
            enrol::enrol(&identity, &url, &gateway.enrolment_token().await, "scripted").await.expect("enrolled");
        let greeting = identity.greeting(&enrolled).expect("a greeting");
        std::fs::remove_dir_all(folder).expect("its folder");
        let (stop, asked) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let router = router(behaviour, Arc::clone(&asked));
        tokio::spawn({
            let stop = stop.clone();
            // Ends with the tunnel, whatever the reason: the tests look at the gateway's side.
            async move {
                if let Ok(dialled) = tunnel::dial(&url, &greeting).await {
                    drop(tunnel::serve(dialled, router, &stop).await);
                }
            }
        });
        gateway.nodes(before + 1).await;
        Self { stop, asked, id: enrolled.node }
    }

    /// Requests that reached it.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(behaviour: Behaviour, asked: Arc<AtomicUsize>) -> Router {
    let answer = move || {
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        async move { answer(behaviour, turn) }
    };
    Router::new()
        .route(OFFER_PATH, get(move || async move { serde_json::to_string(&offer(behaviour)).expect("JSON") }))
        .route(
            STATUS_PATH,
            get(|| async {
                events(stream::iter([sse::data(&NodeStatus::default()).expect("JSON")]).chain(stream::pending()))
            }),
        )
        .route("/v1/chat/completions", post(answer))
}

fn offer(behaviour: Behaviour) -> Offer {
    let manifest = ModelManifest {
        name: MODEL.to_owned(),
        files: vec![ManifestFile { path: "scripted.gguf".to_owned(), bytes: 1, sha256: "00".repeat(32), blake3: None }],
        quantisation: "none".to_owned(),
        licence: "Apache-2.0".to_owned(),
        authors: vec!["nobody".to_owned()],
    };
    Offer {
        version: "scripted".to_owned(),
        models: vec![OfferedModel { manifest, context_length: 100, ..OfferedModel::default() }],
        slots: 100,
        energy: match behaviour {
            Behaviour::AnyEnergy => EnergyOffer {
                zone: Some("DE".to_owned()),
                pue_milli: 1_200,
                tier: Tier::B,
                boundary: Boundary::NodeDc,
                ..EnergyOffer::default()
            },
            _ => EnergyOffer::default(),
        },
        ..Offer::default()
    }
}

fn answer(behaviour: Behaviour, turn: usize) -> Response {
    match behaviour {
        Behaviour::Answers { pieces, every_ms } => {
            let paced = stream::iter(0..pieces).then(move |at| async move {
                tokio::time::sleep(Duration::from_millis(every_ms)).await;
                piece(at, MODEL)
            });
            let done = stream::iter([sse::DONE.to_owned()]);
            events(paced.chain(done))
        }
        Behaviour::Hangs => events(stream::pending()),
        Behaviour::StallsAfter(pieces) => {
            events(stream::iter((0..pieces).map(|at| piece(at, MODEL))).chain(stream::pending()))
        }
        Behaviour::BreaksAfter(pieces) => {
            let pieces = stream::iter((0..pieces).map(|at| Ok(piece(at, MODEL))));
            // A reset overtakes data that has not been read yet; a real node breaks off between two tokens.
            let broken = pieces.chain(stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("unplugged"))
            }));
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(broken)).into_response()
        }
        Behaviour::Garbage => events(stream::iter(["data: <html>\n\n".to_owned()])),
        Behaviour::GarbageFrame => events(stream::iter(["event: usage\ndata: {\"prompt_tokens\":-1}\n\n".to_owned()])),
        Behaviour::AnotherModel => events(stream::iter([piece(0, "gpt-9")])),
        Behaviour::Fails => (StatusCode::INTERNAL_SERVER_ERROR, "internal text of a stranger").into_response(),
        Behaviour::Busy => {
            let body =
                json!({"error": {"message": "full", "type": "server_error", "param": null, "code": null}}).to_string();
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
        Behaviour::AnyEnergy => events(stream::iter([piece_with(any_energy(turn), 0, MODEL), sse::DONE.to_owned()])),
    }
}

/// The usage frame and the chunk of one token.
fn piece(at: usize, model: &str) -> String {
    let spent = Microjoules::new(1000 * (at as u64 + 1));
    piece_with(Energy::exact(spent, (Tier::E, Boundary::Device), "scripted/1"), at, model)
}

fn piece_with(energy: Energy, at: usize, model: &str) -> String {
    let frame = UsageFrame {
        prompt_tokens: 5,
        completion_tokens: at as u64 + 1,
        token_ids: vec![at as u32],
        choice: 0,
        energy,
        finish_reason: None,
    };
    let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
        "choices": [{"index": 0, "delta": {"content": format!(" {at}")}, "finish_reason": null}]});
    sse::named(USAGE_EVENT, &frame).expect("JSON") + &sse::data(&chunk).expect("JSON")
}

/// The same for the same turn.
fn any_energy(turn: usize) -> Energy {
    let mut random = fastrand::Rng::with_seed(turn as u64);
    let tier = Tier::ALL[turn % Tier::ALL.len()];
    let microjoules = 10f64.powf(4.0 + 5.0 * random.f64()) as u64;
    let part = |milli: u64| Microjoules::new(microjoules * milli / 1_000);
    let (low, high) = tier.interval_milli();
    Energy {
        microjoules: Microjoules::new(microjoules),
        low_microjoules: part(low),
        high_microjoules: part(high),
        marginal_microjoules: part(random.u64(0..=1_000)),
        prefill_microjoules: part(random.u64(0..=1_000)),
        tier,
        boundary: Boundary::NodeDc,
        method: "scripted/1".to_owned(),
        settled: false,
    }
}

fn events(events: impl futures_util::Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
