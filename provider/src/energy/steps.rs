//! The engine's steps, made out from the moments at which each sequence got a token. Pure: time is in the marks.
//!
//! The engine calls a sequence's hook when the step that it was in is done. Calls of one step follow each other at once;
//! between two steps lies a pass over the whole model.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::attribute::{Member, Step, StepKind, TaskId};

/// Calls with no more between them belong to one step. The shortest pass over a small model takes several times as long.
const SAME_STEP: Duration = Duration::from_millis(2);

/// A sequence was given a token, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub task: TaskId,
    /// When the engine called, and when it had the token.
    pub begun: Instant,
    pub ended: Instant,
    pub kind: StepKind,
    pub tokens: u32,
    pub context: u32,
}

/// Steps that are over, and the one whose calls come in.
#[derive(Debug, Default)]
pub struct Steps {
    closed: VecDeque<Step>,
    open: Option<Step>,
    present: BTreeMap<TaskId, Instant>,
    /// The end of the last step that is over.
    last_end: Option<Instant>,
    /// Since when there is any sequence.
    busy_since: Option<Instant>,
}

impl Steps {
    /// A sequence is given to the engine.
    pub fn join(&mut self, task: TaskId, at: Instant) {
        if self.present.is_empty() {
            self.busy_since = Some(at);
        }
        self.present.insert(task, at);
    }

    /// The engine has let go of a sequence.
    pub fn leave(&mut self, task: TaskId) {
        self.present.remove(&task);
    }

    /// A hook was called.
    pub fn mark(&mut self, mark: Mark) {
        let member = Member { task: mark.task, tokens: mark.tokens, context: mark.context };
        if let Some(open) = &mut self.open {
            let at_once = mark.begun.saturating_duration_since(open.to) <= SAME_STEP;
            let is_new = open.members.iter().all(|member| member.task != mark.task);
            if at_once && is_new && open.kind == mark.kind {
                open.members.push(member);
                open.to = open.to.max(mark.ended);
                return;
            }
        }
        self.close();
        let since = [self.last_end, self.busy_since].into_iter().flatten().max().unwrap_or(mark.begun);
        let step = Step { from: since.min(mark.begun), to: mark.ended, kind: mark.kind, members: vec![member] };
        self.open = Some(step);
    }

    fn close(&mut self) {
        if let Some(step) = self.open.take() {
            self.last_end = Some(step.to);
            self.closed.push_back(step);
        }
    }

    /// Until when it is known who was in which step. While nobody is there, that is now.
    pub fn known_until(&mut self, now: Instant) -> Instant {
        let is_over = |step: &Step| now.saturating_duration_since(step.to) > SAME_STEP;
        if self.present.is_empty() || self.open.as_ref().is_some_and(is_over) {
            self.close();
        }
        let nobody = self.present.is_empty();
        let under_way = self.open.as_ref().map(|step| step.from).or(self.busy_since.max(self.last_end));
        under_way.filter(|_| !nobody).unwrap_or(now).min(now)
    }

    /// The steps that are over, in order.
    pub fn closed(&mut self) -> &[Step] {
        self.closed.make_contiguous()
    }

    /// The step whose calls come in.
    pub fn open(&self) -> Option<&Step> {
        self.open.as_ref()
    }

    /// Forgets steps that were over by then.
    pub fn forget(&mut self, until: Instant) {
        while self.closed.front().is_some_and(|step| step.to <= until) {
            self.closed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        start: Instant,
        steps: Steps,
    }

    impl Scene {
        fn new() -> Self {
            Self { start: Instant::now(), steps: Steps::default() }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        fn join(&mut self, task: TaskId, milliseconds: u64) {
            let at = self.at(milliseconds);
            self.steps.join(task, at);
        }

        fn mark(&mut self, task: TaskId, milliseconds: u64, kind: StepKind) {
            let begun = self.at(milliseconds);
            let ended = begun + Duration::from_millis(1);
            self.steps.mark(Mark { task, begun, ended, kind, tokens: 1, context: 0 });
        }

        /// From, to and tasks of each closed step.
        fn closed(&mut self, now: u64) -> Vec<(u128, u128, Vec<TaskId>)> {
            let (start, now) = (self.start, self.at(now));
            self.steps.known_until(now);
            let since = |at: Instant| at.saturating_duration_since(start).as_millis();
            let tasks = |step: &Step| step.members.iter().map(|member| member.task).collect();
            self.steps.closed().iter().map(|step| (since(step.from), since(step.to), tasks(step))).collect()
        }

        fn known_until(&mut self, now: u64) -> u128 {
            let (start, now) = (self.start, self.at(now));
            self.steps.known_until(now).saturating_duration_since(start).as_millis()
        }
    }

    #[test]
    fn calls_that_follow_at_once_are_one_step() {
        let mut scene = Scene::new();
        scene.join(1, 10);
        scene.join(2, 11);
        scene.mark(1, 40, StepKind::Prefill);
        scene.mark(2, 42, StepKind::Prefill);
        scene.mark(1, 60, StepKind::Decode);
        scene.mark(2, 61, StepKind::Decode);
        scene.mark(1, 63, StepKind::Decode); // again, so it is another step
        scene.mark(2, 80, StepKind::Decode); // late, so it is one of its own
        assert_eq!(
            scene.closed(100),
            [(10, 43, vec![1, 2]), (43, 62, vec![1, 2]), (62, 64, vec![1]), (64, 81, vec![2])]
        );
    }

    #[test]
    fn a_pause_belongs_to_no_step() {
        let mut scene = Scene::new();
        scene.join(1, 0);
        scene.mark(1, 20, StepKind::Prefill);
        scene.steps.leave(1);
        assert_eq!(scene.known_until(500), 500, "nobody is there, and nothing will be known later");
        scene.join(2, 900);
        assert_eq!(scene.known_until(950), 900, "a step is under way");
        scene.mark(2, 1_000, StepKind::Prefill);
        assert_eq!(scene.closed(1_100), [(0, 21, vec![1]), (900, 1_001, vec![2])]);
    }

    #[test]
    fn what_is_under_way_is_not_known_yet() {
        let mut scene = Scene::new();
        scene.join(1, 5);
        assert_eq!(scene.known_until(50), 5);
        scene.mark(1, 60, StepKind::Prefill);
        assert_eq!(scene.known_until(61), 5, "others may follow at once");
        assert_eq!(scene.known_until(70), 61);
        scene.mark(1, 90, StepKind::Decode);
        assert_eq!(scene.known_until(91), 61);
        assert_eq!(scene.known_until(95), 91);
        let until = scene.at(91);
        scene.steps.forget(until);
        assert_eq!(scene.closed(95), []);
    }
}
