//! Three operators run one line each: how soon each node serves, and whether all are served then.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::commands::inside;
use crate::network::{GATEWAY, GATEWAY_ADDRESS, HIDDEN_ADDRESS, NAT, NAT_ADDRESS};
use crate::own_path;
use crate::processes::{Gateway, Node};
use crate::say;
use crate::site::{SITES, Site};
use crate::traffic::{Answer, Api, question};
use crate::wait::{quantile, seconds, until};

/// With the model already on this machine.
const JOINED_WITHIN: Duration = Duration::from_mins(3);
const ROUND_TRIPS: usize = 5;
/// Nobody listens there: who is reached refuses.
const CLOSED_PORT: u16 = 8090;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Requests to send when all nodes have joined; every other one is streamed.
    #[arg(long, default_value_t = 60)]
    requests: usize,
    /// Requests at the same time.
    #[arg(long, default_value_t = 3)]
    clients: usize,
    /// Tokens of each answer.
    #[arg(long, default_value_t = 16)]
    tokens: u32,
}

/// The gateway and all nodes.
pub(crate) struct Federation {
    pub(crate) gateway: Gateway,
    pub(crate) nodes: Vec<Node>,
    /// Their names on the gateway, as in [`Federation::nodes`].
    pub(crate) ids: Vec<String>,
}

impl Federation {
    /// Starts the gateway and lets the nodes join, one after the other.
    ///
    /// # Errors
    /// When one does not.
    pub(crate) async fn start(folder: &Path, model: &Path) -> Result<Self, String> {
        let gateway = Gateway::start(folder).await?;
        say("node    link               round trip   enrolled  connected  first answer");
        let (mut nodes, mut ids) = (Vec::new(), Vec::new());
        for site in &SITES {
            let token = gateway.api.enrolment_token().await?;
            let began = Instant::now();
            let mut node = Node::start(site, folder, model, token)?;
            let enrolled = joined(&gateway.api, &mut node, |_| true).await?;
            let after_enrolment = began.elapsed();
            joined(&gateway.api, &mut node, |row| row["connected"] == true).await?;
            let after_connection = began.elapsed();
            let id = enrolled["id"].as_str().unwrap_or_default().to_owned();
            first_answer(&gateway.api, &id, nodes.len() + 1).await?;
            let times = [after_enrolment, after_connection, began.elapsed()].map(|time| seconds(Some(time)));
            let link = site.to_string();
            let [enrolled, connected, served] = times;
            let round_trip = round_trip(site)?;
            say(&format!("{:7} {link:18} {round_trip:>7} ms {enrolled:>10} {connected:>10} {served:>13}", site.name));
            nodes.push(node);
            ids.push(id);
        }
        Ok(Self { gateway, nodes, ids })
    }

    /// Which node has this name on the gateway.
    ///
    /// # Errors
    /// When none has.
    pub(crate) fn index(&self, id: &str) -> Result<usize, String> {
        self.ids.iter().position(|known| known == id).ok_or_else(|| format!("no node is called {id}"))
    }

    /// Waits until all nodes are connected and at rest.
    ///
    /// # Errors
    /// When one doesn't come back.
    pub(crate) async fn all_there(&mut self) -> Result<(), String> {
        let at_rest = |row: &Value| row["connected"] == true && row["status"]["running"] == 0;
        for node in &mut self.nodes {
            joined(&self.gateway.api, node, at_rest).await?;
        }
        Ok(())
    }
}

/// The node's row on the gateway, as soon as it is as it should be.
async fn joined(api: &Api, node: &mut Node, as_it_should: impl Fn(&Value) -> bool) -> Result<Value, String> {
    let name = node.site.name;
    let row = until(&format!("{name} on the gateway"), JOINED_WITHIN, async || {
        node.process.must_run()?;
        Ok(api.nodes().await?.into_iter().find(|row| row["name"] == name && as_it_should(row)))
    })
    .await;
    row.map_err(|why| node.process.explain(why))
}

/// Asks as many at once as there are nodes, until this one is among those who answer.
async fn first_answer(api: &Api, id: &str, nodes: usize) -> Result<(), String> {
    let body = question(0, 1, &json!({}));
    until(&format!("an answer of node {id}"), JOINED_WITHIN, async || {
        let answers = join_all((0..nodes).map(|_| api.ask(&body))).await;
        let mut served = None;
        for answer in answers {
            let answer = answer?;
            served = served.or((answer.heard.node == id).then_some(()));
            answer.whole().await?;
        }
        Ok(served)
    })
    .await
}

/// The median, in milliseconds, of connections from the node to the gateway.
fn round_trip(site: &Site) -> Result<String, String> {
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let said = reach(site.namespace, &format!("{GATEWAY_ADDRESS}:8080"))?;
        times.push(Duration::from_micros(said.parse().map_err(|_| said)?));
    }
    let median = quantile(&times, 50).unwrap_or_default();
    Ok(format!("{:.1}", median.as_secs_f64() * 1000.0))
}

fn reach(from: &str, address: &str) -> Result<String, String> {
    let program = own_path()?;
    inside(from, &[program.to_str().ok_or("this program's path is not UTF-8")?, "reach", address])
}

/// Shows that a node that nobody can dial serves: it answers inside its own network only, and its tunnel bears the
/// address of its NAT. False when it can be dialled.
fn show_nat() -> Result<bool, String> {
    let hidden = format!("{HIDDEN_ADDRESS}:{CLOSED_PORT}");
    let from_gateway = reach(GATEWAY, &hidden)?;
    let from_home = reach(NAT, &hidden)?;
    let nat = reach(GATEWAY, &format!("{NAT_ADDRESS}:{CLOSED_PORT}"))?;
    let tunnels = inside(GATEWAY, &["ss", "-Htn", "state", "established", "sport", "=", ":8080"])?;
    let masked = tunnels.contains(&format!("{NAT_ADDRESS}:")) && !tunnels.contains(HIDDEN_ADDRESS);
    say(&format!("\nnode2 at {HIDDEN_ADDRESS}, dialled from the gateway: {from_gateway}"));
    say(&format!("its NAT at {NAT_ADDRESS}, dialled from the gateway: {nat}"));
    say(&format!("node2 dialled from its own network, where it can be reached: {from_home}"));
    say(&format!("its tunnel comes from {}", if masked { NAT_ADDRESS } else { "an address that is not its NAT's" }));
    let refused = |said: &str| said.contains("refused");
    let opened = |said: &str| said.parse::<u64>().is_ok();
    Ok(refused(&from_home) && !refused(&from_gateway) && !opened(&from_gateway) && !opened(&nat) && masked)
}

/// What one request saw.
struct Served {
    node: usize,
    streamed: bool,
    first: Option<Duration>,
    whole: Duration,
}

/// Lets the nodes join, sends requests, and says who served them; false when a request failed.
///
/// # Errors
/// When a node doesn't join.
pub(crate) async fn run(folder: &Path, model: &Path, arguments: &Arguments) -> Result<bool, String> {
    let federation = Federation::start(folder, model).await?;
    let hidden = show_nat()?;
    let asked = (0..arguments.requests).map(|number| ask(&federation, number, arguments.tokens));
    let seen: Vec<Result<Served, String>> = stream::iter(asked).buffer_unordered(arguments.clients).collect().await;
    let mut served = Vec::new();
    let mut failures = Vec::new();
    for seen in seen {
        match seen {
            Ok(seen) => served.push(seen),
            Err(why) => failures.push(why),
        }
    }
    say("\nnode    served  streamed   first piece: median       p95   whole answer: median       p95");
    for (index, node) in federation.nodes.iter().enumerate() {
        say(&row(node.site.name, served.iter().filter(|seen| seen.node == index)));
    }
    say(&row("all", served.iter()));
    say(&format!("{} requests, {} answered, {} failed", arguments.requests, served.len(), failures.len()));
    failures.iter().for_each(|why| say(&format!("  failed: {why}")));
    Ok(failures.is_empty() && hidden)
}

async fn ask(federation: &Federation, number: usize, tokens: u32) -> Result<Served, String> {
    let streamed = number.is_multiple_of(2);
    let mut answer = federation.gateway.api.ask(&question(number, tokens, &json!({"stream": streamed}))).await?;
    let (node, asked) = (federation.index(&answer.heard.node)?, answer.asked);
    if !streamed {
        answer.whole().await?;
        return Ok(Served { node, streamed, first: None, whole: asked.elapsed() });
    }
    let first = first_piece(&mut answer).await.map(|piece| piece - asked);
    answer.rest().await.must_be_complete()?;
    Ok(Served { node, streamed, first, whole: asked.elapsed() })
}

async fn first_piece(answer: &mut Answer) -> Option<Instant> {
    answer.next().await;
    answer.heard.pieces.first().copied()
}

fn row<'served>(name: &str, served: impl Iterator<Item = &'served Served> + Clone) -> String {
    let first: Vec<Duration> = served.clone().filter_map(|seen| seen.first).collect();
    let whole: Vec<Duration> = served.clone().map(|seen| seen.whole).collect();
    let streamed = served.filter(|seen| seen.streamed).count();
    let [first, first_95, all, all_95] = [(&first, 50), (&first, 95), (&whole, 50), (&whole, 95)]
        .map(|(values, percent)| seconds(quantile(values, percent)));
    format!("{name:7} {:6} {streamed:9} {first:>21} {first_95:>9} {all:>22} {all_95:>9}", whole.len())
}
