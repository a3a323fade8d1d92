//! How a partner is asked: its API with the key that it has given us, and what it shows to everybody.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Method;
use openapi::log::ed25519::PublicKey;
use openapi::log::policy::Policy;
use openapi::log::proof::LogProof;
use openapi::netting::{NETTINGS_PATH, Proposal, RECEIPTS_PATH, ReceiptPage};
use openapi::receipt::{KEYS_PATH, jws};
use serde::Deserialize;
use serde_json::Value;

use super::table::Partner;
use crate::app::App;
use crate::nodes::attached::client::Client;
use crate::nodes::attached::table::key_of;
use crate::nodes::direct::url::{NodeUrl, PlainText, Purpose};

/// A page of receipts with their proofs.
const LONGEST_ANSWER: usize = 16 << 20;
/// The whole of an answer has to come within.
const WITHIN: Duration = Duration::from_secs(20);
/// Receipts that are asked for at once.
const PAGE: u32 = 100;

/// A partner that answers us.
pub(super) struct Asked {
    client: Client,
}

/// What is read of a receipt before it is verified.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) index: u64,
    pub(super) receipt: String,
    #[serde(default)]
    pub(super) client_request_id: Option<String>,
    proof: Option<String>,
}

impl Listed {
    /// The leaf of the log that its proof is about.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn proven_index(&self) -> anyhow::Result<u64> {
        let proof = self.proof.as_deref().context("a receipt is listed without its proof")?;
        Ok(LogProof::read(proof.as_bytes())?.index)
    }
}

/// What a partner says to a netting that was proposed.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Answered {
    /// Both have signed.
    Agreed { document: String },
    /// It counts otherwise.
    Otherwise { netting: Box<openapi::netting::Netting> },
    /// It can't say yet, or there is something wrong.
    Refused { error: Refusal },
}

#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) message: String,
}

impl Asked {
    /// None when we have no key of the partner's.
    ///
    /// # Errors
    /// When the database fails, or the key can't be read.
    pub(super) async fn open(app: &App, partner: &Partner) -> anyhow::Result<Option<Self>> {
        let Some(node) = partner.node else { return Ok(None) };
        let key = key_of(app, node).await?.context("there is no key for it")?;
        // What is asked for here begins with /v1.
        let url = NodeUrl::parse(&partner.url, Purpose::Attached, PlainText::Allowed)?;
        Ok(Some(Self { client: Client::new(Arc::clone(&app.dialler), url, Some(&key))? }))
    }

    /// Receipts of what it has answered us, from a leaf of its log on, as they came.
    ///
    /// # Errors
    /// When it does not answer with these.
    pub(super) async fn receipts(&self, after: u64) -> anyhow::Result<ReceiptPage<Value>> {
        let path = format!("{RECEIPTS_PATH}?after={after}&limit={PAGE}");
        let (status, body) = ask(&self.client, (Method::GET, &path), Bytes::new()).await?;
        if status != 200 {
            bail!("it answered {status} when it was asked for receipts");
        }
        serde_json::from_slice(&body).context("what it says are receipts is none")
    }

    /// Its answer to a netting that we have signed.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn propose(&self, netting: String) -> anyhow::Result<Answered> {
        let body = serde_json::to_vec(&Proposal { netting })?;
        let (status, body) = ask(&self.client, (Method::POST, NETTINGS_PATH), body.into()).await?;
        serde_json::from_slice(&body).with_context(|| format!("it answered {status} to a netting"))
    }
}

/// What a gateway shows to everybody.
pub(super) struct Shown {
    client: Client,
}

impl Shown {
    /// Of the gateway at this address: what comes before `/v1`.
    ///
    /// # Errors
    /// When it is no address.
    pub(super) fn at(app: &App, url: &str) -> anyhow::Result<Self> {
        let url = NodeUrl::parse(url, Purpose::Attached, PlainText::Allowed)?;
        Ok(Self { client: Client::new(Arc::clone(&app.dialler), url, None)? })
    }

    /// The keys that it signs receipts with, as a JSON Web Key Set.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) async fn key_set(&self) -> anyhow::Result<Bytes> {
        self.get(KEYS_PATH).await
    }

    /// The same as keys.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) async fn keys(&self) -> anyhow::Result<Vec<PublicKey>> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Key>,
        }
        #[derive(Deserialize)]
        struct Key {
            #[serde(default)]
            x: String,
        }
        let set: Set = serde_json::from_slice(&self.key_set().await?).context("its keys are no key set")?;
        Ok(set.keys.iter().filter_map(|key| jws::public_key(&key.x)).collect())
    }

    /// What its log is called, and the lines of its policy that say which keys are the log's.
    ///
    /// # Errors
    /// When it does not say, or that is no policy.
    pub(super) async fn log_keys(&self) -> anyhow::Result<(String, String)> {
        let file = self.get("/log/policy").await?;
        Policy::read(&file).context("what it says about its log is no policy")?;
        let text = String::from_utf8(file.to_vec())?;
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("log ")).collect();
        let origin = lines.first().and_then(|line| line.strip_prefix("log ")?.split('+').next());
        let origin = origin.context("its policy names no log")?.to_owned();
        Ok((origin, lines.iter().flat_map(|line| [line, "\n"]).collect()))
    }

    /// How far its log was when it closed its newest epoch; 0 before the first.
    ///
    /// # Errors
    /// When it does not say.
    pub(super) async fn closed_until(&self) -> anyhow::Result<u64> {
        #[derive(Deserialize)]
        struct Epochs {
            data: Vec<Epoch>,
        }
        #[derive(Deserialize)]
        struct Epoch {
            end_index: u64,
        }
        let epochs: Epochs =
            serde_json::from_slice(&self.get("/log/epochs").await?).context("its list of epochs is none")?;
        Ok(epochs.data.iter().map(|epoch| epoch.end_index).max().unwrap_or_default())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        match ask(&self.client, (Method::GET, path), Bytes::new()).await? {
            (200, body) => Ok(body),
            (status, _) => bail!("it answered {status} for {path}"),
        }
    }
}

async fn ask(client: &Client, what: (Method, &str), body: Bytes) -> anyhow::Result<(u16, Bytes)> {
    let asked = async {
        let answer = client.send(what, None, body).await.map_err(anyhow::Error::msg)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
        anyhow::Ok((status, body.map_err(anyhow::Error::from_boxed)?.to_bytes()))
    };
    tokio::time::timeout(WITHIN, asked).await.context("it does not answer")?
}
