//! One answer of the mock node, token by token, in the same events as a real node's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use openapi::chat::FinishReason;
use openapi::energy::{Boundary, Energy, Tier};
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::node::Ticket;
use openapi::sse;
use openapi::units::Microjoules;
use openapi::usage::Usage;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::facts::now_us;
use super::receipt::Draft;
use super::router::{Asked, Work};
use super::words::Words;
use super::{Fact, TOKEN};

/// A reset overtakes data that has not been read yet; a real node breaks off between two tokens.
const BEFORE_BREAKING: Duration = Duration::from_millis(100);

/// An answer under way. Dropped before its end, it writes down how far it came.
pub(super) struct Answer {
    work: Arc<Work>,
    asked: Asked,
    fact: Fact,
    words: Words,
    /// Where the gateway wants a receipt.
    draft: Option<Draft>,
    /// The most tokens that the gateway allows; it may change at any time.
    limit: Arc<AtomicU32>,
    began: Instant,
    computed: u32,
    opened: bool,
    recorded: bool,
}

type Piece = Option<(io::Result<Bytes>, Option<Answer>)>;

impl Answer {
    pub(super) fn new(work: Arc<Work>, (asked, body): (Asked, &[u8]), limit: Arc<AtomicU32>, ticket: Ticket) -> Self {
        let (request, attempt) = (ticket.request, ticket.attempt);
        let (prompt_tokens, began_us) = (asked.order.prompt_tokens, now_us());
        let fact = Fact { request, attempt, prompt_tokens, tokens: 0, whole: false, began_us, ended_us: 0 };
        let words = Words::new(request, began_us);
        let draft = Draft::new(ticket, body);
        Self {
            work,
            draft,
            asked,
            fact,
            words,
            limit,
            began: Instant::now(),
            computed: 0,
            opened: false,
            recorded: false,
        }
    }

    /// Nothing of it has left.
    pub(super) fn is_new(&self) -> bool {
        !self.opened
    }

    /// What leaves next, and who goes on.
    pub(super) async fn piece(mut self) -> Piece {
        let mut text = self.opening();
        loop {
            if self.asked.order.die_after == Some(self.computed) {
                if text.is_empty() {
                    sleep(BEFORE_BREAKING).await;
                    return Some((Err(io::Error::other("unplugged")), None));
                }
                self.tell(&text);
                return Some((Ok(text.into()), Some(self)));
            }
            if self.is_one_step() {
                self.computed = self.most();
                text.push_str(&self.frame((1..=self.computed).collect()));
                text.push_str(&self.ending(false));
                self.tell(&text);
                self.record(true);
                return Some((Ok(text.into()), None));
            }
            if self.computed < self.most() {
                self.pause().await;
            }
            // Asked anew, since the limit may have changed meanwhile.
            let more = self.computed < self.most();
            if more {
                self.computed += 1;
                text.push_str(&self.token());
            }
            if self.computed >= self.most() {
                text.push_str(&self.ending(!more));
                self.tell(&text);
                self.record(true);
                return Some((Ok(text.into()), None));
            }
            if self.asked.order.every_us > 0 {
                self.tell(&text);
                return Some((Ok(text.into()), Some(self)));
            }
        }
    }

    /// All tokens of an answer in one piece are there at once, so they are named at once.
    fn is_one_step(&self) -> bool {
        let Asked { order, stream, .. } = self.asked;
        !stream && order.every_us == 0 && order.die_after.is_none() && self.most() > 0
    }

    async fn pause(&self) {
        let Asked { order, .. } = &self.asked;
        if order.every_us > 0 {
            sleep_until(self.began + Duration::from_micros(order.every_us) * (self.computed + 1)).await;
        }
    }

    /// The most tokens that it may have, at this moment.
    fn most(&self) -> u32 {
        self.asked.most().min(self.limit.load(Ordering::Relaxed)).min(self.asked.order.tokens)
    }

    fn reason(&self) -> Option<FinishReason> {
        match self.computed {
            computed if computed >= self.asked.order.tokens => Some(FinishReason::Stop),
            computed if computed >= self.most() => Some(FinishReason::Length),
            _ => None,
        }
    }

    fn opening(&mut self) -> String {
        let first = !std::mem::replace(&mut self.opened, true);
        if first && self.asked.stream {
            self.words.chunk(json!({"role": "assistant", "content": ""}), None)
        } else {
            String::new()
        }
    }

    fn token(&mut self) -> String {
        let frame = self.frame(vec![self.computed]);
        if !self.asked.stream {
            return frame;
        }
        self.fact.tokens += 1;
        frame + &self.words.chunk(json!({"content": TOKEN}), None)
    }

    /// The last events; with a frame of their own when no token came right before them.
    fn ending(&mut self, with_frame: bool) -> String {
        let frame = if with_frame { self.frame(Vec::new()) } else { String::new() };
        let usage = Usage::new(self.fact.prompt_tokens, u64::from(self.computed), None);
        if !self.asked.stream {
            self.fact.tokens = u64::from(self.computed);
            return frame + &sse::data(&self.words.whole(self.computed, self.reason(), &usage)).expect("JSON");
        }
        let mut ending = frame + &self.words.chunk(json!({}), self.reason());
        if self.asked.stream_options.include_usage {
            ending.push_str(&self.words.usage(&usage));
        }
        ending + sse::DONE
    }

    fn frame(&self, token_ids: Vec<u32>) -> String {
        let frame = UsageFrame {
            prompt_tokens: self.fact.prompt_tokens,
            completion_tokens: u64::from(self.computed) + self.asked.order.overclaim,
            token_ids,
            choice: 0,
            energy: energy(self.computed),
            finish_reason: self.reason(),
        };
        sse::named(USAGE_EVENT, &frame).expect("JSON")
    }

    /// This much leaves.
    fn tell(&mut self, text: &str) {
        if let Some(draft) = &mut self.draft {
            draft.tell(text);
        }
    }

    fn record(&mut self, whole: bool) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let fact = Fact { whole, ended_us: now_us(), ..self.fact };
        self.work.facts.write(&fact);
        if let Some(draft) = self.draft.take() {
            draft.sign(&self.work.receipts, &fact, (self.computed, energy(self.computed), self.reason()));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.work.forget(self.fact.request);
        self.record(false);
    }
}

/// A millijoule for each token.
fn energy(tokens: u32) -> Energy {
    Energy::exact(Microjoules::new(1000 * u64::from(tokens)), (Tier::E, Boundary::Device), "mock/1")
}
