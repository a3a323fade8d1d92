//! How many requests at once suit this machine, and how fast it is: measured, then remembered.
//!
//! Each slot computes in an instance of the engine of its own. One alone keeps few processors busy while a model is small, and
//! waits for memory where it is large. So the number of slots doubles for as long as the machine gains by it and has room.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openapi::sampling::Sampling;
use serde::{Deserialize, Serialize};

use crate::engine::{self, Engine, EngineError, Said, Task};
use crate::limits::Limit;
use crate::slots::Slots;

/// Tokens that each stream of a trial makes.
const TOKENS: usize = 16;
const MOST_SLOTS: u32 = 32;
/// Models, machines and versions of this program, the latest ones.
const MOST_REMEMBERED: usize = 64;
/// Twice the streams must give at least this much more, in percent, to be worth every single stream's delay.
const WORTHWHILE_PERCENT: u128 = 125;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The best number.
    pub slots: u32,
    /// Of one answer alone.
    pub tokens_per_second: u32,
}

/// The same, and for what.
#[derive(Serialize, Deserialize)]
struct Remembered {
    /// Model, program and processors.
    subject: String,
    measured: Measured,
}

/// What suits this machine: from `folder` if it was measured there before, else measured now.
///
/// # Errors
/// When the engine fails.
pub async fn measured(engine: &Engine, model_id: &str, folder: &Path) -> Result<Measured, EngineError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let subject = format!("{model_id}/{}/{processors}/instances/{}", env!("CARGO_PKG_VERSION"), engine::NUMBERS);
    let path = folder.join("measured.json");
    let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Vec<Remembered>>(&bytes).ok());
    let mut known = known.unwrap_or_default();
    if let Some(known) = known.iter().find(|known| known.subject == subject) {
        return Ok(known.measured);
    }
    let measured = measure(engine, u32::try_from(processors).unwrap_or(MOST_SLOTS)).await?;
    known.push(Remembered { subject, measured });
    known.drain(..known.len().saturating_sub(MOST_REMEMBERED));
    let remembered = serde_json::to_vec(&known).map_err(std::io::Error::from);
    if let Err(error) = remembered.and_then(|json| std::fs::write(&path, json)) {
        tracing::warn!(%error, path = %path.display(), "the measurement can't be kept and is repeated at the next start");
    }
    Ok(measured)
}

async fn measure(engine: &Engine, processors: u32) -> Result<Measured, EngineError> {
    let mut slots = 1;
    let mut time = warm_trial(engine, 1).await?;
    let tokens_per_second = (TOKENS as f64 / time.as_secs_f64()) as u32;
    while slots < processors.min(MOST_SLOTS) && engine.has_memory_for(slots * 2) == Some(true) {
        let twice = warm_trial(engine, slots * 2).await?;
        // Twice the tokens in less than twice the time, by the margin that makes it worthwhile.
        let gain_percent = 200 * time.as_nanos() / twice.as_nanos().max(1);
        tracing::debug!(slots = slots * 2, gain_percent, "measured");
        if gain_percent < WORTHWHILE_PERCENT {
            break;
        }
        (slots, time) = (slots * 2, twice);
    }
    engine.keep_instances(slots);
    Ok(Measured { slots, tokens_per_second })
}

/// The time of a second trial: the first one loads what is missing, and warms caches.
async fn warm_trial(engine: &Engine, streams: u32) -> Result<Duration, EngineError> {
    trial(engine, streams).await?;
    trial(engine, streams).await
}

/// The time that this many streams of different lengths take together.
async fn trial(engine: &Engine, streams: u32) -> Result<Duration, EngineError> {
    let slots = Slots::new(streams, 0);
    let begin = Instant::now();
    let places = &slots;
    let answers = (0..streams).map(|stream| async move {
        let Ok(place) = places.enter() else { return Ok(()) };
        let mut generation = engine.generate(task(engine, stream), Arc::new(place.slot().await)).await?;
        while let Some(step) = generation.next().await {
            step?;
        }
        Ok(())
    });
    futures_util::future::try_join_all(answers).await?;
    let time = begin.elapsed();
    // The engine lets go of a sequence a little after its last token. An error would mean that all slots are gone.
    let _ = slots.status().wait_for(|status| status.running == 0).await;
    Ok(time)
}

/// Any tokens do; lengths differ as they do in real use. Greedy, and never ending before its time.
fn task(engine: &Engine, stream: u32) -> Task {
    let logit_bias = engine.end_tokens().iter().map(|token| (*token, f32::NEG_INFINITY)).collect();
    Task {
        prompt: (0..8 + stream * 3).map(|token| 100 + token).collect(),
        said: Said::default(),
        sampling: Sampling { temperature: 0.0, logit_bias, ..Sampling::default() },
        seed: 0,
        logprobs: None,
        guided: None,
        max_tokens: TOKENS,
        limit: Limit::none(),
        spent: 0,
        presence: None,
    }
}
