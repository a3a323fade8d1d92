//! No byte may change.

use proptest::prelude::*;

use super::*;

/// A receipt with a proof beside it, and whom to believe.
struct Good {
    token: Vec<u8>,
    proof: Vec<u8>,
    keys: String,
    policy: String,
}

impl Good {
    fn new() -> Self {
        let token = sign(&paid());
        let proof = Log::with(&token, u64::MAX).proof();
        Self { token: token.into_bytes(), proof: proof.into_bytes(), keys: keys(), policy: policy() }
    }

    /// Whether everything that such a receipt and such a proof can show holds.
    fn holds(&self, token: &[u8], proof: &[u8]) -> bool {
        let (keys, policy, proof) = (Some(self.keys.as_bytes()), Some(self.policy.as_bytes()), Some(proof));
        let evidence = Evidence { receipt: token, keys, policy, proof, ..Evidence::default() };
        receipt(&evidence).is_ok_and(|verdict| verdict.holds)
    }
}

#[test]
fn no_byte_of_a_receipt_or_of_its_proof_may_change_and_none_may_be_missing() {
    let good = Good::new();
    let (token, proof) = (good.token.as_slice(), good.proof.as_slice());
    assert!(good.holds(token, proof));
    let flipped = |bytes: &[u8], at: usize, bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << bit;
        bytes
    };
    // Every byte at least once, and of a part of them every bit.
    let bits = |at: usize| if at.is_multiple_of(16) { 0..8 } else { at % 8..at % 8 + 1 };
    for at in 0..token.len() {
        assert!(bits(at).all(|bit| !good.holds(&flipped(token, at, bit), proof)), "byte {at} of the receipt");
    }
    for at in 0..proof.len() {
        assert!(bits(at).all(|bit| !good.holds(token, &flipped(proof, at, bit))), "byte {at} of the proof");
        assert!(!good.holds(token, &proof[..at]), "the proof's first {at} bytes");
    }
    for length in (0..token.len()).step_by(7) {
        assert!(!good.holds(&token[..length], proof), "the receipt's first {length} bytes");
    }
}

proptest! {
    #[test]
    fn no_character_can_be_another(at: prop::sample::Index, byte: u8) {
        let good = Good::new();
        let mut token = good.token.clone();
        let at = at.index(token.len());
        let before = std::mem::replace(&mut token[at], byte);
        // Blank characters around a receipt are passed over.
        prop_assume!(before != byte && !(byte.is_ascii_whitespace() && (at == 0 || at == token.len() - 1)));
        prop_assert!(!good.holds(&token, &good.proof));
    }

    #[test]
    fn nothing_is_more_than_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[{}\\[\\]\":,a-z0-9. \n]{0,80}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let given = Some(bytes);
            let evidence = Evidence { receipt: bytes, keys: given, policy: given, proof: given, request: given, answer: given };
            prop_assert!(receipt(&evidence).is_err());
            let (file, keys) = (file(&sign(&paid()), None), keys());
            let evidence = Evidence { receipt: file.as_bytes(), keys: Some(keys.as_bytes()), request: given, answer: given, ..Evidence::default() };
            prop_assert!(receipt(&evidence).is_ok_and(|verdict| !verdict.holds));
            let _ = json::answer(bytes);
        }
    }
}
