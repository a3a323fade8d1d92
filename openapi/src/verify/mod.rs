//! Whether a receipt, a statement or a whole epoch holds, and whether a log only grew: what anybody finds out from files alone,
//! without a network and without taking the gateway's word. The command line and the browser answer with this code.
//!
//! - [`read`]: what is given, read strictly
//! - [`signed`], [`figures`], [`logged`], [`content`]: what is found in a receipt and beside it
//! - [`growth`]: what is found in two checkpoints
//! - [`mod@statement`]: what is found in a party's statement, and in the receipts that it is made of
//! - [`follow`]: what is found in a log, entry by entry; [`epoch`]: and what an epoch was made of
//! - [`json`]: the same for a caller that speaks JSON

mod content;
pub mod epoch;
mod figures;
pub mod follow;
pub mod growth;
pub mod json;
mod logged;
mod read;
mod signed;
pub mod statement;
mod time;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use crate::log::entry::{Entry, Kind};
use crate::receipt::ReceiptId;

/// What a receipt is verified with: files as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// What `GET /v1/receipts/{id}` says, or the compact JWS alone.
    pub receipt: &'a [u8],
    /// The gateway's public keys: a JSON Web Key Set.
    pub keys: Option<&'a [u8]>,
    /// Which log and which witnesses are believed: a C2SP tlog-policy.
    pub policy: Option<&'a [u8]>,
    /// That the log has the receipt, where its file doesn't say so: a C2SP tlog-proof.
    pub proof: Option<&'a [u8]>,
    /// The customer's request, as it was sent.
    pub request: Option<&'a [u8]>,
    /// The answer as it came: an event stream, comments and all, or one JSON.
    pub answer: Option<&'a [u8]>,
}

/// One of the files that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    Receipt,
    Keys,
    Policy,
    Proof,
    Request,
    Answer,
    OldCheckpoint,
    NewCheckpoint,
    Consistency,
    Statement,
    /// Of a statement, one a line.
    Receipts,
    Epoch,
}

/// A file that is not what it should be, so that nothing was verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{input}: {why}")]
pub struct Unreadable {
    pub input: Input,
    pub why: String,
}

/// What is found out about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Which receipt it is.
    Identity,
    /// The gateway's.
    Signature,
    /// The node's own word.
    Node,
    Cost,
    Shares,
    /// Of the machine.
    Energy,
    /// The energy of the site.
    Site,
    Carbon,
    /// That the receipt is in the log's tree.
    Log,
    /// Who has signed that tree.
    Witnesses,
    Request,
    Answer,
    /// The older of two checkpoints.
    Old,
    /// The newer one.
    New,
    /// From the one to the other.
    Growth,
    /// Whose statement it is, and of which epoch.
    Statement,
    /// That a statement adds up.
    Sums,
    /// What a statement's lines are made of.
    Lines,
    /// Which epoch it is, and that it goes on from the one before.
    Epoch,
    /// That each entry's document is there, and is the entry's.
    Documents,
    /// That receipts are there, each once, and follow from themselves.
    Receipts,
    /// That receipts are shared by the split that was logged and in force.
    Splits,
    /// That receipts cost what was logged.
    Prices,
    /// Who earns with which node.
    Nodes,
    /// That what is owed at an epoch's beginning is what was owed at the end of the one before.
    Openings,
    /// Payouts and corrections.
    Movements,
    /// That statements are what comes of the receipts.
    Statements,
    /// Of the whole federation.
    Totals,
    /// How much was looked at.
    Sample,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub what: What,
    /// None where nothing is to be checked, or what it takes was not given.
    pub holds: Option<bool>,
    /// In plain words.
    pub says: String,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Of which receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Of whose statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Of which epoch, by its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Whether it is proven: a receipt's signature, a log's growth, a statement's place in the log, an epoch's totals, and no
    /// finding speaks against it.
    pub holds: bool,
    /// That in words.
    pub summary: String,
    pub findings: Vec<Finding>,
}

/// Verifies a receipt. What was asked for and can't be shown doesn't hold; what nobody asked for is not checked.
///
/// # Errors
/// When a file is not what it should be.
pub fn receipt(evidence: &Evidence<'_>) -> Result<Verdict, Unreadable> {
    let file = read::receipt(evidence.receipt)?;
    let signed = read::Signed::of(&file)?;
    let keys = evidence.keys.map(read::keys).transpose()?;
    let policy = evidence.policy.map(read::policy).transpose()?;
    let proof = match evidence.proof {
        Some(proof) => Some(read::proof(proof)?),
        None => file.proof.as_deref().map(|proof| read::proof(proof.as_bytes())).transpose()?,
    };
    let content = content::Given {
        salt: file.salt,
        request: read::content(Input::Request, evidence.request)?,
        answer: read::content(Input::Answer, evidence.answer)?,
    };
    let claims = &signed.claims;
    let mut findings = vec![signed::identity(&file, &signed), signed::gateway(&signed, keys.as_deref())];
    findings.extend([signed::node(claims), figures::cost(claims), figures::shares(claims)]);
    findings.extend(figures::energy(claims));
    let entry = Entry::of(Kind::Receipt, file.receipt.as_bytes());
    findings.extend(logged::findings(entry, proof.as_ref(), policy.as_ref()));
    findings.extend(content::findings(claims, &content));
    Ok(Verdict::of_receipt(claims.id, findings))
}

impl Verdict {
    fn of_receipt(id: ReceiptId, findings: Vec<Finding>) -> Self {
        let verdict = Self::new(What::Signature, findings);
        let what = match (verdict.holds, verdict.count(Some(false))) {
            (true, _) => "this receipt holds".to_owned(),
            (false, 0) => "who has signed this receipt is not known, so nothing is proven".to_owned(),
            (false, _) => "this receipt does not hold".to_owned(),
        };
        let summary = format!("{}: {what}.", verdict.counts());
        Self { receipt: Some(id.to_string()), summary, ..verdict }
    }

    /// What holds if this does and nothing speaks against it.
    fn new(needed: What, findings: Vec<Finding>) -> Self {
        let is_needed = |finding: &Finding| finding.what == needed && finding.holds == Some(true);
        let holds = findings.iter().any(is_needed) && findings.iter().all(|finding| finding.holds != Some(false));
        Self { receipt: None, statement: None, epoch: None, holds, summary: String::new(), findings }
    }

    fn count(&self, holds: Option<bool>) -> usize {
        self.findings.iter().filter(|finding| finding.holds == holds).count()
    }

    fn counts(&self) -> String {
        let said = |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        let (yes, no) = (self.count(Some(true)), self.count(Some(false)));
        let mut parts = vec![said(yes, "holds", "hold"), said(no, "does not", "do not")];
        let unchecked = self.count(None);
        if unchecked > 0 {
            parts.push(said(unchecked, "was not checked", "were not checked"));
        }
        parts.join(", ")
    }
}

impl Finding {
    fn holds(what: What, says: impl Into<String>) -> Self {
        Self { what, holds: Some(true), says: says.into() }
    }

    fn fails(what: What, says: impl Into<String>) -> Self {
        Self { what, holds: Some(false), says: says.into() }
    }

    fn unchecked(what: What, says: impl Into<String>) -> Self {
        Self { what, holds: None, says: says.into() }
    }

    /// What fails for a reason that begins in the middle of a sentence.
    fn contradicted(what: What, why: &impl fmt::Display) -> Self {
        let why = why.to_string();
        let mut rest = why.chars();
        let first = rest.next().map(char::to_uppercase).into_iter().flatten();
        Self::fails(what, format!("{}{}.", first.collect::<String>(), rest.as_str()))
    }
}

impl What {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Signature => "signature",
            Self::Node => "node",
            Self::Cost => "cost",
            Self::Shares => "shares",
            Self::Energy => "energy",
            Self::Site => "site",
            Self::Carbon => "carbon",
            Self::Log => "log",
            Self::Witnesses => "witnesses",
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Old => "old",
            Self::New => "new",
            Self::Growth => "growth",
            Self::Statement => "statement",
            Self::Sums => "sums",
            Self::Lines => "lines",
            Self::Epoch => "epoch",
            Self::Documents => "documents",
            Self::Receipts => "receipts",
            Self::Splits => "splits",
            Self::Prices => "prices",
            Self::Nodes => "nodes",
            Self::Openings => "openings",
            Self::Movements => "movements",
            Self::Statements => "statements",
            Self::Totals => "totals",
            Self::Sample => "sample",
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Receipt => "the receipt",
            Self::Keys => "the keys",
            Self::Policy => "the policy",
            Self::Proof => "the proof",
            Self::Request => "the request",
            Self::Answer => "the answer",
            Self::OldCheckpoint => "the old checkpoint",
            Self::NewCheckpoint => "the new checkpoint",
            Self::Consistency => "the proof of consistency",
            Self::Statement => "the statement",
            Self::Receipts => "the receipts",
            Self::Epoch => "the epoch",
        })
    }
}
