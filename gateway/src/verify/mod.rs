//! `commonwatt verify`: whether a receipt holds and whether the log only grew, from files alone. It asks no gateway and no
//! database; what it says is what [`openapi::verify`] finds.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use openapi::verify::growth::{Checkpoints, log_only_grew};
use openapi::verify::{self, Evidence, Unreadable, Verdict, json};

#[cfg(test)]
mod tests;

/// More bytes than any file that is verified.
const LONGEST: u64 = (64 << 20) + 1;
/// In place of a path: standard input.
const STANDARD_INPUT: &str = "-";

/// What to verify. The exit status is 0 when it holds, 1 when it does not, and 2 when a file can't be read.
#[derive(Clone, Debug, Subcommand)]
pub enum VerifyAction {
    /// Say whether a receipt holds: who has signed it, that its figures follow from each other, that the log has it.
    Receipt(ReceiptFiles),
    /// Say whether the log only grew from one checkpoint to another, or has forked.
    Log(LogFiles),
}

/// What a receipt is verified with. One of the files may be `-`, standard input.
#[derive(Clone, Debug, Args)]
pub struct ReceiptFiles {
    /// What GET /v1/receipts/{id} says, or its compact JWS alone.
    receipt: PathBuf,
    /// The gateway's public keys, from /.well-known/jwks.json. Without them nobody knows who has signed, and nothing is
    /// proven.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Which log and which witnesses you believe, as a C2SP tlog-policy: the gateway proposes one at /log/policy.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The tlog-proof, where it is not in the receipt's file.
    #[arg(long)]
    proof: Option<PathBuf>,
    /// The body of your request, as it was sent.
    #[arg(long)]
    request: Option<PathBuf>,
    /// The answer as it came: the event stream, comments and all, or the JSON.
    #[arg(long)]
    answer: Option<PathBuf>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Two checkpoints of a log. One of the files may be `-`, standard input.
#[derive(Clone, Debug, Args)]
pub struct LogFiles {
    /// The checkpoint that was kept.
    #[arg(long)]
    old: PathBuf,
    /// One that came later.
    #[arg(long)]
    new: PathBuf,
    /// The proof that the one grew out of the other: a hash in base64 on each line. Not needed for trees of one size.
    #[arg(long)]
    consistency: Option<PathBuf>,
    /// Which log and which witnesses you believe, as a C2SP tlog-policy.
    #[arg(long)]
    policy: PathBuf,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// What there is to print, and what the program ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub text: String,
    pub ending: Ending,
}

/// Its number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Holds = 0,
    Fails = 1,
    /// A file is missing, or is not what it should be.
    Unreadable = 2,
}

/// Verifies, and says what was found.
pub fn run(action: &VerifyAction) -> Told {
    let (found, is_json) = match action {
        VerifyAction::Receipt(files) => (receipt(files), files.json),
        VerifyAction::Log(files) => (log(files), files.json),
    };
    match found {
        Ok(found) => told(&found, is_json),
        Err(error) => Told { text: format!("error: {error:#}"), ending: Ending::Unreadable },
    }
}

fn receipt(files: &ReceiptFiles) -> anyhow::Result<Result<Verdict, Unreadable>> {
    let given = [&files.keys, &files.policy, &files.proof, &files.request, &files.answer];
    once_standard_input(given.into_iter().flatten().chain([&files.receipt]))?;
    let optional = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
    let receipt = read(&files.receipt)?;
    let [keys, policy, proof, request, answer] = given.map(optional);
    let (keys, policy, proof, request, answer) = (keys?, policy?, proof?, request?, answer?);
    Ok(verify::receipt(&Evidence {
        receipt: &receipt,
        keys: keys.as_deref(),
        policy: policy.as_deref(),
        proof: proof.as_deref(),
        request: request.as_deref(),
        answer: answer.as_deref(),
    }))
}

fn log(files: &LogFiles) -> anyhow::Result<Result<Verdict, Unreadable>> {
    once_standard_input([&files.old, &files.new, &files.policy].into_iter().chain(&files.consistency))?;
    let (old, new, policy) = (read(&files.old)?, read(&files.new)?, read(&files.policy)?);
    let consistency = files.consistency.as_deref().map(read).transpose()?;
    let checkpoints = Checkpoints { old: &old, new: &new, consistency: consistency.as_deref(), policy: &policy };
    Ok(log_only_grew(&checkpoints))
}

fn once_standard_input<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    if paths.filter(|path| path.as_os_str() == STANDARD_INPUT).count() > 1 {
        bail!("standard input can be one file only: give the others by their paths");
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == STANDARD_INPUT {
        std::io::stdin().take(LONGEST).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

fn told(found: &Result<Verdict, Unreadable>, is_json: bool) -> Told {
    let ending = match found {
        Ok(verdict) if verdict.holds => Ending::Holds,
        Ok(_) => Ending::Fails,
        Err(_) => Ending::Unreadable,
    };
    let text = match found {
        found if is_json => json::written(found.clone()),
        Ok(verdict) => list(verdict),
        Err(unreadable) => format!("error: {unreadable}"),
    };
    Told { text, ending }
}

/// A line for each finding.
fn list(verdict: &Verdict) -> String {
    let heading = verdict.receipt.iter().map(|id| format!("receipt {id}"));
    let findings = verdict.findings.iter().map(|finding| {
        let mark = match finding.holds {
            Some(true) => '✓',
            Some(false) => '✗',
            None => '–',
        };
        format!("{mark} {:<10} {}", finding.what.word(), finding.says)
    });
    heading.chain(findings).chain([verdict.summary.clone()]).collect::<Vec<_>>().join("\n")
}
