//! Conversations.

use utoipa::openapi::schema::ObjectBuilder;
use utoipa::{PartialSchema, ToSchema};

use super::{Asked, Described, Named, Shape, any_of, anything, collect, flag, integer, list, named, text, word};
use crate::chat::{ChatRequest, EFFORTS, Format, MOST_TOOLS, MOST_TOP_LOGPROBS, Message, Tool, ToolChoice};

const ABOUT: &str = "As OpenAI's `chat.completions.create`. Fields that are not named here go on to the node: the built-in \
                     engine refuses them with 400 `unknown_parameter`, as it does `audio`, `prediction`, `functions` and \
                     `web_search_options`; another server gets them as they are.";

impl Asked for ChatRequest {
    fn described() -> Described {
        Described::new(ABOUT)
            .required("model", "The model's name, or the content address of its manifest", text())
            .required("messages", "The conversation so far", list(named::<Message>(), 1..=usize::MAX))
            .sampling(1)
            .delivery()
            .optional("logprobs", "Say how likely the tokens were", flag())
            .optional(
                "top_logprobs",
                "So many likely tokens beside each; with `logprobs` only",
                integer(&(0..=MOST_TOP_LOGPROBS)),
            )
            .optional("response_format", "The form that the text must have", named::<Format>())
            .optional("tools", "Functions that the model may call", list(named::<Tool>(), 0..=MOST_TOOLS))
            .optional("tool_choice", "Which of them it may or must call; with `tools` only", named::<ToolChoice>())
            .optional("parallel_tool_calls", "It may call several at once", flag().default(Some(true.into())))
            .optional("reasoning_effort", "`none` and `minimal` ask a model that thinks not to", word(EFFORTS))
            .optional("modalities", "Text alone", list(word(["text"]), 1..=1))
            .optional("store", "Nothing is stored here; see `/v1/responses`", only_false())
            .optional("metadata", "Taken, without effect on the answer", anything())
            .user()
            .optional("prompt_cache_key", "Taken, without effect on the answer", text())
            .open()
    }
}

impl PartialSchema for ChatRequest {
    fn schema() -> Shape {
        Self::described().into()
    }
}

impl ToSchema for ChatRequest {
    fn schemas(into: &mut Named) {
        collect::<Message>(into);
        collect::<Format>(into);
        collect::<Tool>(into);
        collect::<ToolChoice>(into);
    }
}

/// Whoever says true would be refused.
pub(super) fn only_false() -> ObjectBuilder {
    flag().enum_values(Some([false]))
}

impl PartialSchema for Message {
    fn schema() -> Shape {
        let content = || any_of([text().into(), list(part(), 0..=usize::MAX).into()]);
        let said = |words: &[&str]| {
            Described::inner().required(
                "role",
                "Who speaks; `developer` is read as `system`",
                word(words.iter().copied()),
            )
        };
        let answered = said(&["tool"]).required("tool_call_id", "The call that is answered", text()).required(
            "content",
            "What came of it",
            content(),
        );
        let assistant = || said(&["assistant"]);
        let spoke = assistant().required("content", "What it said", content());
        let refused = assistant().required("refusal", "What it said instead", text());
        let called = assistant().required("tool_calls", "What it called", list(call(), 1..=usize::MAX)).optional(
            "content",
            "What it said before",
            content(),
        );
        let others = said(&["system", "developer", "user"]).required("content", "What is said", content());
        any_of([others, spoke, refused, called, answered].map(Shape::from))
            .description(Some("One message of a conversation. Other fields, such as `name`, have no effect."))
            .into()
    }
}

impl ToSchema for Message {}

fn part() -> Shape {
    let part = |kind: &str| {
        Described::inner().required("type", "What it is", word([kind])).required(kind, "What it says", text()).into()
    };
    any_of([part("text"), part("refusal")]).into()
}

fn call() -> Shape {
    let function =
        Described::inner().required("name", "Of the function", text()).required("arguments", "A JSON text", text());
    Described::inner()
        .required("id", "Names the call to whoever answers it", text())
        .optional("type", "Functions alone", word(["function"]))
        .required("function", "What was called", function)
        .into()
}

impl PartialSchema for Format {
    fn schema() -> Shape {
        let kind = |kind: &str| Described::inner().required("type", "Which form", word([kind]));
        let schema = Described::inner()
            .required("name", "Of the schema", text())
            .optional("schema", "A JSON schema of at most 64 KiB; any object if not given", anything())
            .optional("description", "Without effect on the answer", text())
            .optional("strict", "It is held to in any case", flag());
        any_of([
            kind("text").into(),
            kind("json_object").into(),
            kind("json_schema").required("json_schema", "What the text must fit", schema).into(),
        ])
        .description(Some("The form of an answer's text"))
        .into()
    }
}

impl ToSchema for Format {
    fn name() -> std::borrow::Cow<'static, str> {
        "ResponseFormat".into()
    }
}
