//! Counts what a partner and we have answered for each other, and has both sign what of it is offset. Whoever has a key of the
//! other's may propose; where both have, the one whose log is named first in the order of names does.

use anyhow::{Context, bail};
use openapi::log::ed25519::PublicKey;
use openapi::log::entry::{Entry, Kind};
use openapi::netting::{self, Agreed, Counting, Netting, Side, VERSION};
use openapi::receipt::Receipt;
use openapi::receipt::jws::Jws;
use openapi::units::Nanocredits;
use sqlx::{PgConnection, PgPool};

use super::client::{Answered, Asked, Shown};
use super::table::{self, Netted, Partner};
use crate::app::App;
use crate::ledger::event::{Posted, Refused};
use crate::ledger::movement::{self, Movement, Order};
use crate::log::read::receipts_between;
use crate::{epochs, log, receipts};

/// Leaves that are counted at once.
const PAGE: u64 = 4096;

/// Leaves of both logs, of which the receipts are to be netted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    number: u32,
    ours: (u64, u64),
    theirs: (u64, u64),
}

/// What becomes of a partner's proposal.
pub(super) enum Reply {
    /// Both have signed this document.
    Agreed(String),
    /// We count otherwise.
    Otherwise(Box<Netting>),
    /// Not now, for this reason.
    Later(&'static str),
}

/// Proposes a netting when both have closed an epoch since the last one, and it is for us to propose.
///
/// # Errors
/// When the partner or the database fails, or both count otherwise.
pub(super) async fn propose_due(app: &App, partner: &Partner, asked: &Asked) -> anyhow::Result<()> {
    let is_theirs = app.log.origin() > partner.origin.as_str();
    if is_theirs && holds_key(&app.database, partner).await? {
        return Ok(());
    }
    let span = next(app, partner).await?;
    let both_closed = span.ours.1 > span.ours.0 && span.theirs.1 > span.theirs.0;
    if both_closed { propose_span(app, partner, asked, span).await.map(drop) } else { Ok(()) }
}

/// Proposes a netting of all that closed epochs have, at once. False when there is nothing new.
///
/// # Errors
/// When the partner or the database fails, or both count otherwise.
pub(super) async fn propose(app: &App, partner: &Partner, asked: &Asked) -> anyhow::Result<bool> {
    let span = next(app, partner).await?;
    propose_span(app, partner, asked, span).await
}

async fn propose_span(app: &App, partner: &Partner, asked: &Asked, span: Span) -> anyhow::Result<bool> {
    let mut ours = our_side(app, partner, span.ours, &[]).await?;
    let theirs = their_side(&app.database, partner, span.theirs).await?;
    if ours.receipts == 0 && theirs.receipts == 0 {
        return Ok(false);
    }
    // What they dispute they say in their answer.
    for _ in 0..2 {
        let netting = Netting::new(span.number, ours.clone(), theirs.clone());
        let signed = sign(app, &netting)?;
        match asked.propose(signed).await? {
            Answered::Agreed { document } => {
                let read = Agreed::read(&document, &our_keys(app), &Shown::at(app, &partner.url)?.keys().await?)?;
                if read != netting {
                    bail!("it has signed another netting than the one that was proposed");
                }
                settle(app, partner, &netting, &document).await?;
                return Ok(true);
            }
            Answered::Otherwise { netting: said } => {
                let Some((their_own, our_own)) = said.seen_by(&partner.origin) else {
                    bail!("it nets with somebody else")
                };
                let counted = our_side(app, partner, span.ours, &our_own.disputed).await?;
                if (their_own, our_own) != (&theirs, &counted) || counted == ours {
                    bail!("it counts otherwise: {}, and we: {}", in_words(&said), in_words(&netting));
                }
                ours = counted;
            }
            Answered::Refused { error } => bail!("it can't net now: {}", error.message),
        }
    }
    bail!("it goes on disputing others of our receipts")
}

/// Answers a partner's proposal.
///
/// # Errors
/// When it is not signed by the partner, or is of something else. When the database fails, or the partner can't be asked for its keys.
pub(super) async fn answer(app: &App, partner: &Partner, proposal: &str) -> anyhow::Result<Reply> {
    let keys = Shown::at(app, &partner.url)?.keys().await.context("its keys can't be read")?;
    let proposed: Netting = netting::signed(proposal, &keys)?;
    let Some((their_own, our_own)) =
        proposed.seen_by(&partner.origin).filter(|(_, ours)| ours.gateway == app.log.origin())
    else {
        bail!("it is not between {} and {}", app.log.origin(), partner.origin);
    };
    if let Some(document) = before(app, partner, &proposed, &keys).await? {
        return Ok(Reply::Agreed(document));
    }
    let last = last(&mut *app.database.acquire().await?, partner).await?;
    if proposed.number != last.number + 1
        || (our_own.first_index, their_own.first_index) != (last.ours.1, last.theirs.1)
    {
        bail!("it does not go on from netting {}, the last one", last.number);
    }
    if our_own.end_index > our_end(app).await? || our_own.end_index < our_own.first_index {
        bail!("it goes beyond the last epoch that is closed here");
    }
    if partner.node.is_some() && their_own.end_index > partner.read_until {
        return Ok(Reply::Later("Your receipts are not read so far yet. Try again in a minute."));
    }
    let ours = our_side(app, partner, (our_own.first_index, our_own.end_index), &our_own.disputed).await?;
    let theirs = their_side(&app.database, partner, (their_own.first_index, their_own.end_index)).await?;
    let counted = Netting::new(proposed.number, ours, theirs);
    if counted != proposed {
        return Ok(Reply::Otherwise(Box::new(counted)));
    }
    let agreed = Agreed { v: VERSION, netting: proposal.to_owned() };
    let signer = &app.secrets.newest.receipt_signing;
    let document = signer.sign(&agreed).context("a netting can't be signed")?;
    settle(app, partner, &counted, &document).await?;
    Ok(Reply::Agreed(document))
}

/// The document of a netting that was agreed before, if it is this one: the answer may have been lost.
async fn before(
    app: &App,
    partner: &Partner,
    proposed: &Netting,
    keys: &[PublicKey],
) -> anyhow::Result<Option<String>> {
    let netted = table::nettings(&mut *app.database.acquire().await?, partner.id).await?;
    let Some(same) = netted.iter().find(|one| one.number == proposed.number) else { return Ok(None) };
    let document = log::document(&app.database, &same.digest).await?.context("a netting's document is gone")?;
    let is_this = Agreed::read(&document, keys, &our_keys(app)).is_ok_and(|agreed| agreed == *proposed);
    Ok(is_this.then_some(document))
}

/// Keeps a netting, logs its document, and pays with what the partner has earned for what it has used; all of it once.
async fn settle(app: &App, partner: &Partner, netting: &Netting, document: &str) -> anyhow::Result<()> {
    let (ours, theirs) = netting.seen_by(app.log.origin()).context("it is not ours")?;
    let mut transaction = app.database.begin().await?;
    let digest = Entry::of(Kind::Netting, document.as_bytes()).hash.to_vec();
    let event = offset(&mut transaction, partner, netting).await?;
    let netted = Netted {
        number: netting.number,
        digest,
        our_end: ours.end_index,
        their_end: theirs.end_index,
        we_owe: theirs.nanocredits,
        they_owe: ours.nanocredits,
        agreed_at: time::OffsetDateTime::now_utc(),
    };
    table::net(&mut transaction, partner.id, &netted, event).await?;
    log::publish(&mut transaction, Kind::Netting, &[document.to_owned()]).await?;
    transaction.commit().await?;
    app.log.wake();
    tracing::info!(partner = partner.name, number = netting.number, "netted: {}", in_words(netting));
    Ok(())
}

async fn offset(
    connection: &mut PgConnection,
    partner: &Partner,
    netting: &Netting,
) -> Result<Option<uuid::Uuid>, Refused> {
    let offset = netting.offset();
    if offset == Nanocredits::ZERO {
        return Ok(None);
    }
    let (key, reason) = (
        format!("netting:{}:{}", partner.id, netting.number),
        format!("netting {} with {}", netting.number, partner.name),
    );
    let order = Order { idempotency_key: &key, reason: &reason, created_by: None };
    let (Posted::Now(event) | Posted::Before(event)) =
        movement::move_within(connection, &Movement::Netting(partner.account), offset, order).await?;
    Ok(Some(event.id))
}

/// What we have answered for the partner, without what it disputes.
async fn our_side(app: &App, partner: &Partner, (first, end): (u64, u64), disputed: &[u64]) -> anyhow::Result<Side> {
    let mut counting = Counting::begin(app.log.origin(), (first, end));
    let (mut from, mut connection) = (first, app.database.acquire().await?);
    while from < end {
        let (leaves, until) = receipts_between(&mut connection, (from, end.min(from + PAGE))).await?;
        if until == from {
            bail!("the log has no leaf {from}");
        }
        let digests: Vec<Vec<u8>> = leaves.iter().map(|(_, entry)| entry.hash.to_vec()).collect();
        let kept = receipts::table::of_account(&mut connection, partner.account, &digests).await?;
        for (index, entry) in leaves {
            let Some((receipt, _)) = kept.get(entry.hash.as_slice()).and_then(|one| one.signed.as_ref()) else {
                continue;
            };
            let receipt: Receipt = Jws::read(receipt)?.claimed()?;
            counting.count(index, entry.leaf(), (!disputed.contains(&index)).then_some(receipt.nanocredits));
        }
        from = until;
    }
    Ok(counting.end())
}

/// What the partner has answered for us, without what we dispute.
async fn their_side(database: &PgPool, partner: &Partner, (first, end): (u64, u64)) -> anyhow::Result<Side> {
    let mut counting = Counting::begin(&partner.origin, (first, end));
    let mut from = first;
    loop {
        let invoices = table::invoices(database, partner.id, (from, end), false).await?;
        let Some(last) = invoices.last() else { break };
        from = last.index + 1;
        for invoice in &invoices {
            counting.count(invoice.index, invoice.leaf, invoice.dispute.is_none().then_some(invoice.nanocredits));
        }
    }
    let side = counting.end();
    if side.disputed.len() > netting::MOST_DISPUTED {
        bail!("{} of its receipts are disputed: settle these first", side.disputed.len());
    }
    Ok(side)
}

/// From the last netting to the last epochs that both have closed.
async fn next(app: &App, partner: &Partner) -> anyhow::Result<Span> {
    let last = last(&mut *app.database.acquire().await?, partner).await?;
    let their_end = Shown::at(app, &partner.url)?.closed_until().await?;
    if their_end > partner.read_until {
        bail!("its receipts are read up to leaf {} of {their_end}", partner.read_until);
    }
    let our_end = our_end(app).await?;
    Ok(Span {
        number: last.number + 1,
        ours: (last.ours.1, our_end.max(last.ours.1)),
        theirs: (last.theirs.1, their_end.max(last.theirs.1)),
    })
}

async fn last(connection: &mut PgConnection, partner: &Partner) -> Result<Span, sqlx::Error> {
    let last = table::nettings(connection, partner.id).await?.into_iter().next();
    let (number, ours, theirs) = last.map_or((0, 0, 0), |last| (last.number, last.our_end, last.their_end));
    Ok(Span { number, ours: (0, ours), theirs: (0, theirs) })
}

/// Our log's size when the newest epoch was closed.
async fn our_end(app: &App) -> Result<u64, sqlx::Error> {
    let newest = epochs::table::newest(&mut *app.database.acquire().await?).await?;
    Ok(newest.map_or(0, |newest| newest.end_index))
}

async fn holds_key(database: &PgPool, partner: &Partner) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar!(
        r#"select exists (select from keys where account_id = $1 and scope = 'inference' and revoked_at is null) as "held!""#,
        partner.account
    );
    held.fetch_one(database).await
}

fn sign(app: &App, netting: &Netting) -> anyhow::Result<String> {
    app.secrets.newest.receipt_signing.sign(netting).context("a netting can't be signed")
}

fn our_keys(app: &App) -> Vec<PublicKey> {
    app.secrets.all().map(|derived| derived.receipt_signing.public()).collect()
}

fn in_words(netting: &Netting) -> String {
    let side = |side: &Side| {
        let disputed = match side.disputed.len() {
            0 => String::new(),
            count => format!(", {count} of them disputed"),
        };
        format!(
            "{} is owed {} credits for {} receipts{disputed}",
            side.gateway,
            side.nanocredits.credits(),
            side.receipts
        )
    };
    netting.sides.each_ref().map(side).join(", ")
}
