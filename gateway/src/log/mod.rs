//! The public log: a Merkle tree of what the gateway must not take back, which everybody can read without asking for more
//! than files (C2SP tlog-tiles), and nodes witness. The only module that writes the tables `log_…`.
//!
//! Whoever makes something to be logged calls [`publish`] or [`enqueue`] in the transaction that makes it. Of all replicas one at a time
//! ([`mod@sequence`]) appends what waits, signs the new head and commits it all in one transaction; nothing of the tree is
//! kept in memory. As rows can be edited by whoever has the database, and the key lies outside of it, nothing is appended to
//! rows that are not what was signed last, and [`mod@audit`] recomputes older ones all the time.

mod alarm;

mod audit;

mod checkpoints;

mod documents;

mod edge;

mod keys;

mod policy;

mod prove;

mod queue;

pub mod read;

pub mod routes;

mod sequence;

mod tiles;

pub mod witnesses;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::key::{NotSigned, is_key_name};
use openapi::log::tree::TreeHead;
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore};

use crate::app::App;
use crate::secrets::Secrets;
use alarm::{Alarm, Part};
use keys::Keys;

pub use alarm::Figures;
pub use documents::{document, publish};
pub use openapi::log::entry::{Entry, Kind};
pub use prove::{index_of, indices_of};
pub use queue::enqueue;

/// What was enqueued is looked for after a pause of this length, and at the latest after the longer one.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_millis(1000);
/// While nothing is appended, rows are recomputed so often.
const AUDIT_EVERY: Duration = Duration::from_secs(10);
/// The public's questions that are answered at once: others of this gateway need the database too.
const READERS: usize = 4;

/// The log of this gateway.
pub struct Log {
    keys: Keys,
    alarm: Alarm,
    /// Something was enqueued here.
    queued: Notify,
    /// The largest tree that this replica has seen signed.
    seen: Mutex<TreeHead>,
    readers: Semaphore,
}

/// Why nothing was appended, or nothing proven.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Somebody has changed rows, or their gateway's key is not known.
    #[error("{0}")]
    Damaged(String),
    #[error("the log's head can't be signed: {0}")]
    Key(#[from] NotSigned),
}

impl Log {
    /// The log in this database. It is called as its first checkpoint says; before there is one, as is `wanted`, or
    /// `otherwise`, or after its key.
    ///
    /// # Errors
    /// When the database fails, or its log has another name than the one that is wanted.
    pub async fn open(
        database: &PgPool,
        secrets: &Secrets,
        wanted: Option<&str>,
        otherwise: Option<&str>,
    ) -> anyhow::Result<Self> {
        let fixed = checkpoints::origin(database).await.context("the log can't be read")?;
        if let (Some(fixed), Some(wanted)) = (&fixed, wanted)
            && fixed != wanted
        {
            bail!(
                "the log in this database is called {fixed}, and whoever checks it knows it by that name: start the gateway \
                 with COMMONWATT_LOG_ORIGIN={fixed}, or without it"
            );
        }
        let origin = fixed.as_deref().or(wanted).or(otherwise);
        let keys = Keys::new(secrets, origin)?;
        if let Err(error) = checkpoints::countersign(database, &keys).await {
            tracing::error!(%error, "the newest checkpoint of the log can't be signed with the newest key");
        }
        Ok(Self {
            keys,
            alarm: Alarm::default(),
            queued: Notify::new(),
            seen: Mutex::new(TreeHead::EMPTY),
            readers: Semaphore::new(READERS),
        })
    }

    /// Has what was enqueued appended soon. Call it when the transaction is committed; without it, it takes a second.
    pub fn wake(&self) {
        self.queued.notify_one();
    }

    /// What it is called.
    pub fn origin(&self) -> &str {
        self.keys.origin()
    }

    /// What metrics show.
    pub fn figures(&self) -> Figures {
        self.alarm.figures()
    }

    /// Takes note of the newest checkpoint. One that is older than what was seen before is not the newest.
    fn see(&self, newest: Option<&SignedCheckpoint>) -> Result<TreeHead, Failed> {
        let head = newest.map_or(TreeHead::EMPTY, |signed| signed.checkpoint().tree());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if head.size < seen.size || (head.size == seen.size && head.root != seen.root) {
            let (before, now) = (seen.size, head.size);
            return Err(Failed::Damaged(format!(
                "the newest checkpoint was of {before} leaves, and is another one, of {now} leaves"
            )));
        }
        *seen = head;
        self.alarm.leaves(head.size);
        Ok(head)
    }
}

/// A name under which a log can be known, as the flag takes it.
///
/// # Errors
/// When no log can have it.
pub fn read_origin(text: &str) -> Result<String, &'static str> {
    const LONGEST: usize = 200;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains("://") && !text.starts_with('/');
    if is_plain && is_key_name(text) && text.len() <= LONGEST {
        return Ok(text.to_owned());
    }
    Err("a log is called as an address without its scheme, such as gateway.example/log, with no space and no plus sign")
}

/// Appends what waits, and recomputes what was appended, until the gateway closes. Every replica runs it; one at a time
/// appends.
pub async fn run(app: App) {
    let mut auditor = audit::Auditor::default();
    let mut audited: Option<Instant> = None;
    loop {
        let grown = app.log.append(&app.database).await;
        let is_due = audited.is_none_or(|at| at.elapsed() > AUDIT_EVERY);
        if let Ok(Some(grown)) = &grown {
            auditor.check(&app, grown.touched()).await;
            audited = Some(Instant::now());
        } else if is_due {
            auditor.check(&app, None).await;
            audited = Some(Instant::now());
        }
        let has_more = matches!(grown, Ok(Some(grown)) if grown.has_more);
        if !has_more && app.closing.run_until_cancelled(app.log.pause()).await.is_none() {
            return;
        }
    }
}

impl Log {
    /// Appends what waits, and says in the log and to the alarm what keeps it from doing so.
    async fn append(&self, database: &PgPool) -> Result<Option<sequence::Grown>, Failed> {
        let grown = self.try_to_append(database).await;
        match &grown {
            Ok(Some(_)) => self.alarm.about(Part::Edge, None),
            Ok(None) => {}
            Err(Failed::Damaged(what)) => self.alarm.about(Part::Edge, Some(what)),
            Err(error) => tracing::warn!(%error, "nothing can be appended to the log; trying again"),
        }
        grown
    }

    async fn try_to_append(&self, database: &PgPool) -> Result<Option<sequence::Grown>, Failed> {
        let waits = queue::oldest(database).await?;
        self.alarm.lag(waits.unwrap_or_default());
        if waits.is_none() { Ok(None) } else { self.grow(database).await }
    }

    /// Appends until nothing waits.
    #[cfg(test)]
    pub(crate) async fn append_all(&self, database: &PgPool) {
        while queue::oldest(database).await.unwrap().is_some() {
            self.grow(database).await.unwrap();
        }
    }

    async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
        // Replicas that look at different times find sooner what one of them has enqueued.
        let rest = (LONGEST_PAUSE - PAUSE).mul_f64(fastrand::f64());
        let _ = tokio::time::timeout(rest, self.queued.notified()).await;
    }
}
