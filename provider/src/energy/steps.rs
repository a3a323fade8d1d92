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

/// What a sequence is computed with: each model of a node has an engine of its own, which makes its steps beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The number of the model on its node, from 0.
    pub model: u32,
    /// What a pass over it costs, in thousandths of one over the first model.
    pub weight_milli: u32,
}

impl Default for Pass {
    /// The first model's.
    fn default() -> Self {
        Self { model: 0, weight_milli: 1_000 }
    }
}

/// Steps that are over, and those whose calls come in.
#[derive(Debug, Default)]
pub struct Steps {
    /// In the order of their ends.
    closed: VecDeque<Step>,
    engines: BTreeMap<u32, Engine>,
    present: BTreeMap<TaskId, Pass>,
}

/// The steps of one model's engine. A step begins where the last one of its sequences ended; sequences that are computed beside
/// each other have steps of their own, which overlap.
#[derive(Debug, Default)]
struct Engine {
    open: Option<Step>,
    /// Since when each sequence has been in the step that it is in.
    present: BTreeMap<TaskId, Instant>,
}

impl Steps {
    /// A sequence is given to an engine.
    pub fn join(&mut self, task: TaskId, at: Instant, of: Pass) {
        if self.present.insert(task, of).is_none() {
            self.engines.entry(of.model).or_default().present.insert(task, at);
        }
    }

    /// The engine has let go of a sequence.
    pub fn leave(&mut self, task: TaskId) {
        if let Some(of) = self.present.remove(&task)
            && let Some(engine) = self.engines.get_mut(&of.model)
        {
            engine.present.remove(&task);
        }
    }

    /// A hook was called.
    pub fn mark(&mut self, mark: Mark) {
        let of = self.present.get(&mark.task).copied().unwrap_or_default();
        let over = self.engines.entry(of.model).or_default().mark(mark, of.weight_milli);
        over.into_iter().for_each(|step| self.keep(step));
    }

    fn keep(&mut self, step: Step) {
        let place = self.closed.partition_point(|other| other.to <= step.to);
        self.closed.insert(place, step);
    }

    /// Until when it is known who was in which step. While nobody is there, that is now.
    pub fn known_until(&mut self, now: Instant) -> Instant {
        let over: Vec<Step> = self.engines.values_mut().filter_map(|engine| engine.close_if_over(now)).collect();
        over.into_iter().for_each(|step| self.keep(step));
        self.engines.values().map(|engine| engine.known_until(now)).min().unwrap_or(now)
    }

    /// The steps that are over, in order.
    pub fn closed(&mut self) -> &[Step] {
        self.closed.make_contiguous()
    }

    /// The steps whose calls come in, one at most of each model.
    pub fn open(&self) -> Vec<Step> {
        self.engines.values().filter_map(|engine| engine.open.clone()).collect()
    }

    /// Whether a sequence is in a step that is over and not forgotten. Its last step can end after it has left: the others'
    /// calls belong to it too.
    pub fn remembers(&self, task: TaskId) -> bool {
        self.closed.iter().any(|step| step.members.iter().any(|member| member.task == task))
    }

    /// Forgets steps that were over by then.
    pub fn forget(&mut self, until: Instant) {
        while self.closed.front().is_some_and(|step| step.to <= until) {
            self.closed.pop_front();
        }
    }
}

impl Engine {
    /// Adds a call to the step that it belongs to; gives the one before if that is over.
    fn mark(&mut self, mark: Mark, weight_milli: u32) -> Option<Step> {
        let member = Member { task: mark.task, tokens: mark.tokens, context: mark.context };
        let from = self.present.get(&mark.task).copied().unwrap_or(mark.begun).min(mark.begun);
        if let Some(open) = &mut self.open {
            let at_once = mark.begun.saturating_duration_since(open.to) <= SAME_STEP;
            let is_new = open.members.iter().all(|member| member.task != mark.task);
            if at_once && is_new && open.kind == mark.kind {
                open.members.push(member);
                (open.from, open.to) = (open.from.min(from), open.to.max(mark.ended));
                self.begin_next();
                return None;
            }
        }
        let over = self.open.take();
        let (to, kind) = (mark.ended, mark.kind);
        self.open = Some(Step { from, to, kind, weight_milli, members: vec![member] });
        self.begin_next();
        over
    }

    /// Those in a step are in the next one when it is over.
    fn begin_next(&mut self) {
        let Some(open) = &self.open else { return };
        for member in &open.members {
            if let Some(since) = self.present.get_mut(&member.task) {
                *since = open.to;
            }
        }
    }

    fn close_if_over(&mut self, now: Instant) -> Option<Step> {
        let is_over = |step: &Step| now.saturating_duration_since(step.to) > SAME_STEP;
        if self.present.is_empty() || self.open.as_ref().is_some_and(is_over) { self.open.take() } else { None }
    }

    fn known_until(&self, now: Instant) -> Instant {
        let under_way = self.open.as_ref().map(|step| step.from);
        self.present.values().copied().chain(under_way).fold(now, Instant::min)
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
            self.steps.join(task, at, Pass::default());
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
            [(10, 43, vec![1, 2]), (43, 62, vec![1, 2]), (62, 64, vec![1]), (62, 81, vec![2])]
        );
    }

    #[test]
    fn who_reads_a_long_prompt_beside_others_was_there_all_the_time() {
        let mut scene = Scene::new();
        scene.join(1, 0);
        scene.mark(1, 19, StepKind::Prefill);
        scene.join(2, 30);
        scene.mark(1, 49, StepKind::Decode);
        scene.mark(1, 79, StepKind::Decode);
        assert_eq!(scene.known_until(90), 30, "what the other one does is not known yet");
        scene.mark(2, 99, StepKind::Prefill);
        assert_eq!(scene.known_until(105), 80);
        assert_eq!(
            scene.closed(105),
            [(0, 20, vec![1]), (20, 50, vec![1]), (50, 80, vec![1]), (30, 100, vec![2])],
            "their steps overlap"
        );
        scene.steps.leave(1);
        assert_eq!(scene.known_until(120), 100);
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
    fn engines_of_two_models_make_their_steps_beside_each_other() {
        let mut scene = Scene::new();
        let (start, other) = (scene.start, Pass { model: 1, weight_milli: 4_000 });
        scene.join(1, 0);
        let at = scene.at(10);
        scene.steps.join(2, at, other);
        scene.mark(1, 30, StepKind::Prefill);
        scene.mark(2, 31, StepKind::Prefill); // at once, and yet a step of its own
        scene.mark(1, 50, StepKind::Decode);
        assert_eq!(scene.known_until(90), 32, "the other one may be in a step that began then");
        scene.mark(2, 100, StepKind::Decode);
        assert_eq!(
            scene.closed(200),
            [(0, 31, vec![1]), (10, 32, vec![2]), (31, 51, vec![1]), (32, 101, vec![2])],
            "in the order of their ends, and each from the end of the one before of its own"
        );
        let weights: Vec<u32> = scene.steps.closed().iter().map(|step| step.weight_milli).collect();
        assert_eq!(weights, [1_000, 4_000, 1_000, 4_000]);
        scene.steps.leave(1);
        scene.steps.leave(2);
        scene.steps.forget(start + Duration::from_millis(60));
        assert_eq!(scene.closed(300).len(), 1);
        assert_eq!([1, 2].map(|task| scene.steps.remembers(task)), [false, true]);
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
