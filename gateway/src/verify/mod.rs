//! `commonwatt verify`: whether a receipt, a statement or an epoch holds, and whether the log only grew. It takes nobody's word
//! and asks no database; what it says is what [`openapi::verify`] finds. Only an epoch and a copy of the log may be read from a
//! gateway ([`source`]).

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use openapi::verify::growth::{Checkpoints, log_only_grew};
use openapi::verify::statement::{self, StatementEvidence};
use openapi::verify::{self, Evidence, Unreadable, Verdict, json};

pub(crate) mod copy;

pub(crate) mod epoch;

pub(crate) mod source;

#[cfg(test)]
pub(crate) mod tests;

pub use copy::CopySettings;
pub use epoch::EpochSettings;

/// More bytes than any file that is verified.
const LONGEST: u64 = (64 << 20) + 1;
/// In place of a path: standard input.
const STANDARD_INPUT: &str = "-";

/// What to verify. The exit status is 0 when it holds, 1 when it does not, and 2 when something can't be read.
#[derive(Clone, Debug, Subcommand)]
pub enum VerifyAction {
    /// Say whether a receipt holds: who has signed it, that its figures follow from each other, that the log has it.
    Receipt(ReceiptFiles),
    /// Say whether the log only grew from one checkpoint to another, or has forked.
    Log(LogFiles),
    /// Say whether a party's statement holds: that it adds up, that the log has it, and what receipts it is made of.
    Statement(StatementFiles),
    /// Make an epoch again from the public log: every receipt, every statement, every total.
    Epoch(EpochSettings),
    /// Copy a log into a folder, from which epochs are audited offline.
    Copy(CopySettings),
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

/// What a statement is verified with. One of the files may be `-`, standard input.
#[derive(Clone, Debug, Args)]
pub struct StatementFiles {
    /// The statement as the gateway gives it and the log has it.
    statement: PathBuf,
    /// The tlog-proof of it, from /log/proof/. Without it and a policy, nothing is proven.
    #[arg(long)]
    proof: Option<PathBuf>,
    /// Which log and which witnesses you believe, as a C2SP tlog-policy.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The party's receipts in the order of the log, a compact JWS on each line: what the lines are made of.
    #[arg(long)]
    receipts: Option<PathBuf>,
    /// The gateway's public keys, from /.well-known/jwks.json.
    #[arg(long)]
    keys: Option<PathBuf>,
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
pub async fn run(action: &VerifyAction) -> Told {
    let (found, is_json) = match action {
        VerifyAction::Receipt(files) => (receipt(files), files.json),
        VerifyAction::Log(files) => (log(files), files.json),
        VerifyAction::Statement(files) => (statement(files), files.json),
        VerifyAction::Epoch(settings) => (epoch::epoch(settings).await, settings.json),
        VerifyAction::Copy(settings) => {
            let copied = copy::copy(settings).await;
            return copied.map_or_else(|error| unreadable(&error), |text| Told { text, ending: Ending::Holds });
        }
    };
    found.map_or_else(|error| unreadable(&error), |found| told(&found, is_json))
}

fn unreadable(error: &anyhow::Error) -> Told {
    Told { text: format!("error: {error:#}"), ending: Ending::Unreadable }
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

fn statement(files: &StatementFiles) -> anyhow::Result<Result<Verdict, Unreadable>> {
    let given = [&files.proof, &files.policy, &files.receipts, &files.keys];
    once_standard_input(given.into_iter().flatten().chain([&files.statement]))?;
    let statement = read(&files.statement)?;
    let [proof, policy, receipts, keys] = given.map(|path| path.as_deref().map(read).transpose());
    let (proof, policy, receipts, keys) = (proof?, policy?, receipts?, keys?);
    Ok(statement::statement(&StatementEvidence {
        statement: &statement,
        proof: proof.as_deref(),
        policy: policy.as_deref(),
        receipts: receipts.as_deref(),
        keys: keys.as_deref(),
    }))
}

fn once_standard_input<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    if paths.filter(|path| path.as_os_str() == STANDARD_INPUT).count() > 1 {
        bail!("standard input can be one file only: give the others by their paths");
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
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
    let receipt = verdict.receipt.iter().map(|id| format!("receipt {id}"));
    let statement = verdict.statement.iter().map(|whose| format!("statement of {whose}"));
    let heading = receipt.chain(statement).chain(verdict.epoch.iter().map(|number| format!("epoch {number}")));
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
