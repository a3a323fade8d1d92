//! What a counter shows of the energy that is spent, and which steps lie in each of its windows.

use super::random::Random;
use super::scenario::{IDLE_WATTS, Kind, Setting, Step};

/// What lies between two updates of the counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// In seconds since the beginning.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// What the counter has moved.
    pub(crate) joules: f64,
    /// The steps that lie in it at least in part: index, and the part of the step.
    pub(crate) steps: Vec<(usize, f64)>,
    /// Seconds in which nothing was computed.
    pub(crate) idle: f64,
}

/// The part of one step that lies in one window, as one of its members sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// The index of the request.
    pub(crate) request: usize,
    pub(crate) kind: Kind,
    /// The part of the step that lies in the window, in (0, 1].
    pub(crate) fraction: f64,
    /// Members of the step.
    pub(crate) members: usize,
    /// Computed in the whole step for this request: its prompt, or one token of the answer.
    pub(crate) tokens: u32,
    /// Tokens of this request that were computed before.
    pub(crate) context: u32,
}

impl Window {
    /// What an attribution knows of the work in it.
    pub(crate) fn pieces(&self, steps: &[Step]) -> impl Iterator<Item = Piece> {
        self.steps.iter().flat_map(|&(step, fraction)| {
            let step = &steps[step];
            step.members.iter().map(move |member| Piece {
                request: member.request,
                kind: step.kind,
                fraction,
                members: step.members.len(),
                tokens: member.tokens,
                context: member.context,
            })
        })
    }
}

/// Puts so many windows together into one each.
pub(crate) fn together(windows: &[Window], count: usize) -> Vec<Window> {
    let joined = |windows: &[Window]| {
        let mut windows = windows.iter().cloned();
        let first = windows.next().unwrap_or_default();
        windows.fold(first, |mut joined, next| {
            (joined.to, joined.joules, joined.idle) = (next.to, joined.joules + next.joules, joined.idle + next.idle);
            for (step, fraction) in next.steps {
                match joined.steps.last_mut().filter(|(last, _)| *last == step) {
                    Some((_, part)) => *part += fraction,
                    None => joined.steps.push((step, fraction)),
                }
            }
            joined
        })
    };
    windows.chunks(count).map(joined).collect()
}

/// Reads a counter that lags behind by a chance amount at every update and whose movements are noisy, and lays the steps
/// into its windows by the clock that knows nothing of the lag.
pub(crate) fn read(setting: &Setting, steps: &[Step], idle: &[(f64, f64)], random: &mut Random) -> Vec<Window> {
    let end = steps.last().map_or(0.0, |step| step.to);
    let mut cuts = vec![0.0];
    while let Some(&last) = cuts.last().filter(|last| **last < end) {
        cuts.push(last + setting.refresh);
    }
    let totals = totals(setting, &cuts, &spent(steps, idle), random);
    let moved = totals.windows(2).map(|two| (two[1] - two[0]) * (1.0 + random.gauss(0.0, setting.noise)));
    let window = |(joules, cut): (f64, &[f64])| Window { from: cut[0], to: cut[1], joules, ..Window::default() };
    let mut windows: Vec<Window> = moved.zip(cuts.windows(2)).map(window).collect();
    for (at, step) in steps.iter().enumerate() {
        overlaps(&mut windows, setting.refresh, (step.from, step.to), |window, seconds| {
            window.steps.push((at, seconds / (step.to - step.from)));
        });
    }
    for &span in idle {
        overlaps(&mut windows, setting.refresh, span, |window, seconds| window.idle += seconds);
    }
    windows
}

/// Spans of time with the joules spent in them, in order.
fn spent(steps: &[Step], idle: &[(f64, f64)]) -> Vec<(f64, f64, f64)> {
    let steps = steps.iter().map(|step| (step.from, step.to, step.joules));
    let idle = idle.iter().map(|&(from, to)| (from, to, IDLE_WATTS * (to - from)));
    let mut spans: Vec<_> = steps.chain(idle).filter(|(from, to, _)| to > from).collect();
    spans.sort_by(|one, other| one.0.total_cmp(&other.0));
    spans
}

/// What the counter shows at each cut. The last reading is taken when all has settled.
fn totals(setting: &Setting, cuts: &[f64], spans: &[(f64, f64, f64)], random: &mut Random) -> Vec<f64> {
    let (mut whole, mut next) = (0.0, 0);
    let mut shown = |cut: &f64| {
        let until = (cut - setting.lag * random.random()).max(0.0);
        while let Some((_, _, joules)) = spans.get(next).filter(|(_, to, _)| *to <= until) {
            whole += joules;
            next += 1;
        }
        let begun = spans.get(next).filter(|(from, _, _)| *from < until);
        whole + begun.map_or(0.0, |(from, to, joules)| joules * (until - from) / (to - from))
    };
    let mut totals: Vec<f64> = cuts.iter().map(&mut shown).collect();
    if let Some(last) = totals.last_mut() {
        *last = spans.iter().map(|(_, _, joules)| joules).sum();
    }
    totals
}

/// Calls for every window that the span overlaps, with the seconds.
fn overlaps(windows: &mut [Window], refresh: f64, span: (f64, f64), mut call: impl FnMut(&mut Window, f64)) {
    let (first, last) = ((span.0 / refresh) as usize, (span.1 / refresh) as usize);
    for window in windows.iter_mut().skip(first).take(last - first + 1) {
        let seconds = span.1.min(window.to) - span.0.max(window.from);
        if seconds > 0.0 {
            call(window, seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Scenario;
    use super::*;

    #[test]
    fn every_step_lies_in_windows_as_a_whole() {
        let scenario = Scenario::play(Setting::of(5, 8.0));
        let mut parts = vec![0.0; scenario.steps.len()];
        for (step, part) in scenario.windows.iter().flat_map(|window| &window.steps) {
            parts[*step] += part;
        }
        assert!(parts.iter().all(|part| (part - 1.0).abs() < 1e-6));
        let idle: f64 = scenario.windows.iter().map(|window| window.idle).sum();
        let truly: f64 = scenario.idle.iter().map(|(from, to)| to - from).sum();
        assert!((idle - truly).abs() < 1e-6, "{idle} s of {truly} s");
    }

    #[test]
    fn windows_together_hold_what_they_held_apart() {
        let fine = Scenario::play(Setting::of(5, 8.0));
        let coarse = together(&fine.windows, 4);
        assert_eq!(coarse.len(), fine.windows.len().div_ceil(4));
        let total = |windows: &[Window], of: fn(&Window) -> f64| windows.iter().map(of).sum::<f64>();
        let held: [fn(&Window) -> f64; 4] = [
            |window| window.joules,
            |window| window.idle,
            |window| window.to - window.from,
            |window| window.steps.iter().map(|(_, part)| part).sum(),
        ];
        for of in held {
            assert!((total(&coarse, of) - total(&fine.windows, of)).abs() < 1e-6);
        }
        let once = |window: &Window| window.steps.windows(2).all(|two| two[0].0 < two[1].0);
        assert!(coarse.iter().all(once), "no step is twice in a window");
    }

    #[test]
    fn pieces_are_the_members_of_the_steps() {
        let scenario = Scenario::play(Setting::of(5, 8.0));
        let pieces = || scenario.windows.iter().flat_map(|window| window.pieces(&scenario.steps));
        for piece in pieces() {
            let request = &scenario.requests[piece.request];
            match piece.kind {
                Kind::Prefill => assert_eq!((piece.context, piece.tokens), (0, request.prompt)),
                Kind::Decode => assert!((request.prompt..request.prompt + request.output).contains(&piece.context)),
            }
        }
        let tokens: f64 = pieces().map(|piece| f64::from(piece.tokens) * piece.fraction).sum();
        let truly: u32 = scenario.requests.iter().map(|request| request.prompt + request.output).sum();
        assert!((tokens / f64::from(truly) - 1.0).abs() < 1e-6, "{tokens} of {truly}");
    }
}
