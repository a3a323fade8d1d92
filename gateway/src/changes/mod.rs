//! What every replica hears of within a second: revoked keys, other limits, prices, preferences, aliases and partners, what operators do
//! with their nodes, cancelled requests. Triggers write the table; only a cancel, which has no row of its own, is written here.

mod feed;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use crate::app::App;
pub(crate) use feed::{Feed, Heard};

/// For so long after a look memory is as good as the database.
const CURRENT: Duration = Duration::from_secs(2);
/// What a change sets off must be done by then.
const TAKEN_IN_WITHIN: Duration = Duration::from_secs(2);

/// Something that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key was revoked, or expires at another time.
    Key { id: Uuid, revoked: bool },
    /// The limits of a key, a user or an account.
    Limits(Uuid),
    /// A price of this node.
    Price(Uuid),
    /// What its operator says about a node, or that it was removed.
    Node(Uuid),
    /// What this account asks of nodes.
    Routing(Uuid),
    /// For which models other names stand.
    Aliases,
    /// Which other gateways are partners.
    Partners,
    /// A request is to be ended, wherever it runs.
    Cancel { request: Uuid, account: Uuid },
    /// A replica needs more of this account's credit, or of this limit, than nobody has leased.
    Short(Uuid),
}

impl Change {
    /// Reads a row. None for what a later version announces.
    fn read(kind: &str, subject: Uuid, account: Option<Uuid>, revoked: bool) -> Option<Self> {
        match (kind, account) {
            ("key", _) => Some(Self::Key { id: subject, revoked }),
            ("limits", _) => Some(Self::Limits(subject)),
            ("price", _) => Some(Self::Price(subject)),
            ("node", _) => Some(Self::Node(subject)),
            ("routing", _) => Some(Self::Routing(subject)),
            ("aliases", _) => Some(Self::Aliases),
            ("partners", _) => Some(Self::Partners),
            ("short", _) => Some(Self::Short(subject)),
            ("cancel", Some(account)) => Some(Self::Cancel { request: subject, account }),
            _ => None,
        }
    }

    fn row(self) -> (&'static str, Uuid, Option<Uuid>) {
        match self {
            Self::Key { id, .. } => ("key", id, None),
            Self::Limits(subject) => ("limits", subject, None),
            Self::Price(node) => ("price", node, None),
            Self::Node(node) => ("node", node, None),
            Self::Routing(account) => ("routing", account, None),
            Self::Aliases => ("aliases", Uuid::nil(), None),
            Self::Partners => ("partners", Uuid::nil(), None),
            Self::Short(subject) => ("short", subject, None),
            Self::Cancel { request, account } => ("cancel", request, Some(account)),
        }
    }
}

/// Tells every replica of a change that no trigger announces.
///
/// # Errors
/// When the database fails.
pub async fn announce(database: &PgPool, change: Change) -> Result<(), sqlx::Error> {
    let (kind, subject, account) = change.row();
    sqlx::query!("select announce($1, $2, $3)", kind, subject, account).execute(database).await.map(drop)
}

/// When the table was last read to its end, and all that stood there taken in.
#[derive(Debug, Default)]
pub struct LastLook(RwLock<Option<Instant>>);

impl LastLook {
    /// True while this replica knows of all changes but those of the last two seconds.
    pub fn is_current(&self) -> bool {
        self.at().is_some_and(|at| at.elapsed() < CURRENT)
    }

    /// When it was; None before the first.
    pub fn at(&self) -> Option<Instant> {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was read at this time.
    pub fn was(&self, at: Instant) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Takes in what is heard until the gateway closes.
pub async fn follow(app: App) {
    let mut feed = Feed::new(app.database.connect_options().as_ref().clone(), app.last_look.clone());
    loop {
        let heard = tokio::select! {
            () = app.closing.cancelled() => return,
            heard = feed.hear() => heard,
        };
        match tokio::time::timeout(TAKEN_IN_WITHIN, take_in(&app, &heard))
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        {
            Ok(()) => feed.taken_in(),
            Err(error) => {
                tracing::warn!(%error, "a change could not be taken in; trying again with everything");
                feed.doubt();
            }
        }
    }
}

/// Gives each change its effect on this replica. Doing it twice does no harm.
async fn take_in(app: &App, heard: &Heard) -> Result<(), sqlx::Error> {
    let Heard::Changes(changes) = heard else { return take_in_everything(app).await };
    app.keys.heard(changes);
    for change in changes {
        match *change {
            // The keys have heard of it.
            Change::Key { .. } | Change::Routing(_) => {}
            Change::Limits(subject) | Change::Short(subject) => {
                let admissions = Arc::clone(&app.admissions);
                app.tasks.spawn(async move { admissions.bring_all_back(subject).await });
            }
            Change::Node(id) => app.nodes.register(&app.database, Some(id)).await?,
            Change::Price(node) => app.prices.reload(&app.database, node).await?,
            Change::Aliases => app.aliases.reload(&app.database).await?,
            Change::Partners => app.partners.reload(&app.database).await?,
            Change::Cancel { request, account } => drop(app.running.cancel(request, account)),
        }
    }
    Ok(())
}

async fn take_in_everything(app: &App) -> Result<(), sqlx::Error> {
    app.keys.ask_again().await?;
    app.prices.reload_all(&app.database).await?;
    app.aliases.reload(&app.database).await?;
    app.partners.reload(&app.database).await?;
    app.nodes.register(&app.database, None).await
}
