//! `commonwatt verify epoch`: an epoch made again from the public log, at a gateway or in a folder.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use aws_lc_rs::rand;
use clap::Args;
use data_encoding::HEXLOWER;
use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::policy::Policy;
use openapi::log::tile;
use openapi::statement::ClosedEpoch;
use openapi::verify::epoch::{Auditor, Sample};
use openapi::verify::{Unreadable, Verdict, What};

use super::read;
use super::source::Source;

/// What is audited, and how.
#[derive(Clone, Debug, Args)]
pub struct EpochSettings {
    /// The gateway's address, such as `https://gateway.example`, or a folder that `commonwatt verify copy` has made.
    source: String,
    /// Its number. The latest that is closed if not given.
    #[arg(long)]
    epoch: Option<u32>,
    /// Which log and which witnesses you believe, as a C2SP tlog-policy. Without it, those that the source itself names.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The gateway's public keys, from /.well-known/jwks.json. Without them, those that the log tells of.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Read one in so many receipts only, where the log is too long to read them all. Totals can't be made again then.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// What the sample is chosen by, for whoever wants the same again; else by chance.
    #[arg(long, requires = "sample")]
    seed: Option<String>,
    /// Print the findings as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A word on standard error every so often, of what takes long.
#[derive(Debug)]
pub(crate) struct Progress {
    said: Instant,
    what: &'static str,
}

const OWN_POLICY: &str = " The policy is the source's own, so it has chosen itself whom you believe: keep one that you got \
                          otherwise, and give it with --policy.";

pub(super) async fn epoch(settings: &EpochSettings) -> anyhow::Result<Result<Verdict, Unreadable>> {
    let source = Source::open(&settings.source)?;
    let policy = match &settings.policy {
        Some(path) => read(path)?,
        None => source.policy().await?,
    };
    let policy = Policy::read(&policy).context("the policy is none")?;
    let keys = settings.keys.as_deref().map(read).transpose()?;
    let sample = settings.sample.map(|one_in| sample(one_in, settings.seed.as_deref())).transpose()?;
    let checkpoint = source.witnessed_checkpoint(&policy).await?;
    let document = document_of(&source, settings.epoch).await?;
    let auditor = match Auditor::begin(&document, keys.as_deref(), sample) {
        Ok(auditor) => auditor,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let mut verdict = audit(&source, auditor, &checkpoint, &policy).await?;
    if settings.policy.is_none() {
        let witnesses = verdict.findings.iter_mut().filter(|finding| finding.what == What::Witnesses);
        witnesses.for_each(|finding| finding.says.push_str(OWN_POLICY));
    }
    Ok(Ok(verdict))
}

/// Feeds an auditor the log up to a checkpoint.
///
/// # Errors
/// When the log can't be read.
pub(crate) async fn audit(
    source: &Source,
    mut auditor: Auditor,
    checkpoint: &SignedCheckpoint,
    policy: &Policy,
) -> anyhow::Result<Verdict> {
    let size = checkpoint.checkpoint().tree().size;
    let mut progress = Progress::new("entries are read");
    for tile in tile::new_entries(0, size) {
        let entries = source.entries(tile).await?;
        let wanted: Vec<bool> =
            (tile.start()..).zip(&entries).map(|(index, entry)| auditor.wants(index, entry)).collect();
        let documents = source.documents(tile, &entries, &wanted).await?;
        for (entry, document) in entries.iter().zip(documents) {
            auditor.take(entry, document.as_deref());
        }
        progress.say(tile.start(), size);
    }
    Ok(auditor.end(checkpoint, policy))
}

/// The document of an epoch, as the source's list names it.
async fn document_of(source: &Source, number: Option<u32>) -> anyhow::Result<String> {
    let epochs = source.epochs().await?.data;
    let newest = epochs.iter().map(|listed| listed.number).max();
    let Some(newest) = newest else { bail!("{} has closed no epoch yet", source.name()) };
    let number = number.unwrap_or(newest);
    let Some(listed) = epochs.iter().find(|listed| listed.number == number) else {
        bail!("{} has no epoch {number}: the newest is {newest}", source.name());
    };
    let document = source.document(&listed.document).await?;
    let document = document.with_context(|| format!("{} has no document of epoch {number}", source.name()))?;
    match serde_json::from_str::<ClosedEpoch>(&document) {
        Ok(closed) if closed.epoch.number != number => {
            bail!("{} lists epoch {number}, and the document says {}", source.name(), closed.epoch.number)
        }
        // What is no epoch's is refused by whoever reads it strictly.
        _ => Ok(document),
    }
}

fn sample(one_in: u64, seed: Option<&str>) -> anyhow::Result<Sample> {
    let mut chance = [0; 16];
    rand::fill(&mut chance).ok().context("this machine gives no random numbers")?;
    let seed = seed.map_or_else(|| HEXLOWER.encode(&chance), str::to_owned);
    Sample::new(one_in, &seed).context("a sample is one in one or more")
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { said: Instant::now(), what }
    }

    /// Says how far it is, if nothing was said for a while.
    pub(crate) fn say(&mut self, done: u64, of: u64) {
        const OFTEN: Duration = Duration::from_secs(5);
        if self.said.elapsed() > OFTEN {
            self.said = Instant::now();
            // Whoever has closed it does not want to know.
            let _ = writeln!(std::io::stderr(), "{done} of {of} {}", self.what);
        }
    }
}
