//! Instances of the engine, each for one sequence at a time.
//!
//! On a processor, mistral.rs 0.8.1 mixes up sequences of one length that make a token in the same step: the scratch of its
//! attention (`flash_attn_cpu_single_q`) has no place for more than one, so all go on as the last of them would. Others it
//! reads anew when their turn comes, with other rounding errors. Alone in an instance, what a sequence says depends on
//! nothing beside it.

use std::sync::{Arc, Mutex, PoisonError};

/// Those that nobody uses.
pub(super) struct Idle<Instance>(Arc<Mutex<Vec<Instance>>>);

/// An instance of one's own; idle again when dropped.
pub(super) struct Lent<Instance> {
    instance: Option<Instance>,
    idle: Arc<Mutex<Vec<Instance>>>,
}

impl<Instance> Idle<Instance> {
    pub(super) fn new(first: Instance) -> Self {
        Self(Arc::new(Mutex::new(vec![first])))
    }

    /// One that nobody uses, if there is one.
    pub(super) fn take(&self) -> Option<Lent<Instance>> {
        let instance = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(self.lend(instance))
    }

    /// A new one, idle when it is given back.
    pub(super) fn lend(&self, instance: Instance) -> Lent<Instance> {
        Lent { instance: Some(instance), idle: Arc::clone(&self.0) }
    }

    /// Lets go of all that are idle but so many.
    pub(super) fn keep(&self, most: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).truncate(most);
    }
}

impl<Instance> Lent<Instance> {
    pub(super) fn get(&self) -> Option<&Instance> {
        self.instance.as_ref()
    }
}

impl<Instance> Drop for Lent<Instance> {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.instance.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_shares_an_instance() {
        let idle = Idle::new("first");
        let first = idle.take().unwrap();
        assert!(idle.take().is_none());
        let second = idle.lend("second");
        assert_eq!((first.get(), second.get()), (Some(&"first"), Some(&"second")));
        drop(first);
        drop(second);
        idle.keep(1);
        let again = idle.take().unwrap();
        assert_eq!(again.get(), Some(&"first"));
        assert!(idle.take().is_none(), "the other one is gone");
    }
}
