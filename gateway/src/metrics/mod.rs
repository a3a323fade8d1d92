//! Metrics of energy, carbon, tokens and time, for operators: OpenTelemetry instruments, shown to Prometheus on a listener of
//! their own and, if asked for, sent to a collector.
//!
//! | Instrument | For Prometheus | Convention |
//! |---|---|---|
//! | `gateway.request.energy` | `gateway_request_energy_joules_total{model,node,phase,tier}` | ours |
//! | `gateway.request.idle_energy` | `gateway_request_idle_energy_joules_total{model,node}` | ours |
//! | `gateway.request.facility_energy` | `gateway_request_facility_energy_joules_total{model,node}` | ours |
//! | `gateway.request.carbon` | `gateway_request_carbon_grams_total{model,node}` | ours |
//! | `gateway.energy.per_output_token` | `gateway_energy_per_output_token_joules{model,tier}` | ours |
//! | `gateway.requests` | `gateway_requests_total{model,outcome}` | ours |
//! | `gateway.overhead` | `gateway_overhead_seconds` | ours |
//! | `gateway.queue.duration` | `gateway_queue_duration_seconds` | ours |
//! | `gateway.queue.length` | `gateway_queue_length` | ours |
//! | `gateway.nodes` | `gateway_nodes{state}` | ours |
//! | `gateway.node.ejections` | `gateway_node_ejections_total` | ours |
//! | `gateway.journal.…` | `gateway_journal_{open,waiting,set_aside,lag_seconds}` | ours |
//! | `gateway.log.…` | `gateway_log_{leaves,damaged,conflicts,lag_seconds}` | ours |
//! | `gateway.epoch.…` | `gateway_epoch_{overdue_seconds,differing}` | ours |
//! | `gateway.credit` | `gateway_credit{state}` | ours |
//! | `gateway.idle.energy` | `gateway_idle_energy_joules_total{node}` | ours |
//! | `gateway.energy.reconcile` | `gateway_energy_reconcile_ratio{node}` | ours |
//! | `hw.energy` | `hw_energy_joules_total{hw_id,hw_parent,hw_type,tier}` | [hardware] |
//! | `hw.host.energy` | `hw_host_energy_joules_total{hw_id,hw_parent,tier}` | [host] |
//! | `gen_ai.client.token.usage` | `gen_ai_client_token_usage` | [GenAI] |
//! | `gen_ai.server.request.duration` | `gen_ai_server_request_duration_seconds` | [GenAI] |
//! | `gen_ai.server.time_to_first_token` | `gen_ai_server_time_to_first_token_seconds` | [GenAI] |
//!
//! The conventions know no energy or carbon of a request, hence names of our own. Each replica counts the requests that it
//! has answered and the reports that it has read, since it runs; sums over replicas are right. Of a request is counted what
//! was known at its end. A tier of `X` says that the gateway does not believe a figure: leave it out of whatever is
//! published.
//!
//! Sums are integers, of microjoules and micrograms, until they are shown. No label holds what a client can make up: models
//! are those that nodes serve, and models, nodes and pools beyond a bound are counted as `other`, so that sums stay right.
//!
//! [hardware]: https://opentelemetry.io/docs/specs/semconv/hardware/common/
//! [host]: https://opentelemetry.io/docs/specs/semconv/hardware/host/
//! [GenAI]: https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md

mod export;

mod instruments;

mod listener;

mod machines;

mod operation;

mod record;

mod requests;

mod tally;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use openapi::energy::Tier;
use openapi::energy::report::EnergyReport;
use openapi::units::Microjoules;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use uuid::Uuid;

use self::instruments::Instruments;
use self::machines::Machines;
use self::operation::Operation;
use self::requests::Requests;
use crate::inference::record::Outcome;

pub use listener::serve;
pub use operation::Watched;

/// The label of whatever has no name of its own.
const OTHER: &str = "other";
const SERVICE: &str = "commonwatt-gateway";

/// All instruments and what they show.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    requests: Arc<Requests>,
    machines: Arc<Machines>,
    instruments: Instruments,
    operation: Operation,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub model: &'a str,
    /// As the database has it: `chat.completions`, `completions`, `responses` or `embeddings`.
    pub endpoint: &'a str,
    /// None when it came to no node.
    pub node: Option<Uuid>,
    pub outcome: Outcome,
    /// Tokens that were delivered, which are those that are billed.
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub duration: Duration,
    pub first_byte: Option<Duration>,
    /// By the attempt that ended it.
    pub spent: Spent,
}

/// What an attempt has taken in energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub tier: Tier,
    /// Attributed to it.
    pub microjoules: Microjoules,
    /// The part of that which went into the prompt.
    pub prefill_microjoules: Microjoules,
    /// Its share of idle time.
    pub idle_microjoules: Microjoules,
    /// Both, with the site's overhead.
    pub facility_microjoules: Microjoules,
    /// None when nobody knows the grid.
    pub micrograms_co2e: Option<u64>,
}

impl Default for Spent {
    /// Nothing, as far as anybody knows.
    fn default() -> Self {
        Self {
            tier: Tier::X,
            microjoules: Microjoules::ZERO,
            prefill_microjoules: Microjoules::ZERO,
            idle_microjoules: Microjoules::ZERO,
            facility_microjoules: Microjoules::ZERO,
            micrograms_co2e: None,
        }
    }
}

impl Metrics {
    /// Begins to count. `collector` is the base of an OTLP receiver over HTTP, such as `http://127.0.0.1:4318`, which is told
    /// every minute; nothing is sent without one.
    ///
    /// What is `watched` is looked at whenever metrics are shown.
    ///
    /// # Errors
    /// When the collector's address is none.
    pub fn watching(collector: Option<&str>, watched: &Watched) -> anyhow::Result<Self> {
        let metrics = Self::new(collector)?;
        operation::observe(&metrics.provider.meter(SERVICE), watched);
        Ok(metrics)
    }

    /// The same, of requests and machines alone.
    ///
    /// # Errors
    /// When the collector's address is none.
    pub fn new(collector: Option<&str>) -> anyhow::Result<Self> {
        let (provider, registry) = export::provider(SERVICE, collector, instruments::most_series)?;
        let meter = provider.meter(SERVICE);
        let (requests, machines) = (Arc::default(), Arc::default());
        instruments::observe_requests(&meter, &requests);
        instruments::observe_machines(&meter, &machines);
        let (instruments, operation) = (Instruments::new(&meter), Operation::new(&meter));
        Ok(Self { registry, provider, requests, machines, instruments, operation })
    }

    /// Counts a request that has ended, and the attempt that ended it.
    pub fn request(&self, request: &Request<'_>) {
        let model = self.requests.model(request.model, request.node.is_some());
        if let Some(node) = request.node {
            model.take(node, &request.spent);
        }
        self.instruments.record(&model, request);
    }

    /// Counts an attempt after which its request went on elsewhere.
    pub fn attempt(&self, model: &str, node: Uuid, spent: &Spent) {
        self.requests.model(model, true).take(node, spent);
    }

    /// Counts what a node reports. Call it once for each report, and only with those that add up.
    pub fn report(&self, node: Uuid, report: &EnergyReport) {
        self.machines.take(node, report);
    }

    /// A node is called that will answer: the gateway has taken so long for a request until then.
    pub fn overhead(&self, time: Duration) {
        self.operation.overhead(time);
    }

    /// A request has waited so long for a place on a node.
    pub fn queued(&self, time: Duration) {
        self.operation.queued(time);
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::warn!(%error, "metrics cannot be shown");
            String::new()
        })
    }

    /// Tells the collector, if there is one, for the last time. Blocks for as long as it takes to answer, at most some
    /// seconds: not for a thread of the runtime.
    pub fn close(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "the collector of metrics was not told everything");
        }
    }
}
