//! Nodes witness the log: each is sent the newest checkpoint, and signs that it has seen no tree which this one does not
//! continue. A gateway that shows different trees to different people needs them all to lie with it. Nothing of this is on a
//! request's way.

mod ask;

pub(super) mod table;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use openapi::log::checkpoint::SignedCheckpoint;
use uuid::Uuid;

use self::ask::{WITHIN, Witness};
use super::checkpoints;
use crate::app::App;
use crate::nodes::Node;

const EVERY: Duration = Duration::from_secs(5);
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
/// A node that is no witness is asked again after this, and one that refuses after the other.
const IS_NONE: Duration = Duration::from_secs(10 * 60);
const REFUSES: Duration = Duration::from_secs(60);
/// Asked at once.
const AT_ONCE: usize = 16;

/// What has become of a question.
enum Answer {
    Cosigned(Witness),
    Refused,
    /// Its program knows nothing of witnesses.
    NoWitness,
}

/// What this replica knows of the nodes that it asks.
#[derive(Default)]
pub(super) struct Known {
    witnesses: HashMap<Uuid, Witness>,
    /// Those to leave alone until then.
    later: HashMap<Uuid, Instant>,
}

/// Sends each newest checkpoint to the nodes that this replica reaches itself, until the gateway closes. A node is asked one
/// thing at a time.
pub async fn run(app: App) {
    let mut known = Known::default();
    let mut forgot: Option<Instant> = None;
    loop {
        if let Err(error) = round(&app, &mut known).await {
            tracing::warn!(%error, "the witnesses of the log can't be asked; trying again");
        }
        if forgot.is_none_or(|at| at.elapsed() > FORGET_EVERY) {
            forgot = Some(Instant::now());
            if let Err(error) = table::forget(&app.database).await {
                tracing::warn!(%error, "old cosignatures could not be removed; trying again in an hour");
            }
        }
        if app.closing.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

pub(super) async fn round(app: &App, known: &mut Known) -> Result<(), sqlx::Error> {
    let mut connection = app.database.acquire().await?;
    let newest = checkpoints::last_good(&mut connection, &app.log.keys).await?;
    drop(connection);
    let Some(newest) = newest else { return Ok(()) };
    let nodes = known.due(app, &newest);
    let asked = futures_util::stream::iter(nodes).map(|(node, witness)| {
        let newest = &newest;
        async move {
            let asked = tokio::time::timeout(WITHIN, one(app, &node, witness, newest)).await;
            (node.id, asked.unwrap_or_else(|_| Err(anyhow::anyhow!("it is silent"))))
        }
    });
    let asked: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    for (node, asked) in asked {
        known.heard(node, asked);
    }
    app.log.alarm.conflicts(table::conflicts(&app.database).await?);
    Ok(())
}

/// Has one node cosign.
async fn one(app: &App, node: &Node, witness: Option<Witness>, newest: &SignedCheckpoint) -> anyhow::Result<Answer> {
    let mut witness = match witness {
        Some(witness) => witness,
        None => {
            let Some(key) = ask::key(node).await? else { return Ok(Answer::NoWitness) };
            Witness { size: table::last_size(&app.database, node.id, &key).await?, key }
        }
    };
    if !ask::cosign(app, node, &witness, newest).await? {
        return Ok(Answer::Refused);
    }
    witness.size = newest.checkpoint().tree().size;
    Ok(Answer::Cosigned(witness))
}

impl Known {
    /// Whom to ask now: nodes that have not cosigned this one.
    fn due(&mut self, app: &App, newest: &SignedCheckpoint) -> Vec<(Arc<Node>, Option<Witness>)> {
        let size = newest.checkpoint().tree().size;
        let mut nodes = app.nodes.all();
        nodes.retain(|node| matches!(node.reached_by().first(), Some(&("tunnel" | "direct"))));
        let connected: HashSet<Uuid> = nodes.iter().map(|node| node.id).collect();
        self.witnesses.retain(|node, _| connected.contains(node));
        let now = Instant::now();
        // Whoever comes back may be another program by then.
        self.later.retain(|node, until| connected.contains(node) && *until > now);
        let due = nodes.into_iter().filter(|node| !self.later.contains_key(&node.id));
        let with_witness = due.map(|node| (self.witnesses.get(&node.id).cloned(), node));
        let due = with_witness.filter(|(witness, _)| witness.as_ref().is_none_or(|witness| witness.size < size));
        due.map(|(witness, node)| (node, witness)).collect()
    }

    fn heard(&mut self, node: Uuid, asked: anyhow::Result<Answer>) {
        match asked {
            Ok(Answer::Cosigned(witness)) => drop(self.witnesses.insert(node, witness)),
            Ok(Answer::Refused) => drop(self.later.insert(node, Instant::now() + REFUSES)),
            Ok(Answer::NoWitness) => drop(self.later.insert(node, Instant::now() + IS_NONE)),
            Err(error) => {
                tracing::debug!(%node, "a witness can't be asked: {error:#}");
                // Its key may be another one by now.
                self.witnesses.remove(&node);
            }
        }
    }
}
