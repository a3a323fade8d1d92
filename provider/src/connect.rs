//! Keeps the node connected to a gateway, whichever of the gateway's replicas is there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use openapi::node::Enrolled;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

use crate::config::ServeConfig;
use crate::direct::{self, Keeper};
use crate::enrol;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::node::Node;
use crate::router;
use crate::standing::{self, Answer};
use crate::ticket::TicketVerifier;
use crate::tunnel::{self, NotEnrolled};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps one tunnel to a gateway open until `stop` is given, and then waits until every tunnel has ended. The gateway's
/// addresses are dialled in turn. A replica that is about to stop says so: then the next tunnel is opened, and the old one
/// lives on beside it until the replica closes it.
pub async fn stay_connected(
    config: ServeConfig,
    gateway: Gateway,
    identity: Arc<Identity>,
    node: Arc<Node>,
    stop: CancellationToken,
) {
    let tunnels = TaskTracker::new();
    let (door, tasks) = (OnceCell::new(), tunnels.clone());
    let dialler = Arc::new(Dialler { config, gateway, identity, node, door, tasks, stop: stop.clone() });
    let addresses = &dialler.gateway.addresses;
    let mut pause = FIRST_PAUSE;
    // Each node begins somewhere else, so that the replicas get equally many.
    for gateway in addresses.iter().cycle().skip(usize::from(random_byte()) % addresses.len().max(1)) {
        if stop.is_cancelled() {
            break;
        }
        let (begin, elsewhere) = (Instant::now(), CancellationToken::new());
        let tunnel = tunnels.spawn(Arc::clone(&dialler).tunnel(gateway.clone(), elsewhere.clone()));
        let asked_away = tokio::select! {
            _ = tunnel => false,
            () = elsewhere.cancelled() => true,
        };
        // Pauses grow while the gateway can't be reached; one that sends a newcomer away at once is as good as away.
        let lasted = begin.elapsed();
        pause = if lasted > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        if asked_away && lasted > FIRST_PAUSE {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(jittered(pause)) => {}
        }
    }
    tunnels.close();
    tunnels.wait().await;
}

/// What every tunnel to a gateway needs.
struct Dialler {
    config: ServeConfig,
    gateway: Gateway,
    identity: Arc<Identity>,
    node: Arc<Node>,
    /// Set once gateways can dial this node.
    door: OnceCell<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Dialler {
    /// One tunnel, from its first packet to its end. `elsewhere` is given when the gateway asks for another one.
    async fn tunnel(self: Arc<Self>, gateway: Url, elsewhere: CancellationToken) {
        match self.connect(&gateway, elsewhere).await {
            Ok(()) => tracing::info!(%gateway, "the gateway closed the connection"),
            Err(error) => tracing::warn!(%gateway, "not connected: {error:#}"),
        }
    }

    /// Enrols if need be, then serves the gateway for as long as the connection lasts.
    async fn connect(&self, gateway: &Url, elsewhere: CancellationToken) -> anyhow::Result<()> {
        let known = self.identity.enrolled_with(&self.gateway.addresses)?;
        let enrolled = match known {
            Some(enrolled) => enrolled,
            None => self.enrol(gateway).await?,
        };
        let tickets = TicketVerifier::new(enrolled.node, &enrolled.ticket_key)?;
        let router = router::tunnelled(Arc::clone(&self.node), tickets, elsewhere);
        let greeting = self.identity.greeting(enrolled.node)?;
        match self.serve(gateway, &enrolled, &greeting, router.clone()).await {
            Err(error) if error.is::<NotEnrolled>() => match self.other_greeting(gateway, enrolled.node).await? {
                Some(greeting) => self.serve(gateway, &enrolled, &greeting, router).await,
                None => {
                    tracing::warn!(%gateway, "the gateway does not know this node any more: enrolling anew");
                    self.enrol(gateway).await.map(drop)
                }
            },
            ended => ended,
        }
    }

    /// Serves the gateway through a tunnel, and lets it dial this node beside that.
    async fn serve(&self, gateway: &Url, enrolled: &Enrolled, greeting: &str, router: Router) -> anyhow::Result<()> {
        let tunnel = tunnel::serve(gateway, greeting, router, &self.stop);
        let (served, ()) = tokio::join!(tunnel, self.be_dialled(gateway, enrolled));
        served
    }

    /// A greeting that the gateway takes after it has refused one: the key was changed under way, or was to be when that was
    /// broken off.
    async fn other_greeting(&self, gateway: &Url, node: Uuid) -> anyhow::Result<Option<String>> {
        for key in self.identity.other_keys()? {
            if let Answer::Known(_) = standing::ask(gateway, &key.greeting(node)?).await? {
                tracing::info!(%gateway, "the gateway knows the node's other key");
                let greeting = key.greeting(node)?;
                self.identity.adopt(key)?;
                return Ok(Some(greeting));
            }
        }
        Ok(None)
    }

    /// Opens the door for gateways that dial, if the operator wants one, and tells this one of it, or that there is none.
    /// A node that can't be dialled has its tunnel all the same.
    async fn be_dialled(&self, gateway: &Url, enrolled: &Enrolled) {
        let open = async {
            let keeper = Keeper::new(Arc::clone(&self.identity), enrolled)?;
            let router =
                router::tunnelled(Arc::clone(&self.node), Keeper::tickets(enrolled)?, CancellationToken::new());
            direct::open(&self.config.direct, keeper, router, (self.stop.clone(), self.tasks.clone())).await
        };
        let url = self.config.direct.direct_url.as_ref();
        let told = async {
            self.door.get_or_try_init(|| open).await?;
            direct::advertise(gateway, &self.identity.greeting(enrolled.node)?, url).await
        };
        match (told.await, url) {
            (Ok(()), None) => {}
            (Ok(()), Some(url)) => tracing::info!(%gateway, %url, "the gateway dials this node"),
            (Err(error), None) => tracing::debug!(%gateway, "{error:#}"),
            (Err(error), Some(_)) => tracing::warn!(%gateway, "the gateway can't dial this node: {error:#}"),
        }
    }

    async fn enrol(&self, gateway: &Url) -> anyhow::Result<Enrolled> {
        let token = self.config.token(&self.gateway)?.context(
            "this node is not enrolled with the gateway. Create an enrolment token there and give it with \
             COMMONWATT_TOKEN",
        )?;
        let enrolled = enrol::enrol(&self.identity, gateway, &token, &self.config.node_name()).await?;
        self.identity.remember(&self.gateway.addresses, &enrolled)?;
        tracing::info!(%gateway, node = %enrolled.node, "enrolled");
        Ok(enrolled)
    }
}

/// Between half and all of a pause, so that not all nodes come back in the same instant.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(random_byte()) / 255
}

fn random_byte() -> u8 {
    let mut byte = [0u8];
    // Without randomness all nodes merely do the same.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    byte[0]
}
