//! The turns as a table, with ratios within each round.

use super::{Engines, Turn};
use crate::figures::{quantile, say, verdict};

/// The node's rate over llama.cpp's, in thousandths.
const LEAST_MILLI: i64 = 900;
const MIB: i64 = 1024 * 1024;

/// A figure of which less is better, what it is called, and whether there is a target for it.
type Row = (&'static str, fn(&Turn) -> i64, Unit, bool);

enum Unit {
    /// Nanoseconds for one.
    PerSecond,
    Milliseconds,
    Millijoules,
    Mebibytes,
}

const ROWS: [Row; 17] = [
    ("decode, tokens/s", |turn| turn.decode.time, Unit::PerSecond, true),
    ("prefill of 100 tokens, tokens/s", |turn| turn.prefill[0].time, Unit::PerSecond, true),
    ("prefill of 1,500 tokens, tokens/s", |turn| turn.prefill[1].time, Unit::PerSecond, true),
    ("2 streams, tokens/s together", |turn| turn.streams[0].time, Unit::PerSecond, true),
    ("4 streams, tokens/s together", |turn| turn.streams[1].time, Unit::PerSecond, true),
    ("first token, ms", |turn| turn.first_token, Unit::Milliseconds, false),
    ("processor for a token, ms", |turn| turn.decode.processor, Unit::Milliseconds, false),
    ("of a prompt of 100, ms", |turn| turn.prefill[0].processor, Unit::Milliseconds, false),
    ("of a prompt of 1,500, ms", |turn| turn.prefill[1].processor, Unit::Milliseconds, false),
    ("of 2 streams, ms", |turn| turn.streams[0].processor, Unit::Milliseconds, false),
    ("of 4 streams, ms", |turn| turn.streams[1].processor, Unit::Milliseconds, false),
    ("energy for a token, mJ (tier E)", |turn| turn.decode.energy, Unit::Millijoules, false),
    ("of a prompt of 100, mJ", |turn| turn.prefill[0].energy, Unit::Millijoules, false),
    ("of a prompt of 1,500, mJ", |turn| turn.prefill[1].energy, Unit::Millijoules, false),
    ("of 2 streams, mJ", |turn| turn.streams[0].energy, Unit::Millijoules, false),
    ("of 4 streams, mJ", |turn| turn.streams[1].energy, Unit::Millijoules, false),
    ("resident, MiB", |turn| turn.resident, Unit::Mebibytes, false),
];

pub(super) fn print(engines: &Engines) {
    say(&engines.versions.join("; "));
    say(&engines.power);
    say("| | node | llama.cpp | node's, × |");
    say("|---|---|---|---|");
    let of = |arm: &str, figure: fn(&Turn) -> i64| -> Vec<i64> {
        let mut turns: Vec<&Turn> = engines.turns.iter().filter(|turn| turn.arm == arm).collect();
        turns.sort_by_key(|turn| turn.round);
        turns.into_iter().map(|turn| figure(turn).max(1)).collect()
    };
    for (name, figure, unit, is_target) in ROWS {
        let (node, llama) = (of("node", figure), of("llama.cpp", figure));
        let ratios: Vec<i64> = node.iter().zip(&llama).map(|(node, llama)| unit.ratio_milli(*node, *llama)).collect();
        let ratio = quantile(&ratios, 50);
        let met = if is_target { format!(" {}", verdict(ratio >= LEAST_MILLI)) } else { String::new() };
        let [node, llama] = [node, llama].map(|values| unit.shown(quantile(&values, 50)));
        let [least, middle, most] = [0, 50, 100].map(|percent| quantile(&ratios, percent) as f64 / 1_000.0);
        say(&format!("| {name} | {node} | {llama} | {middle:.2} ({least:.2}–{most:.2}){met} |"));
    }
}

impl Unit {
    /// Of rates the node's over the other's; of everything else the same of what it takes.
    fn ratio_milli(&self, node: i64, llama: i64) -> i64 {
        match self {
            Self::PerSecond => llama * 1_000 / node,
            Self::Milliseconds | Self::Millijoules | Self::Mebibytes => node * 1_000 / llama,
        }
    }

    fn shown(&self, value: i64) -> String {
        match self {
            Self::PerSecond => format!("{:.1}", 1e9 / value as f64),
            Self::Milliseconds => format!("{:.1}", value as f64 / 1e6),
            Self::Millijoules => format!("{:.1}", value as f64 / 1e3),
            Self::Mebibytes => (value / MIB).to_string(),
        }
    }
}
