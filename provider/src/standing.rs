//! Asks a gateway how this node stands there, with a greeting as for a tunnel.

use std::time::Duration;

use anyhow::Context;
use openapi::node::STANDING_PATH;
use openapi::standing::Standing;
use url::Url;

const WITHIN: Duration = Duration::from_secs(15);

/// What a gateway makes of a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It knows the key.
    Known(Box<Standing>),
    /// It does not.
    Unknown,
    /// It says something else.
    Other(u16),
}

/// Asks the gateway at this address.
///
/// # Errors
/// When it can't be reached, or what answers is no gateway.
pub async fn ask(gateway: &Url, greeting: &str) -> anyhow::Result<Answer> {
    let response = client()?.get(gateway.join(STANDING_PATH)?).bearer_auth(greeting).send().await;
    let response = response.context("the gateway can't be reached")?;
    match response.status().as_u16() {
        200 => {
            let body = response.bytes().await.context("the gateway broke off its answer")?;
            read(&body).map(|standing| Answer::Known(Box::new(standing)))
        }
        401 => Ok(Answer::Unknown),
        other => Ok(Answer::Other(other)),
    }
}

/// Reads what a gateway has answered.
pub(crate) fn read(body: &[u8]) -> anyhow::Result<Standing> {
    serde_json::from_slice(body).context("what answers at this address is no Commonwatt gateway")
}

/// Speaks to a gateway outside of its tunnel.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(WITHIN).build()
}
