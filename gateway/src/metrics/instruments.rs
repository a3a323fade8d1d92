//! The instruments by name, unit and bounds.

use std::sync::Arc;

use openapi::energy::Tier;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram, Meter};
use opentelemetry_semantic_conventions::attribute::ERROR_TYPE;
use opentelemetry_semantic_conventions::metric::{HW_ENERGY, HW_HOST_ENERGY};

use super::machines::{self, Machines};
use super::requests::{self, Attributes, Model, Requests};
use super::{Request, Spent};

const REQUEST_ENERGY: &str = "gateway.request.energy";
const REQUEST_IDLE_ENERGY: &str = "gateway.request.idle_energy";
const REQUEST_FACILITY_ENERGY: &str = "gateway.request.facility_energy";
const REQUEST_CARBON: &str = "gateway.request.carbon";
const ENERGY_PER_TOKEN: &str = "gateway.energy.per_output_token";
const REQUESTS: &str = "gateway.requests";
const IDLE_ENERGY: &str = "gateway.idle.energy";
const RECONCILE: &str = "gateway.energy.reconcile";
// The conventions' crate calls these names deprecated since they have moved to a repository of their own.
const TOKENS: &str = "gen_ai.client.token.usage";
const DURATION: &str = "gen_ai.server.request.duration";
const FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";

const JOULES_PER_TOKEN: [f64; 16] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];
// Bounds that the conventions recommend.
const TOKEN_COUNTS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const SECONDS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_SECONDS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Series that an instrument has at most. With more, the library would count several under one name, and of sums that are
/// shown to it keep one alone.
pub(super) fn most_series(instrument: &str) -> usize {
    match instrument {
        REQUEST_ENERGY => requests::MOST_SERIES,
        REQUEST_IDLE_ENERGY | REQUEST_FACILITY_ENERGY | REQUEST_CARBON => {
            requests::MOST_OFFERS + requests::MOST_MODELS + 1
        }
        HW_ENERGY | HW_HOST_ENERGY => machines::MOST_SERIES,
        IDLE_ENERGY | RECONCILE => machines::MOST_NODES + 1,
        // Outcomes, tiers, operations, kinds of token: no model has more than this of any.
        _ => (requests::MOST_MODELS + 1) * 16,
    }
}

/// Instruments that a request is measured with when it ends.
pub(super) struct Instruments {
    requests: Counter<u64>,
    tokens: Histogram<u64>,
    duration: Histogram<f64>,
    first_token: Histogram<f64>,
    energy_per_token: Histogram<f64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let histogram = |name, unit, help, bounds: &[f64]| {
            let builder = meter.f64_histogram(name).with_unit(unit).with_description(help);
            builder.with_boundaries(bounds.to_vec()).build()
        };
        Self {
            requests: meter
                .u64_counter(REQUESTS)
                .with_unit("{request}")
                .with_description("Requests that have ended.")
                .build(),
            tokens: meter
                .u64_histogram(TOKENS)
                .with_unit("{token}")
                .with_description("Number of input and output tokens used.")
                .with_boundaries(TOKEN_COUNTS.to_vec())
                .build(),
            duration: histogram(DURATION, "s", "Time from a request to the last byte of its answer.", &SECONDS),
            first_token: histogram(
                FIRST_TOKEN,
                "s",
                "Time to generate first token for successful responses.",
                &FIRST_SECONDS,
            ),
            energy_per_token: histogram(
                ENERGY_PER_TOKEN,
                "J",
                "Energy attributed to an answer for each of its tokens.",
                &JOULES_PER_TOKEN,
            ),
        }
    }

    /// Measures a request that has ended.
    pub(super) fn record(&self, model: &Model, request: &Request<'_>) {
        let attributes = match request.endpoint {
            "completions" => &model.completion,
            "embeddings" => &model.embedding,
            _ => &model.chat,
        };
        self.requests.add(1, &[model.label(), KeyValue::new("outcome", request.outcome.word())]);
        self.record_times(attributes, request);
        if request.node.is_some() {
            self.tokens.record(request.prompt_tokens, &attributes.input);
            self.tokens.record(request.completion_tokens, &attributes.output);
        }
        let Spent { tier, microjoules, .. } = request.spent;
        if tier != Tier::X && request.completion_tokens > 0 {
            let each = microjoules.joules() / request.completion_tokens as f64;
            self.energy_per_token.record(each, &model.per_token[tier as usize]);
        }
    }

    fn record_times(&self, attributes: &Attributes, request: &Request<'_>) {
        let seconds = request.duration.as_secs_f64();
        if !request.outcome.is_paid() {
            let [operation, provider, model] = attributes.request.clone();
            let error = KeyValue::new(ERROR_TYPE, request.outcome.word());
            return self.duration.record(seconds, &[error, operation, provider, model]);
        }
        self.duration.record(seconds, &attributes.request);
        if let Some(first_byte) = request.first_byte {
            self.first_token.record(first_byte.as_secs_f64(), &attributes.request);
        }
    }
}

/// Lets the sums of requests be seen.
pub(super) fn observe_requests(meter: &Meter, requests: &Arc<Requests>) {
    let shown = |show: fn(&Requests, &dyn AsyncInstrument<f64>)| {
        let requests = Arc::clone(requests);
        move |to: &dyn AsyncInstrument<f64>| show(&requests, to)
    };
    counter(meter, (REQUEST_ENERGY, "J"), "Energy attributed to requests.", shown(Requests::show_energy));
    counter(meter, (REQUEST_IDLE_ENERGY, "J"), "Idle energy that goes with requests.", shown(Requests::show_idle));
    counter(
        meter,
        (REQUEST_FACILITY_ENERGY, "J"),
        "Energy of the sites for requests: attributed and idle energy times the site's overhead.",
        shown(Requests::show_facility),
    );
    counter(
        meter,
        (REQUEST_CARBON, "g"),
        "CO2 equivalent of requests, where the grid of the node is known.",
        shown(Requests::show_carbon),
    );
}

/// Lets the sums of reports be seen.
pub(super) fn observe_machines(meter: &Meter, machines: &Arc<Machines>) {
    let shown = |show: fn(&Machines, &dyn AsyncInstrument<f64>)| {
        let machines = Arc::clone(machines);
        move |to: &dyn AsyncInstrument<f64>| show(&machines, to)
    };
    counter(meter, (HW_ENERGY, "J"), "Energy consumed by the component.", shown(Machines::show_energy));
    counter(
        meter,
        (HW_HOST_ENERGY, "J"),
        "Total energy consumed by the entire physical host, in joules.",
        shown(Machines::show_host_energy),
    );
    counter(meter, (IDLE_ENERGY, "J"), "Energy of nodes while nothing was computed.", shown(Machines::show_idle));
    let ratio = meter.f64_observable_gauge(RECONCILE).with_unit("1").with_description(
        "What requests took by the node's word, over what they took by its counters, since the gateway runs.",
    );
    ratio.with_callback(shown(Machines::show_ratio)).build();
}

fn counter(
    meter: &Meter,
    (name, unit): (&'static str, &'static str),
    help: &'static str,
    show: impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static,
) {
    meter.f64_observable_counter(name).with_unit(unit).with_description(help).with_callback(show).build();
}
