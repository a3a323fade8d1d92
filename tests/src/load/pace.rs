//! When clients ask: at a fixed rate whatever the gateway does, or as soon as the answer before is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Ask, Clients, Seen};

/// After a request that nobody answered, a client waits this long.
const NOBODY_THERE: Duration = Duration::from_millis(20);

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second. A request that is sent late because the machine is busy counts from when it was due.
    Open { per_second: u32 },
    /// So many clients, each of whom asks again when it has its answer.
    Closed { clients: u32 },
}

/// A load that runs until it is ended.
pub struct Load {
    stop: CancellationToken,
    asking: JoinHandle<Vec<Seen>>,
}

/// Begins to ask. `ask` makes the requests, by their number.
pub fn begin(clients: Arc<Clients>, pace: Pace, ask: impl Fn(u64) -> Ask + Send + Sync + 'static) -> Load {
    let (stop, ask) = (CancellationToken::new(), Arc::new(ask));
    let asking = match pace {
        Pace::Open { per_second } => tokio::spawn(open(clients, per_second, ask, stop.clone())),
        Pace::Closed { clients: count } => tokio::spawn(closed(clients, count, ask, stop.clone())),
    };
    Load { stop, asking }
}

impl Load {
    /// Asks for nothing more, waits for the answers under way and says what was seen.
    ///
    /// # Panics
    /// When a client did.
    pub async fn end(self) -> Vec<Seen> {
        self.stop.cancel();
        self.asking.await.expect("clients do not panic")
    }
}

type Asks = Arc<dyn Fn(u64) -> Ask + Send + Sync>;

async fn open(clients: Arc<Clients>, per_second: u32, ask: Asks, stop: CancellationToken) -> Vec<Seen> {
    let (due_to, mut dues) = mpsc::unbounded_channel();
    std::thread::spawn(move || strike(per_second, &due_to, &stop));
    let mut asked = JoinSet::new();
    while let Some((number, due)) = dues.recv().await {
        let (clients, ask) = (Arc::clone(&clients), ask(number));
        asked.spawn(async move { clients.ask(&ask, due).await });
    }
    asked.join_all().await
}

/// Says when each request is due, at that time. A thread, because the runtime's clock strikes only every millisecond: each
/// request of a load would count as late by the same part of one.
fn strike(per_second: u32, due_to: &mpsc::UnboundedSender<(u64, Instant)>, stop: &CancellationToken) {
    let began = Instant::now();
    for number in 0.. {
        let due = began + Duration::from_nanos(number * 1_000_000_000 / u64::from(per_second));
        while Instant::now() < due {
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
        if stop.is_cancelled() || due_to.send((number, due)).is_err() {
            return;
        }
    }
}

async fn closed(clients: Arc<Clients>, count: u32, ask: Asks, stop: CancellationToken) -> Vec<Seen> {
    let (number, mut asking) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..count {
        let (clients, ask, number, stop) = (Arc::clone(&clients), Arc::clone(&ask), Arc::clone(&number), stop.clone());
        asking.spawn(async move {
            let mut all = Vec::new();
            while !stop.is_cancelled() {
                let seen = clients.ask(&ask(number.fetch_add(1, Ordering::Relaxed)), Instant::now()).await;
                if seen.status == 0 {
                    sleep(NOBODY_THERE).await;
                }
                all.push(seen);
            }
            all
        });
    }
    asking.join_all().await.concat()
}
