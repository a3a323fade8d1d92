//! What operators say about their nodes here at the gateway: name, pauses, maintenance. Kept in memory for every choice, and
//! read again when it changes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

/// One node in its operator's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    pub name: String,
    /// The account that runs it.
    pub operator: Uuid,
    pub paused: bool,
    /// Times of maintenance, from and until.
    pub maintenance: Vec<(OffsetDateTime, OffsetDateTime)>,
    /// Where the gateway dials it, if it does.
    pub(super) dialled: Option<Dialled>,
}

/// A node that the gateway dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dialled {
    /// A node of ours, at this URL.
    Direct(String),
    /// An attached server, as it was described at this time.
    Attached(OffsetDateTime),
}

impl Registered {
    /// True when it gets no new work.
    pub fn is_off(&self, now: OffsetDateTime) -> bool {
        self.paused || self.maintenance.iter().any(|(from, until)| (*from..*until).contains(&now))
    }
}

/// All nodes that were not removed.
#[derive(Debug, Default)]
pub(super) struct Registry(RwLock<HashMap<Uuid, Arc<Registered>>>);

impl Registry {
    pub(super) fn of(&self, node: Uuid) -> Arc<Registered> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned().unwrap_or_default()
    }

    /// The nodes that the gateway dials.
    pub(super) fn dialled(&self) -> HashMap<Uuid, Dialled> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter_map(|(id, node)| Some((*id, node.dialled.clone()?))).collect()
    }

    /// Keeps what was read. `only` is the node that was asked for; without it everything was.
    pub(super) fn keep(&self, only: Option<Uuid>, read: HashMap<Uuid, Arc<Registered>>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match only {
            Some(node) => {
                known.remove(&node);
                known.extend(read);
            }
            None => *known = read,
        }
    }
}

/// Reads one node, or all.
///
/// # Errors
/// When the database fails.
pub(super) async fn read(database: &PgPool, only: Option<Uuid>) -> Result<HashMap<Uuid, Arc<Registered>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select n.id, n.name, n.account_id, n.paused_at is not null as "paused!", n.direct_url,
               (select changed_at from attached_servers a where a.node_id = n.id) as attached_at,
               coalesce(array_agg(m.starts_at order by m.starts_at) filter (where m.id is not null), '{}') as "starts!",
               coalesce(array_agg(m.ends_at order by m.starts_at) filter (where m.id is not null), '{}') as "ends!"
           from nodes n left join node_maintenance m on m.node_id = n.id and m.ends_at > now()
           where n.removed_at is null and ($1::uuid is null or n.id = $1)
           group by n.id"#,
        only
    )
    .fetch_all(database)
    .await?;
    let registered = rows.into_iter().map(|row| {
        let maintenance = row.starts.into_iter().zip(row.ends).collect();
        let dialled = row.direct_url.map(Dialled::Direct).or(row.attached_at.map(Dialled::Attached));
        let (name, operator, paused) = (row.name, row.account_id, row.paused);
        let registered = Registered { name, operator, paused, maintenance, dialled };
        (row.id, Arc::new(registered))
    });
    Ok(registered.collect())
}
