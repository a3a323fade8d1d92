//! What a conversation's beginnings hash to.

use std::fmt::{self, Formatter};

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The shortest beginning that is worth going somewhere for.
const FIRST_BLOCK: usize = 256;
/// Blocks double up to this.
const BLOCK: usize = 4_096;
/// What lies beyond is not looked at: it would take its time, and what comes before finds the node.
const MOST_BYTES: usize = 1 << 20;
const MOST_MESSAGES: usize = 4_096;
/// A conversation that goes on is found by one of its last borders, so that all of so many are kept.
const RECENT: usize = 16;

/// Hashes of a conversation's text from its start up to each of at most 64 borders. Two have a hash in common when
/// account, model and text are the same up to that border.
///
/// Borders are where a block ends and where a message does, so that what has grown by a turn still has those of before.
/// Where there are many, those far from the end are thinned out to at most four in each octave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    borders: Vec<Border>,
}

/// A place in the text, and what everything before it hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Border {
    pub(super) hash: u64,
    /// Borders up to here, those that were thinned out among them.
    pub(super) blocks: usize,
    /// Of text up to here.
    pub(super) bytes: usize,
}

impl Prefix {
    /// Reads the `messages` of a request's body, or else its `prompt`, as raw JSON texts. Less than 256 bytes of them,
    /// or a body that is not JSON, have no borders. The key is the gateway's secret.
    pub fn of(key: &[u8; 32], account: Uuid, model: &str, body: &[u8]) -> Self {
        let texts = texts(body);
        let ends = ends(&texts);
        // In one piece, since long stretches hash several times faster than short ones.
        let text = texts.concat();
        // Account and model make the key, so that the text begins where the hash function's own chunks do.
        let mut hasher = blake3::Hasher::new_keyed(key);
        let key = hasher.update(account.as_bytes()).update(model.as_bytes()).finalize();
        let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
        let (mut borders, mut start) = (Vec::new(), 0);
        for (blocks, &bytes) in (1..).zip(&ends) {
            if blocks + RECENT > ends.len() || is_round(bytes) {
                let hash = short(&hasher.update(&text[start..bytes]).finalize());
                borders.push(Border { hash, blocks, bytes });
                start = bytes;
            }
        }
        Self { borders }
    }

    /// True when there is nothing to find or to remember.
    pub fn is_empty(&self) -> bool {
        self.borders.is_empty()
    }

    /// From the shortest beginning to the longest.
    pub(super) fn borders(&self) -> &[Border] {
        &self.borders
    }
}

/// Where blocks end and where texts do, counted over all of them, in order.
fn ends(texts: &[&[u8]]) -> Vec<usize> {
    let (mut ends, mut end, mut block) = (Vec::new(), 0, FIRST_BLOCK);
    for text in texts {
        end += text.len();
        while block <= end {
            ends.push(block);
            block += block.min(BLOCK);
        }
        if end >= FIRST_BLOCK && ends.last() != Some(&end) {
            ends.push(end);
        }
    }
    ends
}

/// True with at most three significant binary digits: four lengths in each octave, most of them ends of blocks. It
/// depends on nothing that comes later, so texts that part early keep the same borders of what they have in common.
const fn is_round(end: usize) -> bool {
    end >> end.trailing_zeros() < 8
}

/// Eight bytes tell apart more beginnings than any memory holds; nobody without the key can look for two alike.
fn short(hash: &blake3::Hash) -> u64 {
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The texts that make up the conversation, up to a bound.
fn texts(body: &[u8]) -> Vec<&[u8]> {
    let mut texts = match serde_json::from_slice(body) {
        Ok(Body { messages: Some(Messages(messages)), .. }) => messages,
        // Without the quote or bracket that closes it, since a longer one goes on there.
        Ok(Body { prompt: Some(prompt), .. }) => {
            let text = prompt.get().as_bytes();
            vec![&text[..text.len().saturating_sub(1)]]
        }
        _ => Vec::new(),
    };
    let mut room = MOST_BYTES;
    for text in &mut texts {
        *text = &text[..text.len().min(room)];
        room -= text.len();
    }
    texts
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    messages: Option<Messages<'a>>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
}

/// The first messages, each as it was written.
struct Messages<'a>(Vec<&'a [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Messages<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Bounded)
    }
}

/// Reads an array to its end, and keeps no more of it than the bound: it may be a million zeros.
struct Bounded;

impl<'de> Visitor<'de> for Bounded {
    type Value = Messages<'de>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        while messages.len() < MOST_MESSAGES
            && let Some(message) = array.next_element::<&RawValue>()?
        {
            messages.push(message.get().as_bytes());
        }
        while array.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Messages(messages))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const ACCOUNT: Uuid = Uuid::from_u128(1);

    fn of(body: &str) -> Prefix {
        Prefix::of(&KEY, ACCOUNT, "m", body.as_bytes())
    }

    fn chat(messages: &[String]) -> Prefix {
        of(&json!({"model": "m", "messages": list(messages)}).to_string())
    }

    fn list(messages: &[String]) -> Vec<Value> {
        messages.iter().map(|text| json!({"content": text})).collect()
    }

    fn lengths(prefix: &Prefix) -> Vec<usize> {
        prefix.borders.iter().map(|border| border.bytes).collect()
    }

    fn hashes(prefix: &Prefix) -> HashSet<u64> {
        prefix.borders.iter().map(|border| border.hash).collect()
    }

    #[test]
    fn borders_are_where_blocks_and_messages_end() {
        // A message is 14 bytes longer than its text.
        let prefix = chat(&["a".repeat(86), "b".repeat(286), "c".repeat(1_986), "d".repeat(7_986)]);
        assert_eq!(lengths(&prefix), [256, 400, 512, 1_024, 2_048, 2_400, 4_096, 8_192, 10_400]);
        assert_eq!(lengths(&of(&json!({"prompt": "p".repeat(9_000)}).to_string()))[4..], [4_096, 8_192, 9_001]);
        assert_eq!(lengths(&of(&json!({"prompt": vec![12; 100]}).to_string())), [256, 300]);
    }

    #[test]
    fn what_is_short_or_no_request_has_none() {
        assert!(chat(&["a".repeat(241)]).is_empty());
        assert!(!chat(&["a".repeat(242)]).is_empty());
        for body in ["", "{", "null", "[]", "{}", r#"{"messages":null}"#, r#"{"messages":7}"#, r#"{"prompt":0}"#] {
            assert!(of(body).is_empty(), "{body}");
        }
        assert!(of(&format!(r#"{{"messages":["{}"]"#, "a".repeat(500))).is_empty(), "cut off");
        assert!(of(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))).is_empty());
    }

    #[test]
    fn long_ones_are_bounded_and_still_go_on() {
        let zeros = of(&format!(r#"{{"messages":[0{}]}}"#, ",0".repeat(1_000_000)));
        assert_eq!(zeros.borders.last().unwrap().bytes, MOST_MESSAGES);
        let messages = vec!["a".repeat(498); 3_000];
        let (shorter, longer) = (chat(&messages[..1_500]), chat(&messages[..1_502]));
        assert!(longer.borders.contains(shorter.borders.last().unwrap()));
        let (half, all) = (chat(&messages[..1_500]), chat(&messages));
        assert!(half.borders.len() <= 64 && all.borders.len() <= 64);
        assert_eq!(all.borders.last().unwrap().bytes, MOST_BYTES);
        let common = all.borders.iter().rfind(|border| half.borders.contains(border)).unwrap();
        assert!(common.bytes * 5 >= 512 * 1_500 * 4, "{} of {}", common.bytes, 512 * 1_500);
    }

    #[test]
    fn nothing_else_of_the_body_counts() {
        let (messages, text) = (json!([{"role": "user", "content": "a".repeat(300)}]), "b".repeat(300));
        let known = of(&json!({"messages": messages}).to_string());
        for body in [
            format!(r#"{{"model":"x","messages":{messages},"stream":true}}"#),
            format!(r#"{{"stream":false,"tools":[[{{}}]],"messages" : {messages} ,"model":"y"}}"#),
            format!(r#"{{"prompt":"{text}","messages":{messages}}}"#),
            format!(r#"{{"messages":{messages},"prompt":"{text}"}}"#),
        ] {
            assert_eq!(of(&body), known, "{body}");
        }
    }

    proptest! {
        #[test]
        fn what_grows_is_found_again(messages in vec("\\PC{0,900}|[a-z\n\"]{0,9000}", 2..30), cut in 1_usize..30) {
            let (shorter, longer) = (chat(&messages[..cut.min(messages.len() - 1)]), chat(&messages));
            let all = |prefix: &Prefix| prefix.borders.last().map_or(0, |border| border.blocks);
            for border in shorter.borders.iter().filter(|border| !longer.borders.contains(border)) {
                prop_assert!(border.blocks + RECENT <= all(&longer) && !is_round(border.bytes), "lost {border:?}");
            }
            let end = shorter.borders.last().map_or(0, |border| border.bytes);
            for border in longer.borders.iter().filter(|border| border.bytes <= end) {
                let is_thinned = border.blocks + RECENT <= all(&shorter) && !is_round(border.bytes);
                prop_assert!(is_thinned || shorter.borders.contains(border));
            }
            prop_assert!(longer.borders.len() <= 64);
        }

        #[test]
        fn what_parts_has_no_more_in_common(text in "[a-z]{300,9000}", at in any::<prop::sample::Index>()) {
            let at = at.index(text.len());
            let other = format!("{}A{}", &text[..at], &text[at + 1..]);
            let (one, other) = (chat(&[text]), chat(&[other]));
            let same = one.borders.iter().filter(|border| other.borders.contains(border)).count();
            let before = one.borders.iter().filter(|border| border.bytes <= at + r#"{"content":""#.len()).count();
            prop_assert_eq!(same, before);
        }

        #[test]
        fn others_have_nothing_in_common(text in "[a-z]{300,9000}", account in 2_u128.., model in "[a-ln-z]{1,9}",
            key in 8_u8..) {
            let body = json!({"messages": list(&[text])}).to_string();
            let known = hashes(&of(&body));
            prop_assert!(!known.is_empty());
            for (key, account, model) in [
                ([7; 32], Uuid::from_u128(account), "m"),
                ([7; 32], ACCOUNT, model.as_str()),
                ([key; 32], ACCOUNT, "m"),
            ] {
                prop_assert!(known.is_disjoint(&hashes(&Prefix::of(&key, account, model, body.as_bytes()))));
            }
        }

        #[test]
        fn no_body_is_too_strange(body in vec(any::<u8>(), 0..600), text in "\\PC{300,600}", cut in 0_usize..300) {
            prop_assert!(Prefix::of(&KEY, ACCOUNT, "m", &body).is_empty());
            let whole = json!({"messages": list(&[text])}).to_string();
            prop_assert!(Prefix::of(&KEY, ACCOUNT, "m", &whole.as_bytes()[..cut]).is_empty());
        }
    }
}
