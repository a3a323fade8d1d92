//! Reads what a partner has signed for answers that we had from it, in the order of its log, so that nothing that it bills is
//! passed over and nothing counts twice.

use anyhow::{Context, bail};
use axum::body::Bytes;
use openapi::log::entry::{Entry, Kind};
use openapi::receipt::jws::Jws;
use openapi::receipt::{Receipt, ReceiptId};
use openapi::verify::{self, Evidence};
use serde_json::Value;
use time::OffsetDateTime;

use super::client::{Asked, Listed, Shown};
use super::judge::judge;
use super::table::{self, Found, Invoice, Partner};
use crate::app::App;

/// Pages in one turn.
const MOST_PAGES: usize = 50;
/// Our own record of an attempt is written by then, or the attempt was none of ours.
const WRITTEN_WITHIN: time::Duration = time::Duration::minutes(10);

/// Reads all that is new.
///
/// # Errors
/// When the partner does not answer as it should, or the database fails. What was read until then counts.
pub(super) async fn collect(app: &App, partner: &Partner, asked: &Asked) -> anyhow::Result<()> {
    let mut from = partner.read_until;
    for _ in 0..MOST_PAGES {
        let page = asked.receipts(from).await?;
        if page.next < from {
            bail!("its receipts go on from before where they were read to");
        }
        let keys = if page.data.is_empty() { Bytes::new() } else { Shown::at(app, &partner.url)?.key_set().await? };
        let (mut until, mut invoices) = (page.next, Vec::with_capacity(page.data.len()));
        let mut least = from;
        for file in &page.data {
            let listed: Listed = serde_json::from_value(file.clone()).context("what it says is a receipt is none")?;
            if !(least..page.next).contains(&listed.index) {
                bail!("its receipts are not in the order of its log");
            }
            least = listed.index + 1;
            if listed.proven_index()? != listed.index {
                bail!("receipt {} of its log is not proven to be there", listed.index);
            }
            let Some(invoice) = invoice(app, partner, &keys, (file, listed)).await? else {
                until = least - 1;
                break;
            };
            invoices.push(invoice);
        }
        if until == from || !table::take(&app.database, partner, (from, until), &invoices).await? {
            break;
        }
        from = until;
    }
    Ok(())
}

/// A receipt as an invoice. None while our own record of the attempt is on its way.
async fn invoice(
    app: &App,
    partner: &Partner,
    keys: &[u8],
    (file, listed): (&Value, Listed),
) -> anyhow::Result<Option<Invoice>> {
    let bytes = serde_json::to_vec(file)?;
    let policy = format!("{}quorum none\n", partner.log_keys);
    let evidence =
        Evidence { receipt: &bytes, keys: Some(keys), policy: Some(policy.as_bytes()), ..Evidence::default() };
    let verdict = verify::receipt(&evidence)?;
    let receipt: Receipt = Jws::read(&listed.receipt)?.claimed()?;
    let named = listed.client_request_id.as_deref().and_then(|name| name.parse::<ReceiptId>().ok());
    let found = match named {
        Some(id) => table::ours(&app.database, partner, id).await?,
        None => Found::Nothing,
    };
    let is_fresh = OffsetDateTime::now_utc() - started(&receipt) < WRITTEN_WITHIN;
    let ours = match found {
        Found::Nothing if named.is_some() && is_fresh => return Ok(None),
        Found::Nothing => None,
        Found::Attempt(ours) => ours,
    };
    let judged = judge(&verdict, &receipt, ours.as_deref());
    let leaf = Entry::of(Kind::Receipt, listed.receipt.as_bytes()).leaf();
    let attempt = named.filter(|_| ours.is_some());
    Ok(Some(Invoice {
        index: listed.index,
        leaf,
        attempt,
        receipt: listed.receipt,
        claimed: receipt.nanocredits,
        energy: receipt.energy,
        judged,
    }))
}

fn started(receipt: &Receipt) -> OffsetDateTime {
    let nanoseconds = i128::from(receipt.started_at.get()) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
