//! Enrolment: a one-time token binds this node's key to an operator's account on a gateway.

use std::time::Duration;

use anyhow::{Context, bail};
use openapi::error::ErrorBody;
use openapi::node::{ENROL_PATH, Enrolled};
use url::Url;

use crate::identity::Identity;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Enrols with a gateway.
///
/// # Errors
/// When the gateway can't be reached or refuses the token; its own sentence is passed on.
pub async fn enrol(identity: &Identity, gateway: &Url, token: &str, name: &str) -> anyhow::Result<Enrolled> {
    let url = gateway.join(ENROL_PATH)?;
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let response =
        client.post(url).json(&identity.enrolment(token, name)).send().await.context("the gateway can't be reached")?;
    let status = response.status();
    let body = response.bytes().await.context("the gateway broke off its answer")?;
    if !status.is_success() {
        let reason = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error.message);
        bail!(
            "the gateway refused the enrolment ({status}): {}",
            reason.unwrap_or_else(|_| "no reason given".to_owned())
        );
    }
    serde_json::from_slice(&body).context("what answers at this address is no Commonwatt gateway")
}
