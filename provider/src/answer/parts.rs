//! Tells apart what a model writes: its thoughts, the text for the client, and calls of tools. It comes in pieces that end
//! anywhere, so what could become a mark is held back until that is clear.

use crate::engine::{
    ARGUMENTS_END, ARGUMENTS_FOLLOW, CALL_BEGINS, CALL_ENDS, Form, NAME_FOLLOWS, THOUGHT_BEGINS, THOUGHT_ENDS, Thinking,
};

/// A part of an answer, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Thought(String),
    /// A call begins; they are counted from 0.
    Call {
        index: u32,
        name: String,
    },
    /// More of its arguments.
    Arguments {
        index: u32,
        text: String,
    },
}

impl Part {
    /// The text in it; of a call the name.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Thought(text) | Self::Arguments { text, .. } => text,
            Self::Call { name, .. } => name,
        }
    }
}

/// Where in the answer the next piece belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before its first word: a thought may begin here.
    Start,
    Thought,
    Text,
    /// After the mark with which a call begins.
    Name,
    Arguments,
    /// After the arguments of a call.
    CallEnds,
}

/// Splits one answer.
#[derive(Debug)]
pub(super) struct Splitter {
    place: Place,
    /// What is not clear yet.
    held: String,
    calls_tools: bool,
    must_call: bool,
    calls: u32,
    nesting: Nesting,
}

impl Splitter {
    pub(super) fn new(form: &Form) -> Self {
        let place = match form.thinking {
            Thinking::No => Place::Text,
            Thinking::May => Place::Start,
            Thinking::Begun => Place::Thought,
        };
        let calls_tools = !form.tools.is_empty();
        let must_call = calls_tools && form.must_call;
        Self { place, held: String::new(), calls_tools, must_call, calls: 0, nesting: Nesting::default() }
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    /// Adds a piece, and gives what is clear now.
    pub(super) fn push(&mut self, piece: &str) -> Vec<Part> {
        self.held.push_str(piece);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts.retain(|part| !part.text().is_empty());
        parts
    }

    /// The answer is over: what was held back is what it looks like.
    pub(super) fn finish(&mut self) -> Vec<Part> {
        let rest = std::mem::take(&mut self.held);
        let part = match self.place {
            Place::Thought => Part::Thought(rest),
            Place::Arguments => Part::Arguments { index: self.calls - 1, text: rest },
            // Blanks around calls are no text.
            Place::Text if self.calls > 0 && rest.trim().is_empty() => return Vec::new(),
            // Where there is nothing but calls, this is the mark of one, cut off.
            Place::Text if self.must_call && CALL_BEGINS.starts_with(rest.trim()) => return Vec::new(),
            // A call that was cut off before it had a name is nothing that a client could use.
            Place::Name | Place::CallEnds => return Vec::new(),
            Place::Start | Place::Text => Part::Text(rest),
        };
        if part.text().is_empty() { Vec::new() } else { vec![part] }
    }

    /// One step; false when more has to come first.
    fn advance(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.place {
            Place::Start => self.start(),
            Place::Thought => {
                let ended = self.up_to(THOUGHT_ENDS, parts, Part::Thought);
                if ended {
                    self.place = Place::Start;
                }
                ended
            }
            Place::Text if self.calls_tools => self.text(parts),
            Place::Text => {
                parts.push(Part::Text(std::mem::take(&mut self.held)));
                false
            }
            Place::Name => self.name(parts),
            Place::Arguments => self.arguments(parts),
            Place::CallEnds => self.call_ends(),
        }
    }

    fn start(&mut self) -> bool {
        let said = self.held.trim_start();
        if let Some(rest) = said.strip_prefix(THOUGHT_BEGINS) {
            (self.place, self.held) = (Place::Thought, rest.to_owned());
            return true;
        }
        let is_clear = !THOUGHT_BEGINS.starts_with(said);
        if is_clear {
            (self.place, self.held) = (Place::Text, said.to_owned());
        }
        is_clear
    }

    /// Gives what stands before a mark; true once the mark has come.
    fn up_to(&mut self, mark: &str, parts: &mut Vec<Part>, part: impl Fn(String) -> Part) -> bool {
        if let Some(at) = self.held.find(mark) {
            parts.push(part(self.held[..at].to_owned()));
            self.held.drain(..at + mark.len());
            return true;
        }
        let clear = self.held.len() - unclear(&self.held, mark);
        parts.push(part(self.held.drain(..clear).collect()));
        false
    }

    /// Blanks before a call are no text, so they wait for what follows.
    fn text(&mut self, parts: &mut Vec<Part>) -> bool {
        if let Some(at) = self.held.find(CALL_BEGINS) {
            parts.push(Part::Text(self.held[..at].trim_end().to_owned()));
            self.held.drain(..at + CALL_BEGINS.len());
            self.place = Place::Name;
            return true;
        }
        let clear = self.held.len() - unclear(&self.held, CALL_BEGINS);
        let clear = self.held[..clear].trim_end().len();
        parts.push(Part::Text(self.held.drain(..clear).collect()));
        false
    }

    fn name(&mut self, parts: &mut Vec<Part>) -> bool {
        let Some(rest) = self.held.strip_prefix(NAME_FOLLOWS) else { return false };
        let Some((name, rest)) = rest.split_once(ARGUMENTS_FOLLOW) else { return false };
        parts.push(Part::Call { index: self.calls, name: name.to_owned() });
        (self.calls, self.nesting, self.place) = (self.calls + 1, Nesting::default(), Place::Arguments);
        self.held = rest.to_owned();
        true
    }

    fn arguments(&mut self, parts: &mut Vec<Part>) -> bool {
        let end = self.nesting.end(&self.held);
        let text: String = self.held.drain(..end.unwrap_or(self.held.len())).collect();
        parts.push(Part::Arguments { index: self.calls - 1, text });
        if end.is_some() {
            self.place = Place::CallEnds;
        }
        end.is_some()
    }

    fn call_ends(&mut self) -> bool {
        let Some(rest) = self.held.strip_prefix(ARGUMENTS_END).and_then(|rest| rest.strip_prefix(CALL_ENDS)) else {
            return false;
        };
        (self.place, self.held) = (Place::Text, rest.to_owned());
        true
    }
}

/// The length of the longest ending of a text that could be the beginning of a mark.
fn unclear(text: &str, mark: &str) -> usize {
    let longest = mark.len().saturating_sub(1).min(text.len());
    (1..=longest).rev().find(|length| text.ends_with(&mark[..*length])).unwrap_or(0)
}

/// How deep in a JSON object a text is.
#[derive(Debug, Default)]
struct Nesting {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Reads on; where the object ends, if it does.
    fn end(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use openapi::chat::Tool;
    use proptest::prelude::*;

    use super::*;

    fn form(thinking: Thinking, tools: bool) -> Form {
        let tool = Tool { name: "sum".into(), description: None, parameters: serde_json::json!({}) };
        Form { thinking, tools: if tools { vec![tool] } else { Vec::new() }, ..Form::default() }
    }

    /// All parts, joined where they belong together.
    fn split(form: &Form, pieces: &[&str]) -> Vec<Part> {
        let mut splitter = Splitter::new(form);
        let parts: Vec<Part> = pieces.iter().flat_map(|piece| splitter.push(piece)).collect();
        let parts = parts.into_iter().chain(splitter.finish());
        parts.fold(Vec::new(), |mut joined: Vec<Part>, part| {
            match (joined.last_mut(), part) {
                (Some(Part::Text(text)), Part::Text(more)) | (Some(Part::Thought(text)), Part::Thought(more)) => {
                    text.push_str(&more);
                }
                (Some(Part::Arguments { text, .. }), Part::Arguments { text: more, .. }) => text.push_str(&more),
                (_, part) => joined.push(part),
            }
            joined
        })
    }

    const CALLS: &str = "Let me see.\n<tool_call>\n{\"name\": \"sum\", \"arguments\": {\"of\": [1, \"}\\\"\"]}}\n</tool_call>\n\
        <tool_call>\n{\"name\": \"sum\", \"arguments\": {}}\n</tool_call>";

    fn calls() -> Vec<Part> {
        let call = |index| Part::Call { index, name: "sum".into() };
        let arguments = |index, text: &str| Part::Arguments { index, text: text.into() };
        let text = Part::Text("Let me see.".into());
        vec![text, call(0), arguments(0, "{\"of\": [1, \"}\\\"\"]}"), call(1), arguments(1, "{}")]
    }

    #[test]
    fn calls_are_told_from_text_and_only_where_there_are_tools() {
        assert_eq!(split(&form(Thinking::No, true), &[CALLS]), calls());
        assert_eq!(split(&form(Thinking::No, false), &[CALLS]), [Part::Text(CALLS.into())]);
        let text = "1 < 2 and <tool";
        assert_eq!(split(&form(Thinking::No, true), &[text]), [Part::Text(text.into())]);
    }

    #[test]
    fn thoughts_come_first_and_blanks_around_them_are_no_text() {
        let (thought, text) = (|text: &str| Part::Thought(text.into()), |text: &str| Part::Text(text.into()));
        let may = form(Thinking::May, false);
        assert_eq!(split(&may, &["\n<thi", "nk>a < b</think>", "\n\n", "c"]), [thought("a < b"), text("c")]);
        assert_eq!(split(&may, &["<thin air>"]), [text("<thin air>")]);
        assert_eq!(split(&form(Thinking::Begun, false), &["a</think>b"]), [thought("a"), text("b")]);
        assert_eq!(split(&form(Thinking::Begun, false), &["never ends"]), [thought("never ends")]);
        assert_eq!(split(&form(Thinking::No, false), &["<think>"]), [text("<think>")]);
    }

    #[test]
    fn a_call_that_breaks_off_is_given_as_far_as_it_goes() {
        let half = CALLS.split_at(CALLS.find("\"}").unwrap()).0;
        assert_eq!(
            split(&form(Thinking::No, true), &[half])[2],
            Part::Arguments { index: 0, text: "{\"of\": [1, ".into() }
        );
        let begun = split(&form(Thinking::No, true), &["Well.\n<tool_call>\n{\"na"]);
        assert_eq!(begun, [Part::Text("Well.".into())]);
        let must_call = Form { must_call: true, ..form(Thinking::No, true) };
        assert_eq!(split(&must_call, &["<tool"]), []);
    }

    proptest! {
        /// Wherever the pieces end, the parts are the same.
        #[test]
        fn cuts_do_not_matter(cuts in prop::collection::vec(0..CALLS.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, CALLS.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &CALLS[pair[0]..pair[1]]).collect();
            prop_assert_eq!(split(&form(Thinking::No, true), &pieces), calls());
        }
    }
}
