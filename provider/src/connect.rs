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
use crate::receipts::Receipts;
use crate::router::{self, Counter};
use crate::standing::{self, Answer};
use crate::ticket::TicketVerifier;
use crate::told::Told;
use crate::tunnel::{self, NotEnrolled};
use crate::witness;

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
    let dialler = Arc::new(Dialler {
        config,
        gateway,
        identity,
        node,
        door: OnceCell::new(),
        counter: Mutex::default(),
        yields: Mutex::default(),
        tasks: tunnels.clone(),
        stop: stop.clone(),
    });
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

/// Enrols with the gateways that don't know this node yet, as far as they can be reached: the node may then fetch its model
/// from their other nodes. The rest is tried again when the node is ready.
///
/// # Errors
/// When the node's folder can't be read or written.
pub async fn enrol_ahead(config: &ServeConfig) -> anyhow::Result<()> {
    if config.gateway.is_empty() {
        return Ok(());
    }
    let identity = Identity::open(&config.model.data)?;
    for gateway in &config.gateway {
        if identity.enrolled_with(&gateway.addresses)?.is_some() {
            continue;
        }
        for address in &gateway.addresses {
            match enrol(config, gateway, &identity, address).await {
                Ok(_) => break,
                Err(error) => tracing::warn!(gateway = %address, "not enrolled yet: {error:#}"),
            }
        }
    }
    Ok(())
}

/// Enrols at one of a gateway's addresses.
async fn enrol(config: &ServeConfig, gateway: &Gateway, known: &Identity, address: &Url) -> anyhow::Result<Enrolled> {
    let token = config.token(gateway)?.context(
        "this node is not enrolled with the gateway. Create an enrolment token there and give it with COMMONWATT_TOKEN",
    )?;
    let enrolled = enrol::enrol(known, address, &token, &config.node_name()).await?;
    known.remember(&gateway.addresses, &enrolled)?;
    tracing::info!(gateway = %address, node = %enrolled.node, "enrolled");
    Ok(enrolled)
}

/// What every tunnel to a gateway needs.
struct Dialler {
    config: ServeConfig,
    gateway: Gateway,
    identity: Arc<Identity>,
    node: Arc<Node>,
    /// Set once gateways can dial this node.
    door: OnceCell<()>,
    /// What checks the gateway's tickets, once it is known, and what is signed for it.
    counter: Mutex<Option<Counter>>,
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
        let router = self.router(self.counter(&enrolled)?, told.clone());
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

    /// What a gateway finds at this node. One that can't witness serves all the same.
    fn router(&self, counter: Counter, told: Told) -> Router {
        let tickets = Arc::clone(&counter.tickets);
        let router = router::tunnelled(Arc::clone(&self.node), counter, told);
        match self.identity.witness() {
            Ok(witness) => router.merge(witness::routes(witness, tickets)),
            Err(error) => {
                tracing::warn!(gateway = %self.gateway, "this node does not witness the gateway's log: {error:#}");
                router
            }
        }
    }

    /// Serves the gateway through a tunnel, and lets it dial this node beside that.
    async fn serve(&self, gateway: &Url, enrolled: &Enrolled, greeting: &str, router: Router) -> anyhow::Result<()> {
        let tunnel = async {
            let dialled = tunnel::dial(gateway, greeting).await?;
            if let Some(succession) = &dialled.succession {
                self.follow(enrolled, succession)?;
            }
            tunnel::serve(dialled, router, &self.stop).await
        };
        let (served, ()) = tokio::join!(tunnel, self.be_dialled(gateway, enrolled));
        served
    }

    /// What checks the tickets of the gateway that gave this enrolment and keeps its receipts: one for all its tunnels, and
    /// for its door.
    fn counter(&self, enrolled: &Enrolled) -> anyhow::Result<Counter> {
        let mut known = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.tickets.is_of(enrolled)) {
            return Ok(known.clone());
        }
        let tickets = Arc::new(TicketVerifier::new(enrolled.node, &enrolled.ticket_key)?);
        let data = &self.config.model.data;
        let receipts = Receipts::open(data, Arc::clone(&self.identity), Arc::clone(&tickets));
        let receipts = receipts.with_context(|| format!("cannot keep receipts in {}", data.display()))?;
        Ok(known.insert(Counter { tickets, receipts: Arc::new(receipts) }).clone())
    }

    /// The gateway has another key, as the one that this node knows has signed.
    fn follow(&self, enrolled: &Enrolled, succession: &str) -> anyhow::Result<()> {
        let ticket_key =
            self.counter(enrolled)?.tickets.succeed(succession).context("the gateway has another key, unproven")?;
        self.identity.gateway_has_another_key(&Enrolled { ticket_key, ..enrolled.clone() })?;
        tracing::info!(gateway = %self.gateway, "the gateway signs with another key from now on");
        Ok(())
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
            let (node, identity, counter) = (enrolled.node, Arc::clone(&self.identity), self.counter(enrolled)?);
            let tickets = Arc::clone(&counter.tickets);
            let router = self.router(counter, Told::default());
            let keeper = Keeper { node, identity, tickets };
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

    async fn enrol(&self, address: &Url) -> anyhow::Result<Enrolled> {
        enrol(&self.config, &self.gateway, &self.identity, address).await
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::routing::post;
    use clap::Parser;
    use openapi::node::ENROL_PATH;

    use uuid::Uuid;

    use super::*;
    use crate::config::{Command, Config};

    /// A gateway that takes every token, and how often it was asked.
    async fn gateway() -> (String, Arc<AtomicU32>) {
        // Whichever test comes first installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let enrolled = Enrolled { node: Uuid::now_v7(), ticket_key: "k".to_owned() };
        let enrolled = serde_json::to_vec(&enrolled).unwrap();
        let enrol = move || {
            count.fetch_add(1, Ordering::SeqCst);
            async { enrolled }
        };
        let router = Router::new().route(ENROL_PATH, post(enrol));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, asked)
    }

    #[tokio::test]
    async fn a_newcomer_enrols_once_at_the_first_address_that_answers() {
        let (url, asked) = gateway().await;
        let folder = std::env::temp_dir().join(format!("connect-{}", Uuid::now_v7()));
        let (data, addresses) = (folder.to_str().unwrap(), format!("http://127.0.0.1:1,{url}"));
        let arguments = ["node", "serve", "--data", data, "--gateway", &addresses, "--token", "t"];
        let Command::Serve(config) = Config::try_parse_from(arguments).unwrap().command else { panic!() };
        enrol_ahead(&config).await.unwrap();
        let identity = Identity::open(&folder).unwrap();
        assert!(identity.enrolled_with(&config.gateway[0].addresses).unwrap().is_some());
        enrol_ahead(&config).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1, "a token works once");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn without_a_token_nothing_is_asked_and_the_model_is_fetched_all_the_same() {
        let (url, asked) = gateway().await;
        let folder = std::env::temp_dir().join(format!("connect-{}", Uuid::now_v7()));
        let arguments = ["node", "serve", "--data", folder.to_str().unwrap(), "--gateway", &url];
        let Command::Serve(config) = Config::try_parse_from(arguments).unwrap().command else { panic!() };
        enrol_ahead(&config).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
