//! Where the time of an answer went on this machine, for its operator: spans that an OpenTelemetry collector gets. They go on
//! from the span of whoever asks, a gateway or a client of this machine, if that one says by a `traceparent` that it is
//! sampled. With the same collector as the gateway's, a trace leads from the client to the engine.
//!
//! | Span | from, to |
//! |---|---|
//! | `answer` | the request, to the last byte of its answer |
//! | `wait` | for a slot |
//! | `prefill` | the prompt is computed, up to the first token |
//! | `decode` | the other tokens |
//! | `meter` | the last reading of the energy |
//!
//! Nothing that was asked or answered is in them.

mod export;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::http::HeaderMap;
use openapi::trace::{TRACE_HEADER, TraceContext};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor};
use uuid::Uuid;

const SERVICE: &str = "commonwatt-node";
/// Spans of an answer at most: one request may ask for many texts.
const MOST_SPANS: usize = 128;

/// Who is told.
#[derive(Debug, Default)]
pub struct Traces(Option<BatchSpanProcessor>);

impl Traces {
    /// `collector` is the base of an OTLP receiver over HTTP, such as `http://127.0.0.1:4318`; nothing is traced without one.
    ///
    /// # Errors
    /// When the collector's address is none.
    pub fn new(collector: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self(collector.map(|collector| export::processor(SERVICE, collector)).transpose()?))
    }

    /// Begins the trace of a request with these headers, if it has one.
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Option<Trace> {
        self.0.as_ref()?;
        let caller: TraceContext = headers.get(TRACE_HEADER)?.to_str().ok()?.parse().ok()?;
        let (began, id) = ((Instant::now(), SystemTime::now()), random_span());
        let trace = || Trace { traces: Arc::clone(self), caller, id, began, spans: Vec::new(), about: Vec::new() };
        caller.sampled.then(trace)
    }

    /// Tells the collector what it has not heard yet. Blocks.
    pub fn close(&self) {
        if let Some(Err(error)) = self.0.as_ref().map(BatchSpanProcessor::shutdown) {
            tracing::warn!(%error, "the last spans did not reach their collector");
        }
    }
}

/// The trace of one answer. The collector is told when it is dropped.
#[derive(Debug)]
pub struct Trace {
    traces: Arc<Traces>,
    caller: TraceContext,
    /// The answer's own span.
    id: u64,
    began: (Instant, SystemTime),
    spans: Vec<SpanData>,
    about: Vec<KeyValue>,
}

impl Trace {
    /// A part of the answer is over.
    pub fn passed(&mut self, part: &'static str, since: Instant) {
        if self.spans.len() < MOST_SPANS {
            self.spans.push(self.span(part, (random_span(), self.id), (since, Instant::now())));
        }
    }

    /// Says something of the answer as a whole.
    pub fn say(&mut self, what: KeyValue) {
        self.about.push(what);
    }

    fn span(&self, name: &'static str, (id, parent): (u64, u64), (from, to): (Instant, Instant)) -> SpanData {
        let (trace, id) = (TraceId::from_bytes(self.caller.trace.to_be_bytes()), SpanId::from_bytes(id.to_be_bytes()));
        let at = |instant: Instant| self.began.1 + instant.saturating_duration_since(self.began.0);
        SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: at(from),
            end_time: at(to),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder(SERVICE).build(),
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let Some(told) = &self.traces.0 else { return };
        let mut whole = self.span("answer", (self.id, self.caller.span), (self.began.0, Instant::now()));
        (whole.span_kind, whole.parent_span_is_remote) = (SpanKind::Server, true);
        whole.attributes = std::mem::take(&mut self.about);
        std::mem::take(&mut self.spans).into_iter().chain([whole]).for_each(|span| told.on_end(span));
    }
}

fn random_span() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_who_is_sampled_is_traced_and_only_where_somebody_is_told() {
        let told = Arc::new(Traces::new(Some("http://127.0.0.1:9")).unwrap());
        let begun = |traces: &Arc<Traces>, header: &'static str| {
            traces.begin(&HeaderMap::from_iter([(TRACE_HEADER.parse().unwrap(), HeaderValue::from_static(header))]))
        };
        let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut trace = begun(&told, sampled).unwrap();
        trace.passed("wait", Instant::now());
        let (part, caller) = (&trace.spans[0], trace.caller);
        assert_eq!(
            (caller.to_string().as_str(), part.parent_span_id),
            (sampled, SpanId::from_bytes(trace.id.to_be_bytes()))
        );
        assert!(part.span_context.is_valid());
        assert!(begun(&told, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").is_none());
        assert!(begun(&told, "nonsense").is_none() && told.begin(&HeaderMap::new()).is_none());
        assert!(begun(&Arc::default(), sampled).is_none());
    }
}
