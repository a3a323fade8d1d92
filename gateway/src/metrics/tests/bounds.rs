use super::*;

#[test]
fn beyond_the_bounds_all_is_counted_under_one_name() {
    let metrics = metrics();
    let (models, offers) = (requests::MOST_MODELS as u128 + 5, requests::MOST_OFFERS as u128 + 5);
    let one = Spent { microjoules: Microjoules::new(1), prefill_microjoules: Microjoules::ZERO, ..spent() };
    for number in 0..models {
        metrics.request(&Request { model: &format!("m{number}"), spent: one, ..request() });
    }
    // The five above are nodes of the model without a name of its own.
    for number in 0..offers {
        metrics.attempt("m0", node(number), &one);
    }
    let text = metrics.render();
    let energy = lines(&text, "gateway_request_energy_joules_total");
    assert_eq!(sum(&text, "gateway_request_energy_joules_total"), (models + offers) as u64);
    assert_eq!(energy.len(), requests::MOST_OFFERS + 1, "and one for the others");
    assert!(energy.iter().any(|line| line.contains(r#"model="m0",node="other""#)), "a known model keeps its name");
    assert!(!text.contains("otel_metric_overflow"));
    let named = lines(&text, "gateway_requests_total");
    assert_eq!(named.len(), requests::MOST_MODELS + 1);
    assert!(named.contains(&r#"gateway_requests_total{model="other",outcome="completed"} 5"#));
}

#[test]
fn nodes_and_pools_are_bounded_too() {
    let metrics = metrics();
    let nodes = machines::MOST_NODES as u128 + 3;
    for number in 0..nodes {
        metrics.report(node(number), &report(vec![window("gpu-0", [1, 0, 1, 0])], &[1]));
    }
    let many: Vec<_> = (0..100).map(|pool| window(&format!("gpu-{pool}"), [1, 0, 0, 0])).collect();
    metrics.report(node(0), &report(many, &[]));
    metrics.report(node(0), &report(vec![window(&"x".repeat(1_000), [1, 0, 0, 0])], &[]));
    let text = metrics.render();
    assert_eq!(sum(&text, "hw_energy_joules_total"), nodes as u64 * 2 + 101);
    assert_eq!(lines(&text, "hw_energy_joules_total").len(), machines::MOST_NODES + 1 + 31 + 1);
    assert_eq!(sum(&text, "gateway_idle_energy_joules_total"), nodes as u64);
    assert!(text.contains(r#"hw_id="other/gpu-0""#) && text.contains(r#"0000/other",hw_parent="#));
    assert!(!text.contains("otel_metric_overflow") && !text.contains("xxxx"));
}
