//! The door between requests and the meter: a request opens a [`Share`] and hands its [`Presence`] to the engine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openapi::energy::{Boundary, Energy, Tier};
use tokio::sync::watch;
use uuid::Uuid;

use super::attribute::{StepKind, TaskId};
use super::log::ReportLog;
use super::meter::{Meter, Outlets};
use super::pool::PoolMeter;
use super::pools::Pools;
use super::steps::{Mark, Pass};
use super::task;

/// What the meter is told.
pub(super) enum Event {
    Joined { task: TaskId, at: Instant, of: Pass, who: Option<(Uuid, u32)>, figure: watch::Sender<Energy> },
    Marked(Mark),
    Left { task: TaskId, at: Instant },
}

/// Divides the machine's energy over the requests on it.
#[derive(Clone)]
pub struct Ledger {
    events: Arc<Mutex<Vec<Event>>>,
    wake: SyncSender<()>,
    next_task: Arc<AtomicU64>,
    /// What its requests are computed with.
    of: Pass,
    /// What figures of this machine are like.
    quality: (Tier, Boundary),
    log: Option<Arc<ReportLog>>,
}

impl Ledger {
    /// Starts to meter these pools, on a thread of its own. It ends with the last copy of the ledger.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(pools: Pools, outlets: Outlets) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let events = Arc::new(Mutex::new(Vec::new()));
        let quality = quality(&pools.parts);
        let log = outlets.log.clone();
        let meter = Meter::new(pools, Arc::clone(&events), outlets);
        std::thread::Builder::new().name("energy".to_owned()).spawn(move || run(meter, &woken))?;
        Ok(Self { events, wake, next_task: Arc::default(), of: Pass::default(), quality, log })
    }

    /// The same ledger for the requests of another model of the node.
    #[must_use]
    pub fn of(&self, of: Pass) -> Self {
        Self { of, ..self.clone() }
    }

    /// A request is about to be computed. `who` is its request and attempt, if it is a gateway's.
    pub fn open(&self, who: Option<(Uuid, u32)>) -> (Share, Presence) {
        let task = self.next_task.fetch_add(1, Ordering::Relaxed);
        let (figure, shown) = watch::channel(task::nothing(self.quality));
        self.tell(Event::Joined { task, at: Instant::now(), of: self.of, who, figure });
        (Share { shown }, Presence { ledger: self.clone(), task })
    }

    /// What figures of this machine are like.
    pub fn quality(&self) -> (Tier, Boundary) {
        self.quality
    }

    /// Signed reports, where a gateway wants them.
    pub fn log(&self) -> Option<&Arc<ReportLog>> {
        self.log.as_ref()
    }

    fn tell(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// The worst tier of all pools, and the widest thing that they cover.
pub(super) fn quality(pools: &[PoolMeter]) -> (Tier, Boundary) {
    let tier = pools.iter().map(PoolMeter::tier).max().unwrap_or(Tier::X);
    (tier, pools.first().map_or(Boundary::Device, PoolMeter::boundary))
}

fn run(mut meter: Meter, woken: &Receiver<()>) {
    use std::sync::mpsc::RecvTimeoutError;
    loop {
        match woken.recv_timeout(meter.until_next_look()) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => meter.look(),
            Err(RecvTimeoutError::Disconnected) => return meter.finish(),
        }
    }
}

/// What one request has taken; readable for as long as anybody wants to know.
#[derive(Clone)]
pub struct Share {
    shown: watch::Receiver<Energy>,
}

impl Share {
    /// As far as is known now.
    pub fn energy(&self) -> Energy {
        self.shown.borrow().clone()
    }

    /// What it took in the end; as far as is known when that takes longer than `within`.
    pub async fn settled(&mut self, within: Duration) -> Energy {
        // An error means that the meter has ended: what it said last must do.
        let _ = tokio::time::timeout(within, self.shown.wait_for(|energy| energy.settled)).await;
        self.energy()
    }
}

/// That a request is in the engine. The engine's hook holds it, says when tokens come, and drops it when the engine lets go.
pub struct Presence {
    ledger: Ledger,
    task: TaskId,
}

impl Presence {
    /// The engine called at `begun`, after a step that read `tokens` of the prompt or made as many, after `context` others.
    pub fn mark(&self, begun: Instant, kind: StepKind, (tokens, context): (usize, usize)) {
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        self.ledger.tell(Event::Marked(Mark {
            task: self.task,
            begun,
            ended: Instant::now(),
            kind,
            tokens: count(tokens),
            context: count(context),
        }));
        if kind == StepKind::Prefill {
            // So that a figure is there with the first token. Full means that the meter has been woken already.
            let _ = self.ledger.wake.try_send(());
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.ledger.tell(Event::Left { task: self.task, at: Instant::now() });
        // Full means that the meter has been woken already.
        let _ = self.ledger.wake.try_send(());
    }
}
