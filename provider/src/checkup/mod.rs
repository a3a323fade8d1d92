//! What `commonwatt-node doctor` finds between this node and its gateways, step by step: each is fine, or says what to do.

mod dial;

#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};

use openapi::error::ErrorBody;
use openapi::node::{Enrolled, STANDING_PATH};
use openapi::standing::Standing;
use time::OffsetDateTime;
use url::Url;

use self::dial::{Reply, reply};
use crate::chosen::Chosen;
use crate::config::DoctorConfig;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::pull::{self, catalogue, given};
use crate::standing;

/// Greetings live for a minute.
const CLOCKS_DIFFER_SECONDS: u64 = 60;
/// On a gateway: answers whoever asks.
const HEALTH_PATH: &str = "/healthz";

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fine,
    Failed,
    /// Nothing is broken, and something could be better.
    Advice,
}

/// A step, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub outcome: Outcome,
    what: &'static str,
    text: String,
}

impl Step {
    fn new(what: &'static str, found: Result<String, String>) -> Self {
        match found {
            Ok(text) => Self { outcome: Outcome::Fine, what, text },
            Err(text) => Self { outcome: Outcome::Failed, what, text },
        }
    }
}

/// One line.
impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Fine => "fine",
            Outcome::Failed => "fails",
            Outcome::Advice => "advice",
        };
        write!(f, "{outcome:<10} {:<15} {}", self.what, self.text)
    }
}

/// Looks at everything that must be so for work to arrive. Changes nothing.
pub async fn check(config: &DoctorConfig) -> Vec<Step> {
    // A server's own model is nobody's to verify.
    let mut steps = if config.upstream.upstream.is_some() { Vec::new() } else { models(config).await };
    let identity = Identity::find(&config.data);
    steps.push(key(config, &identity));
    let identity = identity.ok().flatten();
    for gateway in &config.gateway {
        steps.extend(with(gateway, identity.as_ref()).await);
    }
    steps
}

async fn models(config: &DoctorConfig) -> Vec<Step> {
    let mut steps = Vec::new();
    if config.model.is_empty() {
        steps.push(model(config, catalogue::DEFAULT_MODEL).await);
    }
    // Of a folder of the operator's own nobody knows what must be in it.
    let is_catalogued = |chosen: &&Chosen| chosen.source.as_ref().and_then(given::folder).is_none();
    for chosen in config.model.iter().filter(is_catalogued) {
        steps.push(model(config, &chosen.name).await);
    }
    steps
}

async fn model(config: &DoctorConfig, name: &str) -> Step {
    let found = async {
        let entry = catalogue::find(name).map_err(|error| error.to_string())?;
        match pull::verify_present(entry, &config.data).await {
            Ok(Some(folder)) => Ok(format!("{} lies in {} and is verified", entry.name, folder.display())),
            Ok(None) => Err(format!(
                "the files of {} are not in {}: fetch them with `commonwatt-node pull`",
                entry.name,
                config.data.display()
            )),
            Err(error) => Err(format!("{error}: fetch it again with `commonwatt-node pull`")),
        }
    };
    Step::new("model", found.await)
}

fn key(config: &DoctorConfig, identity: &anyhow::Result<Option<Identity>>) -> Step {
    let folder = config.data.display();
    let found = match identity {
        Ok(Some(_)) => Ok(format!("the node's key lies in {folder}")),
        Ok(None) => Err(format!(
            "there is no node's key in {folder}: start the node once with --gateway, or give its folder with --data"
        )),
        Err(error) => Err(format!("{error:#}")),
    };
    Step::new("key", found)
}

/// What is between the node and one gateway.
async fn with(gateway: &Gateway, identity: Option<&Identity>) -> Vec<Step> {
    let enrolled = identity.map_or(Ok(None), |identity| node_at(identity, gateway));
    let mut steps = vec![Step::new("enrolled", as_found(gateway, &enrolled))];
    let enrolled = enrolled.ok().flatten();
    let mut standing = None;
    for address in &gateway.addresses {
        let greeter = identity.zip(enrolled.as_ref());
        let (found, told) = at(address, greeter).await;
        steps.extend(found);
        standing = standing.or(told);
    }
    steps.extend(standing.iter().flat_map(stands));
    steps
}

/// What a gateway knows the node as.
fn node_at(identity: &Identity, gateway: &Gateway) -> anyhow::Result<Option<Enrolled>> {
    let known = identity.gateways()?;
    let is_it = |address: &Url| gateway.addresses.contains(address);
    Ok(known.into_iter().find(|known| known.addresses.iter().any(is_it)).map(|known| known.enrolled))
}

fn as_found(gateway: &Gateway, enrolled: &anyhow::Result<Option<Enrolled>>) -> Result<String, String> {
    match enrolled {
        Ok(Some(enrolled)) => Ok(format!("as node {} with {gateway}", enrolled.node)),
        Ok(None) => Err(format!(
            "not with {gateway}: create a token there with POST /api/enrolment-tokens, and start the node with it in \
             COMMONWATT_TOKEN"
        )),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// What is between the node and one address, and what is said there of the node.
async fn at(address: &Url, greeter: Option<(&Identity, &Enrolled)>) -> (Vec<Step>, Option<Standing>) {
    let greeting = match greeter.map(|(identity, enrolled)| identity.greeting(enrolled)).transpose() {
        Ok(greeting) => greeting,
        Err(error) => return (vec![Step::new("greeting", Err(format!("{error:#}")))], None),
    };
    let path = if greeting.is_some() { STANDING_PATH } else { HEALTH_PATH };
    let answer = match reply(address, path, greeting.as_deref()).await {
        Ok(answer) => answer,
        Err(error) => return (vec![Step::new("reachable", Err(format!("{address}: {error:#}")))], None),
    };
    let steps = match address.scheme() {
        "https" => "DNS, TCP, TLS and HTTP",
        _ => "DNS, TCP and HTTP, unencrypted",
    };
    let reached = format!("{address}: {steps}, status {}", answer.status);
    let mut found = vec![Step::new("reachable", Ok(reached)), Step::new("clock", clock(&answer, now()))];
    let mut standing = None;
    if let Some((identity, enrolled)) = greeter {
        let greeted = greeted(&answer);
        let greeted = match greeted {
            Err(_) if answer.status == 401 => Err(refused(address, identity, enrolled).await),
            other => other,
        };
        found.push(Step::new(
            "greeting",
            greeted.as_ref().map(|_| "the gateway knows this node's key".to_owned()).map_err(Clone::clone),
        ));
        standing = greeted.ok();
    }
    (found, standing)
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn clock(answer: &Reply, now: OffsetDateTime) -> Result<String, String> {
    let Some(date) = answer.date else {
        return Ok("the gateway does not say what time it is".to_owned());
    };
    let ahead = (now - date).whole_seconds();
    let apart = ahead.unsigned_abs();
    let which = if ahead > 0 { "ahead of" } else { "behind" };
    if apart <= CLOCKS_DIFFER_SECONDS {
        Ok(format!("within {CLOCKS_DIFFER_SECONDS} seconds of the gateway's"))
    } else {
        Err(format!("this machine's clock is {apart} seconds {which} the gateway's: set it, for instance with NTP"))
    }
}

/// What the gateway says of the node, if it knows it.
fn greeted(answer: &Reply) -> Result<Standing, String> {
    match answer.status {
        200 => standing::read(&answer.body).map_err(|error| format!("{error:#}")),
        404 => Err("nothing is known of nodes there: it is no Commonwatt gateway, or an older version".to_owned()),
        503 => Err("the gateway is not ready, since it starts, stops or has no database: try again shortly".to_owned()),
        status => Err(match serde_json::from_slice::<ErrorBody>(&answer.body) {
            Ok(body) => body.error.message,
            Err(_) => format!("the gateway answered with status {status}: its operator's log says why"),
        }),
    }
}

/// Why the gateway does not know the key.
async fn refused(address: &Url, identity: &Identity, enrolled: &Enrolled) -> String {
    for key in identity.other_keys().unwrap_or_default() {
        let Ok(greeting) = key.greeting(enrolled, false) else { continue };
        if matches!(standing::ask(address, &greeting).await, Ok(standing::Answer::Known(_))) {
            return "a change of key was broken off: run `commonwatt-node rotate-key` again".to_owned();
        }
    }
    "the gateway does not know this node: it was removed there, its key was changed from another folder, or a clock is wrong. \
     Restore the folder's key, or enrol anew with another token"
        .to_owned()
}

/// What a gateway says of the node.
fn stands(standing: &Standing) -> Vec<Step> {
    let connected = match standing.connected {
        true => Ok(format!("as {}", standing.name)),
        false => Err("the gateway has no tunnel of this node: start it with `commonwatt-node serve`".to_owned()),
    };
    let reasons: Vec<String> = standing.skipped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(", passed over: {}", reasons.join(", ")) };
    let mut steps = vec![Step::new("connected", connected)];
    steps.push(Step::new("work", Ok(format!("{} requests{reasons}", standing.chosen))));
    let advice = |text: &String| Step { outcome: Outcome::Advice, what: "work", text: text.clone() };
    steps.extend(standing.advice.iter().map(advice));
    steps
}
