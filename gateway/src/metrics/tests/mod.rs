mod bounds;

mod serving;

use std::time::Instant;

use openapi::energy::report::{PoolWindow, SettledAttempt};
use openapi::energy::{Boundary, Energy, StepCosts};
use openapi::units::Microseconds;
use proptest::prelude::*;

use super::*;

const MODEL: &str = "llama-3.1-8b";

fn node(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn spent() -> Spent {
    Spent {
        tier: Tier::B,
        microjoules: Microjoules::new(61_400_001),
        prefill_microjoules: Microjoules::new(16_000_000),
        idle_microjoules: Microjoules::new(9_800_000),
        facility_microjoules: Microjoules::new(85_440_001),
        micrograms_co2e: Some(7_929),
    }
}

fn request() -> Request<'static> {
    Request {
        model: MODEL,
        endpoint: "chat.completions",
        node: Some(node(1)),
        outcome: Outcome::Completed,
        prompt_tokens: 812,
        completion_tokens: 240,
        duration: Duration::from_millis(3_500),
        first_byte: Some(Duration::from_millis(125)),
        spent: spent(),
    }
}

fn window(pool: &str, [attributed, elsewhere, idle, foreign]: [u64; 4]) -> PoolWindow {
    PoolWindow {
        pool: pool.to_owned(),
        tier: Tier::B,
        boundary: Boundary::NodeDc,
        counter_from: Microjoules::new(5),
        counter_to: Microjoules::new(5 + attributed + idle + foreign),
        attributed: Microjoules::new(attributed),
        elsewhere: Microjoules::new(elsewhere),
        idle: Microjoules::new(idle),
        foreign: Microjoules::new(foreign),
    }
}

fn report(pools: Vec<PoolWindow>, settled: &[u64]) -> EnergyReport {
    let settled = settled.iter().map(|microjoules| SettledAttempt {
        request: node(7),
        attempt: 1,
        energy: Energy::exact(Microjoules::new(*microjoules), (Tier::B, Boundary::NodeDc), "test/1"),
    });
    EnergyReport {
        sequence: 1,
        previous: String::new(),
        from: Microseconds::ZERO,
        to: Microseconds::new(1),
        busy_microseconds: Microseconds::ZERO,
        pools,
        costs: StepCosts::default(),
        grid: None,
        settled: settled.collect(),
    }
}

/// The lines of one family, without what describes it.
fn lines<'a>(text: &'a str, family: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']))).collect()
}

/// The sum of a family, in millionths.
fn sum(text: &str, family: &str) -> u64 {
    let value = |line: &&str| (line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() * 1e6).round() as u64;
    lines(text, family).iter().map(value).sum()
}

fn metrics() -> Metrics {
    Metrics::new(None).unwrap()
}

#[test]
fn a_request_reads_as_documented() {
    let metrics = metrics();
    metrics.request(&request());
    metrics.request(&Request {
        model: "whatever a client writes",
        endpoint: "completions",
        node: None,
        outcome: Outcome::NoNode,
        prompt_tokens: 0,
        completion_tokens: 0,
        first_byte: None,
        spent: Spent::default(),
        ..request()
    });
    let text = metrics.render();
    let shown: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{")).collect();
    let genai = r#"gen_ai_operation_name="chat",gen_ai_provider_name="commonwatt",gen_ai_request_model="llama-3.1-8b""#;
    let refused = r#"error_type="no_node",gen_ai_operation_name="text_completion",gen_ai_provider_name="commonwatt",gen_ai_request_model="other""#;
    let labels = r#"model="llama-3.1-8b",node="00000000-0000-0000-0000-000000000001""#;
    let expected = [
        r#"gateway_energy_per_output_token_joules_sum{model="llama-3.1-8b",tier="B"} 0.25583333750000004"#.to_owned(),
        r#"gateway_energy_per_output_token_joules_count{model="llama-3.1-8b",tier="B"} 1"#.to_owned(),
        format!("gateway_request_carbon_grams_total{{{labels}}} 0.007929"),
        format!(r#"gateway_request_energy_joules_total{{{labels},phase="decode",tier="B"}} 45.400001"#),
        format!(r#"gateway_request_energy_joules_total{{{labels},phase="prefill",tier="B"}} 16"#),
        format!("gateway_request_facility_energy_joules_total{{{labels}}} 85.440001"),
        format!("gateway_request_idle_energy_joules_total{{{labels}}} 9.8"),
        r#"gateway_requests_total{model="llama-3.1-8b",outcome="completed"} 1"#.to_owned(),
        r#"gateway_requests_total{model="other",outcome="no_node"} 1"#.to_owned(),
        format!(r#"gen_ai_client_token_usage_sum{{{genai},gen_ai_token_type="input"}} 812"#),
        format!(r#"gen_ai_client_token_usage_count{{{genai},gen_ai_token_type="input"}} 1"#),
        format!(r#"gen_ai_client_token_usage_sum{{{genai},gen_ai_token_type="output"}} 240"#),
        format!(r#"gen_ai_client_token_usage_count{{{genai},gen_ai_token_type="output"}} 1"#),
        format!("gen_ai_server_request_duration_seconds_sum{{{genai}}} 3.5"),
        format!("gen_ai_server_request_duration_seconds_count{{{genai}}} 1"),
        format!("gen_ai_server_request_duration_seconds_sum{{{refused}}} 3.5"),
        format!("gen_ai_server_request_duration_seconds_count{{{refused}}} 1"),
        format!("gen_ai_server_time_to_first_token_seconds_sum{{{genai}}} 0.125"),
        format!("gen_ai_server_time_to_first_token_seconds_count{{{genai}}} 1"),
        format!(
            r#"target_info{{service_name="commonwatt-gateway",service_version="{}"}} 1"#,
            env!("CARGO_PKG_VERSION")
        ),
    ];
    assert_eq!(shown, expected);
    assert!(text.contains("\n# TYPE gateway_request_energy_joules_total counter\n"), "{text}");
    let bounds = lines(&text, "gen_ai_server_time_to_first_token_seconds_bucket");
    assert!(bounds[0].contains(r#"le="0.001""#) && bounds[16].contains(r#"le="+Inf""#), "{bounds:?}");
}

#[test]
fn a_report_reads_as_documented() {
    let metrics = metrics();
    let parts = vec![window("gpu-0", [70, 20, 20, 10]), window("machine", [30, 0, 1, 0])];
    metrics.report(node(1), &report(parts, &[60, 12]));
    metrics.report(node(2), &report(vec![window("machine", [0, 0, 1_000_000, 0])], &[]));
    let text = metrics.render();
    let id = |number| node(number).to_string();
    assert_eq!(
        lines(&text, "hw_energy_joules_total"),
        [
            format!(
                r#"hw_energy_joules_total{{hw_id="{0}/gpu-0",hw_parent="{0}",hw_type="gpu",tier="B"}} 0.0001"#,
                id(1)
            ),
            format!(
                r#"hw_energy_joules_total{{hw_id="{0}/machine",hw_parent="{0}",hw_type="machine",tier="B"}} 0.000031"#,
                id(1)
            ),
        ]
    );
    assert_eq!(
        lines(&text, "hw_host_energy_joules_total"),
        [format!(r#"hw_host_energy_joules_total{{hw_id="{0}/machine",hw_parent="{0}",tier="B"}} 1"#, id(2))]
    );
    assert_eq!(
        lines(&text, "gateway_idle_energy_joules_total"),
        [
            format!(r#"gateway_idle_energy_joules_total{{node="{}"}} 0.000021"#, id(1)),
            format!(r#"gateway_idle_energy_joules_total{{node="{}"}} 1"#, id(2)),
        ]
    );
    assert_eq!(
        lines(&text, "gateway_energy_reconcile_ratio"),
        [format!(r#"gateway_energy_reconcile_ratio{{node="{}"}} 0.9"#, id(1))],
        "72 of 80, and none where nothing was attributed"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_is_lost_or_made(attempts in prop::collection::vec(
        (0_u128..4, 0_usize..6, 0_u64..1 << 40, 0_u64..1 << 41, 0_u64..1 << 30), 0..40)) {
        let metrics = metrics();
        let mut expected = [0; 3];
        for (number, tier, microjoules, prefill, other) in attempts {
            let spent = Spent {
                tier: Tier::ALL[tier],
                microjoules: Microjoules::new(microjoules),
                prefill_microjoules: Microjoules::new(prefill),
                idle_microjoules: Microjoules::new(other),
                micrograms_co2e: Some(other),
                ..Spent::default()
            };
            metrics.attempt(if number > 1 { MODEL } else { "m" }, node(number), &spent);
            expected[0] += microjoules;
            expected[1] += other;
            expected[2] += other;
        }
        let text = metrics.render();
        prop_assert_eq!(sum(&text, "gateway_request_energy_joules_total"), expected[0]);
        prop_assert_eq!(sum(&text, "gateway_request_idle_energy_joules_total"), expected[1]);
        prop_assert_eq!(sum(&text, "gateway_request_carbon_grams_total"), expected[2]);
        prop_assert_eq!(metrics.render(), text, "a look changes nothing");
    }
}

/// Shows what a request costs; the time depends on the machine.
#[test]
fn what_a_request_costs() {
    let metrics = metrics();
    let requests: Vec<_> = (0..100).map(|number| Request { node: Some(node(number)), ..request() }).collect();
    requests.iter().for_each(|request| metrics.request(request));
    let started = Instant::now();
    for _ in 0..1_000 {
        requests.iter().for_each(|request| metrics.request(request));
    }
    let each = started.elapsed() / 100_000;
    println!("a request costs {each:?} to measure");
    assert_eq!(sum(&metrics.render(), "gateway_requests_total"), 100_100 * 1_000_000);
}
