//! A meter that answers what a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Transport, Trouble};

/// Answers by path. What it was not told it does not have. Its clones are the same meter.
#[derive(Clone, Default)]
pub(in super::super) struct Fake(Arc<Mutex<BTreeMap<String, Reaction>>>);

/// What comes of a question, and after what time. Without an answer nobody is there.
#[derive(Clone)]
struct Reaction {
    delay: Duration,
    answer: Option<Answer>,
}

/// One answer of a recording.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "json")]
    content_type: String,
    /// JSON, or a text that is sent as it is.
    #[serde(default)]
    body: Value,
    #[serde(default)]
    delay_ms: u64,
    /// Nobody answers.
    #[serde(default)]
    absent: bool,
}

fn ok() -> u16 {
    200
}

fn json() -> String {
    "application/json".to_owned()
}

impl Fake {
    pub(in super::super) fn new() -> Self {
        Self::default()
    }

    pub(in super::super) fn answer(&self, path: &str, answer: Answer) {
        self.0.lock().unwrap().insert(path.to_owned(), Reaction { delay: Duration::ZERO, answer: Some(answer) });
    }

    pub(in super::super) fn json(&self, path: &str, body: &str) {
        self.answer(path, Answer { status: 200, content_type: json(), body: body.as_bytes().to_vec() });
    }

    /// Does not answer this path, or not before long.
    pub(in super::super) fn silence(&self, path: &str, delay: Duration) {
        self.0.lock().unwrap().insert(path.to_owned(), Reaction { delay, answer: None });
    }

    /// Takes a recorded step's answers, by path.
    pub(in super::super) fn play(&self, http: &Value) {
        for (path, recorded) in http.as_object().into_iter().flatten() {
            let Recorded { status, content_type, body, delay_ms, absent } =
                Recorded::deserialize(recorded).unwrap_or_else(|error| panic!("{path}: {error}"));
            let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned).into_bytes();
            let answer = (!absent).then_some(Answer { status, content_type, body });
            self.0.lock().unwrap().insert(path.clone(), Reaction { delay: Duration::from_millis(delay_ms), answer });
        }
    }
}

impl Transport for Fake {
    fn address(&self) -> &'static str {
        "meter"
    }

    async fn get(&self, path: &str) -> Result<Answer, Trouble> {
        let missing = Answer { status: 404, content_type: "text/plain".to_owned(), body: b"Not found".to_vec() };
        let known = self.0.lock().unwrap().get(path).cloned();
        let Reaction { delay, answer } = known.unwrap_or(Reaction { delay: Duration::ZERO, answer: Some(missing) });
        tokio::time::sleep(delay).await;
        answer.ok_or(Trouble::Silent("connection refused".to_owned()))
    }
}
