//! A real node behind a real gateway, and books that are checked to the microjoule.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use openapi::energy::report::EnergyReport;
use reqwest::Response;
use serde_json::{Value, json};
use sqlx::FromRow;
use tests::{Gateway, MODEL, Node, eventually};
use uuid::Uuid;

/// After an answer its row is shipped and the node reports, both within a second unless the machine is busy.
pub(super) const SETTLED_WITHIN: Duration = Duration::from_secs(15);
/// The node's slots.
pub(super) const AT_ONCE: usize = 4;

/// A gateway with one node in Germany, in a site that takes a fifth for itself.
pub(super) struct Stage {
    pub(super) gateway: Gateway,
    pub(super) node: Node,
    pub(super) id: String,
    /// Requests that the node has begun to compute.
    asked: AtomicI64,
}

/// In microjoules, of everything so far.
#[derive(Clone, Copy, Debug, FromRow)]
struct Sums {
    /// How many rows are settled.
    settled: i64,
    /// What stands in the rows of requests.
    requests: i64,
    /// What the node's reports say of their requests.
    reported: i64,
    /// What its counters' windows say was for this gateway.
    windows: i64,
}

const SUMS: &str = "select (select count(*) from request_energy where status <> 'provisional') as settled,
    (select coalesce(sum(microjoules), 0)::bigint from request_energy) as requests,
    (select coalesce(sum(settled_microjoules), 0)::bigint from energy_reports) as reported,
    (select coalesce(sum(attributed_microjoules - elsewhere_microjoules), 0)::bigint from energy_windows) as windows";

/// A few words to go on with for so many tokens, whatever the model would like.
pub(super) fn words(number: usize, tokens: u32) -> Value {
    let prompt = format!("The number {number} is");
    json!({"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "logit_bias": {"2": -100}})
}

pub(super) fn request_id(response: &Response) -> Uuid {
    response.headers()["x-request-id"].to_str().unwrap().parse().unwrap()
}

impl Stage {
    pub(super) async fn start() -> Self {
        let gateway = Gateway::start().await;
        let node = Node::join(&gateway, &["--slots", &AT_ONCE.to_string(), "--zone", "DE", "--pue", "1.2"]).await;
        let id = gateway.nodes(1).await[0]["id"].as_str().unwrap().to_owned();
        Self { gateway, node, id, asked: AtomicI64::new(0) }
    }

    pub(super) async fn ask(&self, path: &str, body: &Value) -> Response {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let response = self.gateway.ask(path, body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", self.gateway.log());
        response
    }

    /// Asks and reads to the end.
    pub(super) async fn answer(&self, number: usize, tokens: u32) -> Uuid {
        let response = self.ask("/v1/completions", &words(number, tokens)).await;
        let id = request_id(&response);
        response.bytes().await.unwrap();
        id
    }

    /// Waits until every request is settled. Then what stands in their rows is what the windows say, to the microjoule, and
    /// the windows are the counters' whole way.
    pub(super) async fn check_books(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        let sums = eventually("the settlement of every request", SETTLED_WITHIN, || async {
            let sums: Sums = sqlx::query_as(SUMS).fetch_one(&self.gateway.database.pool).await.unwrap();
            (sums.settled == asked && sums.reported >= sums.requests).then_some(sums)
        })
        .await;
        assert_eq!((sums.requests, sums.requests), (sums.windows, sums.reported), "{sums:?}");
        let reports = self.reports().await;
        assert_eq!(reports[0].sequence, 1);
        let mut ways: HashMap<&str, (u64, u64, u64)> = HashMap::new();
        for pool in reports.iter().flat_map(|report| &report.pools) {
            assert!(pool.adds_up(), "{pool:?}");
            let (from, to) = (pool.counter_from.get(), pool.counter_to.get());
            let (_, until, moved) = ways.entry(pool.pool.as_str()).or_insert((from, from, 0));
            assert_eq!(*until, from, "a window begins where the one before it ends");
            (*until, *moved) = (to, *moved + pool.attributed.get() + pool.idle.get() + pool.foreign.get());
        }
        for (pool, (first, last, moved)) in ways {
            assert_eq!(last - first, moved, "{pool}");
        }
        for (one, next) in reports.iter().zip(&reports[1..]) {
            assert_eq!(one.sequence + 1, next.sequence, "no report is missing, and none is there twice");
            assert!(one.to <= next.from, "no time is reported twice");
        }
    }

    /// What the node has signed, in order, as the gateway keeps it.
    pub(super) async fn reports(&self) -> Vec<EnergyReport> {
        let statements = "select statement from energy_reports order by sequence";
        let statements: Vec<String> =
            sqlx::query_scalar(statements).fetch_all(&self.gateway.database.pool).await.unwrap();
        let read = |statement: String| jsonwebtoken::dangerous::insecure_decode::<EnergyReport>(statement);
        statements.into_iter().map(|statement| read(statement).unwrap().claims).collect()
    }

    /// What stands in the rows of these requests together.
    pub(super) async fn microjoules(&self, requests: &[Uuid]) -> i64 {
        let sum = "select sum(microjoules)::bigint from request_energy where request_id = any($1)";
        sqlx::query_scalar(sum).bind(requests).fetch_one(&self.gateway.database.pool).await.unwrap()
    }
}
