//! Keeps the node connected to a gateway, whichever of the gateway's replicas is there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use openapi::node::{Enrolled, FarewellReason};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::ServeConfig;
use crate::direct::{self, Keeper};
use crate::enrol;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::key::NodeKey;
use crate::node::Node;
use crate::router;
use crate::standing::{self, Answer};
use crate::ticket::TicketVerifier;
use crate::told::Told;
use crate::tunnel::{self, NotEnrolled};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Of what a gateway says, so much goes into the log.
const LONGEST_FAREWELL: usize = 1_000;

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
    let (door, yields, tasks, stopping) = (OnceCell::new(), Mutex::default(), tunnels.clone(), stop.clone());
    let dialler = Arc::new(Dialler { config, gateway, identity, node, door, yields, tasks, stop: stopping });
    let addresses = &dialler.gateway.addresses;
    let mut pause = FIRST_PAUSE;
    // Each node begins somewhere else, so that the replicas get equally many.
    for gateway in addresses.iter().cycle().skip(usize::from(random_byte()) % addresses.len().max(1)) {
        if stop.is_cancelled() {
            break;
        }
        let (begin, told) = (Instant::now(), Told::default());
        let tunnel = tunnels.spawn(Arc::clone(&dialler).tunnel(gateway.clone(), told.clone()));
        let asked_away = tokio::select! {
            _ = tunnel => false,
            () = told.elsewhere.cancelled() => true,
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
    /// The public key for which another machine has taken this one's place: it is not to be driven out again.
    yields: Mutex<Option<String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Dialler {
    /// One tunnel, from its first packet to its end. `told` keeps what the gateway says of it.
    async fn tunnel(self: Arc<Self>, gateway: Url, told: Told) {
        let ended = self.connect(&gateway, &told).await;
        match (ended, told.farewell()) {
            (_, Some(farewell)) => {
                let message = farewell.message.chars().filter(|letter| !letter.is_control()).take(LONGEST_FAREWELL);
                tracing::error!(%gateway, "the gateway has sent this node away: {}", message.collect::<String>());
                if farewell.reason == FarewellReason::KeyInUse {
                    let key = self.identity.key().public();
                    *self.yields.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
                }
            }
            (Ok(()), None) => tracing::info!(%gateway, "the gateway closed the connection"),
            (Err(error), None) => tracing::warn!(%gateway, "not connected: {error:#}"),
        }
    }

    /// A greeting for a tunnel. It claims the place of any other machine with this key, unless one has claimed this one's.
    fn greeting(&self, key: &NodeKey, to: &Enrolled) -> anyhow::Result<String> {
        let yields = self.yields.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&key.public());
        key.greeting(to, yields)
    }

    /// Enrols if need be, then serves the gateway for as long as the connection lasts.
    async fn connect(&self, gateway: &Url, told: &Told) -> anyhow::Result<()> {
        let known = self.identity.enrolled_with(&self.gateway.addresses)?;
        let enrolled = match known {
            Some(enrolled) => enrolled,
            None => self.enrol(gateway).await?,
        };
        let tickets = TicketVerifier::new(enrolled.node, &enrolled.ticket_key)?;
        let router = router::tunnelled(Arc::clone(&self.node), tickets, told.clone());
        let greeting = self.greeting(&self.identity.key(), &enrolled)?;
        match self.serve(gateway, &enrolled, &greeting, router.clone()).await {
            Err(error) if error.is::<NotEnrolled>() => match self.other_greeting(gateway, &enrolled).await? {
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
    async fn other_greeting(&self, gateway: &Url, enrolled: &Enrolled) -> anyhow::Result<Option<String>> {
        for key in self.identity.other_keys()? {
            if let Answer::Known(_) = standing::ask(gateway, &key.greeting(enrolled, false)?).await? {
                tracing::info!(%gateway, "the gateway knows the node's other key");
                let greeting = self.greeting(&key, enrolled)?;
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
            let router = router::tunnelled(Arc::clone(&self.node), Keeper::tickets(enrolled)?, Told::default());
            direct::open(&self.config.direct, keeper, router, (self.stop.clone(), self.tasks.clone())).await
        };
        let url = self.config.direct.direct_url.as_ref();
        let told = async {
            self.door.get_or_try_init(|| open).await?;
            direct::advertise(gateway, &self.identity.greeting(enrolled)?, url).await
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
