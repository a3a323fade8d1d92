//! Metrics of energy, power and tokens, for the operator of the node: OpenTelemetry instruments, shown to Prometheus on a
//! listener of their own and, if asked for, sent to a collector.
//!
//! | Instrument | For Prometheus | Convention |
//! |---|---|---|
//! | `hw.energy` | `hw_energy_joules_total{hw_id,hw_type,tier}` | [hardware] |
//! | `hw.power` | `hw_power_watts{hw_id,hw_type}` | [hardware] |
//! | `hw.host.energy` | `hw_host_energy_joules_total{hw_id,tier}` | [host] |
//! | `hw.host.power` | `hw_host_power_watts{hw_id}` | [host] |
//! | `node.requests` | `node_requests_total` | ours |
//! | `node.tokens` | `node_tokens_total{gen_ai_token_type}` | ours, the attribute is [GenAI]'s |
//!
//! A pool that covers the whole machine is shown under the names for hosts only, so that sums count nothing twice. Power is
//! the mean of the last window. Energy is counted in whole microjoules until it is shown.
//!
//! [hardware]: https://opentelemetry.io/docs/specs/semconv/hardware/common/
//! [host]: https://opentelemetry.io/docs/specs/semconv/hardware/host/
//! [GenAI]: https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md

mod export;

mod listener;

mod parts;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use openapi::energy::Tier;
use openapi::units::Microjoules;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Counter, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_semantic_conventions::metric::{HW_ENERGY, HW_HOST_ENERGY, HW_HOST_POWER, HW_POWER};
use prometheus::{Registry, TextEncoder};

use self::parts::Parts;

pub use listener::serve;

const SERVICE: &str = "commonwatt-node";
const TOKEN_TYPE: &str = "gen_ai.token.type";

/// All instruments and what they show.
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
    parts: Arc<Parts>,
    requests: Counter<u64>,
    tokens: Counter<u64>,
}

impl Metrics {
    /// Begins to count. `pools` are all that is metered, by the names that reports have for them. `collector` is the base of
    /// an OTLP receiver over HTTP, such as `http://127.0.0.1:4318`, which is told every minute; nothing is sent without one.
    ///
    /// # Errors
    /// When the collector's address is none.
    pub fn new(pools: &[&str], collector: Option<&str>) -> anyhow::Result<Self> {
        let parts = Arc::new(Parts::new(pools));
        let (provider, registry) = export::provider(SERVICE, collector, parts.most_series())?;
        let meter = provider.meter(SERVICE);
        let counter = |name, unit, help| meter.u64_counter(name).with_unit(unit).with_description(help).build();
        let requests = counter("node.requests", "{request}", "Requests that were computed.");
        let tokens = counter("node.tokens", "{token}", "Tokens that were read and made.");
        observe(&meter, &parts);
        Ok(Self { registry, provider, parts, requests, tokens })
    }

    /// Counts what a pool has drawn in a window of time. Windows follow each other and never overlap; what is said of a pool
    /// that was not announced is counted as `other`.
    pub fn observe(&self, pool: &str, tier: Tier, total: Microjoules, window: Duration) {
        self.parts.take(pool, tier, total, window);
    }

    /// Counts a request that the engine is done with, however it ended.
    pub fn request(&self, prompt_tokens: u64, completion_tokens: u64) {
        self.requests.add(1, &[]);
        self.tokens.add(prompt_tokens, &[KeyValue::new(TOKEN_TYPE, "input")]);
        self.tokens.add(completion_tokens, &[KeyValue::new(TOKEN_TYPE, "output")]);
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

/// Lets the parts be seen: components under one name, whole machines under another.
fn observe(meter: &Meter, parts: &Arc<Parts>) {
    type Show = fn(&Parts, bool, &dyn AsyncInstrument<f64>);
    let shown = |show: Show, whole: bool| {
        let parts = Arc::clone(parts);
        move |to: &dyn AsyncInstrument<f64>| show(&parts, whole, to)
    };
    for (name, whole, help) in [
        (HW_ENERGY, false, "Energy consumed by the component."),
        (HW_HOST_ENERGY, true, "Total energy consumed by the entire physical host, in joules."),
    ] {
        let counter = meter.f64_observable_counter(name).with_unit("J").with_description(help);
        counter.with_callback(shown(Parts::show_energy, whole)).build();
    }
    for (name, whole, help) in [
        (HW_POWER, false, "Power of the component: the mean of the last window."),
        (HW_HOST_POWER, true, "Power of the entire physical host: the mean of the last window."),
    ] {
        let gauge = meter.f64_observable_gauge(name).with_unit("W").with_description(help);
        gauge.with_callback(shown(Parts::show_power, whole)).build();
    }
}
