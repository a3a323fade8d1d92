//! The server that computes where the node has no engine of its own: any that speaks OpenAI's API, such as vLLM, SGLang,
//! llama.cpp's or Ollama. It is the operator's own and may be on this machine or anywhere; what it says is bounded, since it
//! may be broken.
//!
//! [`config`] is what the operator says of it, `listing` what it says of its models, `stream` an answer as it arrives, and
//! `watch` looks whether it is there.

pub mod config;

mod listing;

mod stream;

mod watch;

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, bail};
use openapi::error::echo;
use openapi::upstream::{Endpoint, Head, LONGEST_ERROR, Limits, Refusal};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use url::{Host, Url};

use crate::error::cause_of;
use config::UpstreamConfig;
use listing::Listing;
pub use stream::Stream;

/// From the first packet to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A question that needs no computing.
const QUESTION: Duration = Duration::from_secs(5);
/// As much of a list of models as is read.
const LONGEST_LISTING: usize = 4 * 1024 * 1024;
/// A gateway reads events of up to eight mebibytes, and an unstreamed answer is one.
const LONGEST_ANSWER: usize = 7 * 1024 * 1024;

/// A server and the model that is asked of it. It holds a key and is therefore never shown.
pub struct Upstream {
    client: Client,
    base: Url,
    key: Option<HeaderValue>,
    model: String,
    context_length: usize,
    patience: Patience,
    /// Given when it has failed a request: it may be gone.
    failed: Notify,
}

/// For how long the server is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Until an answer begins, which takes as long as its prompt, and between two pieces of it.
    silence: Duration,
    /// Between two looks whether it is there.
    look: Duration,
    /// And once it has failed: a single failure may be chance.
    look_again: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [silence, look, look_again] = [120, 10, 1].map(Duration::from_secs);
        Self { silence, look, look_again }
    }
}

impl Upstream {
    /// Asks the server for its models, `model` among them. `context` lowers, or stands for, what it says of the context.
    ///
    /// # Errors
    /// When it does not answer, refuses the key, or has no such model; the sentence says what to do.
    pub async fn connect(config: &UpstreamConfig, model: &str, context: Option<usize>) -> anyhow::Result<Self> {
        let mut upstream = Self::new(config, model)?;
        let at = upstream.address();
        let listing = upstream.listing().await?;
        let Some(listed) = listing.find(model) else {
            bail!("the server at {at} has no model '{}'. {}", echo(model), listing.choice());
        };
        let context = match (context, listed.context_length()) {
            (Some(asked), Some(there)) => asked.min(there),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => {
                bail!("the server at {at} does not say how long the model's context is: give it with --context")
            }
        };
        if context == 0 {
            bail!("a context of no tokens holds no answer: give another --context");
        }
        upstream.context_length = context;
        Ok(upstream)
    }

    fn new(config: &UpstreamConfig, model: &str) -> anyhow::Result<Self> {
        let base =
            config.upstream.as_ref().context("--engine openai needs the address of a server: give --upstream")?;
        if !["http", "https"].contains(&base.scheme()) || base.host_str().is_none() {
            bail!("the server's address begins with http:// or https://, as in http://127.0.0.1:8000/v1");
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // Nothing but the operator's own server gets the key and the prompts.
            .redirect(Policy::none())
            .no_proxy()
            // An answer that is dropped closes its connection, which every server notices.
            .http1_only()
            // A connection that the server closes while it is idle could cost a request.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| anyhow::anyhow!("no server can be asked: {}", cause_of(&error)))?;
        Ok(Self {
            client,
            base: base.clone(),
            key: config.upstream_key()?.as_ref().map(authorization).transpose()?,
            model: model.to_owned(),
            context_length: 0,
            patience: Patience::default(),
            failed: Notify::new(),
        })
    }

    /// The most tokens that prompt and answer may have together.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// What the server calls the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Where it is, without a login that may stand in the address.
    pub fn address(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}{}", self.base.scheme(), self.base.path().trim_end_matches('/'))
    }

    /// True when the address is one of this machine itself.
    pub fn is_here(&self) -> bool {
        match self.base.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }

    /// How much of an answer is taken.
    pub fn limits() -> Limits {
        Limits { collected_bytes: LONGEST_ANSWER, ..Limits::default() }
    }

    /// Sends a body as `openapi::upstream` makes it, and waits until the answer begins.
    ///
    /// # Errors
    /// When it refuses or fails.
    pub async fn ask(&self, endpoint: Endpoint, body: Vec<u8>) -> Result<Stream, Refusal> {
        let asked = self.begin(endpoint, body).await;
        if let Err(Refusal::Failed(_) | Refusal::Misconfigured(_)) = &asked {
            self.failed.notify_one();
        }
        asked
    }

    async fn begin(&self, endpoint: Endpoint, body: Vec<u8>) -> Result<Stream, Refusal> {
        let request = self.client.post(self.url(endpoint.path())).headers(self.headers("text/event-stream"));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let response = within(self.patience.silence, request.send()).await?;
        Ok(Stream::new(check(response).await?, self.patience.silence))
    }

    /// What the server says of its models.
    async fn listing(&self) -> anyhow::Result<Listing> {
        let at = self.address();
        let ask = async {
            let response =
                self.client.get(self.url("/models")).headers(self.headers("application/json")).send().await?;
            let status = response.status().as_u16();
            Ok((status, read(response, LONGEST_LISTING).await?))
        };
        let answer = tokio::time::timeout(QUESTION, ask).await.unwrap_or(Err(Silent::Late));
        let (status, body) = answer.map_err(|error| {
            anyhow::anyhow!(
                "the server at {at} can't be reached ({error}). Start it, or give its address with --upstream"
            )
        })?;
        match status {
            200 => Listing::read(&body).with_context(|| format!("what answers at {at} does not speak OpenAI's API")),
            401 | 403 if self.key.is_none() => {
                bail!("the server at {at} asks for a key: give it with COMMONWATT_UPSTREAM_KEY or --upstream-key-file")
            }
            401 | 403 => bail!("the server at {at} refuses the key ({status})"),
            _ => bail!("{at}/models answered {status}: the address of a server usually ends with /v1"),
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    fn headers(&self, accept: &'static str) -> HeaderMap {
        let fixed = |name: HeaderName, value| (name, HeaderValue::from_static(value));
        // What unpacks to a thousand times its size is not taken.
        let mut headers = HeaderMap::from_iter([fixed(ACCEPT, accept), fixed(ACCEPT_ENCODING, "identity")]);
        headers.extend(self.key.clone().map(|key| (AUTHORIZATION, key)));
        headers
    }
}

/// The key as a header that no log shows.
fn authorization(key: &SecretString) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret().trim()))
        .ok()
        .context("the server's key holds characters that no header can have")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The response if it is an answer.
async fn check(response: Response) -> Result<Response, Refusal> {
    let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let [content_type, content_encoding, retry_after] = [CONTENT_TYPE, CONTENT_ENCODING, RETRY_AFTER].map(text);
    let head = Head {
        status: response.status().as_u16(),
        content_type: content_type.as_deref(),
        content_encoding: content_encoding.as_deref(),
        retry_after: retry_after.as_deref(),
    };
    if head.status == 200 {
        return head.check(&[]).map(|()| response);
    }
    let body = tokio::time::timeout(QUESTION, read(response, LONGEST_ERROR)).await;
    head.check(&body.ok().and_then(Result::ok).unwrap_or_default())?;
    Err(Refusal::Failed(format!("it answered {}", head.status)))
}

/// Reads a body that may not be longer.
async fn read(mut response: Response, longest: usize) -> Result<Vec<u8>, Silent> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > longest {
            return Err(Silent::Long(longest));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why nothing was heard.
#[derive(Debug, thiserror::Error)]
enum Silent {
    #[error("{}", cause_of(.0))]
    Broken(#[from] reqwest::Error),
    #[error("no answer in time")]
    Late,
    #[error("it answers with more than {0} bytes")]
    Long(usize),
}

/// Waits for so long, and says what went wrong without naming the address, in which a login may stand.
async fn within<T>(time: Duration, work: impl Future<Output = reqwest::Result<T>>) -> Result<T, Refusal> {
    match tokio::time::timeout(time, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Refusal::Failed(cause_of(&error))),
        Err(_) => Err(Refusal::Failed(format!("it was silent for {} seconds", time.as_secs()))),
    }
}
