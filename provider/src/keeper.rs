//! The engine of a model, which may be unloaded while nobody asks for it and is loaded again for whoever does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::aside::aside;
use crate::engine::LoadError;
use crate::node::Backend;
use futures_util::future::BoxFuture;
use openapi::error::ApiError;
use openapi::model::ModelKind;

/// Loads an engine anew.
pub type Load = Box<dyn Fn() -> BoxFuture<'static, Result<Backend, LoadError>> + Send + Sync>;

/// Holds an engine for those who ask, and knows when somebody did last.
pub struct Keeper {
    kept: Mutex<Kept>,
    /// None for what can't be unloaded.
    load: Option<Load>,
    /// Whoever comes while it is loaded waits for that.
    loading: tokio::sync::Mutex<()>,
    kind: ModelKind,
    context_length: u32,
}

struct Kept {
    backend: Option<Backend>,
    asked_at: Instant,
}

impl Keeper {
    /// Keeps an engine that is loaded; `load` loads it again after it was unloaded.
    pub fn new(backend: Backend, load: Option<Load>) -> Arc<Self> {
        let (kind, context_length) = (backend.kind(), backend.context_length());
        let kept = Mutex::new(Kept { backend: Some(backend), asked_at: Instant::now() });
        Arc::new(Self { kept, load, loading: tokio::sync::Mutex::default(), kind, context_length })
    }

    /// What the model makes of a text.
    pub fn kind(&self) -> ModelKind {
        self.kind
    }

    /// The most tokens that prompt and answer may have together.
    pub fn context_length(&self) -> u32 {
        self.context_length
    }

    /// The engine, if it is loaded.
    pub fn loaded(&self) -> Option<Backend> {
        let mut kept = self.lock();
        kept.asked_at = Instant::now();
        kept.backend.clone()
    }

    /// The engine, which is loaded first if need be.
    ///
    /// # Errors
    /// 503 when it can't be loaded any more.
    pub async fn get(self: &Arc<Self>) -> Result<Backend, ApiError> {
        if let Some(backend) = self.loaded() {
            return Ok(backend);
        }
        let keeper = Arc::clone(self);
        // It goes on when whoever asked leaves: others may wait for it by then.
        let loading = tokio::spawn(async move { keeper.load().await });
        loading.await.unwrap_or_else(|_| Err(not_loaded()))
    }

    async fn load(&self) -> Result<Backend, ApiError> {
        let _turn = self.loading.lock().await;
        if let Some(backend) = self.loaded() {
            return Ok(backend);
        }
        let loading = self.load.as_ref().ok_or_else(not_loaded)?();
        let loaded = aside(loading).await.map_err(|_| not_loaded())?;
        let backend = loaded.map_err(|error| {
            tracing::error!(%error, "a model could not be loaded again");
            not_loaded()
        })?;
        *self.lock() = Kept { backend: Some(backend.clone()), asked_at: Instant::now() };
        Ok(backend)
    }

    /// Gives the engine away, to be dropped, if nobody has asked for it for so long and no answer is computed with it.
    pub fn give_up(&self, idle: Duration, now: Instant) -> Option<Backend> {
        self.load.as_ref()?;
        let mut kept = self.lock();
        if kept.backend.as_ref()?.is_used() {
            kept.asked_at = now;
        }
        if now.saturating_duration_since(kept.asked_at) >= idle { kept.backend.take() } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_loaded() -> ApiError {
    const SECONDS: u32 = 30;
    ApiError::overloaded("This model can't be loaded on this node at the moment. Try again later.", SECONDS)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::upstream::testing::{Server, config, upstream};

    const IDLE: Duration = Duration::from_secs(60);

    /// An engine of some kind, and how often it was loaded after the first time.
    async fn keeper() -> (Arc<Keeper>, Arc<AtomicUsize>) {
        let server = Server::start(serde_json::json!({"data": []})).await;
        let config = config(&server.url);
        let fresh = move || Backend::Upstream(Arc::new(upstream(&config, 5)));
        let (first, loads) = (fresh(), Arc::new(AtomicUsize::default()));
        let counted = Arc::clone(&loads);
        let load: Load = Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let backend = fresh();
            Box::pin(async move { Ok(backend) })
        });
        (Keeper::new(first, Some(load)), loads)
    }

    #[tokio::test]
    async fn who_asks_after_it_was_unloaded_waits_until_it_is_loaded_once() {
        let (keeper, loads) = keeper().await;
        let now = Instant::now();
        assert!(keeper.give_up(IDLE, now).is_none(), "it was asked just now");
        assert!(keeper.give_up(IDLE, now + IDLE * 2).is_some());
        assert!(keeper.give_up(IDLE, now + IDLE * 2).is_none() && keeper.loaded().is_none());
        let all = futures_util::future::join_all((0..10).map(|_| keeper.get())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert!(keeper.loaded().is_some());
    }

    #[tokio::test]
    async fn what_computes_is_not_unloaded_and_the_time_counts_from_its_end() {
        let (keeper, _) = keeper().await;
        let now = Instant::now();
        let computing = keeper.get().await.unwrap();
        assert!(keeper.give_up(IDLE, now + IDLE * 10).is_none());
        drop(computing);
        assert!(keeper.give_up(IDLE, now + IDLE * 10 + IDLE / 2).is_none());
        assert!(keeper.give_up(IDLE, now + IDLE * 11).is_some());
    }

    #[tokio::test]
    async fn what_nobody_can_load_again_stays() {
        let (keeper, _) = keeper().await;
        let stays = Keeper::new(keeper.loaded().unwrap(), None);
        assert!(stays.give_up(Duration::ZERO, Instant::now()).is_none() && stays.loaded().is_some());
    }
}
