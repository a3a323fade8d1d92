//! How the gateway itself does: what it adds to the time of a request, who waits, which nodes rest, and what the database
//! does not have yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Histogram, Meter};

use crate::admission::Admissions;
use crate::epochs::Epochs;
use crate::journal::Journal;
use crate::log::{Figures, Log};
use crate::nodes::Nodes;

const OVERHEAD_SECONDS: [f64; 13] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];
const QUEUE_SECONDS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What is measured while requests run.
pub(super) struct Operation {
    overhead: Histogram<f64>,
    queue: Histogram<f64>,
}

/// What is looked at whenever metrics are shown.
#[derive(Clone)]
pub struct Watched {
    pub nodes: Arc<Nodes>,
    pub journal: Journal,
    pub admissions: Arc<Admissions>,
    pub log: Arc<Log>,
    pub epochs: Arc<Epochs>,
}

impl Operation {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name, help, bounds: &[f64]| {
            meter.f64_histogram(name).with_unit("s").with_description(help).with_boundaries(bounds.to_vec()).build()
        };
        Self {
            overhead: seconds(
                "gateway.overhead",
                "Time from a request to the call of the node that answers, without the wait for a place on it.",
                &OVERHEAD_SECONDS,
            ),
            queue: seconds(
                "gateway.queue.duration",
                "Time that a request waited for a place on a node.",
                &QUEUE_SECONDS,
            ),
        }
    }

    pub(super) fn overhead(&self, time: Duration) {
        self.overhead.record(time.as_secs_f64(), &[]);
    }

    pub(super) fn queued(&self, time: Duration) {
        self.queue.record(time.as_secs_f64(), &[]);
    }
}

/// Lets it be seen.
pub(super) fn observe(meter: &Meter, watched: &Watched) {
    let gauge = |(name, unit): (&'static str, &'static str),
                 help: &'static str,
                 show: fn(&Watched, &dyn AsyncInstrument<u64>)| {
        let watched = watched.clone();
        let shown = move |to: &dyn AsyncInstrument<u64>| show(&watched, to);
        meter.u64_observable_gauge(name).with_unit(unit).with_description(help).with_callback(shown).build();
    };
    gauge(("gateway.queue.length", "{request}"), "Requests that wait for a place on a node.", |watched, to| {
        to.observe(watched.nodes.queue.length() as u64, &[]);
    });
    gauge(("gateway.nodes", "{node}"), "Nodes that are connected: up, or resting after failures.", show_nodes);
    gauge(("gateway.journal.open", "{request}"), "Requests that run, as the journal has them.", |watched, to| {
        to.observe(watched.journal.state().open as u64, &[]);
    });
    gauge(
        ("gateway.journal.waiting", "{request}"),
        "Settled requests that the database does not have yet.",
        |watched, to| {
            to.observe(watched.journal.state().waiting as u64, &[]);
        },
    );
    gauge(("gateway.journal.set_aside", "{request}"), "Records that the database refused.", |watched, to| {
        to.observe(watched.journal.state().set_aside as u64, &[]);
    });
    gauge(
        ("gateway.credit", "{nanocredit}"),
        "Credit leased from the database: held by requests that run, or free.",
        show_credit,
    );
    let watched_journal = watched.journal.clone();
    let lag = move |to: &dyn AsyncInstrument<f64>| {
        to.observe(watched_journal.state().oldest_waiting.unwrap_or_default().as_secs_f64(), &[]);
    };
    let help = "How long the oldest settled request has waited for the database.";
    meter.f64_observable_gauge("gateway.journal.lag").with_unit("s").with_description(help).with_callback(lag).build();
    observe_log(meter, &watched.log);
    observe_epochs(meter, &watched.epochs);
    let nodes = Arc::clone(&watched.nodes);
    let ejections = move |to: &dyn AsyncInstrument<u64>| to.observe(nodes.ejections(), &[]);
    let counter = meter.u64_observable_counter("gateway.node.ejections").with_unit("{ejection}");
    counter.with_description("Rests that failures have brought to nodes.").with_callback(ejections).build();
}

fn observe_log(meter: &Meter, log: &Arc<Log>) {
    let gauge = |(name, unit): (&'static str, &'static str), help: &'static str, figure: fn(&Figures) -> u64| {
        let log = Arc::clone(log);
        let shown = move |to: &dyn AsyncInstrument<u64>| to.observe(figure(&log.figures()), &[]);
        meter.u64_observable_gauge(name).with_unit(unit).with_description(help).with_callback(shown).build();
    };
    gauge(("gateway.log.leaves", "{leaf}"), "Entries in the public log.", |log| log.leaves);
    gauge(("gateway.log.damaged", "{part}"), "Parts of the log that are not what was signed.", |log| log.damaged);
    gauge(("gateway.log.conflicts", "{witness}"), "Witnesses that have seen another log.", |log| log.conflicts);
    let log = Arc::clone(log);
    let lag = move |to: &dyn AsyncInstrument<f64>| to.observe(log.figures().lag.as_secs_f64(), &[]);
    let help = "How long the oldest entry has waited that is not in the public log yet.";
    meter.f64_observable_gauge("gateway.log.lag").with_unit("s").with_description(help).with_callback(lag).build();
}

fn observe_epochs(meter: &Meter, epochs: &Arc<Epochs>) {
    let watched = Arc::clone(epochs);
    let overdue = move |to: &dyn AsyncInstrument<f64>| to.observe(watched.figures().overdue.as_secs_f64(), &[]);
    let help = "How long the epoch has been over that can't be closed.";
    let gauge = meter.f64_observable_gauge("gateway.epoch.overdue").with_unit("s");
    gauge.with_description(help).with_callback(overdue).build();
    let watched = Arc::clone(epochs);
    let differing = move |to: &dyn AsyncInstrument<u64>| to.observe(watched.figures().differing, &[]);
    let help = "What the ledger has settled otherwise than the receipts of the last epoch say.";
    let gauge = meter.u64_observable_gauge("gateway.epoch.differing").with_unit("{nanocredit}");
    gauge.with_description(help).with_callback(differing).build();
}

fn show_nodes(watched: &Watched, to: &dyn AsyncInstrument<u64>) {
    let (now, nodes) = (Instant::now(), watched.nodes.all());
    let resting = nodes.iter().filter(|node| !node.is_up(now)).count() as u64;
    to.observe(nodes.len() as u64 - resting, &[KeyValue::new("state", "up")]);
    to.observe(resting, &[KeyValue::new("state", "resting")]);
}

fn show_credit(watched: &Watched, to: &dyn AsyncInstrument<u64>) {
    let (held, free) = watched.admissions.credit();
    to.observe(held, &[KeyValue::new("state", "held")]);
    to.observe(free, &[KeyValue::new("state", "free")]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn what_the_gateway_does_is_shown() {
        let metrics = Metrics::new(None).unwrap();
        metrics.overhead(Duration::from_micros(300));
        metrics.queued(Duration::from_secs(2));
        let text = metrics.render();
        for line in [
            "gateway_overhead_seconds_bucket{le=\"0.00025\"} 0",
            "gateway_overhead_seconds_bucket{le=\"0.0005\"} 1",
            "gateway_queue_duration_seconds_sum 2",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
