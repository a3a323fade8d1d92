//! Where instruments are shown: in a registry for Prometheus, and to a collector if there is one.

use std::time::Duration;

use anyhow::anyhow;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream};
use prometheus::Registry;

/// How often a collector is told.
const INTERVAL: Duration = Duration::from_secs(60);

/// Makes both. `collector` is the base of an OTLP receiver, such as `http://127.0.0.1:4318`; `most_series` is
/// how many series any instrument has at most.
///
/// # Errors
/// When the collector's address is none.
pub(super) fn provider(
    service: &'static str,
    collector: Option<&str>,
    most_series: usize,
) -> anyhow::Result<(SdkMeterProvider, Registry)> {
    let registry = Registry::new();
    let exporter =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build()?;
    // Empty to begin with: everything else would come from the environment.
    let resource = Resource::builder_empty()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let bounded = move |_: &Instrument| Stream::builder().with_cardinality_limit(most_series).build().ok();
    let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).with_view(bounded);
    if let Some(collector) = collector {
        provider = provider.with_reader(PeriodicReader::builder(otlp(collector)?).with_interval(INTERVAL).build());
    }
    Ok((provider.build(), registry))
}

/// Source of the path: OpenTelemetry protocol exporter, "Endpoint URLs for OTLP/HTTP"
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
fn otlp(collector: &str) -> anyhow::Result<MetricExporter> {
    let endpoint = format!("{}/v1/metrics", collector.trim_end_matches('/'));
    let exporter = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(endpoint);
    // Not with the address that was given: there may be a password in it.
    exporter.build().map_err(|_| anyhow!("metrics can be sent to an address such as http://127.0.0.1:4318"))
}
