//! Requests of the gateway's own, whose work is known: after one in some hundred requests its node gets one more, and what
//! it claims for that is compared with what its class takes. On the wire it is a request like any other, billed to an account
//! that the gateway's operator has chosen for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::honesty::canary::Canaries;
use crate::app::App;
use crate::auth::Caller;
use crate::inference::{self, Endpoint, Named};
use crate::nodes::preference::{Name, Preference};

/// Nodes that wait for one; more are forgotten.
const MOST_WAITING: usize = 64;
/// Nobody must be able to tell it by the time between it and the request that set it off.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Tokens of the answer, the same for all, so that they can be compared.
const TOKENS: u32 = 48;
const SUBJECTS: [&str; 12] = [
    "rivers",
    "bread",
    "the moon",
    "bicycles",
    "winter",
    "a small harbour",
    "chess",
    "rain",
    "old maps",
    "bees",
    "a night train",
    "glass",
];
const FORMS: [&str; 8] = [
    "Write a short paragraph about {}.",
    "What should a beginner know about {}?",
    "Explain {} to a child of eight.",
    "Tell me something surprising about {}.",
    "Give me three reasons to like {}.",
    "How would you describe {} in a letter to a friend?",
    "Why do people write songs about {}?",
    "Summarise the history of {} in a few sentences.",
];

/// Chooses the nodes that get one.
#[derive(Debug)]
pub struct Samples {
    /// One request in so many is followed by one.
    one_in: u64,
    to: mpsc::Sender<(Uuid, String)>,
    /// Taken by whoever sends them. While nobody does, the channel is full, and nothing happens.
    waiting: Mutex<Option<Waiting>>,
}

/// Nodes that are to get one, and for which model.
pub type Waiting = mpsc::Receiver<(Uuid, String)>;

impl Samples {
    /// After one in so many requests.
    pub fn new(one_in: u64) -> Self {
        let (to, waiting) = mpsc::channel(MOST_WAITING);
        Self { one_in, to, waiting: Mutex::new(Some(waiting)) }
    }

    /// What waits, for the one that sends.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A node has answered a request for this model.
    pub fn after(&self, node: Uuid, model: &str) {
        if fastrand::u64(..self.one_in) == 0 {
            // When many wait already, this one more makes no difference.
            let _ = self.to.try_send((node, model.to_owned()));
        }
    }
}

/// Sends what is asked for, one after the other, with this key.
pub async fn send(app: App, key: SecretString) {
    let Some(mut waiting) = app.samples.waiting() else { return };
    loop {
        let (node, model) = tokio::select! {
            () = app.stop.cancelled() => return,
            next = waiting.recv() => match next {
                Some(next) => next,
                None => return,
            },
        };
        let pause = LONGEST_PAUSE.mul_f64(fastrand::f64());
        if tokio::time::timeout(pause, app.stop.cancelled()).await.is_ok() {
            return;
        }
        if let Err(error) = ask(&app, key.expose_secret(), node, &model).await {
            tracing::warn!(%node, "a request of the gateway's own came to nothing: {error:#}");
        }
    }
}

async fn ask(app: &App, key: &str, node: Uuid, model: &str) -> anyhow::Result<()> {
    let caller = Caller::within(app, key).await?;
    let id = canary(&app.secrets.newest.canaries);
    // Not in the body, which the node reads.
    let only = Preference { only: vec![Name::Id(node)], ..Preference::default() };
    let answer =
        inference::serve_with(app, caller, Named::of(id), (Endpoint::ChatCompletions, body(model)), &only).await;
    let answer = answer.map_err(|failure| anyhow::anyhow!("{}", failure.0.detail.message))?;
    answer.into_body().collect().await?;
    Ok(())
}

/// An id that the judge takes for a canary's.
fn canary(key: &[u8; 32]) -> Uuid {
    let canaries = Canaries::new(*key);
    std::iter::repeat_with(Uuid::now_v7).find(|id| canaries.is_canary(*id)).unwrap_or_else(Uuid::now_v7)
}

/// A question as people ask it.
fn body(model: &str) -> Bytes {
    let (form, subject) = (fastrand::choice(FORMS), fastrand::choice(SUBJECTS));
    let question = form.unwrap_or_default().replace("{}", subject.unwrap_or_default());
    json!({"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": TOKENS})
        .to_string()
        .into()
}

#[cfg(test)]
mod tests {
    use super::super::honesty::canary::ONE_IN;
    use super::*;

    #[test]
    fn one_request_in_some_hundred_brings_its_node_another_one() {
        let samples = Samples::new(ONE_IN);
        let mut waiting = samples.waiting().unwrap();
        let node = Uuid::from_u128(7);
        let mut sent = 0;
        for _ in 0..ONE_IN * 40 {
            samples.after(node, "m");
            while let Ok(next) = waiting.try_recv() {
                assert_eq!(next, (node, "m".to_owned()));
                sent += 1;
            }
        }
        assert!((15..80).contains(&sent), "{sent}");
    }

    #[test]
    fn the_judge_knows_them_and_the_body_does_not_show_it() {
        let key = [3; 32];
        assert!(Canaries::new(key).is_canary(canary(&key)));
        let bodies: std::collections::HashSet<Bytes> = (0..200).map(|_| body("m")).collect();
        assert!(bodies.len() > 40);
        let body: serde_json::Value = serde_json::from_slice(&body("m")).unwrap();
        assert!(body.get("provider").is_none() && body["max_tokens"] == TOKENS);
        assert!(!body["messages"][0]["content"].as_str().unwrap().contains("{}"));
    }
}
