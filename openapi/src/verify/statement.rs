//! What one party has earned in an epoch: whether its statement adds up, whether the log has it, and whether it is made of the
//! receipts that it is said to be made of.

use super::read::{self, Key, Signed};
use super::{Finding, Input, Unreadable, Verdict, What, logged, signed};
use crate::error::echo;
use crate::log::entry::{Entry, Kind};
use crate::log::hash::Hash;
use crate::receipt::Receipt;
use crate::receipt::jws::Jws;
use crate::statement::{Closing, Counted, Line, Statement, VERSION};

/// As much as a party's lines of a week could need.
const LONGEST_STATEMENT: usize = 16 << 20;
const LONGEST_RECEIPTS: usize = 64 << 20;
const GATEWAY: &str = "gateway";
/// Whose nodes a party has had computed that has none.
const SOMEBODY: &str = "operator:somebody";

/// What a statement is verified with: files as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatementEvidence<'a> {
    /// The document as it was logged; white space may follow.
    pub statement: &'a [u8],
    /// That the log has it: a C2SP tlog-proof.
    pub proof: Option<&'a [u8]>,
    /// Which log and which witnesses are believed: a C2SP tlog-policy.
    pub policy: Option<&'a [u8]>,
    /// The party's receipts in the order of the log: a compact JWS on each line.
    pub receipts: Option<&'a [u8]>,
    /// The gateway's public keys: a JSON Web Key Set.
    pub keys: Option<&'a [u8]>,
}

/// A receipt of the party.
struct Given {
    /// From 1.
    line: usize,
    leaf: Hash,
    receipt: Receipt,
    /// Who has signed it.
    signature: Finding,
}

/// Verifies a statement. It is proven where the log has it; what its lines are made of is checked where receipts are given.
///
/// # Errors
/// When a file is not what it should be.
pub fn statement(evidence: &StatementEvidence<'_>) -> Result<Verdict, Unreadable> {
    let document = read::text(Input::Statement, evidence.statement, LONGEST_STATEMENT)?.trim_ascii_end();
    let statement: Statement = read::logged(Input::Statement, document, Statement::to_document)?;
    let policy = evidence.policy.map(read::policy).transpose()?;
    let proof = evidence.proof.map(read::proof).transpose()?;
    let keys = evidence.keys.map(read::keys).transpose()?;
    let receipts = evidence.receipts.map(|text| receipts(text, keys.as_deref())).transpose()?;
    let mut findings = vec![identity(&statement), sums(&statement)];
    let entry = Entry::of(Kind::Statement, document.as_bytes());
    findings.extend(logged::findings(entry, proof.as_ref(), policy.as_ref()));
    findings.extend(match receipts {
        Some(receipts) => made_of(&statement, &receipts),
        None => vec![Finding::unchecked(What::Receipts, "Not checked: no receipts were given.")],
    });
    Ok(Verdict::of_statement(&statement, findings))
}

impl Verdict {
    fn of_statement(statement: &Statement, findings: Vec<Finding>) -> Self {
        let verdict = Self::new(What::Log, findings);
        let whose = format!("{}, epoch {}", echo(&statement.party), statement.epoch.number);
        let what = match (verdict.holds, verdict.count(Some(false))) {
            (true, _) => "this statement holds",
            (false, 0) => "that the log has this statement is not shown, so nothing is proven",
            (false, _) => "this statement does not hold",
        };
        let summary = format!("{}: {what} ({whose}).", verdict.counts());
        Self { statement: Some(whose), summary, ..verdict }
    }
}

fn identity(statement: &Statement) -> Finding {
    if statement.v != VERSION {
        let says = format!("It is a statement of version {}, and this program knows version {VERSION}.", statement.v);
        return Finding::fails(What::Statement, says);
    }
    let (epoch, party) = (statement.epoch, echo(&statement.party));
    let says =
        format!("Of {party} in epoch {}, entries {} to {}.", epoch.number, epoch.first_index, before(epoch.end_index));
    Finding::holds(What::Statement, says)
}

/// The last index before an end; none is before 0.
pub(super) fn before(end: u64) -> u64 {
    end.saturating_sub(1)
}

fn sums(statement: &Statement) -> Finding {
    if let Err(wrong) = statement.check() {
        return Finding::contradicted(What::Sums, &wrong);
    }
    let earned: u128 = statement.lines.iter().map(|line| u128::from(line.share.get())).sum();
    let moved: i128 = statement.movements.iter().map(|movement| i128::from(movement.nanocredits)).sum();
    let (sign, moved) = (if moved < 0 { '−' } else { '+' }, moved.unsigned_abs());
    let says = format!(
        "{} owed before + {earned} by {} receipts {sign} {moved} moved otherwise = {} nanocredits owed now.",
        statement.opening, statement.receipts, statement.closing
    );
    Finding::holds(What::Sums, says)
}

fn receipts(bytes: &[u8], keys: Option<&[Key]>) -> Result<Vec<Given>, Unreadable> {
    let text = read::text(Input::Receipts, bytes, LONGEST_RECEIPTS)?;
    (1..).zip(text.lines()).map(|(line, token)| given(line, token, keys)).collect()
}

fn given(line: usize, token: &str, keys: Option<&[Key]>) -> Result<Given, Unreadable> {
    let is_not = |why: &dyn std::fmt::Display| Input::Receipts.is_not(&format!("line {line}: {why}"));
    let jws = Jws::read(token).map_err(|error| is_not(&error))?;
    let claims = read::claims(&jws).map_err(|error| is_not(&error))?;
    let signed = Signed { jws, claims };
    let signature = signed::gateway(&signed, keys);
    let leaf = Entry::of(Kind::Receipt, token.as_bytes()).leaf();
    Ok(Given { line, leaf, receipt: signed.claims, signature })
}

/// Whether these are the receipts, whether they hold, and whether the lines are what comes of them.
fn made_of(statement: &Statement, receipts: &[Given]) -> Vec<Finding> {
    let mut findings = vec![signatures(receipts), figures(receipts)];
    let Some(due) = recomputed(statement, receipts) else {
        findings.push(Finding::fails(What::Receipts, "None of these receipts is this party's."));
        return findings;
    };
    findings.push(same_receipts(statement, &due, receipts.len()));
    findings.push(lines(statement, &due));
    findings
}

fn signatures(receipts: &[Given]) -> Finding {
    let unsigned = |given: &&Given| given.signature.holds != Some(true);
    match receipts.iter().find(unsigned) {
        Some(Given { signature, .. }) if signature.holds.is_none() => signature.clone(),
        Some(Given { line, signature, .. }) => {
            Finding::fails(What::Signature, format!("Line {line}: {}", signature.says))
        }
        None => Finding::holds(What::Signature, format!("The gateway has signed all {} receipts.", receipts.len())),
    }
}

fn figures(receipts: &[Given]) -> Finding {
    let mut wrong = receipts.iter().filter_map(|given| Some((given, given.receipt.check().err()?)));
    match wrong.next() {
        Some((Given { line, receipt, .. }, why)) => {
            let more = match wrong.count() {
                0 => String::new(),
                more => format!(" {more} more don't hold either."),
            };
            Finding::fails(What::Cost, format!("Line {line}, receipt {}: {why}.{more}", receipt.id))
        }
        None => Finding::holds(What::Cost, "Each receipt's figures follow from each other."),
    }
}

/// The statement that comes of these receipts. None where nothing of them is the party's.
fn recomputed(statement: &Statement, receipts: &[Given]) -> Option<Statement> {
    let party = statement.party.as_str();
    let mut closing = Closing::begin(statement.epoch, [(party.to_owned(), statement.opening)]);
    // Receipts name nodes, and not who operates them: those of an operator are taken to be the operator's.
    let operator = if party.starts_with("operator:") { party } else { SOMEBODY };
    for Given { leaf, receipt, .. } in receipts {
        closing.count(&Counted { leaf: *leaf, operator, receipt });
    }
    statement.movements.iter().for_each(|movement| closing.move_money(party, movement.clone()));
    let closed = closing.end("", Hash::EMPTY_TREE);
    closed.statements.into_iter().find(|made| made.party == party)
}

fn same_receipts(statement: &Statement, due: &Statement, given: usize) -> Finding {
    let (said, counted) = (statement.receipts, due.receipts);
    if usize::try_from(counted) != Ok(given) {
        return Finding::fails(What::Receipts, format!("Of the {given} receipts given, {counted} are this party's."));
    }
    if said != counted {
        return Finding::fails(What::Receipts, format!("It is of {said} receipts, and {counted} were given."));
    }
    if statement.root != due.root {
        let says = format!(
            "These {counted} receipts have the root {}, and the statement's have {}: others, or in another order.",
            due.root,
            echo(&statement.root)
        );
        return Finding::fails(What::Receipts, says);
    }
    Finding::holds(What::Receipts, format!("These are the {counted} receipts that it is made of, in their order."))
}

fn lines(statement: &Statement, due: &Statement) -> Finding {
    if statement.lines == due.lines {
        let says = format!("Of {}, each is its receipts' sum, to the nanocredit and the microjoule.", due.lines.len());
        return Finding::holds(What::Lines, says);
    }
    let unshared = |lines: &[Line]| -> Vec<Line> {
        lines.iter().map(|line| Line { share: Default::default(), ..line.clone() }).collect()
    };
    if statement.party == GATEWAY && unshared(&statement.lines) == unshared(&due.lines) {
        let says = "All but the shares are the receipts' sums. Which nodes were the gateway's own, receipts don't say: \
                    commonwatt verify epoch recomputes these shares.";
        return Finding::unchecked(What::Lines, says);
    }
    Finding::fails(What::Lines, other_lines(&statement.lines, &due.lines))
}

/// The first difference between lines, with both figures.
pub(super) fn other_lines(said: &[Line], due: &[Line]) -> String {
    let of = |line: &Line| format!("{} on {}, tier '{}'", echo(&line.model), echo(&line.day), echo(&line.tier));
    let same_kind =
        |a: &Line, b: &Line| (a.model.as_str(), a.day.as_str(), a.tier.as_str()) == (&*b.model, &*b.day, &*b.tier);
    for line in said {
        let Some(due) = due.iter().find(|due| same_kind(line, due)) else {
            return format!("It has a line of {}, and no receipt is of that kind.", of(line));
        };
        let figures = figures_of(line).into_iter().zip(figures_of(due));
        if let Some(((what, said), (_, due))) = figures.into_iter().find(|((_, said), (_, due))| said != due) {
            return format!("Its line of {} says {said} {what}, and the receipts come to {due}.", of(line));
        }
    }
    match due.iter().find(|due| !said.iter().any(|line| same_kind(line, due))) {
        Some(missing) => {
            format!("It has no line of {}, and {} receipts are of that kind.", of(missing), missing.receipts)
        }
        None => "Its lines are not in order.".to_owned(),
    }
}

fn figures_of(line: &Line) -> [(&'static str, u64); 8] {
    [
        ("receipts", line.receipts),
        ("tokens of prompts", line.prompt_tokens),
        ("tokens from caches", line.cached_tokens),
        ("tokens of answers", line.completion_tokens),
        ("nanocredits of income", line.income.get()),
        ("nanocredits of share", line.share.get()),
        ("microjoules", line.microjoules.get()),
        ("micrograms of CO₂ equivalent", line.micrograms_co2e),
    ]
}
