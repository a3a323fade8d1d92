//! Which logs and which witnesses somebody believes. Source: C2SP tlog-policy.

mod read;

use super::checkpoint::SignedCheckpoint;
use super::key::VerifierKey;
use super::note::{Unverified, Verified};
pub use read::{Fault, LONGEST_FILE, NoPolicy};

/// What a quorum is called that asks for no witness.
const NOBODY: &[u8] = b"none";

/// Logs, witnesses, and how many of these have to have seen what a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    /// Witnesses and groups in the order of the file: a group has only members before it.
    parties: Vec<Party>,
    quorum: Option<usize>,
}

/// A log that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its name is the log's origin.
    pub key: VerifierKey,
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Party {
    /// Means nothing outside the file. Bytes, since names may be in any encoding.
    name: Vec<u8>,
    kind: PartyKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PartyKind {
    Witness { key: VerifierKey, url: Option<String> },
    Group { least: usize, members: Vec<usize> },
}

/// Who stands behind a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed<'a> {
    pub log: &'a VerifierKey,
    /// Every known witness that has cosigned, with its time, in the order of the note.
    pub witnesses: Vec<Verified<'a>>,
}

/// Why a checkpoint is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBelieved {
    #[error("the policy names no log {0}")]
    UnknownLog(String),
    #[error("the log's signature: {0}")]
    Log(Unverified),
    #[error("the witnesses' signatures: {0}")]
    Witnesses(Unverified),
    #[error("the {0} known witnesses that have cosigned are no quorum")]
    NoQuorum(usize),
}

impl Policy {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is no policy.
    pub fn read(file: &[u8]) -> Result<Self, NoPolicy> {
        read::policy(file)
    }

    /// As a file, which is read as the same policy. Comments aren't in it.
    pub fn write(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for Log { key, url } in &self.logs {
            line(&mut file, &[b"log", key.to_string().as_bytes(), url.as_deref().unwrap_or_default().as_bytes()]);
        }
        for party in &self.parties {
            match &party.kind {
                PartyKind::Witness { key, url } => {
                    let url = url.as_deref().unwrap_or_default();
                    line(&mut file, &[b"witness", &party.name, key.to_string().as_bytes(), url.as_bytes()]);
                }
                PartyKind::Group { least, members } => {
                    let least = least.to_string();
                    let members = members.iter().map(|member| self.parties[*member].name.as_slice());
                    let head: [&[u8]; 3] = [b"group", &party.name, least.as_bytes()];
                    line(&mut file, &head.into_iter().chain(members).collect::<Vec<_>>());
                }
            }
        }
        line(&mut file, &[b"quorum", self.quorum.map_or(NOBODY, |party| &self.parties[party].name)]);
        file
    }

    /// The logs that are believed.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The keys of the witnesses, with the address of each where the file has it.
    pub fn witnesses(&self) -> impl Iterator<Item = (&VerifierKey, Option<&str>)> + Clone {
        self.parties.iter().filter_map(|party| match &party.kind {
            PartyKind::Witness { key, url } => Some((key, url.as_deref())),
            PartyKind::Group { .. } => None,
        })
    }

    /// Whether a checkpoint is by one of the logs, and enough witnesses have cosigned it.
    ///
    /// # Errors
    /// When it is not to be believed, as when a known key's signature is wrong.
    pub fn judge(&self, signed: &SignedCheckpoint) -> Result<Believed<'_>, NotBelieved> {
        let origin = signed.checkpoint().origin();
        let logs = self.logs.iter().map(|log| &log.key).filter(|key| key.name() == origin);
        if logs.clone().next().is_none() {
            return Err(NotBelieved::UnknownLog(origin.to_owned()));
        }
        let log = signed.note().verify(logs).map_err(NotBelieved::Log)?;
        let witnesses = match signed.note().verify(self.witnesses().map(|(key, _)| key)) {
            Ok(witnesses) => witnesses,
            Err(Unverified::Unknown) => Vec::new(),
            Err(wrong) => return Err(NotBelieved::Witnesses(wrong)),
        };
        if !self.is_quorum(&witnesses) {
            return Err(NotBelieved::NoQuorum(witnesses.len()));
        }
        let log = log.first().ok_or(NotBelieved::Log(Unverified::Unknown))?.by;
        Ok(Believed { log, witnesses })
    }

    fn is_quorum(&self, witnesses: &[Verified<'_>]) -> bool {
        let mut saw: Vec<bool> = Vec::with_capacity(self.parties.len());
        for party in &self.parties {
            saw.push(match &party.kind {
                PartyKind::Witness { key, .. } => witnesses.iter().any(|verified| verified.by == key),
                PartyKind::Group { least, members } => members.iter().filter(|member| saw[**member]).count() >= *least,
            });
        }
        self.quorum.is_none_or(|quorum| saw[quorum])
    }
}

fn line(file: &mut Vec<u8>, words: &[&[u8]]) {
    let words: Vec<&[u8]> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    file.extend_from_slice(&words.join(b" ".as_slice()));
    file.push(b'\n');
}

#[cfg(test)]
mod tests;
