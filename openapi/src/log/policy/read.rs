//! Reading a policy, line by line.

use std::collections::{HashMap, HashSet};

use super::super::decimal;
use super::super::ed25519::PublicKey;
use super::super::key::{KeyKind, NoKey, VerifierKey};
use super::{Log, NOBODY, Party, PartyKind, Policy};

/// The longest file that is read.
pub const LONGEST_FILE: usize = 1 << 20;

/// What is wrong with a line, counted from 1, or with the whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {fault}")]
pub struct NoPolicy {
    pub line: usize,
    pub fault: Fault,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the file is longer than {LONGEST_FILE} bytes")]
    TooLong,
    #[error("the line has a control character other than a tab")]
    ControlCharacter,
    #[error("the file ends in the middle of the line")]
    Cut,
    #[error(
        "a line is `log <vkey> [<url>]`, `witness <name> <vkey> [<url>]`, `group <name> <all|any|number> <name>…` or `quorum <name>`"
    )]
    Form,
    #[error(transparent)]
    Key(#[from] NoKey),
    #[error("a witness has a key of type 0x04")]
    WitnessKind,
    #[error("this key is in the file already")]
    KeyTwice,
    #[error("this name is taken")]
    NameTwice,
    #[error("no line before this one defines that name")]
    UnknownName,
    #[error("a name is the member of one group, and there once")]
    MemberTwice,
    #[error("a group asks for at least one of its members, and for no more than it has")]
    Least,
    #[error("the file has a quorum already")]
    QuorumTwice,
    #[error("the file has no quorum line")]
    NoQuorum,
}

pub(super) fn policy(file: &[u8]) -> Result<Policy, NoPolicy> {
    if file.len() > LONGEST_FILE {
        return Err(NoPolicy { line: 1, fault: Fault::TooLong });
    }
    let mut reader = Reader::default();
    let mut line = 1;
    let mut rest = file;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Fault::Cut);
        let read = end.and_then(|end| reader.line(&rest[..end]).map(|()| end));
        rest = &rest[read.map_err(|fault| NoPolicy { line, fault })? + 1..];
        line += 1;
    }
    let quorum = reader.quorum.ok_or(NoPolicy { line, fault: Fault::NoQuorum })?;
    Ok(Policy { logs: reader.logs, parties: reader.parties, quorum })
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    logs: Vec<Log>,
    parties: Vec<Party>,
    /// Where each name is among the parties, and whether a group has it.
    names: HashMap<Vec<u8>, (usize, bool)>,
    log_keys: HashSet<PublicKey>,
    witness_keys: HashSet<PublicKey>,
    quorum: Option<Option<usize>>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Fault::ControlCharacter);
        }
        let words: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key, url @ ..] => self.log(key, url),
            [b"witness", name, key, url @ ..] => self.witness(name, key, url),
            [b"group", name, least, members @ ..] => self.group(name, least, members),
            [b"quorum", name] => self.quorum(name),
            _ => Err(Fault::Form),
        }
    }

    fn log(&mut self, key: &[u8], url: &[&[u8]]) -> Result<(), Fault> {
        let log = Log { key: read_key(key)?, url: read_url(url)? };
        if !self.log_keys.insert(log.key.public()) {
            return Err(Fault::KeyTwice);
        }
        self.logs.push(log);
        Ok(())
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: &[&[u8]]) -> Result<(), Fault> {
        let (key, url) = (read_key(key)?, read_url(url)?);
        if key.kind() != KeyKind::Cosignature {
            return Err(Fault::WitnessKind);
        }
        if !self.witness_keys.insert(key.public()) {
            return Err(Fault::KeyTwice);
        }
        self.define(name, PartyKind::Witness { key, url })
    }

    fn group(&mut self, name: &[u8], least: &[u8], members: &[&[u8]]) -> Result<(), Fault> {
        let mut indices = Vec::new();
        for member in members {
            let (index, is_member) = self.names.get_mut(*member).ok_or(Fault::UnknownName)?;
            if std::mem::replace(is_member, true) {
                return Err(Fault::MemberTwice);
            }
            indices.push(*index);
        }
        let least = match least {
            b"all" => indices.len(),
            b"any" => 1,
            number => {
                let number = std::str::from_utf8(number).ok().and_then(decimal).ok_or(Fault::Form)?;
                usize::try_from(number).map_err(|_| Fault::Least)?
            }
        };
        if !(1..=indices.len()).contains(&least) {
            return Err(Fault::Least);
        }
        self.define(name, PartyKind::Group { least, members: indices })
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), Fault> {
        if self.quorum.is_some() {
            return Err(Fault::QuorumTwice);
        }
        let party = if name == NOBODY { None } else { Some(self.names.get(name).ok_or(Fault::UnknownName)?.0) };
        self.quorum = Some(party);
        Ok(())
    }

    fn define(&mut self, name: &[u8], kind: PartyKind) -> Result<(), Fault> {
        if name == NOBODY || self.names.contains_key(name) {
            return Err(Fault::NameTwice);
        }
        self.names.insert(name.to_vec(), (self.parties.len(), false));
        self.parties.push(Party { name: name.to_vec(), kind });
        Ok(())
    }
}

fn read_key(word: &[u8]) -> Result<VerifierKey, Fault> {
    Ok(std::str::from_utf8(word).map_err(|_| NoKey::Verifier)?.parse()?)
}

fn read_url(words: &[&[u8]]) -> Result<Option<String>, Fault> {
    match words {
        [] => Ok(None),
        [url] => Ok(Some(String::from_utf8_lossy(url).into_owned())),
        _ => Err(Fault::Form),
    }
}
