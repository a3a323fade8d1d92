//! The trace of one request, while it runs and once it has ended.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use openapi::trace::TraceContext;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::SERVICE;
use crate::inference::record::{AttemptRecord, OpenRequest, Outcome, RequestRecord};

/// Spans of a request at most: one that is tried over and over is not told without end.
const MOST_SPANS: usize = 128;

/// A part of the way that has no span of its own beyond its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Admit,
    Route,
    Queue,
}

impl Step {
    const fn word(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Route => "route",
            Self::Queue => "queue",
        }
    }
}

/// When a try on a node was what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) began: Instant,
    /// The client got its first byte.
    pub(crate) first_byte: Option<Instant>,
}

/// The trace of a request.
#[derive(Debug)]
pub(crate) struct Trace {
    /// At the request's own span.
    pub(super) context: TraceContext,
    caller: Option<u64>,
    began: (Instant, SystemTime),
    spans: Vec<SpanData>,
    /// The request's own span, once it has ended, and when that was.
    ended: Option<(SpanData, Instant)>,
}

impl Trace {
    pub(super) fn begin(context: TraceContext, caller: Option<u64>) -> Self {
        let began = (Instant::now(), SystemTime::now());
        Self { context, caller, began, spans: Vec::new(), ended: None }
    }

    /// The trace at a try's span. The numbers of tries begin at 1.
    pub(crate) fn of_try(&self, number: u32) -> TraceContext {
        self.context.at(self.context.span ^ (u64::from(number) << 32))
    }

    /// A step on the way is over.
    pub(crate) fn passed(&mut self, step: Step, since: Instant) {
        self.part(step.word(), self.context.span, (since, Instant::now()));
    }

    /// A try is over.
    pub(crate) fn tried(
        &mut self,
        model: &str,
        endpoint: &str,
        record: &AttemptRecord,
        Try { began, first_byte }: Try,
    ) {
        let (context, now) = (self.of_try(record.attempt), Instant::now());
        if let Some(first_byte) = first_byte {
            self.part("first byte", context.span, (began, first_byte));
            self.part("stream", context.span, (first_byte, now));
        }
        let operation = operation(endpoint);
        let mut span = self.span(format!("{operation} {model}"), (context.span, self.context.span), (began, now));
        span.span_kind = SpanKind::Client;
        span.attributes = vec![
            KeyValue::new("gen_ai.operation.name", operation),
            KeyValue::new("gen_ai.request.model", model.to_owned()),
            KeyValue::new("gen_ai.usage.input_tokens", signed(record.prompt_tokens)),
            KeyValue::new("gen_ai.usage.output_tokens", signed(record.completion_tokens)),
            KeyValue::new("commonwatt.node.id", record.node_id.to_string()),
            KeyValue::new("commonwatt.attempt", i64::from(record.attempt)),
            KeyValue::new("commonwatt.outcome", record.outcome.word()),
            KeyValue::new("commonwatt.energy.microjoules", signed(record.microjoules.get())),
        ];
        span.attributes.extend(record.choice.clone().map(|choice| KeyValue::new("commonwatt.choice", choice)));
        let tier = record.energy.as_ref().map(|energy| KeyValue::new("commonwatt.energy.tier", energy.tier.letter()));
        span.attributes.extend(tier);
        if !record.outcome.is_paid() && record.outcome != Outcome::Outdone {
            span.status = Status::error(record.outcome.word());
        }
        self.keep(span);
    }

    /// The request has ended so; it is yet to be settled.
    pub(crate) fn ended(&mut self, record: &RequestRecord) {
        let mut span = self.whole(&record.request.endpoint, record.status);
        span.attributes.extend(described(&record.request));
        span.attributes.extend([
            KeyValue::new("gen_ai.usage.input_tokens", signed(record.prompt_tokens)),
            KeyValue::new("gen_ai.usage.output_tokens", signed(record.completion_tokens)),
            KeyValue::new("commonwatt.outcome", record.outcome.word()),
            KeyValue::new("commonwatt.nanocredits", signed(record.nanocredits.get())),
            KeyValue::new("commonwatt.energy.microjoules", signed(record.microjoules.get())),
        ]);
        self.ended = Some((span, Instant::now()));
    }

    /// The request was not let in: its one span.
    pub(super) fn refused(&self, endpoint: &str, status: u16) -> SpanData {
        self.whole(endpoint, status)
    }

    /// All spans, once the request is settled. None when nobody said how it ended.
    pub(crate) fn finish(mut self: Box<Self>) -> Vec<SpanData> {
        let Some((mut whole, ended)) = self.ended.take() else { return Vec::new() };
        let now = Instant::now();
        self.part("settle", self.context.span, (ended, now));
        whole.end_time = self.at(now);
        self.spans.push(whole);
        self.spans
    }

    fn whole(&self, endpoint: &str, status: u16) -> SpanData {
        let path = path(endpoint);
        let (id, parent) = (self.context.span, self.caller.unwrap_or(0));
        let mut span = self.span(format!("POST {path}"), (id, parent), (self.began.0, Instant::now()));
        span.span_kind = SpanKind::Server;
        span.parent_span_is_remote = self.caller.is_some();
        span.attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", path),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        if status >= 500 {
            span.status = Status::error(status.to_string());
        }
        span
    }

    fn part(&mut self, name: &'static str, parent: u64, times: (Instant, Instant)) {
        // No try has a number that gives the same.
        let id = self.context.span ^ (self.spans.len() as u64 + 1);
        let span = self.span(name, (id, parent), times);
        self.keep(span);
    }

    fn keep(&mut self, span: SpanData) {
        if self.spans.len() < MOST_SPANS {
            self.spans.push(span);
        }
    }

    /// The time of day, counted on from the beginning: a clock that is set meanwhile tears no span from the others.
    fn at(&self, instant: Instant) -> SystemTime {
        self.began.1 + instant.saturating_duration_since(self.began.0)
    }

    fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        (id, parent): (u64, u64),
        (from, to): (Instant, Instant),
    ) -> SpanData {
        let (trace, id) = (TraceId::from_bytes(self.context.trace.to_be_bytes()), SpanId::from_bytes(id.to_be_bytes()));
        SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: self.at(from),
            end_time: self.at(to),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder(SERVICE).build(),
        }
    }
}

fn described(request: &OpenRequest) -> [KeyValue; 5] {
    [
        KeyValue::new("commonwatt.request.id", request.id.to_string()),
        KeyValue::new("commonwatt.account.id", request.account_id.to_string()),
        KeyValue::new("commonwatt.streamed", request.streamed),
        KeyValue::new("gen_ai.operation.name", operation(&request.endpoint)),
        KeyValue::new("gen_ai.request.model", request.model.clone()),
    ]
}

/// As the conventions for generative AI name it.
fn operation(endpoint: &str) -> &'static str {
    match endpoint {
        "completions" => "text_completion",
        "embeddings" => "embeddings",
        _ => "chat",
    }
}

fn path(endpoint: &str) -> &'static str {
    match endpoint {
        "completions" => "/v1/completions",
        "embeddings" => "/v1/embeddings",
        "responses" => "/v1/responses",
        _ => "/v1/chat/completions",
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_set_back_meanwhile_leaves_every_span_within_the_request() {
        let mut trace = Box::new(Trace::begin(TraceContext { trace: 1, span: 2, sampled: true }, None));
        trace.began.1 += Duration::from_secs(3600);
        trace.passed(Step::Admit, trace.began.0);
        trace.ended = Some((trace.whole("chat/completions", 200), Instant::now()));
        let spans = trace.finish();
        let [admit, settle, whole] = &spans[..] else { panic!("three spans: {spans:?}") };
        for part in [admit, settle] {
            let is_within = whole.start_time <= part.start_time && part.end_time <= whole.end_time;
            assert!(is_within && part.start_time <= part.end_time, "{part:?} within {whole:?}");
        }
    }
}
