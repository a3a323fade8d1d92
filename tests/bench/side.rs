//! One gateway with what computes its answers, its clients and its books.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tests::books::{LIST_PRICE, Row, audit, shipped, unsigned};
use tests::load::{Ask, Clients, Load, Pace, Seen, begin};
use tests::mock::{Fact, Mock, MockOffer, Order};
use tests::{Database, Gateway, MODEL, eventually};

/// What an attached server computes at once: more than any load asks for.
const SLOTS: u32 = 1000;

/// So many complaints are worth reading.
const SHOWN: usize = 12;

/// Nodes have signed long before.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Side {
    gateways: Vec<Gateway>,
    /// Its nodes; none where a server is attached, which writes nothing down.
    mock: Option<Mock>,
    clients: Arc<Clients>,
    /// Everything that clients saw so far.
    seen: Vec<Seen>,
    governed: bool,
}

impl Side {
    /// Starts a gateway on an empty database, which accounts for everything or for nothing, and its nodes.
    pub(crate) async fn start(governed: bool, nodes: usize) -> Self {
        Self::start_with(governed, nodes, &[]).await
    }

    /// The same with settings of its own, as environment variables.
    pub(crate) async fn start_with(governed: bool, nodes: usize, settings: &[(&str, &str)]) -> Self {
        let mut side = Self::alone(governed, settings).await;
        side.mock = Some(Mock::join(&side.gateways, MockOffer { nodes, ..MockOffer::default() }).await);
        side
    }

    /// Starts a gateway in the same way, and attaches a server to it that is no node.
    pub(crate) async fn attached(governed: bool, server: SocketAddr, settings: &[(&str, &str)]) -> Self {
        let allowed = [("COMMONWATT_ALLOWED_NETWORKS", "127.0.0.0/8")];
        let side = Self::alone(governed, &[settings, &allowed].concat()).await;
        let model = json!({"name": MODEL, "upstream_name": MODEL, "context_length": 4096, "price": LIST_PRICE});
        let body = json!({"name": "server", "url": format!("http://{server}/v1"), "models": [model], "slots": SLOTS});
        let gateway = side.gateway();
        let attach = gateway.client.post(gateway.url("/api/attached")).bearer_auth(&gateway.management_key);
        let attached = attach.json(&body).send().await.expect("an answer");
        assert!(attached.status().is_success(), "{}", attached.text().await.unwrap_or_default());
        gateway.nodes(1).await;
        side
    }

    async fn alone(governed: bool, settings: &[(&str, &str)]) -> Self {
        let metering = if governed { "on" } else { "off" };
        let database = Database::create().await;
        let gateways =
            vec![Gateway::start_with(database, &[settings, &[("COMMONWATT_METERING", metering)]].concat()).await];
        let clients = Arc::new(Clients::new(&gateways, &gateways[0].key));
        Self { gateways, mock: None, clients, seen: Vec::new(), governed }
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateways[0]
    }

    pub(crate) fn begin(&self, pace: Pace, ask: impl Fn(u64) -> Ask + Send + Sync + 'static) -> Load {
        begin(Arc::clone(&self.clients), pace, ask)
    }

    /// Asks for a while, and waits until the books are written. Returns what was seen meanwhile.
    pub(crate) async fn load(
        &mut self,
        pace: Pace,
        during: Duration,
        ask: impl Fn(u64) -> Ask + Send + Sync + 'static,
    ) -> &[Seen] {
        let load = self.begin(pace, ask);
        tokio::time::sleep(during).await;
        self.end(load).await
    }

    /// Ends a load, and waits until the books are written. Returns what was seen meanwhile.
    pub(crate) async fn end(&mut self, load: Load) -> &[Seen] {
        let before = self.seen.len();
        self.seen.extend(load.end().await.into_iter().map(|seen| Seen { body: Vec::new(), ..seen }));
        if self.governed {
            shipped(self.gateway()).await;
        }
        &self.seen[before..]
    }

    /// Waits until every answer has its receipt, and the log has that.
    pub(crate) async fn signed(&self) {
        let database = &self.gateway().database;
        eventually("the receipts", SIGNED_WITHIN, || async { (unsigned(database).await == 0).then_some(()) }).await;
    }

    /// What was computed, as the nodes wrote it down. What an attached server sent is what its clients saw, and a prompt has
    /// the tokens that were ordered.
    fn facts(&self) -> Vec<Fact> {
        let computed = |seen: &Seen| {
            let prompt_tokens = Order::default().prompt_tokens;
            let (request, tokens, whole) = (seen.request?, seen.tokens, seen.done);
            Some(Fact { request, attempt: 1, prompt_tokens, tokens, whole, began_us: 0, ended_us: 0 })
        };
        match &self.mock {
            Some(mock) => mock.facts(),
            None => self.seen.iter().filter_map(computed).collect(),
        }
    }

    /// No figure without right books: every request was answered, and has one row, with the tokens that were
    /// computed, and the ledger adds up. Returns the rows, of which there are none where nothing is accounted for.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) async fn check(&self) -> Result<Vec<Row>, String> {
        let unanswered = self.seen.iter().filter(|seen| !seen.done);
        let mut wrong: Vec<String> =
            unanswered.map(|seen| format!("not answered: status {}, code {:?}", seen.status, seen.code)).collect();
        let mut rows = Vec::new();
        if self.governed {
            let audit = audit(&self.gateway().database, &self.seen, &self.facts(), LIST_PRICE).await;
            if audit.rows.len() != self.seen.len() {
                wrong.push(format!("{} requests, but {audit}", self.seen.len()));
            }
            wrong.extend_from_slice(audit.wrong());
            rows = audit.rows;
        }
        if wrong.is_empty() {
            return Ok(rows);
        }
        let count = wrong.len();
        wrong.truncate(SHOWN);
        Err(format!("{count} things, such as\n  {}", wrong.join("\n  ")))
    }
}
