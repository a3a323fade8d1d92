//! The energy of real answers, from the node's counter to the closed day: nothing is lost, nothing is made, and nothing
//! stays provisional.

mod payloads;

mod stage;

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use gateway::energy::day;
use openapi::energy::{Boundary, EnergyUsage, Status, Tier};
use serde_json::{Value, json};
use sqlx::FromRow;
use tests::{conversation, eventually};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use payloads::{energy_comment, recompute};
use stage::{AT_ONCE, SETTLED_WITHIN, Stage, request_id, words};

/// Answers whose settlement is timed.
const TIMED: usize = 50;

/// Everything that `usage.energy` has of a node that has said where it stands, and of whose making nothing is known.
const DOCUMENTED: [&str; 17] = [
    "boundary",
    "decode_joules",
    "facility_joules",
    "g_co2e",
    "grid_basis",
    "grid_g_per_kwh",
    "grid_source",
    "grid_zone",
    "idle_share_joules",
    "interval_90",
    "joules",
    "marginal_joules",
    "method",
    "pue",
    "prefill_joules",
    "status",
    "tier",
];

#[tokio::test]
async fn every_microjoule_of_real_answers_is_somebody_s() {
    let mut stage = Stage::start().await;
    eventually("an answer that was settled before it left", SETTLED_WITHIN, || async {
        (stage.whole_answer().await == Status::Settled).then_some(())
    })
    .await;
    eventually("a stream that was settled before it ended", SETTLED_WITHIN, || async {
        (stage.streamed_answer().await == Status::Settled).then_some(())
    })
    .await;
    stage.alone_and_in_a_crowd().await;
    stage.somebody_leaves().await;
    stage.settlements_take_their_time().await;
    stage.the_gateway_comes_back().await;
    stage.the_day_is_closed().await;
}

/// Asked for by who wants larger figures.
fn full() -> bool {
    std::env::var("COMMONWATT_ENERGY").is_ok_and(|size| size == "full")
}

/// A payload has the documented shape, and its figures follow from each other.
fn check(payload: &Value) -> EnergyUsage {
    let usage: EnergyUsage = serde_json::from_value(payload.clone()).unwrap();
    assert_eq!(usage.recompute(), Ok(()), "{payload}");
    assert_eq!((usage.tier, usage.boundary, usage.pue), (Tier::E, Boundary::NodeDc, 1.2), "{payload}");
    assert_eq!((usage.method.as_str(), usage.grid_zone.as_deref()), ("step-shapley/1", Some("DE")));
    assert!(usage.prefill_joules > Some(0.0) && usage.decode_joules > Some(0.0), "{payload}");
    assert!(usage.g_co2e > Some(0.0) && usage.facility_joules > usage.joules, "{payload}");
    usage
}

impl Stage {
    async fn whole_answer(&self) -> Status {
        let response = self.ask("/v1/chat/completions", &conversation(json!({}))).await;
        let (id, headers) = (request_id(&response), response.headers().clone());
        let answer: Value = response.json().await.unwrap();
        let payload = &answer["usage"]["energy"];
        let keys: BTreeSet<&str> = payload.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(DOCUMENTED));
        let usage = check(payload);
        let header = |name: &str| headers[name].to_str().unwrap().parse::<f64>().unwrap();
        assert_eq!((Some(header("x-energy-joules")), Some(header("x-energy-co2-grams"))), (usage.joules, usage.g_co2e));
        assert_eq!(headers["x-energy-tier"], "E");
        assert_eq!(recompute(std::slice::from_ref(payload)).await.unwrap(), "1 payloads, 0 wrong");
        if usage.status == Status::Settled {
            self.check_books().await;
            let (of_row, shown) = (self.microjoules(&[id]).await as f64 / 1e6, usage.joules.unwrap());
            assert!(
                (of_row - shown).abs() <= of_row / 200.0,
                "{of_row} J in the row, {shown} J shown with three digits"
            );
        }
        usage.status
    }

    async fn streamed_answer(&self) -> Status {
        let body = conversation(json!({"stream": true, "stream_options": {"include_usage": true}}));
        let text = self.ask("/v1/chat/completions", &body).await.text().await.unwrap();
        let at = |mark: &str| text.find(mark).unwrap();
        assert!(at("\n: energy {") < at("\n: commonwatt {") && at("\n: commonwatt {") < at("\ndata: [DONE]"), "{text}");
        let comment = energy_comment(&text);
        let chunk = text.lines().find(|line| line.contains("\"usage\":{")).unwrap();
        let chunk: Value = serde_json::from_str(chunk.strip_prefix("data: ").unwrap()).unwrap();
        let payload = &chunk["usage"]["energy"];
        check(payload);
        for name in DOCUMENTED {
            assert_eq!(comment[name], payload[name], "{name}: the comment says what the last chunk does");
        }
        assert_eq!((&comment["provider"], &comment["source"]), (&json!(self.id), &json!("estimated")));
        assert_eq!(recompute(&[comment.clone(), payload.clone()]).await.unwrap(), "2 payloads, 0 wrong");
        check(&comment).status
    }

    /// The same prompts one after the other and several at a time.
    async fn alone_and_in_a_crowd(&self) {
        const TOKENS: u32 = 16;
        let prompts = if full() { 52 } else { 2 * AT_ONCE };
        let mut alone = Vec::new();
        for number in 0..prompts {
            alone.push(self.answer(number, TOKENS).await);
        }
        self.check_books().await;
        let mut crowd = Vec::new();
        for first in (0..prompts).step_by(AT_ONCE) {
            let answers = (first..first + AT_ONCE).map(|number| self.answer(number, TOKENS));
            // Somebody at the machine itself is in the same steps, and is nobody of the gateway's.
            let first = words(first, TOKENS);
            let (answers, at_the_machine) = tokio::join!(join_all(answers), self.node.ask("/v1/completions", &first));
            assert_eq!(at_the_machine.status(), 200);
            crowd.extend(answers);
        }
        self.check_books().await;
        let (alone, crowd) = (self.microjoules(&alone).await as f64 / 1e6, self.microjoules(&crowd).await as f64 / 1e6);
        println!("energy: {prompts} answers took {alone:.1} J one after the other, {crowd:.1} J {AT_ONCE} at a time");
    }

    async fn somebody_leaves(&self) {
        let mut body = words(2, 300);
        body["stream"] = json!(true);
        let mut response = self.ask("/v1/completions", &body).await;
        let id = request_id(&response);
        for _ in 0..5 {
            response.chunk().await.unwrap().unwrap();
        }
        drop(response);
        self.check_books().await;
        let of = "select r.outcome, e.status, e.microjoules, r.microjoules, a.microjoules from requests r
            join request_energy e on e.request_id = r.id join attempts a on a.request_id = r.id where r.id = $1";
        let (outcome, status, energy, request, attempt): (String, String, i64, i64, i64) =
            sqlx::query_as(of).bind(id).fetch_one(&self.gateway.database.pool).await.unwrap();
        assert_eq!((outcome.as_str(), status.as_str()), ("client_left", "settled"));
        assert_eq!((energy, energy), (request, attempt), "it stands the same everywhere");
        let reports = self.reports().await;
        let word = reports.iter().flat_map(|report| &report.settled).find(|settled| settled.request == id).unwrap();
        assert_eq!(word.energy.microjoules.to_bigint(), energy, "the node's last word");
    }

    /// From the end of an answer until its row has the node's last word.
    async fn settlements_take_their_time(&self) {
        let ended: Mutex<HashMap<Uuid, Instant>> = Mutex::default();
        let times: Mutex<Vec<Duration>> = Mutex::default();
        let asking = stream::iter(0..TIMED).map(|number| self.answer(number, 4)).buffer_unordered(AT_ONCE);
        let asking = asking.for_each(|id| {
            ended.lock().unwrap().insert(id, Instant::now());
            std::future::ready(())
        });
        let watching = eventually("all settlements", 4 * SETTLED_WITHIN, || async {
            let settled = "select request_id from request_energy where status <> 'provisional'";
            let settled: Vec<Uuid> = sqlx::query_scalar(settled).fetch_all(&self.gateway.database.pool).await.unwrap();
            let mut times = times.lock().unwrap();
            let ended = settled.iter().filter_map(|id| ended.lock().unwrap().remove(id));
            times.extend(ended.map(|ended| ended.elapsed()));
            (times.len() == TIMED).then_some(())
        });
        tokio::join!(asking, watching);
        let mut times = times.into_inner().unwrap();
        times.sort_unstable();
        let percentile = |percent: usize| times[(TIMED * percent).div_ceil(100) - 1].as_millis();
        println!(
            "energy: {TIMED} answers were settled within {} ms (p50) and {} ms (p99) of their end",
            percentile(50),
            percentile(99)
        );
        self.check_books().await;
    }

    /// What the node has reported meanwhile is read later: each report once, and none is missing.
    async fn the_gateway_comes_back(&mut self) {
        self.check_books().await;
        let before = self.reports().await.len();
        self.answer(3, 8).await;
        self.gateway.kill().await;
        self.gateway.restart().await;
        self.gateway.nodes(1).await;
        self.answer(4, 8).await;
        self.check_books().await;
        let after = self.reports().await.len();
        assert!(after > before, "{before} reports before and {after} after");
    }

    async fn the_day_is_closed(&self) {
        #[derive(FromRow)]
        struct Closed {
            microjoules: i64,
            idle_microjoules: i64,
            facility_microjoules: i64,
            micrograms_co2e: i64,
            grid_mg_per_kwh: i64,
            status: String,
        }
        self.check_books().await;
        let database = &self.gateway.database.pool;
        let in_two_days = OffsetDateTime::now_utc() + time::Duration::days(2);
        assert!(day::close_all(database, in_two_days).await.unwrap() > 0);
        let rows: Vec<Closed> = sqlx::query_as("select * from request_energy").fetch_all(database).await.unwrap();
        for row in &rows {
            let facility = i128::from(row.microjoules + row.idle_microjoules) * 1_200 / 1_000;
            let carbon = facility * i128::from(row.grid_mg_per_kwh) / 3_600_000_000;
            assert_eq!((i128::from(row.facility_microjoules), i128::from(row.micrograms_co2e)), (facility, carbon));
            assert_eq!(row.status, "final");
        }
        let all: i64 = rows.iter().map(|row| row.microjoules + row.idle_microjoules).sum();
        // Of all days, since a story may be told around midnight.
        let days = "select sum(attributed_microjoules - elsewhere_microjoules)::bigint,
            sum(elsewhere_microjoules)::bigint, sum(shared_microjoules)::bigint from node_energy_days";
        let (ours, elsewhere, shared): (i64, i64, i64) = sqlx::query_as(days).fetch_one(database).await.unwrap();
        assert_eq!(all, ours + shared, "not a microjoule is lost or made");
        assert!(elsewhere > 0 && shared > 0, "{elsewhere} µJ elsewhere, {shared} µJ of idle time shared");
    }
}
