//! What a client hears, read for the sake of the count: chunks and whole answers, of either endpoint.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a chunk or a whole answer holds of one of the answers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Which of the answers.
    pub(super) choice: u32,
    /// Of all that is made of tokens.
    pub(super) bytes: u64,
    /// Calls of tools that begin.
    pub(super) calls: u64,
    /// Tokens that are given with how likely they were.
    pub(super) logprobs: u64,
    /// It says why the answer ends.
    pub(super) finishes: bool,
}

/// Reads a chunk or a whole answer, of either endpoint.
pub(super) fn read(data: &str) -> Vec<Heard> {
    let piece: Piece = serde_json::from_str(data).unwrap_or(Piece { choices: Vec::new() });
    let heard = piece.choices.into_iter().map(|choice| {
        let message = choice.delta.or(choice.message);
        let logprobs = choice.logprobs.and_then(|logprobs| logprobs.content.or(logprobs.tokens));
        Heard {
            choice: choice.index,
            bytes: message.as_ref().map_or(0, Content::bytes) + choice.text.map_or(0, |text| text.len() as u64),
            calls: message.as_ref().map_or(0, Content::calls),
            logprobs: logprobs.map_or(0, |logprobs| logprobs.len() as u64),
            finishes: choice.finish_reason.is_some(),
        }
    });
    heard.collect()
}

#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Content>,
    message: Option<Content>,
    text: Option<String>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<IgnoredAny>,
}

/// The list of a chat, or that of a completion.
#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<IgnoredAny>>,
    tokens: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Content {
    content: Option<String>,
    refusal: Option<String>,
    /// Not OpenAI's: vLLM's, llama.cpp's and DeepSeek's name for the thoughts before an answer, and vLLM's newer one.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

impl Content {
    fn bytes(&self) -> u64 {
        let functions = self.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref());
        let calls = functions.flat_map(|function| [&function.name, &function.arguments]);
        // Servers that give both names of the thoughts give the same thoughts.
        let thoughts = self.reasoning_content.as_ref().or(self.reasoning.as_ref());
        let texts = self.content.iter().chain(&self.refusal).chain(thoughts).chain(calls.flatten());
        texts.map(|text| text.len() as u64).sum()
    }

    fn calls(&self) -> u64 {
        let begins = |call: &&ToolCall| call.function.as_ref().is_some_and(|function| function.name.is_some());
        self.tool_calls.iter().flatten().filter(begins).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_endings_are_found_in_every_shape() {
        for (data, bytes) in [
            (r#"{"choices":[{"delta":{"content":"héllo"}}]}"#, 6),
            (r#"{"choices":[{"message":{"role":"assistant","content":"ab"}}]}"#, 2),
            (r#"{"choices":[{"text":"abc","finish_reason":null}]}"#, 3),
            (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, 0),
            (r#"{"choices":[{"delta":{"content":null,"refusal":"no","reasoning_content":"why"}}]}"#, 5),
            (r#"{"choices":[{"delta":{"reasoning":"why","reasoning_content":"why"}}]}"#, 3),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}},{}]}}]}"#, 3),
            (r#"{"choices":[{"delta":{"tool_calls":null,"content":"a"}}]}"#, 1),
            (r#"{"choices":[{"delta":{}}]}"#, 0),
        ] {
            let [heard] = read(data).try_into().unwrap();
            assert_eq!((heard.bytes, heard.finishes), (bytes, false), "{data}");
        }
        assert_eq!((read(r#"{"choices":[],"usage":{}}"#), read("[DONE]")), (Vec::new(), Vec::new()));
        let last = r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#;
        assert_eq!(read(last), [Heard { choice: 1, finishes: true, ..Heard::default() }]);
    }

    #[test]
    fn chances_are_counted_in_both_shapes() {
        let chat = r#"{"choices":[{"delta":{},"logprobs":{"content":[{"token":"a"},{"token":"b"}]}}]}"#;
        let completion = r#"{"choices":[{"text":"","logprobs":{"tokens":["a"],"token_logprobs":[null]}}]}"#;
        assert_eq!((read(chat)[0].logprobs, read(completion)[0].logprobs), (2, 1));
        assert_eq!(read(r#"{"choices":[{"delta":{},"logprobs":null}]}"#)[0].logprobs, 0);
    }
}
