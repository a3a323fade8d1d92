//! What became of a request over time, for operators: spans that an OpenTelemetry collector gets, from the client's call to
//! the nodes that were tried. They are made when a request has ended, of times that were noted on its way, so that a request
//! which is not traced pays nothing for it. Nothing that was asked or answered is in them.
//!
//! | Span | from, to |
//! |---|---|
//! | `POST /v1/…` | the request, to its settlement; the client's own span is its parent where it sent a `traceparent` |
//! | `admit` | limits, credit, and the journal's first word |
//! | `route` | the look for a node; once for every try |
//! | `queue` | within that time, the wait for a place |
//! | `chat <model>` and the like | a try on a node: its id, why it was chosen, tokens and energy; the node's spans go on from it |
//! | `first byte`, `stream` | within it, until the client gets something and from then on |
//! | `settle` | the journal's last word |
//!
//! A request's trace has its id, without hyphens, unless its client has given another one.
//!
//! Sources: [W3C Trace Context](https://www.w3.org/TR/trace-context/), and OpenTelemetry's conventions for
//! [HTTP](https://opentelemetry.io/docs/specs/semconv/http/http-spans/) and for
//! [generative AI](https://github.com/open-telemetry/semantic-conventions-genai).

mod export;

mod trace;

use openapi::trace::TraceContext;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};
use uuid::Uuid;

pub(crate) use trace::{Step, Trace, Try};

const SERVICE: &str = "commonwatt-gateway";

/// Which requests are traced, and who is told.
#[derive(Debug, Default)]
pub struct Traces {
    told: Option<BatchSpanProcessor>,
    one_in: u64,
}

impl Traces {
    /// Traces one request in so many, and all whose clients ask for it by a `traceparent` with the flag `sampled`.
    /// `collector` is the base of an OTLP receiver over HTTP, such as `http://127.0.0.1:4318`; nothing is traced without one.
    ///
    /// # Errors
    /// When the collector's address is none.
    pub fn new(collector: Option<&str>, one_in: u64) -> anyhow::Result<Self> {
        let told = collector.map(|collector| export::processor(SERVICE, collector)).transpose()?;
        Ok(Self { told, one_in })
    }

    /// Begins the trace of a request, if it has one. `caller` is the span of whoever sent it.
    pub(crate) fn begin(&self, request: Uuid, caller: Option<TraceContext>) -> Option<Box<Trace>> {
        self.told.as_ref()?;
        // Its random half is at the end, as level 2 of the specification wants it.
        let own = TraceContext { trace: request.as_u128(), span: request.as_u64_pair().1, sampled: true };
        let trace = caller.map_or(own.trace, |caller| caller.trace);
        let context = TraceContext { trace, ..own };
        let is_traced = caller.is_some_and(|caller| caller.sampled) || context.is_one_in(self.one_in);
        is_traced.then(|| Box::new(Trace::begin(context, caller.map(|caller| caller.span))))
    }

    /// A request was not let in.
    pub(crate) fn refused(&self, trace: Option<Box<Trace>>, endpoint: &str, status: u16) {
        self.write(trace.into_iter().map(|trace| trace.refused(endpoint, status)).collect());
    }

    /// Tells the collector, some time.
    pub(crate) fn write(&self, spans: Vec<SpanData>) {
        let Some(told) = &self.told else { return };
        spans.into_iter().for_each(|span| told.on_end(span));
    }

    /// Tells the collector what it has not heard yet. Blocks.
    pub fn close(&self) {
        if let Some(Err(error)) = self.told.as_ref().map(BatchSpanProcessor::shutdown) {
            tracing::warn!(%error, "the last spans did not reach their collector");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces(one_in: u64) -> Traces {
        Traces::new(Some("http://127.0.0.1:9"), one_in).unwrap()
    }

    #[test]
    fn who_asks_for_it_is_traced_and_others_by_lot() {
        let request = Uuid::now_v7();
        let asks: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        let does_not = TraceContext { sampled: false, ..asks };
        let never = traces(0);
        assert!(never.begin(request, None).is_none() && never.begin(request, Some(does_not)).is_none());
        let traced = never.begin(request, Some(asks)).unwrap();
        assert_eq!(traced.context.trace, asks.trace);
        let own = traces(1).begin(request, None).unwrap();
        assert_eq!(format!("{:032x}", own.context.trace), request.simple().to_string());
        assert!(Traces::default().begin(request, Some(asks)).is_none(), "nobody is told");
        let half = traces(2);
        let traced = (0..1_000).filter(|_| half.begin(Uuid::now_v7(), None).is_some()).count();
        assert!((350..650).contains(&traced), "{traced}");
    }

    #[test]
    fn a_collector_s_address_is_not_repeated_where_it_is_none() {
        let error = Traces::new(Some("not:an address:secret"), 1).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:4318") && !error.contains("secret"), "{error}");
    }
}
