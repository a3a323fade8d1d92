//! A log's tree head, as it is signed. Source: C2SP tlog-checkpoint.

use std::fmt;
use std::str::FromStr;

use super::decimal;
use super::key::{NotSigned, SigningKey};
use super::note::{self, NoNote, Note, Signature};
use super::tree::TreeHead;

/// What a log says of itself at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    tree: TreeHead,
    extensions: Vec<String>,
}

/// A checkpoint and who has signed it; nothing is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

/// Why this is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCheckpoint {
    #[error(transparent)]
    Note(#[from] NoNote),
    #[error("a checkpoint has three lines or more: the log's origin, the tree's size, and its root")]
    Lines,
    #[error("a checkpoint's origin and extensions are lines that are not empty")]
    EmptyLine,
    #[error("a tree's size is a decimal number below 2^63, without zeros before it")]
    Size,
    #[error("a tree's root is 32 bytes in base64, with padding")]
    Root,
}

impl Checkpoint {
    /// What a log of this origin says of its tree.
    ///
    /// # Errors
    /// When the origin or an extension is no line.
    pub fn new(origin: &str, tree: TreeHead, extensions: &[&str]) -> Result<Self, NoCheckpoint> {
        let extensions = extensions.iter().map(|&line| line.to_owned()).collect();
        let checkpoint = Self { origin: origin.to_owned(), tree, extensions };
        let is_read = checkpoint.to_string().parse().as_ref() == Ok(&checkpoint);
        if is_read { Ok(checkpoint) } else { Err(NoCheckpoint::EmptyLine) }
    }

    /// Which log it is.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn tree(&self) -> TreeHead {
        self.tree
    }

    /// What else the log signs. No monitor can tell whether it is true.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl SignedCheckpoint {
    /// A checkpoint that its log signs.
    ///
    /// # Errors
    /// When the key is a witness's, or refuses.
    pub fn new(checkpoint: Checkpoint, key: &SigningKey) -> Result<Self, NotSigned> {
        let text = checkpoint.to_string();
        let signature = note::sign(&text, key)?;
        // A checkpoint's lines were checked when it was made.
        let mut note = Note::new(text).map_err(|_| NotSigned::Refused)?;
        note.add(signature);
        Ok(Self { checkpoint, note })
    }

    /// What is signed. Whoever has verified no signature knows nothing by it.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Adds a signature, such as a witness's.
    pub fn add(&mut self, signature: Signature) {
        self.note.add(signature);
    }
}

impl FromStr for Checkpoint {
    type Err = NoCheckpoint;

    /// Reads the text of a note.
    fn from_str(text: &str) -> Result<Self, NoCheckpoint> {
        let note = Note::new(text.to_owned())?;
        let mut lines = note.text().split_terminator('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoCheckpoint::Lines);
        };
        let size = decimal(size).ok_or(NoCheckpoint::Size)?;
        let root = root.parse().map_err(|_| NoCheckpoint::Root)?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return Err(NoCheckpoint::EmptyLine);
        }
        Ok(Self { origin: origin.to_owned(), tree: TreeHead { size, root }, extensions })
    }
}

impl FromStr for SignedCheckpoint {
    type Err = NoCheckpoint;

    fn from_str(text: &str) -> Result<Self, NoCheckpoint> {
        let note: Note = text.parse()?;
        Ok(Self { checkpoint: note.text().parse()?, note })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}\n{}\n{}", self.origin, self.tree.size, self.tree.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.note, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hash::Hash;
    use super::super::key::KeyKind;
    use super::super::tree::MAX_SIZE;
    use super::*;

    const KNOWN: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn the_specification_s_checkpoint_is_read() {
        let checkpoint: Checkpoint = KNOWN.parse().unwrap();
        assert_eq!((checkpoint.origin(), checkpoint.tree().size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_string(), KNOWN);
        let extended = format!("{KNOWN}one\ntwo words\n");
        assert_eq!(extended.parse::<Checkpoint>().unwrap().extensions(), ["one", "two words"]);
        let signed = format!(
            "{KNOWN}\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gG\
             zGku9nTo+zyWE+xeMcTOAYQ8=\n"
        );
        assert_eq!(signed.parse::<SignedCheckpoint>().unwrap().to_string(), signed);
    }

    #[test]
    fn whatever_else_is_none() {
        let with_size = |size: &str| KNOWN.replace("20852163", size);
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for (bad, why) in [
            (String::new(), NoCheckpoint::Note(NoNote::CutText)),
            (KNOWN.trim_end().to_owned(), NoCheckpoint::Note(NoNote::CutText)),
            (KNOWN.replace('\n', "\r\n"), NoCheckpoint::Note(NoNote::ControlCharacter)),
            ("origin\n0\n".to_owned(), NoCheckpoint::Lines),
            (KNOWN.replace("example.com/behind-the-sofa", ""), NoCheckpoint::EmptyLine),
            (format!("{KNOWN}\n"), NoCheckpoint::EmptyLine),
            (format!("{KNOWN}\nmore\n"), NoCheckpoint::EmptyLine),
            (with_size(""), NoCheckpoint::Size),
            (with_size("020852163"), NoCheckpoint::Size),
            (with_size("+20852163"), NoCheckpoint::Size),
            (with_size("20852163 "), NoCheckpoint::Size),
            (with_size("9223372036854775808"), NoCheckpoint::Size),
            (with_size("99999999999999999999999"), NoCheckpoint::Size),
            (KNOWN.replace(root, &root[..40]), NoCheckpoint::Root),
            (KNOWN.replace(root, root.trim_end_matches('=')), NoCheckpoint::Root),
            (KNOWN.replace(root, &format!("{root} ")), NoCheckpoint::Root),
            (KNOWN.replace("q2I=", "q2J="), NoCheckpoint::Root),
        ] {
            assert_eq!(bad.parse::<Checkpoint>(), Err(why), "{bad}");
        }
        for (origin, extensions) in
            [("", vec![]), ("a\nb", vec![]), ("a", vec![""]), ("a", vec!["b\n"]), ("a\t", vec![])]
        {
            assert!(Checkpoint::new(origin, TreeHead::EMPTY, &extensions).is_err());
        }
    }

    #[test]
    fn a_log_signs_and_a_witness_doesn_t() {
        let checkpoint = Checkpoint::new("log", TreeHead::EMPTY, &[]).unwrap();
        let [log, witness] =
            [KeyKind::Note, KeyKind::Cosignature].map(|kind| SigningKey::new("log", kind, &[7; 32]).unwrap());
        assert_eq!(SignedCheckpoint::new(checkpoint.clone(), &witness), Err(NotSigned::Kind));
        let signed = SignedCheckpoint::new(checkpoint, &log).unwrap();
        assert!(signed.note().verify([log.verifier()]).is_ok());
        assert_eq!(signed.to_string().parse(), Ok(signed));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(origin in "[^\\p{Cc}]{1,30}", size in 0..=MAX_SIZE, root: [u8; 32], more in "[^\\p{Cc}]{1,30}") {
            let tree = TreeHead { size, root: Hash(root) };
            for extensions in [vec![], vec![more.as_str(), "b"]] {
                let checkpoint = Checkpoint::new(&origin, tree, &extensions).unwrap();
                prop_assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
            }
        }

        #[test]
        fn nothing_is_more_than_an_error(text in "[\\PC\n]{0,9}\n[0-9]{0,20}\n[A-Za-z0-9+/]{42}[A-Z]=\n([\\PC\n]{0,9}\n)?") {
            if let Ok(read) = text.parse::<Checkpoint>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
