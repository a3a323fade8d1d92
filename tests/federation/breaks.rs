//! The node that answers breaks in the middle of a stream, again and again: what the client hears, held against the same
//! request without a break.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::difference::Difference;
use crate::join::Federation;
use crate::say;
use crate::traffic::{Heard, question};
use crate::wait::{quantile, seconds};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Streams to break; with all kinds, a third of them in each way.
    #[arg(long, default_value_t = 30)]
    count: usize,
    /// How the node breaks.
    #[arg(long, value_enum, default_value = "all")]
    kind: Choice,
    /// Of the answers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    temperature: u8,
    /// The same number breaks the same streams at the same positions.
    #[arg(long, default_value_t = 1)]
    random: u64,
}

/// How a node breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// As `kill -9`, and started again.
    Kill,
    /// It hangs with its connections open (SIGSTOP), and goes on later.
    Stop,
    /// Its cable is pulled out.
    Unplug,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Kill,
    Stop,
    Unplug,
    All,
}

impl Choice {
    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Kill => &[Kind::Kill],
            Self::Stop => &[Kind::Stop],
            Self::Unplug => &[Kind::Unplug],
            Self::All => &[Kind::Kill, Kind::Stop, Kind::Unplug],
        }
    }
}

impl Display for Kind {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Unplug => "unplug",
        })
    }
}

/// What came of one break.
struct Outcome {
    kind: Kind,
    complete: Result<(), String>,
    difference: Difference,
    pause: Option<Duration>,
    attempts: usize,
    /// The row says that it was completed, with as many tokens as without a break.
    booked_alike: bool,
}

/// Breaks streams; false when a client noticed.
///
/// # Errors
/// When a node doesn't join or come back, or a stream breaks that nobody broke.
pub(crate) async fn run(folder: &Path, model: &Path, arguments: &Arguments) -> Result<bool, String> {
    let mut federation = Federation::start(folder, model).await?;
    let mut random = Rng::with_seed(arguments.random);
    let kinds = arguments.kind.kinds();
    let mut outcomes = Vec::new();
    say("");
    for number in 0..arguments.count {
        let kind = kinds[number % kinds.len()];
        let more = json!({"stream": true, "temperature": arguments.temperature});
        let body = question(number, random.u32(60..=120), &more);
        federation.all_there().await?;
        outcomes.push(break_one(&mut federation, kind, &body, &mut random).await?);
    }
    say("");
    for kind in kinds {
        say(&summary(&kind.to_string(), outcomes.iter().filter(|outcome| outcome.kind == *kind)));
    }
    say(&summary("all", outcomes.iter()));
    Ok(outcomes.iter().all(Outcome::unnoticed))
}

async fn break_one(federation: &mut Federation, kind: Kind, body: &Value, random: &mut Rng) -> Result<Outcome, String> {
    let expected = federation.gateway.api.ask(body).await?.rest().await;
    expected.must_be_complete().map_err(|why| format!("a stream broke although nobody broke its node: {why}"))?;
    let pieces = expected.pieces.len();
    let at = random.usize(1..pieces.max(3) - 1);
    let mut answer = federation.gateway.api.ask(body).await?;
    while answer.heard.pieces.len() < at && answer.next().await {}
    let broken = federation.index(&answer.heard.node)?;
    kind.strike(federation, broken)?;
    let heard = answer.rest().await;
    kind.mend(federation, broken).await?;
    let (row, row_before) =
        (federation.gateway.api.row(&heard.request).await?, federation.gateway.api.row(&expected.request).await?);
    let outcome = Outcome::of(kind, &expected, &heard, at, (&row, &row_before));
    let (name, tried) = (federation.nodes[broken].site.name, federation.tried(&row)?);
    say(&format!("{kind:7} {name} after {at:3} of {pieces:3} pieces: {}, by {tried}", outcome.describe(&row)));
    Ok(outcome)
}

impl Federation {
    /// Who computed, in this order.
    fn tried(&self, row: &Value) -> Result<String, String> {
        let attempts = row["attempts"].as_array().into_iter().flatten();
        let name = |id: &str| self.index(id).map(|index| self.nodes[index].site.name);
        let names: Result<Vec<&str>, String> =
            attempts.map(|attempt| name(attempt["node"].as_str().unwrap_or_default())).collect();
        Ok(names?.join(" and then "))
    }
}

impl Kind {
    fn strike(self, federation: &mut Federation, node: usize) -> Result<(), String> {
        let node = &mut federation.nodes[node];
        match self {
            Self::Kill => node.kill(),
            Self::Stop => node.stop(),
            Self::Unplug => node.site.unplug(),
        }
    }

    async fn mend(self, federation: &mut Federation, node: usize) -> Result<(), String> {
        let node = &mut federation.nodes[node];
        match self {
            Self::Kill => node.restart().await,
            Self::Stop => node.resume(),
            Self::Unplug => node.site.plug_in(),
        }
    }
}

impl Outcome {
    fn of(kind: Kind, expected: &Heard, heard: &Heard, at: usize, (row, row_before): (&Value, &Value)) -> Self {
        Self {
            kind,
            complete: heard.must_be_complete(),
            difference: Difference::between(&expected.text, &heard.text),
            pause: heard.longest_pause_from(at - 1),
            attempts: row["attempts"].as_array().map_or(0, Vec::len),
            booked_alike: row["outcome"] == "completed" && row["completion_tokens"] == row_before["completion_tokens"],
        }
    }

    fn unnoticed(&self) -> bool {
        self.complete.is_ok() && self.difference == Difference::None
    }

    fn describe(&self, row: &Value) -> String {
        let stream = match &self.complete {
            Ok(()) => "stream complete".to_owned(),
            Err(why) => format!("STREAM BROKEN ({why})"),
        };
        let (outcome, tokens) = (row["outcome"].as_str().unwrap_or("?"), &row["completion_tokens"]);
        format!(
            "{stream}, text {}, longest pause {}; booked as {outcome}, {tokens} tokens",
            self.difference,
            seconds(self.pause)
        )
    }
}

fn summary<'outcome>(name: &str, outcomes: impl Iterator<Item = &'outcome Outcome> + Clone) -> String {
    let count = |which: fn(&Outcome) -> bool| outcomes.clone().filter(|outcome| which(outcome)).count();
    let pauses: Vec<Duration> =
        outcomes.clone().filter(|one| one.complete.is_ok()).filter_map(|one| one.pause).collect();
    format!(
        "{name:7} {} streams: {} broken, {} texts the same, pause median {} worst {}, {} continued, {} booked as without a break",
        count(|_| true),
        count(|outcome| outcome.complete.is_err()),
        count(|outcome| outcome.difference == Difference::None),
        seconds(quantile(&pauses, 50)),
        seconds(quantile(&pauses, 100)),
        count(|outcome| outcome.attempts > 1),
        count(|outcome| outcome.booked_alike),
    )
}
