//! The nodes that the gateway dials, each replica for itself: those that told it a URL, and attached servers. One task for
//! each, from the moment when the registry knows it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::registry::Dialled;
use super::way::Way;
use super::{Nodes, attached, direct};
use crate::app::App;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keeps a task for every node that is to be dialled, until the gateway closes.
pub(crate) async fn keep_all(app: App) {
    let mut kept: HashMap<Uuid, (Dialled, AbortOnDropHandle<()>)> = HashMap::new();
    loop {
        let wanted = app.nodes.registry.dialled();
        kept.retain(|id, (how, _)| wanted.get(id) == Some(how));
        for (id, how) in wanted {
            kept.entry(id).or_insert_with(|| {
                let keeping = tokio::spawn(keep(app.clone(), id, how.clone()));
                (how, AbortOnDropHandle::new(keeping))
            });
        }
        tokio::select! {
            () = app.closing.cancelled() => return,
            () = app.nodes.registered.notified() => {}
        }
    }
}

/// Dials a node whenever it is not connected. Pauses grow from try to try; a connection that lasted begins anew.
async fn keep(app: App, id: Uuid, how: Dialled) {
    let (mut pause, mut said) = (FIRST_PAUSE, String::new());
    loop {
        let begin = Instant::now();
        let ended = match &how {
            Dialled::Direct(url) => direct::follow::follow(&app, id, url).await,
            Dialled::Attached(_) => attached::follow::follow(&app, id).await,
        };
        let reason = ended.map_or_else(|error| format!("{error:#}"), |()| "it ended the connection".to_owned());
        if reason != said {
            tracing::warn!(node = %id, reason, "a node that the gateway dials is not connected");
            said = reason;
        }
        pause = if begin.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

/// A way that is in use as long as it is held.
pub(super) struct Joined {
    nodes: Arc<Nodes>,
    node: Uuid,
    pub(super) way: Arc<Way>,
}

impl Joined {
    pub(super) fn new(nodes: &Arc<Nodes>, node: Uuid, way: Arc<Way>) -> Self {
        nodes.add(node, Arc::clone(&way));
        let models = way.models().iter().map(|model| &model.name).collect::<Vec<_>>();
        tracing::info!(%node, kind = ?way.kind(), ?models, "a node is connected");
        Self { nodes: Arc::clone(nodes), node, way }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.nodes.remove(self.node, &self.way);
    }
}
