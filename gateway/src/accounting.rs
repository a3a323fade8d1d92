//! The accounting of one replica, from start to stop: the journal and what a crash left in it, the replica's place among
//! the others, its leases, and the shipper that brings settled requests to the database.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::admission::{Admissions, Refills};
use crate::config::ServeConfig;
use crate::inference::record::{OpenRequest, Outcome, RequestRecord};
use crate::inference::ship;
use crate::journal::{Journal, JournalSettings};
use crate::replicas::Replica;

/// What waits for the database at the end is kept in the journal after this long.
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
/// The status of a request that the gateway's death ended.
const GATEWAY_FAILED: u16 = 500;

/// The parts that requests need, and the tasks behind them.
pub struct Accounting {
    pub journal: Journal,
    pub replica: Arc<Replica>,
    pub admissions: Arc<Admissions>,
    database: PgPool,
    /// Given when no request runs any more.
    closing: CancellationToken,
    shipping: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl Accounting {
    /// Opens the journal, settles what a crash has left open, brings everything of the earlier life to the database, and
    /// only then takes a place among the replicas, since that releases what the earlier life had leased.
    ///
    /// # Errors
    /// When the journal can't be used or the database is away.
    pub async fn open(config: &ServeConfig, database: &PgPool, address: Option<String>) -> anyhow::Result<Self> {
        let folder = config.accounting.journal_folder(&config.store.data);
        let config = &config.accounting;
        let settings = JournalSettings {
            strict: config.strict_journal,
            most_bytes: config.journal_megabytes << 20,
            least_free_bytes: config.journal_free_megabytes << 20,
        };
        let recovered = Journal::open(&folder, settings)?;
        if let Some(cut) = &recovered.cut {
            tracing::error!("{cut}");
        }
        let (journal, id) = (recovered.journal, recovered.replica);
        settle_interrupted(&journal, &recovered.open).await;
        ship::ship_all(&journal, database, id)
            .await
            .context("the journal's records can't be written to the database")?;
        let lease = Duration::from_secs(config.lease_seconds);
        let replica = Arc::new(Replica::register(database, id, address, lease).await?);
        let (admissions, refills) = Admissions::new(database.clone(), Arc::clone(&replica));
        Ok(Self::start(journal, replica, (Arc::new(admissions), refills), database))
    }

    fn start(
        journal: Journal,
        replica: Arc<Replica>,
        (admissions, refills): (Arc<Admissions>, Refills),
        database: &PgPool,
    ) -> Self {
        let closing = CancellationToken::new();
        let shipping = tokio::spawn(ship::ship(journal.clone(), database.clone(), replica.id(), closing.clone()));
        let keeping = {
            let (admissions, closing) = (Arc::clone(&admissions), closing.clone());
            tokio::spawn(async move { admissions.keep(refills, closing).await })
        };
        let living = {
            let (replica, database, closing) = (Arc::clone(&replica), database.clone(), closing.clone());
            tokio::spawn(async move { replica.keep_alive(&database, closing).await })
        };
        Self {
            journal,
            replica,
            admissions,
            database: database.clone(),
            closing,
            shipping,
            others: vec![keeping, living],
        }
    }

    /// Ships what is left and gives everything back. Call it when no request runs any more.
    ///
    /// # Errors
    /// When the database stays away: then the journal keeps the rest for the next start.
    pub async fn close(self) -> anyhow::Result<()> {
        self.closing.cancel();
        for task in self.others {
            task.await?;
        }
        let shipped = tokio::time::timeout(FLUSH_WITHIN, self.shipping).await;
        self.journal.close().await;
        shipped.map_err(|_| {
            anyhow!(
                "the database stayed away: {} requests wait in the journal for the next start",
                self.journal.state().waiting
            )
        })??;
        self.replica.leave(&self.database).await.context("the leases could not be given back; they will expire")
    }
}

/// Requests that ran when the gateway died: whatever their clients got is free.
async fn settle_interrupted(journal: &Journal, open: &[(Uuid, Vec<u8>)]) {
    for (id, bytes) in open {
        match serde_json::from_slice::<OpenRequest>(bytes) {
            Ok(request) => {
                let record = RequestRecord::without_answer(request, Outcome::GatewayFailed, GATEWAY_FAILED);
                journal.settle(*id, &record.to_bytes()).await;
            }
            Err(error) => tracing::error!(request = %id, %error, "an admission in the journal can't be read"),
        }
    }
    if !open.is_empty() {
        tracing::warn!(requests = open.len(), "requests were interrupted when the gateway died; they are free");
    }
}
