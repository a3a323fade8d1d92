//! Clients in numbers: at a fixed rate or a fixed number at a time, streamed or not, some of whom leave. Each says exactly
//! what it received.

mod connection;

mod pace;

mod seen;

pub use pace::{Load, Pace, begin};
pub use seen::Seen;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::mock::Order;
use crate::{Gateway, conversation};
use connection::Connection;

/// One request to make.
#[derive(Clone, Debug)]
pub struct Ask {
    pub order: Order,
    pub streamed: bool,
    /// What the request allows; as many as are ordered if not given.
    pub max_tokens: Option<u32>,
    /// The client goes away after this long.
    pub leave_after: Option<Duration>,
    pub idempotency_key: Option<String>,
    /// A question of so many bytes instead of a short one; 0: the short one.
    pub prompt_bytes: usize,
    /// The order is the first message instead of `user`, which some gateways don't pass on.
    pub order_in_prompt: bool,
}

impl Ask {
    /// For a streamed answer.
    pub fn stream(order: Order) -> Self {
        Self {
            order,
            streamed: true,
            max_tokens: None,
            leave_after: None,
            idempotency_key: None,
            prompt_bytes: 0,
            order_in_prompt: false,
        }
    }

    /// For an answer in one piece.
    pub fn whole(order: Order) -> Self {
        Self { streamed: false, ..Self::stream(order) }
    }

    /// The request's body.
    pub fn body(&self) -> String {
        let order = serde_json::to_string(&self.order).expect("numbers");
        let max_tokens = self.max_tokens.unwrap_or(self.order.tokens);
        let mut body = conversation(json!({"stream": self.streamed, "max_tokens": max_tokens}));
        if self.prompt_bytes > 0 {
            body["messages"][0]["content"] = "sea ".repeat(self.prompt_bytes / 4).into();
        }
        if self.order_in_prompt {
            let question = body["messages"][0].take();
            body["messages"] = json!([{"role": "system", "content": order}, question]);
        } else {
            body["user"] = order.into();
        }
        body.to_string()
    }
}

/// Everybody who asks with one key: keeps connections to the gateways and uses them in turn.
pub struct Clients {
    gateways: Vec<(SocketAddr, Mutex<Vec<Connection>>)>,
    key: String,
    /// Of each request, beside the usual ones.
    headers: Vec<(String, String)>,
    turn: AtomicUsize,
}

impl Clients {
    /// Clients of these replicas.
    ///
    /// # Panics
    /// When an address is none.
    pub fn new(gateways: &[Gateway], key: &str) -> Self {
        let address = |gateway: &Gateway| gateway.address().parse().expect("an address");
        Self::at(gateways.iter().map(address), key)
    }

    /// Clients of whoever listens at these addresses.
    pub fn at(addresses: impl IntoIterator<Item = SocketAddr>, key: &str) -> Self {
        let gateways = addresses.into_iter().map(|address| (address, Mutex::default())).collect();
        Self { gateways, key: key.to_owned(), headers: Vec::new(), turn: AtomicUsize::new(0) }
    }

    /// The same, who send these headers too.
    #[must_use]
    pub fn with_headers(self, headers: Vec<(String, String)>) -> Self {
        Self { headers, ..self }
    }

    /// All of these at the same time.
    pub async fn ask_at_once(&self, asks: impl IntoIterator<Item = Ask>) -> Vec<Seen> {
        let now = Instant::now();
        let ask = |ask: Ask| async move { self.ask(&ask, now).await };
        join_all(asks.into_iter().map(ask)).await
    }

    /// Asks the next gateway; times count from `since`.
    pub async fn ask(&self, ask: &Ask, since: Instant) -> Seen {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (address, idle) = &self.gateways[turn % self.gateways.len()];
        // A connection that was kept may end at any time: the next one is tried, as every HTTP client does.
        let (connection, seen) = loop {
            let kept = idle.lock().unwrap().pop();
            let is_new = kept.is_none();
            let connection = match kept {
                Some(connection) => Ok(connection),
                None => Connection::open(*address).await,
            };
            let Ok(mut connection) = connection else { return Seen::nothing(since) };
            match connection.ask(ask, (&self.key, &self.headers), since).await {
                Some(seen) => break (connection, seen),
                None if is_new => return Seen::nothing(since),
                None => {}
            }
        };
        if connection.is_open() && seen.done {
            idle.lock().unwrap().push(connection);
        }
        seen
    }
}
