//! Reads the table `changes` as it grows: at once when a notice comes, every half second without one. One connection
//! does both, so each look also proves that it lives.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use time::OffsetDateTime;

use super::{Change, LastLook};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Notices that come in a crowd are one look.
const LOOKS_APART: Duration = Duration::from_millis(50);
/// A connection that gives no answer for longer is given up.
const WITHIN: Duration = Duration::from_secs(2);
/// After a longer absence nothing is caught up with. The table keeps its rows for longer than twice this.
const LONGEST_ABSENCE: time::Duration = time::Duration::minutes(5);

/// What a look brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// These, each for the first time.
    Changes(Vec<Change>),
    /// Nobody knows which: anything may have changed.
    Everything,
}

/// Where the last look ended.
struct Place {
    /// Every transaction before this one was over.
    since: i64,
    /// The versions beyond it that were heard. All of them are found again, so it holds no others.
    heard: HashSet<i64>,
    /// By the database's clock.
    at: OffsetDateTime,
}

/// One replica's ear.
pub(crate) struct Feed {
    options: PgConnectOptions,
    last_look: Arc<LastLook>,
    connection: Option<PgListener>,
    /// None when in doubt: the next look hears that everything may have changed.
    place: Option<Place>,
    /// When the look began whose news is not taken in yet.
    looked: Option<Instant>,
}

impl Feed {
    /// Begins at the current end, which it first hears as a change of everything.
    pub(crate) fn new(options: PgConnectOptions, last_look: Arc<LastLook>) -> Self {
        Self { options, last_look, connection: None, place: None, looked: None }
    }

    /// Waits for news. Say [`Feed::taken_in`] or [`Feed::doubt`] before the next call. Outages are waited out.
    pub(crate) async fn hear(&mut self) -> Heard {
        loop {
            self.wait().await;
            let began = Instant::now();
            match tokio::time::timeout(WITHIN, self.look()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                Ok(Some(heard)) => {
                    self.looked = Some(began);
                    return heard;
                }
                Ok(None) => self.last_look.was(began),
                Err(error) => {
                    tracing::warn!(%error, "not hearing of changes; trying again");
                    self.connection = None;
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// The news has had its effect.
    pub(crate) fn taken_in(&mut self) {
        if let Some(looked) = self.looked.take() {
            self.last_look.was(looked);
        }
    }

    /// The news could not have its effect.
    pub(crate) fn doubt(&mut self) {
        (self.place, self.looked) = (None, None);
    }

    /// Waits for a notice or for the time of the next look.
    async fn wait(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        tokio::time::sleep(LOOKS_APART).await;
        match tokio::time::timeout(LOOK_EVERY.saturating_sub(LOOKS_APART), connection.try_recv()).await {
            Ok(Ok(Some(_))) | Err(_) => while connection.next_buffered().is_some() {},
            Ok(Ok(None) | Err(_)) => self.connection = None,
        }
    }

    async fn look(&mut self) -> Result<Option<Heard>, sqlx::Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.options).await?),
        };
        // Before the rows: what commits in between is found twice rather than never.
        let now = sqlx::query!(
            r#"select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "since!", clock_timestamp() as "at!""#
        )
        .fetch_one(&mut *connection)
        .await?;
        let place = self.place.as_ref().filter(|place| {
            // A database whose transactions run backwards is not the one that was asked before.
            now.since >= place.since && now.at - place.at < LONGEST_ABSENCE
        });
        let Some(place) = place else {
            self.place = Some(Place { since: now.since, heard: HashSet::new(), at: now.at });
            return Ok(Some(Heard::Everything));
        };
        let rows = sqlx::query!(
            r#"select c.version, c.kind, c.subject, c.account_id, k.revoked_at is not null as "revoked!"
               from changes c left join keys k on c.kind = 'key' and k.id = c.subject
               where c.transaction_id >= $1::bigint::text::xid8 and c.created_at >= $2 order by c.version"#,
            place.since,
            // Bounds the work while some transaction runs for hours.
            place.at - LONGEST_ABSENCE
        )
        .fetch_all(&mut *connection)
        .await?;
        let heard = rows.iter().map(|row| row.version).collect();
        let news = rows.into_iter().filter(|row| !place.heard.contains(&row.version));
        let news: Vec<Change> =
            news.filter_map(|row| Change::read(&row.kind, row.subject, row.account_id, row.revoked)).collect();
        self.place = Some(Place { since: now.since, heard, at: now.at });
        Ok((!news.is_empty()).then_some(Heard::Changes(news)))
    }
}

/// A connection of its own, so that a crowd of requests never keeps it waiting.
async fn connect(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let only = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let mut connection = PgListener::connect_with(&only.connect_lazy_with(options.clone())).await?;
    connection.eager_reconnect(false);
    connection.listen("changes").await?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
