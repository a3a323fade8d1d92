//! What every story needs: its size, gateways with a mock node, a load on them, and the books at the end.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tests::books::{self, Audit, LIST_PRICE};
use tests::load::{self, Ask, Clients, Load, Pace, Seen};
use tests::mock::{Fact, Mock, MockOffer, Order};
use tests::{Database, Gateway};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// The story's size: the second with `COMMONWATT_FAULTS=full`.
pub(crate) fn sized<T>(small: T, full: T) -> T {
    if std::env::var("COMMONWATT_FAULTS").is_ok_and(|size| size == "full") { full } else { small }
}

/// Some instant in the next second: faults come when they want.
pub(crate) async fn some_instant() {
    sleep(Duration::from_millis(fastrand::u64(50..1000))).await;
}

/// Says what a story saw.
pub(crate) fn say(what: impl Display) {
    println!("faults: {what}");
}

/// Streams and whole answers in turn, short and long, at most a second.
pub(crate) fn mixed(number: u64) -> Ask {
    let tokens = 4 + (number % 7) as u32 * 6;
    let order = Order { tokens, every_us: (number % 4) * 6_000, ..Order::default() };
    if number.is_multiple_of(2) { Ask::stream(order) } else { Ask::whole(order) }
}

/// Gateways over one database, and a mock node with a tunnel to each.
pub(crate) struct Stage {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) mock: Mock,
    pub(crate) seen: Vec<Seen>,
}

impl Stage {
    /// One gateway on a database of its own.
    pub(crate) async fn new() -> Self {
        Self::on(Gateway::start().await).await
    }

    /// This gateway.
    pub(crate) async fn on(gateway: Gateway) -> Self {
        Self::over(vec![gateway]).await
    }

    /// These replicas.
    pub(crate) async fn over(gateways: Vec<Gateway>) -> Self {
        let mock = Mock::join(&gateways, MockOffer::default()).await;
        Self { gateways, mock, seen: Vec::new() }
    }

    pub(crate) fn gateway(&mut self) -> &mut Gateway {
        &mut self.gateways[0]
    }

    pub(crate) fn database(&self) -> &Database {
        &self.gateways[0].database
    }

    pub(crate) fn clients(&self) -> Arc<Clients> {
        Arc::new(Clients::new(&self.gateways, &self.gateways[0].key))
    }

    /// So many clients who ask without a pause.
    pub(crate) fn load(&self, clients: u32) -> Load {
        load::begin(self.clients(), Pace::Closed { clients }, mixed)
    }

    /// Asks for a while, so that the gateway knows the key and holds what it will need without a database.
    pub(crate) async fn warm_up(&mut self) {
        let load = self.load(8);
        sleep(Duration::from_secs(2)).await;
        self.keep(load).await;
        assert_eq!(self.failures(), BTreeMap::new(), "before anything happened");
    }

    /// Ends a load and keeps what its clients saw.
    pub(crate) async fn keep(&mut self, load: Load) {
        self.seen.extend(load.end().await);
    }

    /// How many have the whole answer.
    pub(crate) fn completed(&self) -> usize {
        self.seen.iter().filter(|seen| seen.done).count()
    }

    /// How many have none, or a part, by the status and the code that they got.
    pub(crate) fn failures(&self) -> BTreeMap<String, usize> {
        let mut failures = BTreeMap::new();
        for seen in self.seen.iter().filter(|seen| !seen.done) {
            let code = seen.code.as_deref().unwrap_or("no code");
            *failures.entry(format!("{} {code}", seen.status)).or_default() += 1;
        }
        failures
    }

    /// As [`Stage::close`]; everybody must have the whole answer. Returns how many asked.
    pub(crate) async fn close_with_all_answered(self) -> (usize, Audit) {
        let (asked, failures) = (self.seen.len(), self.failures());
        let audit = self.close().await;
        assert_eq!(failures, BTreeMap::new(), "requests failed");
        (asked, audit)
    }

    /// Stops the gateways in good order; then everything is written, nothing is leased, and the books are right.
    pub(crate) async fn close(self) -> Audit {
        self.close_after(0).await
    }

    /// The same after kills of a gateway, in whose instant so many answers at most can have been settled.
    pub(crate) async fn close_after(self, undelivered: u64) -> Audit {
        let Self { mut gateways, mock, seen } = self;
        for gateway in &gateways {
            books::shipped(gateway).await;
            gateway.terminate();
        }
        for gateway in &mut gateways {
            assert_eq!(gateway.ended().await, Some(0), "it stopped in good order");
        }
        check(&gateways[0].database, &seen, &mock.facts(), undelivered).await
    }
}

/// All gateways have stopped.
pub(crate) async fn check(database: &Database, seen: &[Seen], facts: &[Fact], undelivered: u64) -> Audit {
    assert_eq!(books::leases_left(database).await, [0; 3], "leases are left");
    let replicas: Vec<Uuid> = sqlx::query_scalar("select id from replicas").fetch_all(&database.pool).await.unwrap();
    assert!(replicas.is_empty(), "these replicas are left: {replicas:?}");
    let audit = books::audit(database, seen, facts, LIST_PRICE).await;
    audit.must_be_right_but_for(undelivered);
    audit
}

/// Asks once, outside of any load.
pub(crate) async fn ask_once(clients: &Clients, ask: &Ask) -> Seen {
    clients.ask(ask, Instant::now()).await
}
