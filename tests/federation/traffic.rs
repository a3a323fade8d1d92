//! What a client does, and exactly what it hears.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::wait::until;

/// Longer than a gateway waits for a node that says nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// A request's row is written a moment after its end.
const ROW_WITHIN: Duration = Duration::from_secs(10);
const MODEL: &str = "smollm2-135m-instruct";
/// The token that ends an answer: without it all answers are as long as they may be.
const END_OF_TURN: &str = "2";

/// The gateway, as who has an account there sees it.
pub(crate) struct Api {
    client: Client,
    url: String,
    key: String,
    management_key: String,
}

impl Api {
    /// Of the gateway at this address.
    ///
    /// # Errors
    /// When there can be no client.
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        let client = Client::builder().no_proxy().connect_timeout(PATIENCE).read_timeout(PATIENCE).build();
        let client = client.map_err(|error| said(&error))?;
        Ok(Self { client, url: url.to_owned(), key: String::new(), management_key: String::new() })
    }

    pub(crate) fn sign_in(&mut self, key: &str, management_key: &str) {
        (self.key, self.management_key) = (key.to_owned(), management_key.to_owned());
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let ready = self.client.get(format!("{}/readyz", self.url)).send().await;
        ready.is_ok_and(|ready| ready.status().is_success())
    }

    /// A new enrolment token.
    ///
    /// # Errors
    /// When the gateway gives none.
    pub(crate) async fn enrolment_token(&self) -> Result<String, String> {
        let token = self.managed(self.client.post(format!("{}/api/enrolment-tokens", self.url))).await?;
        token["token"].as_str().map(str::to_owned).ok_or_else(|| format!("no token: {token}"))
    }

    /// All nodes that have enrolled.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub(crate) async fn nodes(&self) -> Result<Vec<Value>, String> {
        let nodes = self.managed(self.client.get(format!("{}/api/nodes", self.url))).await?;
        nodes["data"].as_array().cloned().ok_or_else(|| format!("no nodes: {nodes}"))
    }

    /// What is written down about a request, as soon as it is.
    ///
    /// # Errors
    /// When nothing is.
    pub(crate) async fn row(&self, request: &str) -> Result<Value, String> {
        let url = format!("{}/api/requests/{request}", self.url);
        let row = async || Ok(self.managed(self.client.get(&url)).await.ok());
        until(&format!("the row of request {request}"), ROW_WITHIN, row).await
    }

    async fn managed(&self, request: RequestBuilder) -> Result<Value, String> {
        let response = request.bearer_auth(&self.management_key).send().await.map_err(|error| said(&error))?;
        let response = response.error_for_status().map_err(|error| said(&error))?;
        response.json().await.map_err(|error| said(&error))
    }

    /// Asks, and returns as soon as the answer begins.
    ///
    /// # Errors
    /// When it is refused or the connection fails.
    pub(crate) async fn ask(&self, body: &Value) -> Result<Answer, String> {
        let asked = Instant::now();
        let request = self.client.post(format!("{}/v1/chat/completions", self.url)).bearer_auth(&self.key);
        let response = request.json(body).send().await.map_err(|error| said(&error))?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(format!("{status}: {}", response.text().await.unwrap_or_default().trim()));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let heard = Heard {
            node: header("x-commonwatt-node").to_owned(),
            request: header("x-commonwatt-request-id").to_owned(),
            ..Heard::default()
        };
        Ok(Answer { response, asked, buffer: Vec::new(), heard })
    }
}

/// What is asked: always the same for the same number.
pub(crate) fn question(number: usize, max_tokens: u32, more: &Value) -> Value {
    const QUESTIONS: [&str; 6] = [
        "Tell me about the sea.",
        "Why is the sky blue?",
        "Describe a day in a small village.",
        "How does bread become soft?",
        "What do bees do in winter?",
        "Tell me a story about a lighthouse.",
    ];
    let mut body = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTIONS[number % QUESTIONS.len()]}],
        "max_tokens": max_tokens,
        "seed": number,
        "logit_bias": {END_OF_TURN: -100},
    });
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

/// An answer that is being read.
pub(crate) struct Answer {
    response: Response,
    pub(crate) asked: Instant,
    buffer: Vec<u8>,
    pub(crate) heard: Heard,
}

impl Answer {
    /// Reads the next piece of text; false when no more come.
    pub(crate) async fn next(&mut self) -> bool {
        let before = self.heard.pieces.len();
        while self.heard.pieces.len() == before {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                self.heard.event(&String::from_utf8_lossy(&event), Instant::now());
                continue;
            }
            match timeout(PATIENCE, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.buffer.extend_from_slice(&bytes),
                Ok(Ok(None)) => return false,
                Ok(Err(error)) => return self.heard.broken(said(&error)),
                Err(_) => return self.heard.broken(format!("silent for {PATIENCE:?}")),
            }
        }
        true
    }

    /// Reads a stream to its end.
    pub(crate) async fn rest(mut self) -> Heard {
        while self.next().await {}
        self.heard
    }

    /// Reads an answer that is no stream.
    ///
    /// # Errors
    /// When it isn't a chat completion with text and the tokens that it took.
    pub(crate) async fn whole(self) -> Result<(), String> {
        let answer: Value = self.response.json().await.map_err(|error| said(&error))?;
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        let complete = answer["object"] == "chat.completion" && answer["usage"]["completion_tokens"].as_u64() > Some(0);
        if complete && !text.is_empty() { Ok(()) } else { Err(format!("not a chat completion: {answer}")) }
    }
}

/// What a client has of a stream.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Who answers, by the header.
    pub(crate) node: String,
    pub(crate) request: String,
    pub(crate) text: String,
    /// When each piece of text came.
    pub(crate) pieces: Vec<Instant>,
    identities: BTreeSet<String>,
    finishes: usize,
    done: bool,
    error: Option<String>,
}

impl Heard {
    fn event(&mut self, event: &str, now: Instant) {
        let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { return };
        if data == "[DONE]" {
            self.done = true;
            return;
        }
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            self.broken(format!("not JSON: {data}"));
            return;
        };
        if !chunk["error"].is_null() {
            self.broken(chunk["error"]["message"].as_str().unwrap_or(data).to_owned());
            return;
        }
        self.identities.insert(chunk["id"].as_str().unwrap_or_default().to_owned());
        let choice = &chunk["choices"][0];
        self.finishes += usize::from(choice["finish_reason"].is_string());
        if let Some(piece) = choice["delta"]["content"].as_str().filter(|piece| !piece.is_empty()) {
            self.text.push_str(piece);
            self.pieces.push(now);
        }
    }

    fn broken(&mut self, why: String) -> bool {
        self.error.get_or_insert(why);
        false
    }

    /// # Errors
    /// Why this is not one complete stream.
    pub(crate) fn must_be_complete(&self) -> Result<(), String> {
        match (&self.error, self.done, self.identities.len(), self.finishes) {
            (Some(error), ..) => Err(error.clone()),
            (None, false, ..) => Err("it ended without [DONE]".into()),
            (None, true, 1, 1) => Ok(()),
            (None, true, 1, finishes) => Err(format!("{finishes} finish reasons")),
            (None, true, identities, _) => Err(format!("its chunks have {identities} ids")),
        }
    }

    /// The longest pause between a piece and the next one, from this one on; 0 is the first.
    pub(crate) fn longest_pause_from(&self, piece: usize) -> Option<Duration> {
        let pieces = self.pieces.get(piece..)?;
        pieces.windows(2).map(|two| two[1] - two[0]).max()
    }
}

/// An error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(events: &[&str]) -> Heard {
        let mut heard = Heard::default();
        let began = Instant::now();
        for (number, event) in (0..).zip(events) {
            heard.event(event, began + Duration::from_secs(number * number));
        }
        heard
    }

    fn piece(id: &str, text: &str) -> String {
        let delta = json!({"id": id, "choices": [{"delta": {"content": text}, "finish_reason": null}]});
        format!("data: {delta}\n\n")
    }

    const LAST: &str = "data: {\"id\":\"a\",\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    #[test]
    fn a_complete_stream_is_its_text_under_one_id() {
        let heard = hear(&[&piece("a", "One"), ": a comment\n\n", &piece("a", " two"), &piece("a", "."), LAST, DONE]);
        assert_eq!((heard.must_be_complete(), heard.text.as_str()), (Ok(()), "One two."));
        assert_eq!(heard.longest_pause_from(0), Some(Duration::from_secs(5)));
        assert_eq!(heard.longest_pause_from(2), None);
    }

    #[test]
    fn whatever_breaks_a_stream_is_named() {
        let why = |events: &[&str]| hear(events).must_be_complete().unwrap_err();
        assert_eq!(why(&[&piece("a", "One"), LAST]), "it ended without [DONE]");
        assert_eq!(why(&[&piece("a", "One"), &piece("b", "two"), LAST, DONE]), "its chunks have 2 ids");
        assert_eq!(why(&[&piece("a", "One"), LAST, LAST, DONE]), "2 finish reasons");
        assert_eq!(why(&[&piece("a", "One"), DONE]), "0 finish reasons");
        assert_eq!(why(&["data: {\"error\":{\"message\":\"The node failed.\"}}\n\n", DONE]), "The node failed.");
    }

    #[test]
    fn the_same_number_asks_the_same() {
        let more = json!({"stream": true});
        assert_eq!(question(4, 60, &more), question(4, 60, &more));
        assert_ne!(question(4, 60, &more), question(10, 60, &more));
        assert_eq!(question(4, 60, &more)["stream"], true);
    }
}
