//! Holds what a node has signed against what the gateway has seen, and signs what that cost. One replica at a time, for all.

use std::time::Duration;

use anyhow::anyhow;
use data_encoding::BASE64URL_NOPAD;
use openapi::log::ed25519::PublicKey;
use openapi::price::BilledTokens;
use openapi::receipt::check::{Contradiction, Seen};
use openapi::receipt::jws::{self, Jws, Signer};
use openapi::receipt::{Alone, AuthorShare, NodeReceipt, Receipt, ReceiptId, Shares, VERSION};
use openapi::units::Nanocredits;
use sqlx::{PgConnection, PgPool};

use super::table::{self, Due, NodeSaid, Signed};
use crate::app::App;
use crate::database::begin_look_up;
use crate::give_way::give_way;
use crate::ledger::account::Account;
use crate::ledger::earned::microseconds;
use crate::ledger::split::{self, SplitVersion};
use crate::log::{self, Entry, Kind};
use crate::secrets::Secrets;

/// Receipts are there so long after their answers' energy is known.
const EVERY: Duration = Duration::from_millis(500);
/// Of another gateway's receipt, so that whoever reads ours has it whole.
const MOST_WITHIN: usize = jws::LONGEST / 2;
/// In one transaction. More would take more memory, some 10 KB for each, and hardly less time.
const BATCH: usize = 250;
/// Looked at before a pause.
const MOST: i64 = 100_000;

/// What signs, and under which names a node may know this gateway.
pub struct Notary<'a> {
    pub signer: &'a Signer,
    /// The newest name first.
    pub gateways: Vec<String>,
    /// What these vouch for is not verified again. None: everything is.
    pub secrets: Option<&'a Secrets>,
}

impl Notary<'_> {
    /// Whether a gateway with our secret has found that this is the node's signature, when it came.
    fn has_verified(&self, said: &NodeSaid) -> bool {
        let voucher = said.voucher.as_deref();
        self.secrets
            .zip(voucher)
            .is_some_and(|(secrets, voucher)| secrets.is_voucher(voucher, &said.public_key, &said.statement))
    }
}

/// Signs whatever can be signed until the gateway closes.
pub async fn run(app: App) {
    loop {
        let notary = Notary {
            signer: &app.secrets.newest.receipt_signing,
            secrets: Some(&app.secrets),
            gateways: app.secrets.all().map(|derived| derived.ticket_public.clone()).collect(),
        };
        // What is not signed at the end is signed at the next start.
        match app.closing.run_until_cancelled(sign_due(&app.database, &notary)).await {
            None => return,
            Some(Ok(0)) => {}
            Some(Ok(_)) => app.log.wake(),
            Some(Err(error)) => tracing::warn!("receipts wait to be signed: {error:#}"),
        }
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Signs what can be signed, and says how many that were. None while another replica does.
///
/// # Errors
/// When the database fails, or the library refuses to sign.
pub async fn sign_due(database: &PgPool, notary: &Notary<'_>) -> anyhow::Result<usize> {
    let mut transaction = begin_look_up(database).await?;
    let is_ours = take_turn(&mut transaction).await?;
    let perhaps = if is_ours { table::may_be_due(&mut transaction, MOST).await? } else { Vec::new() };
    // Waited for, here and below: a transaction that is only dropped holds the turn a moment longer.
    transaction.rollback().await?;
    let mut signed = 0;
    for some in perhaps.chunks(BATCH) {
        signed += sign_some(database, notary, some).await?;
    }
    Ok(signed)
}

/// True when no other replica signs as long as this transaction lasts.
async fn take_turn(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let ours = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtext('commonwatt receipts')) as "mine!""#);
    ours.fetch_one(connection).await
}

async fn sign_some(database: &PgPool, notary: &Notary<'_>, some: &[ReceiptId]) -> anyhow::Result<usize> {
    let mut transaction = begin_look_up(database).await?;
    let is_ours = take_turn(&mut transaction).await?;
    let due = if is_ours { table::due(&mut transaction, some).await? } else { Vec::new() };
    if due.is_empty() {
        transaction.rollback().await?;
        return Ok(0);
    }
    let splits = split::list(&mut transaction).await?;
    let mut signed = Vec::with_capacity(due.len());
    for (index, due) in due.iter().enumerate() {
        signed.push(sign(due, &splits, notary)?);
        give_way(index).await;
    }
    table::sign(&mut transaction, &signed, notary.signer.kid()).await?;
    let entries: Vec<Entry> = signed.iter().map(|one| one.entry).collect();
    log::enqueue(&mut transaction, &entries).await?;
    transaction.commit().await?;
    Ok(signed.len())
}

fn sign(due: &Due, splits: &[SplitVersion], notary: &Notary<'_>) -> anyhow::Result<Signed> {
    let receipt = receipt(due, splits, notary)?;
    let has_node_s = receipt.node_receipt.is_some();
    let receipt = notary.signer.sign(&receipt).ok_or_else(|| anyhow!("a receipt can't be signed"))?;
    Ok(Signed { id: due.id, entry: Entry::of(Kind::Receipt, receipt.as_bytes()), receipt, has_node_s })
}

/// The receipt of an attempt, as far as the gateway stands by it.
///
/// # Errors
/// When no split was in force.
pub fn receipt(due: &Due, splits: &[SplitVersion], notary: &Notary<'_>) -> anyhow::Result<Receipt> {
    let noted = &due.noted;
    let tokens =
        BilledTokens { prompt: due.prompt_tokens, cached: due.cached_tokens, completion: due.completion_tokens };
    // What was computed again under an Idempotency-Key is paid once, elsewhere.
    let is_paid = noted.is_paid && due.nanocredits == noted.price.cost(&tokens);
    let (tokens, nanocredits) = if is_paid { (tokens, due.nanocredits) } else { Default::default() };
    let shares = (nanocredits > Nanocredits::ZERO).then(|| shares(due, splits, nanocredits)).transpose()?;
    let gateways = &notary.gateways;
    let said = node_said(due, notary);
    let gateway = said.as_ref().map_or(gateways.first(), |(said, ..)| Some(&said.gateway));
    let gateway = gateway.cloned().unwrap_or_default();
    let (node_receipt, node_key, alone) = match said {
        Ok((_, statement, key)) => (Some(statement), Some(key), None),
        Err(alone) => (None, None, Some(alone)),
    };
    let receipt = Receipt {
        v: VERSION,
        id: due.id,
        gateway,
        node: due.node,
        node_receipt,
        node_key,
        alone,
        partner_receipt: None,
        model: noted.model.clone(),
        outcome: due.outcome.clone(),
        started_at: microseconds(due.started_at),
        duration_microseconds: due.duration,
        prompt_tokens: tokens.prompt,
        cached_tokens: tokens.cached,
        completion_tokens: tokens.completion,
        price: noted.price,
        price_version: Some(noted.price_version),
        is_paid,
        nanocredits,
        shares,
        energy: due.energy.clone(),
        request_commitment: noted.request_commitment,
        answer_commitment: noted.answer_commitment,
    };
    Ok(with_partner_s(receipt, due))
}

/// The same with what the gateway has signed that has answered, where that bears it out.
fn with_partner_s(receipt: Receipt, due: &Due) -> Receipt {
    let said =
        due.partner_said.as_ref().filter(|said| receipt.alone == Some(Alone::Attached) && said.len() <= MOST_WITHIN);
    let Some(said) = said.cloned() else { return receipt };
    let with = Receipt { alone: Some(Alone::Partner), partner_receipt: Some(said), ..receipt.clone() };
    match with.check_partner() {
        Ok(_) => with,
        Err(contradiction) => {
            tracing::warn!(receipt = %due.id, "a partner's receipt does not bear ours out: {contradiction}");
            receipt
        }
    }
}

/// What the node says, the text of it and its key; or why the gateway does not put its name beside that.
fn node_said(due: &Due, notary: &Notary<'_>) -> Result<(NodeReceipt, String, String), Alone> {
    let noted = &due.noted;
    if noted.is_attached {
        return Err(Alone::Attached);
    }
    let node_s = due.node_said.as_ref().ok_or(Alone::NotReceived)?;
    let seen = Seen {
        gateways: &notary.gateways,
        node: due.node,
        request: due.id.request,
        attempt: due.id.attempt,
        model: &noted.model,
        price: noted.price,
        request_commitment: noted.request_commitment,
        answer_commitment: noted.answer_commitment,
        heard: noted.completion_tokens.is_some(),
        most_prompt_tokens: noted.most_prompt_tokens,
        completion_tokens: noted.completion_tokens,
    };
    read(node_s, notary).and_then(|said| seen.check(&said).map(|()| said)).map_err(|contradiction| {
        tracing::warn!(node = %due.node, receipt = %due.id, "a node's receipt is not what the gateway has seen: {contradiction}");
        Alone::Contradicts
    })
    .map(|said| (said, node_s.statement.clone(), BASE64URL_NOPAD.encode(&node_s.public_key)))
}

/// A signature takes many times as long to verify as a voucher.
fn read(said: &NodeSaid, notary: &Notary<'_>) -> Result<NodeReceipt, Contradiction> {
    let read = || {
        let jws = Jws::read(&said.statement)?;
        if notary.has_verified(said) {
            return jws.claimed();
        }
        let key = said.public_key.as_slice().try_into().map_err(|_| jws::NotSigned::Signature)?;
        jws.verify(&PublicKey(key))
    };
    read().map_err(Contradiction::NodeSignature)
}

/// Who gets what, by the split that the ledger took. Another may have come into the log since, and is not asked.
fn shares(due: &Due, splits: &[SplitVersion], income: Nanocredits) -> anyhow::Result<Shares> {
    let taken = due.split_version.and_then(|version| splits.iter().find(|split| split.version == version));
    let taken = taken.or_else(|| split::of(splits, due.started_at)).ok_or_else(|| anyhow!("no split was in force"))?;
    // As the ledger names them.
    let name = |author: &String| match Account::author(author)? {
        Account::Author(name) => Some(name),
        _ => None,
    };
    let authors: Vec<String> = due.noted.authors.iter().filter_map(name).collect();
    let shares = taken.split.divide(income, authors.len());
    let authors = authors.into_iter().zip(shares.authors);
    Ok(Shares {
        version: taken.version,
        split: taken.split,
        operator: shares.operator,
        authors: authors.map(|(author, nanocredits)| AuthorShare { author, nanocredits }).collect(),
        gateway: shares.gateway,
        audit_fund: shares.audit_fund,
    })
}
