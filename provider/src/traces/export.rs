//! Where spans go.

use anyhow::anyhow;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};

/// Sends spans in batches, from a thread of its own. When the collector is away, spans are lost and requests are not.
///
/// Source of the path: OpenTelemetry protocol exporter, "Endpoint URLs for OTLP/HTTP"
/// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
///
/// # Errors
/// When the collector's address is none.
pub(super) fn processor(service: &'static str, collector: &str) -> anyhow::Result<BatchSpanProcessor> {
    let endpoint = format!("{}/v1/traces", collector.trim_end_matches('/'));
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(endpoint).build();
    // Not with the address that was given: there may be a password in it.
    let exporter = exporter.map_err(|_| anyhow!("traces can be sent to an address such as http://127.0.0.1:4318"))?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    // Empty to begin with: everything else would come from the environment.
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    processor.set_resource(&Resource::builder_empty().with_service_name(service).with_attribute(version).build());
    Ok(processor)
}
