//! A server with OpenAI's API and without a model: what stands behind a proxy that knows nothing of nodes. It answers the same
//! orders in the same words as the mock node.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use futures_util::stream;
use openapi::chat::FinishReason;
use openapi::sse;
use openapi::usage::Usage;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::TOKEN;
use super::facts::now_us;
use super::router::Asked;
use super::trouble::{HANGS_FOR, Luck, Trouble};
use super::words::Words;
use crate::MODEL;

/// Serves until the listener fails.
///
/// # Errors
/// When it does.
pub async fn serve_upstream(listener: TcpListener) -> io::Result<()> {
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let router = Router::new()
        // Gateways that watch their servers ask for it.
        .route("/health", get(|| async { StatusCode::OK }))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .with_state(Arc::<Luck>::default());
    axum::serve(listener, router).await
}

async fn models() -> impl IntoResponse {
    let list = json!({"object": "list", "data": [{"id": MODEL, "object": "model"}]});
    ([(header::CONTENT_TYPE, "application/json")], list.to_string())
}

async fn chat(State(luck): State<Arc<Luck>>, body: Bytes) -> Response {
    let asked = match Asked::read(&body) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let trouble = luck.draw(asked.order.trouble);
    if asked.order.die_after == Some(0) || trouble == Some(Trouble::Fails) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "unplugged").into_response();
    }
    if trouble == Some(Trouble::Hangs) {
        sleep(HANGS_FOR).await;
    }
    let answer = Plain { words: Words::new(Uuid::now_v7(), now_us()), asked, began: Instant::now(), computed: 0 };
    if !asked.stream {
        let whole = answer.words.whole(answer.most(), answer.reason(), &answer.usage()).to_string();
        return ([(header::CONTENT_TYPE, "application/json")], whole).into_response();
    }
    let pieces = stream::unfold(Some(answer), |answer| async { Some(answer?.piece().await) });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}

/// One streamed answer.
struct Plain {
    words: Words,
    asked: Asked,
    began: Instant,
    computed: u32,
}

impl Plain {
    fn most(&self) -> u32 {
        self.asked.most().min(self.asked.order.tokens)
    }

    fn reason(&self) -> Option<FinishReason> {
        Some(if self.asked.most() < self.asked.order.tokens { FinishReason::Length } else { FinishReason::Stop })
    }

    fn usage(&self) -> Usage {
        Usage::new(self.asked.order.prompt_tokens, u64::from(self.most()), None)
    }

    /// What leaves next, and who goes on: everything, or as much as is due.
    async fn piece(mut self) -> (Result<Bytes, Infallible>, Option<Self>) {
        let mut text = String::new();
        if self.computed == 0 {
            text.push_str(&self.words.chunk(json!({"role": "assistant", "content": ""}), None));
        }
        while self.computed < self.most() {
            self.computed += 1;
            let every = Duration::from_micros(self.asked.order.every_us);
            if !every.is_zero() {
                sleep_until(self.began + every * self.computed).await;
            }
            text.push_str(&self.words.chunk(json!({"content": TOKEN}), None));
            if !every.is_zero() && self.computed < self.most() {
                return (Ok(text.into()), Some(self));
            }
        }
        text.push_str(&self.words.chunk(json!({}), self.reason()));
        if self.asked.stream_options.include_usage {
            text.push_str(&self.words.usage(&self.usage()));
        }
        text.push_str(sse::DONE);
        (Ok(text.into()), None)
    }
}
