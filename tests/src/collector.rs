//! A collector of traces: it takes what OpenTelemetry's exporters send, and tells it to the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tokio::net::TcpListener;

use crate::eventually;

/// Exporters tell every five seconds.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// A span, as a collector reads it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The program that sent it.
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty where there is none.
    pub parent: String,
    /// Nanoseconds since 1970.
    pub from: u64,
    pub to: u64,
    /// OpenTelemetry's: 2 is an error.
    pub status: i32,
    pub attributes: BTreeMap<String, String>,
}

/// A running collector.
pub struct Collector {
    /// What programs are given as their collector.
    pub url: String,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let hears = Arc::clone(&told);
        let hear = move |body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).expect("an export of spans");
            hears.lock().unwrap().extend(spans(request));
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, Router::new().route("/v1/traces", post(hear))).into_future());
        Self { url, told }
    }

    /// All spans of a trace, in the order of their beginnings, once all of these are among them.
    pub async fn trace(&self, trace: &str, names: &[&str]) -> Vec<Told> {
        let complete = || async {
            let told = self.told.lock().unwrap().clone();
            let mut spans: Vec<Told> = told.into_iter().filter(|span| span.trace == trace).collect();
            spans.sort_by_key(|span| (span.from, std::cmp::Reverse(span.to)));
            names.iter().all(|name| spans.iter().any(|span| span.name == *name)).then_some(spans)
        };
        eventually("the collector is told", TOLD_WITHIN, complete).await
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Told> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let about = resource.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
        let service = about.get("service.name").cloned().unwrap_or_default();
        spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Told {
            service: service.clone(),
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            from: span.start_time_unix_nano,
            to: span.end_time_unix_nano,
            status: span.status.map_or(0, |status| status.code),
            attributes: texts(span.attributes),
        }));
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |pair: KeyValue| Some((pair.key, text(pair.value?.value?)));
    attributes.into_iter().filter_map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
