//! What a witness signs: a checkpoint, and when it saw no larger one. Source: C2SP tlog-cosignature, "Ed25519 signed
//! message".

use super::checkpoint::SignedCheckpoint;
use super::ed25519::PublicKey;
use super::key::{KeyKind, NotSigned, SigningKey};
use super::note::Signature;

/// Later times are none.
const LATEST: u64 = (1 << 63) - 1;

/// Cosigns a checkpoint at a time, in seconds since 1970.
///
/// # Errors
/// When the key is a log's, or refuses, or the time is none.
pub fn sign(checkpoint: &SignedCheckpoint, time: u64, key: &SigningKey) -> Result<Signature, NotSigned> {
    if !(1..=LATEST).contains(&time) {
        return Err(NotSigned::Time);
    }
    let signature = key.sign(KeyKind::Cosignature, message(checkpoint.note().text(), time).as_bytes())?;
    let bytes = [time.to_be_bytes().as_slice(), &signature].concat();
    Ok(Signature::new(key.verifier(), bytes))
}

/// The time that a signature is of. None when the key didn't make it for the text of this checkpoint.
pub(super) fn verify(text: &str, bytes: &[u8], key: PublicKey) -> Option<u64> {
    let (time, signature) = bytes.split_first_chunk()?;
    let (time, signature) = (u64::from_be_bytes(*time), signature.try_into().ok()?);
    (time <= LATEST && key.verifies(message(text, time).as_bytes(), signature)).then_some(time)
}

/// What is signed. The first line keeps it from being anything else.
fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::Checkpoint;
    use super::super::tree::TreeHead;
    use super::*;

    fn key(kind: KeyKind) -> SigningKey {
        SigningKey::new("witness.example/w1", kind, &[9; 32]).unwrap()
    }

    fn checkpoint(extensions: &[&str]) -> SignedCheckpoint {
        let checkpoint = Checkpoint::new("log.example", TreeHead::EMPTY, extensions).unwrap();
        SignedCheckpoint::new(checkpoint, &key(KeyKind::Note)).unwrap()
    }

    #[test]
    fn what_is_signed_is_as_specified() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let expected = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
                        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(message(text, 1_679_315_147), expected);
    }

    #[test]
    fn a_cosignature_says_when() {
        let (witness, mut signed) = (key(KeyKind::Cosignature), checkpoint(&["extension"]));
        signed.add(sign(&signed, 1_679_315_147, &witness).unwrap());
        let verified = signed.note().verify([witness.verifier()]).unwrap();
        assert_eq!(verified.iter().map(|verified| verified.time).collect::<Vec<_>>(), [Some(1_679_315_147)]);
    }

    #[test]
    fn no_bit_of_it_may_change_and_it_is_of_no_other_checkpoint() {
        let (witness, signed) = (key(KeyKind::Cosignature), checkpoint(&[]));
        let (text, public) = (signed.note().text(), witness.verifier().public());
        let signature = sign(&signed, 77, &witness).unwrap();
        assert_eq!(verify(text, signature.bytes(), public), Some(77));
        for bit in 0..signature.bytes().len() * 8 {
            let mut bytes = signature.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(text, &bytes, public), None, "bit {bit}");
        }
        for length in 0..signature.bytes().len() {
            assert_eq!(verify(text, &signature.bytes()[..length], public), None);
        }
        assert_eq!(verify(checkpoint(&["more"]).note().text(), signature.bytes(), public), None);
        let plain = key(KeyKind::Note).sign(KeyKind::Note, text.as_bytes()).unwrap();
        assert_eq!(verify(text, &[77_u64.to_be_bytes().as_slice(), &plain].concat(), public), None);
    }

    #[test]
    fn there_are_times_that_are_none() {
        let (witness, signed) = (key(KeyKind::Cosignature), checkpoint(&[]));
        assert!([0, LATEST + 1, u64::MAX].iter().all(|time| sign(&signed, *time, &witness) == Err(NotSigned::Time)));
        assert!(sign(&signed, LATEST, &witness).is_ok());
        assert_eq!(sign(&signed, 1, &key(KeyKind::Note)), Err(NotSigned::Kind));
        let late = witness.sign(KeyKind::Cosignature, message(signed.note().text(), LATEST + 1).as_bytes()).unwrap();
        let bytes = [(LATEST + 1).to_be_bytes().as_slice(), &late].concat();
        assert_eq!(verify(signed.note().text(), &bytes, witness.verifier().public()), None);
    }
}
