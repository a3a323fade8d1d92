//! A text and who has signed it. Source: C2SP signed-note, "Format" and "Signatures".

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;

use super::base64;
use super::cosignature;
use super::key::{KeyKind, NotSigned, SigningKey, VerifierKey, is_key_name};

/// The longest note that is read. All the signatures that one may have fit, those of post-quantum keys too.
pub const LONGEST_NOTE: usize = 512 << 10;
/// The most signatures of a note that is read.
pub const MOST_SIGNATURES: usize = 64;
/// What every line with a signature starts with.
const DASH: &str = "— ";

/// A text with signatures, none of which is verified yet. Written as it was read, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// One signature, of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

/// A signature that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    pub by: &'a VerifierKey,
    /// When, in seconds since 1970: cosignatures say it.
    pub time: Option<u64>,
}

/// Why this is no note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNote {
    #[error("a note is longer than {LONGEST_NOTE} bytes")]
    TooLong,
    #[error("a note has a control character other than the end of a line")]
    ControlCharacter,
    #[error("a note's text ends in the middle of a line")]
    CutText,
    #[error("a note has a text, an empty line, and a line for each signature")]
    NoSignatures,
    #[error("a note has more than {MOST_SIGNATURES} signatures")]
    TooManySignatures,
    #[error("a signature is a line of a dash, a name, and four bytes of key id and more in base64")]
    Signature,
}

/// Why a note is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    #[error("the signature by {name} ({id:08x}) is wrong")]
    Wrong { name: String, id: u32 },
    #[error("nobody who is known has signed")]
    Unknown,
}

/// Signs a text as a log signs.
///
/// # Errors
/// When the key is a witness's, or refuses.
pub fn sign(text: &str, key: &SigningKey) -> Result<Signature, NotSigned> {
    let bytes = key.sign(KeyKind::Note, text.as_bytes())?;
    Ok(Signature::new(key.verifier(), bytes.to_vec()))
}

/// The signatures on lines that stand alone, as a witness sends them.
///
/// # Errors
/// When they aren't, or are too many.
pub fn read_signatures(lines: &str) -> Result<Vec<Signature>, NoNote> {
    let Some(lines) = lines.strip_suffix('\n') else { return Err(NoNote::Signature) };
    if lines.len() > LONGEST_NOTE {
        return Err(NoNote::TooLong);
    }
    let signatures: Vec<Signature> =
        lines.split('\n').take(MOST_SIGNATURES + 1).map(str::parse).collect::<Result<_, _>>()?;
    if signatures.len() > MOST_SIGNATURES { Err(NoNote::TooManySignatures) } else { Ok(signatures) }
}

impl Note {
    /// A text that nobody has signed yet.
    ///
    /// # Errors
    /// When it can't be a note's.
    pub fn new(text: String) -> Result<Self, NoNote> {
        if text.len() > LONGEST_NOTE {
            return Err(NoNote::TooLong);
        }
        if text.contains(|character| character < ' ' && character != '\n') {
            return Err(NoNote::ControlCharacter);
        }
        if !text.ends_with('\n') {
            return Err(NoNote::CutText);
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// What is signed, with the end of its last line.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature. Those that the same key gave before make room.
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|other| (&other.name, other.id) != (&signature.name, signature.id));
        self.signatures.push(signature);
    }

    /// The signatures by keys that are known. Others are passed over.
    ///
    /// # Errors
    /// When none is, or one is wrong.
    pub fn verify<'a>(
        &self,
        known: impl IntoIterator<Item = &'a VerifierKey> + Clone,
    ) -> Result<Vec<Verified<'a>>, Unverified> {
        let mut verified = Vec::new();
        for signature in &self.signatures {
            let keys = known.clone().into_iter().filter(|key| signature.says_by(key));
            let mut results = keys.map(|key| signature.verify(&self.text, key)).peekable();
            if results.peek().is_some() {
                let before = verified.len();
                verified.extend(results.flatten());
                if verified.len() == before {
                    return Err(Unverified::Wrong { name: signature.name.clone(), id: signature.id });
                }
            }
        }
        if verified.is_empty() { Err(Unverified::Unknown) } else { Ok(verified) }
    }
}

impl Signature {
    /// A signature that was made elsewhere, by the owner of a key.
    pub fn new(by: &VerifierKey, bytes: Vec<u8>) -> Self {
        Self { name: by.name().to_owned(), id: by.id(), bytes }
    }

    /// Whose it says it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the key that it says it is by.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it says that this key has made it.
    pub fn says_by(&self, key: &VerifierKey) -> bool {
        self.id == key.id() && self.name == key.name()
    }

    /// The same, verified. None when the key didn't make it for this text.
    pub fn verify<'a>(&self, text: &str, key: &'a VerifierKey) -> Option<Verified<'a>> {
        if !self.says_by(key) {
            return None;
        }
        let time = match key.kind() {
            KeyKind::Note => {
                let bytes = self.bytes.as_slice().try_into().ok()?;
                key.public().verifies(text.as_bytes(), bytes).then_some(None)
            }
            KeyKind::Cosignature => cosignature::verify(text, &self.bytes, key.public()).map(Some),
        };
        time.map(|time| Verified { by: key, time })
    }
}

impl FromStr for Note {
    type Err = NoNote;

    fn from_str(note: &str) -> Result<Self, NoNote> {
        if note.len() > LONGEST_NOTE {
            return Err(NoNote::TooLong);
        }
        let end = note.rfind("\n\n").ok_or(NoNote::NoSignatures)?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        if signatures.is_empty() {
            return Err(NoNote::NoSignatures);
        }
        Ok(Self { signatures: read_signatures(signatures)?, ..Self::new(text.to_owned())? })
    }
}

impl FromStr for Signature {
    type Err = NoNote;

    fn from_str(line: &str) -> Result<Self, NoNote> {
        let (name, bytes) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(NoNote::Signature)?;
        let bytes = base64(bytes).ok_or(NoNote::Signature)?;
        match bytes.split_first_chunk() {
            Some((id, bytes)) if is_key_name(name) && !bytes.is_empty() => {
                Ok(Self { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
            }
            _ => Err(NoNote::Signature),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(formatter, "{signature}"))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.to_be_bytes().as_slice(), &self.bytes].concat();
        write!(formatter, "{DASH}{} {}", self.name, BASE64.encode(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VERIFIER: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONnc\
                        AlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    fn key(name: &str) -> SigningKey {
        SigningKey::new(name, KeyKind::Note, &[name.len() as u8; 32]).unwrap()
    }

    #[test]
    fn the_specification_s_note_is_verified() {
        let verifier: VerifierKey = VERIFIER.parse().unwrap();
        let note: Note = NOTE.parse().unwrap();
        assert_eq!((note.text(), note.to_string().as_str()), ("This is an example message.\n", NOTE));
        assert_eq!(note.verify([&verifier]), Ok(vec![Verified { by: &verifier, time: None }]));
        assert_eq!(note.verify([key("other").verifier()]), Err(Unverified::Unknown));
        assert_eq!(note.verify([]), Err(Unverified::Unknown));
    }

    #[test]
    fn no_byte_of_it_may_change() {
        let verifier: VerifierKey = VERIFIER.parse().unwrap();
        for at in 0..NOTE.len() {
            for bit in 0..8 {
                let mut bytes = NOTE.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let note = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Note>().ok());
                assert!(note.is_none_or(|note| note.verify([&verifier]).is_err()), "bit {bit} of byte {at}");
            }
            assert!(NOTE.get(..at).is_none_or(|cut| cut.parse::<Note>().is_err()), "cut at {at}");
        }
    }

    #[test]
    fn unknown_signatures_are_passed_over_and_wrong_ones_are_not() {
        let (log, stranger) = (key("log"), key("stranger"));
        let mut note = Note::new("a\n\nb\n".to_owned()).unwrap();
        note.add(sign(note.text(), &stranger).unwrap());
        // The same name under another id, and the same id under another name, are others.
        for (name, id) in [("log", 0), ("gol", log.verifier().id())] {
            note.add(Signature { name: name.to_owned(), id, bytes: vec![0] });
        }
        assert_eq!(note.verify([log.verifier()]), Err(Unverified::Unknown));
        note.add(sign(note.text(), &log).unwrap());
        assert_eq!(note.verify([log.verifier()]).unwrap().len(), 1);
        note.add(sign(note.text(), &log).unwrap());
        assert_eq!(note.signatures().len(), 4, "a key signs once");
        assert_eq!(note.to_string().parse().as_ref(), Ok(&note));
        note.add(sign("a\n", &log).unwrap());
        let wrong = Unverified::Wrong { name: "log".to_owned(), id: log.verifier().id() };
        assert_eq!(note.verify([log.verifier(), stranger.verifier()]), Err(wrong));
    }

    #[test]
    fn whatever_else_is_no_note() {
        let line = NOTE.lines().last().unwrap();
        let many = format!("{line}\n").repeat(MOST_SIGNATURES + 1);
        for (bad, why) in [
            ("", NoNote::NoSignatures),
            ("text\n", NoNote::NoSignatures),
            ("text\n\n", NoNote::NoSignatures),
            (&format!("text\n{line}\n"), NoNote::NoSignatures),
            (&format!("text\n\n{line}"), NoNote::Signature),
            (&format!("text\n\n{line}\n\n"), NoNote::NoSignatures),
            (&format!("text\n\n{line}\n{line}\nmore\n"), NoNote::Signature),
            (&format!("te\txt\n\n{line}\n"), NoNote::ControlCharacter),
            (&format!("text\r\n\n{line}\n"), NoNote::ControlCharacter),
            (&format!("text\n\n{}\n", line.replace('—', "-")), NoNote::Signature),
            (&format!("text\n\n{}\n", line.replace("foo ", "foo  ")), NoNote::Signature),
            (&format!("text\n\n{}\n", line.replace("foo", "f+o")), NoNote::Signature),
            (&format!("text\n\n{line}\r\n"), NoNote::Signature),
            ("text\n\n— a AAAAAA==\n", NoNote::Signature),
            ("text\n\n— a \n", NoNote::Signature),
            (&format!("text\n\n{many}"), NoNote::TooManySignatures),
            (&format!("{}\n\n{line}\n", "x".repeat(LONGEST_NOTE)), NoNote::TooLong),
        ] {
            assert_eq!(bad.parse::<Note>(), Err(why), "{bad:.80}");
        }
        assert!(format!("text\n\n{}", &many[..many.len() - line.len() - 1]).parse::<Note>().is_ok());
        assert_eq!(Note::new("text".to_owned()), Err(NoNote::CutText));
    }

    proptest! {
        #[test]
        fn what_is_signed_is_read_and_verified(text in "([^\\p{Cc}]{0,9}\n){1,4}", names in prop::collection::vec("[a-z]{1,9}", 1..5)) {
            let keys: Vec<SigningKey> = names.iter().map(|name| key(name)).collect();
            let mut note = Note::new(text.clone()).unwrap();
            keys.iter().for_each(|key| note.add(sign(&text, key).unwrap()));
            let read: Note = note.to_string().parse().unwrap();
            prop_assert_eq!(&read, &note);
            prop_assert!(keys.iter().all(|key| note.verify([key.verifier()]).is_ok()));
        }

        #[test]
        fn nothing_is_more_than_an_error(note in "([\\PC\n]{0,30}\n\n)?(— \\PC{0,9} [A-Za-z0-9+/=]{0,12}\n){0,3}") {
            if let Ok(read) = note.parse::<Note>() {
                prop_assert_eq!(read.to_string(), note);
            }
        }
    }
}
