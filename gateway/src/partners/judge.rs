//! Whether what a partner has signed is owed: its receipt, held against what we know of our own attempt.

use openapi::receipt::Receipt;
use openapi::units::Nanocredits;
use openapi::verify::Verdict;

use crate::inference::record::Noted;

/// Of an answer that was broken off, so many tokens may have been on their way.
const ON_THE_WAY: u64 = 64;

/// What we know of an attempt at the partner.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub(super) noted: Noted,
    /// Tokens of the answer that came.
    pub(super) completion_tokens: u64,
}

/// What a receipt comes to, or why it is not owed.
///
/// # Errors
/// What the partner's administrator has to be asked.
pub(super) fn judge(verdict: &Verdict, receipt: &Receipt, ours: Option<&Ours>) -> Result<Nanocredits, String> {
    if !verdict.holds {
        let wrong = verdict.findings.iter().filter(|finding| finding.holds == Some(false));
        let wrong: Vec<&str> = wrong.map(|finding| finding.says.as_str()).collect();
        return Err(format!("The receipt does not hold: {}", wrong.join(" ")));
    }
    if receipt.nanocredits == Nanocredits::ZERO {
        return Ok(Nanocredits::ZERO);
    }
    let Some(Ours { noted, completion_tokens }) = ours else {
        return Err("It names no attempt of ours at this partner.".to_owned());
    };
    let (asked, agreed) = (receipt.price, noted.price);
    if asked.prompt > agreed.prompt
        || asked.cached > agreed.cached.max(agreed.prompt)
        || asked.completion > agreed.completion
    {
        return Err("It asks more for a token than our own customer was asked.".to_owned());
    }
    if receipt.prompt_tokens > noted.most_prompt_tokens {
        let (billed, most) = (receipt.prompt_tokens, noted.most_prompt_tokens);
        return Err(format!("It bills {billed} tokens of a prompt that can have {most} at most."));
    }
    let came = noted.completion_tokens.unwrap_or(completion_tokens.saturating_add(ON_THE_WAY));
    if receipt.completion_tokens > came {
        return Err(format!(
            "It bills {} tokens of an answer of which {came} came at most.",
            receipt.completion_tokens
        ));
    }
    Ok(receipt.nanocredits)
}

#[cfg(test)]
mod tests {
    use openapi::price::Price;
    use openapi::receipt::commitment::Salt;
    use openapi::verify::{Finding, What};
    use uuid::Uuid;

    use super::*;

    const SALT: Salt = Salt([1; 32]);

    fn ours(heard: Option<u64>) -> Ours {
        let noted = Noted {
            salt: SALT,
            model: "m".to_owned(),
            price: price("110,11,440"),
            price_version: 1,
            is_paid: true,
            is_attached: true,
            most_prompt_tokens: 20,
            completion_tokens: heard,
            request_commitment: SALT.request(b"{}"),
            answer_commitment: None,
            authors: Vec::new(),
            client_request: None,
        };
        Ours { noted, completion_tokens: 8 }
    }

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    fn billed(prompt: u64, completion: u64, nanocredits: u64) -> Receipt {
        let receipt = serde_json::json!({
            "v": 1, "id": format!("{}.1", Uuid::nil()), "gateway": "g", "node": Uuid::nil(), "alone": "attached", "model": "m",
            "outcome": "completed", "started_at": 1, "duration_microseconds": 1, "prompt_tokens": prompt, "cached_tokens": 0,
            "completion_tokens": completion, "price": price("100,10,400"), "is_paid": nanocredits > 0,
            "nanocredits": nanocredits, "request_commitment": SALT.request(b"{}"),
        });
        serde_json::from_value(receipt).unwrap()
    }

    fn verdict(holds: bool) -> Verdict {
        let says = "The signature is nobody's.".to_owned();
        let findings = vec![Finding { what: What::Signature, holds: Some(holds), says }];
        Verdict { receipt: None, statement: None, epoch: None, holds, summary: String::new(), findings }
    }

    fn why(receipt: &Receipt, ours: Option<&Ours>) -> String {
        judge(&verdict(true), receipt, ours).unwrap_err()
    }

    #[test]
    fn what_was_asked_and_came_is_owed() {
        let receipt = billed(20, 8, 5_200);
        assert_eq!(judge(&verdict(true), &receipt, Some(&ours(Some(8)))), Ok(Nanocredits::new(5_200)));
        assert_eq!(judge(&verdict(true), &billed(0, 0, 0), None), Ok(Nanocredits::ZERO), "nothing is owed for nothing");
        let broken_off = billed(20, 8 + ON_THE_WAY, 9);
        assert!(judge(&verdict(true), &broken_off, Some(&ours(None))).is_ok(), "some may have been on their way");
    }

    #[test]
    fn what_was_not_asked_or_did_not_come_is_disputed() {
        let forged = judge(&verdict(false), &billed(20, 8, 9), Some(&ours(Some(8)))).unwrap_err();
        assert_eq!(forged, "The receipt does not hold: The signature is nobody's.");
        assert!(why(&billed(1, 1, 9), None).contains("no attempt of ours"));
        assert!(why(&billed(21, 8, 9), Some(&ours(Some(8)))).contains("21 tokens of a prompt that can have 20"));
        assert!(why(&billed(20, 9, 9), Some(&ours(Some(8)))).contains("9 tokens of an answer of which 8 came"));
        assert!(why(&billed(20, 9 + ON_THE_WAY, 9), Some(&ours(None))).contains("73 tokens"));
        for dear in ["111,10,400", "100,111,400", "100,10,441"] {
            let receipt = Receipt { price: price(dear), ..billed(20, 8, 9) };
            assert!(why(&receipt, Some(&ours(Some(8)))).contains("asks more for a token"), "{dear}");
        }
    }
}
