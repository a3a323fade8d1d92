//! Closes an epoch: reads its receipts from the log, holds them against what the ledger has settled, and publishes what everybody
//! has earned. One replica at a time, in one transaction.

use std::collections::{BTreeMap, HashMap};

use openapi::log::entry::{Entry, Kind};
use openapi::log::tree::TreeHead;
use openapi::receipt::Receipt;
use openapi::receipt::jws::Jws;
use openapi::statement::{Closed, Closing, Counted, Epoch};
use openapi::units::Nanocredits;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::table::{self, Row};
use crate::ledger::earned::{self, Moved, microseconds};
use crate::log::read::Reader;
use crate::log::{self, Log};
use crate::nodes::enrol;
use crate::{payouts, receipts};

/// Where the share of an operator goes who is gone.
const NOBODY: &str = "gateway";

/// Why an epoch is not closed, or not made again.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("there is nothing to close yet: the log is empty")]
    Empty,
    #[error("there is no epoch {0}")]
    NoEpoch(i32),
    #[error("receipt {0} of the log is not kept any more")]
    Gone(u64),
    #[error("what is kept as receipt {0} of the log is none")]
    NoReceipt(u64),
    #[error(transparent)]
    Log(#[from] log::Failed),
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// An epoch as it was made, and by how much the ledger has settled its receipts otherwise.
#[derive(Debug)]
pub struct Made {
    pub closed: Closed,
    pub differing: u64,
}

/// Closes the running epoch as of a time, and has everybody paid who is owed the minimum. None if another replica does, or one
/// is closed that ended then or later.
///
/// # Errors
/// [`Failed`] says why not; then nothing has changed.
pub(super) async fn close(
    database: &PgPool,
    log: &Log,
    at: OffsetDateTime,
    minimum_payout: Nanocredits,
) -> Result<Option<u32>, Failed> {
    let mut transaction = database.begin().await?;
    // As the database keeps it.
    let closed = close_within(&mut transaction, log, at.truncate_to_microsecond(), minimum_payout).await;
    if let Ok(Some(_)) = closed {
        transaction.commit().await?;
        log.wake();
    } else {
        transaction.rollback().await?;
    }
    closed
}

async fn close_within(
    connection: &mut PgConnection,
    log: &Log,
    at: OffsetDateTime,
    minimum_payout: Nanocredits,
) -> Result<Option<u32>, Failed> {
    let mine = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtext('commonwatt epochs')) as "mine!""#);
    if !mine.fetch_one(&mut *connection).await? {
        return Ok(None);
    }
    let before = table::newest(connection).await?;
    if before.as_ref().is_some_and(|before| before.ended_at >= at) {
        return Ok(None);
    }
    let (epoch, head) = next(connection, log, before.as_ref(), at).await?;
    let opening = opening(connection, before.as_ref()).await?;
    let moved = earned::moved_since(connection, at).await?;
    let made = make(connection, log.origin(), (epoch, head), (opening, &moved)).await?;
    if made.differing > 0 {
        let (number, differing) = (epoch.number, made.differing);
        tracing::error!(epoch = number, differing, "the ledger has settled receipts otherwise than they say");
    }
    table::add(connection, &made, &moved).await?;
    publish(connection, &made.closed).await?;
    let owed = made.closed.statements.iter().map(|statement| (statement.party.clone(), statement.closing));
    payouts::owe(connection, table::integer(epoch.number), &owed.collect::<Vec<_>>(), minimum_payout).await?;
    Ok(Some(epoch.number))
}

/// The epoch that ends then, and the log's head at its end.
async fn next(
    connection: &mut PgConnection,
    log: &Log,
    before: Option<&Row>,
    at: OffsetDateTime,
) -> Result<(Epoch, TreeHead), Failed> {
    let head = log.head_at(connection, at).await?.ok_or(Failed::Empty)?;
    let (number, first_index, began_at) = match before {
        Some(before) => (before.number + 1, before.end_index, before.ended_at),
        None => (1, 0, Log::began_at(connection).await?.unwrap_or(at).min(at - time::Duration::MICROSECOND)),
    };
    let epoch = Epoch {
        number,
        first_index,
        end_index: head.size,
        began_at: microseconds(began_at),
        ended_at: microseconds(at),
    };
    Ok((epoch, head))
}

/// What is owed when an epoch begins: by the statements before, or, for the first one, what was settled before there were
/// receipts.
async fn opening(connection: &mut PgConnection, before: Option<&Row>) -> Result<Vec<(String, i64)>, sqlx::Error> {
    match before {
        Some(before) => table::closings(connection, before.number).await,
        None => {
            let earned = earned::without_receipts(connection).await?;
            Ok(earned.into_iter().map(|earned| (earned.party, earned.nanocredits)).collect())
        }
    }
}

/// Makes a closed epoch again, of the log as it is now.
///
/// # Errors
/// When it can't be made: there is none, or its receipts are not kept any more.
pub async fn again(database: &PgPool, log: &Log, number: i32) -> Result<Made, Failed> {
    let mut moment = database.begin_with("begin isolation level repeatable read read only").await?;
    let row = table::find(&mut moment, number).await?.ok_or(Failed::NoEpoch(number))?;
    let head = log.head_of(&mut moment, row.end_index).await?;
    let opening = table::openings(&mut moment, row.number).await?;
    let moved = earned::moved_in(&mut moment, number).await?;
    make(&mut moment, log.origin(), (row.epoch(), head), (opening, &moved)).await
}

async fn make(
    connection: &mut PgConnection,
    origin: &str,
    (epoch, head): (Epoch, TreeHead),
    (opening, moved): (Vec<(String, i64)>, &[Moved]),
) -> Result<Made, Failed> {
    let mut closing = Closing::begin(epoch, opening);
    let mut reader = Reader::open(connection, epoch.first_index, head).await?;
    let (mut index, mut differing) = (epoch.first_index, 0);
    loop {
        let entries = reader.next(connection).await?;
        if entries.is_empty() {
            break;
        }
        differing += count(connection, &mut closing, index, &entries).await?;
        index += entries.len() as u64;
    }
    moved.iter().for_each(|moved| closing.move_money(&moved.party, moved.movement.clone()));
    Ok(Made { closed: closing.end(origin, head.root), differing })
}

/// Counts the receipts among entries, and says by how much the ledger has settled them otherwise.
async fn count(
    connection: &mut PgConnection,
    closing: &mut Closing,
    first: u64,
    entries: &[Entry],
) -> Result<u64, Failed> {
    let (leaves, receipts) = read(connection, first, entries).await?;
    let nodes: Vec<Uuid> = receipts.iter().map(|receipt| receipt.node).collect();
    let operators = enrol::operators(connection, &nodes).await?;
    let operators: HashMap<Uuid, String> =
        operators.into_iter().map(|(node, account)| (node, format!("operator:{account}"))).collect();
    let mut due: BTreeMap<String, i64> = BTreeMap::new();
    for (entry, receipt) in leaves.iter().zip(&receipts) {
        let operator = operators.get(&receipt.node).map_or(NOBODY, String::as_str);
        let counted = Counted { leaf: entry.leaf(), operator, receipt };
        for (party, share) in counted.shares() {
            *due.entry(party).or_default() += share.to_bigint();
        }
        closing.count(&counted);
    }
    let paid: Vec<Uuid> = receipts.iter().filter(|paid| paid.shares.is_some()).map(|paid| paid.id.request).collect();
    for earned in earned::by_requests(connection, &paid).await? {
        *due.entry(earned.party).or_default() -= earned.nanocredits;
    }
    Ok(due.values().map(|left| left.unsigned_abs()).sum())
}

/// The receipts among entries, and their entries.
async fn read(
    connection: &mut PgConnection,
    first: u64,
    entries: &[Entry],
) -> Result<(Vec<Entry>, Vec<Receipt>), Failed> {
    let of_receipts = (first..).zip(entries).filter(|(_, entry)| entry.kind == Kind::Receipt);
    let of_receipts: Vec<(u64, Entry)> = of_receipts.map(|(index, entry)| (index, *entry)).collect();
    let digests: Vec<Vec<u8>> = of_receipts.iter().map(|(_, entry)| entry.hash.to_vec()).collect();
    let kept = receipts::table::of_digests(connection, &digests).await?;
    let read = |(index, entry): &(u64, Entry)| {
        let text = kept.get(entry.hash.as_slice()).ok_or(Failed::Gone(*index))?;
        // A row's digest is what somebody has written there.
        let is_this = Entry::of(Kind::Receipt, text.as_bytes()) == *entry;
        let claims = Jws::read(text).and_then(|jws| jws.claimed()).ok();
        claims.filter(|_| is_this).ok_or(Failed::NoReceipt(*index))
    };
    let receipts = of_receipts.iter().map(read).collect::<Result<Vec<Receipt>, Failed>>()?;
    Ok((of_receipts.into_iter().map(|(_, entry)| entry).collect(), receipts))
}

async fn publish(connection: &mut PgConnection, closed: &Closed) -> Result<(), sqlx::Error> {
    let statements: Vec<String> = closed.statements.iter().map(|statement| statement.to_document()).collect();
    log::publish(connection, Kind::Statement, &statements).await?;
    log::publish(connection, Kind::Epoch, &[closed.epoch.to_document()]).await
}
