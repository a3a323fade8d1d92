//! What pieces of an object add up to, as text: strings and lists go on where they stood, objects are merged, of all else
//! the last value counts. Nothing is unpacked, so numbers keep their digits and a character that was cut in two is whole
//! again. Source of the rule: OpenAI's Python library, `accumulate_delta`.

use super::TranslateError;
use super::json::{MOST_FIELDS, Object, inner};

/// Said again and again, or once; never in pieces.
const WHOLE: [&str; 4] = ["role", "id", "type", "finish_reason"];
/// Pieces are merged down to here; what lies deeper is taken as it comes.
const DEEPEST: u8 = 3;
/// What a field takes in memory beside its bytes.
const FIELD_BYTES: usize = 96;

const TOO_WIDE: TranslateError = TranslateError::NotOpenAi("an object of it has too many fields");

/// How much may still be collected, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    left: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TranslateError> {
        self.left = self.left.checked_sub(bytes).ok_or(TranslateError::LongAnswer(self.limit))?;
        Ok(())
    }
}

/// An object in the making.
#[derive(Debug, Default)]
pub(super) struct Merged {
    fields: Vec<(String, Part)>,
}

#[derive(Debug)]
enum Part {
    /// A string's text without its quotes, escapes as they were.
    Text(String),
    /// A list's text without its brackets.
    List(String),
    Object(Merged),
    Value(String),
}

impl Merged {
    /// Adds a piece, except for the fields named.
    pub(super) fn take(
        &mut self,
        piece: &Object<'_>,
        except: &[&str],
        budget: &mut Budget,
    ) -> Result<(), TranslateError> {
        self.take_at(0, piece, except, budget)
    }

    fn take_at(
        &mut self,
        depth: u8,
        piece: &Object<'_>,
        except: &[&str],
        budget: &mut Budget,
    ) -> Result<(), TranslateError> {
        for (name, value) in piece.fields().filter(|(name, _)| !except.contains(name)) {
            budget.spend(value.len())?;
            let part = self.part(name, budget)?;
            let nothing = Part::nothing(name, value, depth);
            if std::mem::discriminant(part) != std::mem::discriminant(&nothing) {
                *part = nothing;
            }
            match part {
                Part::Text(text) => text.push_str(inner(value)),
                Part::List(list) => push_items(list, inner(value).trim()),
                Part::Value(known) => value.clone_into(known),
                Part::Object(object) => {
                    let piece = Object::parse(value).map_err(|_| TOO_WIDE)?;
                    object.take_at(depth + 1, &piece, &[], budget)?;
                }
            }
        }
        Ok(())
    }

    fn part(&mut self, name: &str, budget: &mut Budget) -> Result<&mut Part, TranslateError> {
        let at = match self.fields.iter().position(|(field, _)| field == name) {
            Some(at) => at,
            None if self.fields.len() == MOST_FIELDS => return Err(TOO_WIDE),
            None => {
                budget.spend(name.len() + FIELD_BYTES)?;
                self.fields.push((name.to_owned(), Part::Value(String::new())));
                self.fields.len() - 1
            }
        };
        Ok(&mut self.fields[at].1)
    }

    /// Puts its fields where they belong in another object, or behind them.
    pub(super) fn fill(&self, object: &mut Object<'_>) {
        self.fields.iter().for_each(|(name, part)| object.set(name.clone(), part.text()));
    }

    pub(super) fn text(&self) -> String {
        let mut object = Object::default();
        self.fill(&mut object);
        object.text()
    }
}

impl Part {
    /// What a value of this kind is added to.
    fn nothing(name: &str, value: &str, depth: u8) -> Self {
        match value.as_bytes() {
            [b'"', ..] if !WHOLE.contains(&name) => Self::Text(String::new()),
            [b'[', ..] => Self::List(String::new()),
            [b'{', ..] if depth < DEEPEST => Self::Object(Merged::default()),
            _ => Self::Value(String::new()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{text}\""),
            Self::List(list) => format!("[{list}]"),
            Self::Object(object) => object.text(),
            Self::Value(value) => value.clone(),
        }
    }
}

fn push_items(list: &mut String, items: &str) {
    if !list.is_empty() && !items.is_empty() {
        list.push(',');
    }
    list.push_str(items);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json::json;
    use super::*;

    fn merged(pieces: &[&str]) -> String {
        let (mut merged, mut budget) = (Merged::default(), Budget::new(100_000));
        for piece in pieces {
            merged.take(&Object::parse(piece).unwrap(), &["index"], &mut budget).unwrap();
        }
        merged.text()
    }

    #[test]
    fn pieces_are_put_together_and_nothing_is_rounded() {
        let pieces = [
            r#"{"index":0,"role":"assistant","content":"","logprobs":null}"#,
            r#"{"role":"assistant","content":" a","logprobs":{"content":[ {"logprob":-1.7734805345535278} ],"refusal":null}}"#,
            r#"{"content":"\ud83d","logprobs":{"content":[]}}"#,
            r#"{"content":"\ude00","logprobs":{"content":[1e-9]},"stop_reason":5}"#,
        ];
        assert_eq!(
            merged(&pieces),
            r#"{"role":"assistant","content":" a\ud83d\ude00","logprobs":{"content":[{"logprob":-1.7734805345535278},1e-9]},"stop_reason":5}"#
        );
    }

    #[test]
    fn a_piece_of_another_kind_takes_the_place() {
        assert_eq!(merged(&[r#"{"a":"x"}"#, r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#, r#"{"a":2}"#]), r#"{"a":2}"#);
    }

    #[test]
    fn what_is_nested_deeper_than_any_answer_is_taken_as_it_comes() {
        let deep = format!(r#"{{"a":{}1{}}}"#, r#"{"b":"#.repeat(1_000), "}".repeat(1_000));
        assert_eq!(merged(&[&deep, &deep]), deep);
    }

    #[test]
    fn what_is_kept_is_paid_for() {
        let mut budget = Budget::new(1_000);
        let mut many = Merged::default();
        let refused = (0..).find_map(|at| {
            let piece = format!(r#"{{"{at}":0}}"#);
            many.take(&Object::parse(&piece).unwrap(), &[], &mut budget).err()
        });
        assert_eq!(refused, Some(TranslateError::LongAnswer(1_000)));
        assert!(many.fields.len() <= 10);
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_it_is_whole_again(parts in prop::collection::vec("\\PC{0,6}", 1..12)) {
            let pieces: Vec<String> = parts.iter().map(|part| format!("{{\"content\":{}}}", json(part))).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(merged(&pieces), format!("{{\"content\":{}}}", json(&parts.concat())));
        }
    }
}
