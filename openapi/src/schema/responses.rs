//! Responses: what is asked. What is answered is derived from its types.

use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::{PartialSchema, ToSchema};

use super::chat::only_false;
use super::tools::{choice_word, function, function_kind, mode, name};
use super::{
    Asked, Described, Named, Shape, any_of, anything, collect, decimal, flag, integer, list, named, text, word,
};
use crate::chat::EFFORTS;
use crate::responses::{Given, INCLUDABLE, MOST_ITEMS, MOST_METADATA, MOST_TOP_LOGPROBS, ResponseRequest};
use crate::sampling::{SHARE, TEMPERATURE};

const ABOUT: &str = "As OpenAI's `responses.create`. Fields that are not named here are refused, and so are tools that OpenAI \
                     runs itself, images, `background`, `conversation`, `prompt` and `truncation: \"auto\"`.";

impl Asked for ResponseRequest {
    fn described() -> Described {
        let count = || integer(&(1..=i64::from(i32::MAX)));
        let input = any_of([text().into(), list(named::<Given>(), 0..=MOST_ITEMS).into()]);
        let before = "The response that this goes on from";
        Described::new(ABOUT)
            .required("model", "The model's name, or the content address of its manifest", text())
            .optional("input", "A text, or items; may be left out with `previous_response_id`", input)
            .optional("previous_response_id", before, text())
            .optional("instructions", "What the model is told first, this time alone", text())
            .optional("max_output_tokens", "The most tokens that the answer may have", count())
            .optional("max_tool_calls", "Taken: there are no tools that the service itself runs", count())
            .optional("temperature", "0 is greedy", decimal(&TEMPERATURE))
            .optional("top_p", "Only the likeliest tokens that have this share of the chances", decimal(&SHARE))
            .optional("include", "What to say beside the answer", list(word(INCLUDABLE), 0..=usize::MAX))
            .optional("top_logprobs", "So many likely tokens beside each", integer(&(0..=MOST_TOP_LOGPROBS)))
            .answer()
            .tools()
            .optional("store", "Keep it, and what it was made from; true if not given", flag())
            .optional("metadata", "Kept with it: at most 16 pairs", metadata())
            .optional("prompt_cache_retention", "Taken, without effect on the answer", text())
            .optional("prompt_cache_options", "Taken, without effect on the answer", anything())
            .optional("prompt_cache_key", "Repeated in the answer, without effect on it", text())
            .optional("safety_identifier", "Repeated in the answer, without effect on it", text())
            .optional("user", "Repeated in the answer, without effect on it", text())
            .closed()
    }
}

impl Described {
    fn answer(self) -> Self {
        let kind = |kind: &str| Described::inner().required("type", "Which form", word([kind]));
        let schema = kind("json_schema")
            .required("name", "Of the schema", text())
            .optional("schema", "A JSON schema of at most 64 KiB; any object if not given", anything())
            .optional("description", "Without effect on the answer", text())
            .optional("strict", "It is held to in any case", flag());
        let format = any_of([kind("text").into(), kind("json_object").into(), schema.into()]);
        let form = Described::inner().optional("format", "What it must be", format).optional(
            "verbosity",
            "No other",
            word(["medium"]),
        );
        let auto = || word(["auto"]);
        let reasoning = Described::inner()
            .optional("effort", "`none` and `minimal` ask a model that thinks not to", word(EFFORTS))
            .optional("summary", "There is none: what was thought is given in full", auto())
            .optional("generate_summary", "The same under its older name", auto())
            .closed();
        let options = Described::inner().optional("include_obfuscation", "There is none", only_false());
        self.optional("text", "The form of the answer", form)
            .optional("reasoning", "How a model that thinks does so", reasoning)
            .optional("stream", "Send the answer as events", flag())
            .optional("stream_options", "Of a stream", options)
            .optional("truncation", "What is too long is refused", word(["disabled"]))
            .optional("background", "A client waits for its answer", only_false())
    }

    fn tools(self) -> Self {
        let kind = || Described::inner().required("type", "A function", function_kind());
        let one = || kind().required("name", "One of `tools`", name());
        let allowed = Described::inner()
            .required("type", "Some of the tools", word(["allowed_tools"]))
            .required("mode", "Whether one must be called", mode())
            .required("tools", "Which may be called", list(one(), 0..=usize::MAX));
        let choice = any_of([choice_word(), one().into(), allowed.into()]);
        self.optional("tools", "Functions that the model may call", list(function(kind()), 0..=usize::MAX))
            .optional("tool_choice", "Which of them it may or must call", choice)
            .optional("parallel_tool_calls", "It may call several at once", flag())
    }
}

impl PartialSchema for ResponseRequest {
    fn schema() -> Shape {
        Self::described().into()
    }
}

impl ToSchema for ResponseRequest {
    fn schemas(into: &mut Named) {
        collect::<Given>(into);
    }
}

fn metadata() -> ObjectBuilder {
    let (most, longest_key, longest_value) = MOST_METADATA;
    let value = text().max_length(Some(longest_value)).build();
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .max_properties(Some(most))
        .property_names(Some(text().max_length(Some(longest_key)).build()))
        .additional_properties(Some(AdditionalProperties::RefOr(value.into())))
}

impl PartialSchema for Given {
    fn schema() -> Shape {
        let id = |object: Described| object.optional("id", "Its own, if it has one", text());
        let kind = |kind: &str| id(Described::inner().required("type", "What it is", word([kind])));
        let message = id(Described::inner())
            .optional("type", "A message, also if not given", word(["message"]))
            .required("role", "Who says it", word(["user", "system", "developer", "assistant"]))
            .required("content", "What is said", texts());
        let called = kind("function_call")
            .required("call_id", "Names the call to whoever answers it", text())
            .required("name", "Of the function", text())
            .required("arguments", "A JSON text", text());
        let output = kind("function_call_output").required("call_id", "The call that is answered", text()).required(
            "output",
            "What came of it",
            texts(),
        );
        let thought =
            kind("reasoning").optional("content", "Models are not told of it again", list(part(), 0..=usize::MAX));
        let reference = Described::inner()
            .optional("type", "A reference, also if not given", word(["item_reference"]))
            .required("id", "An item of the conversation, or of any response that is kept", text());
        any_of([message.into(), called.into(), output.into(), thought.into(), reference.into()])
            .description(Some("An item of a conversation. Other fields, such as `status`, have no effect."))
            .into()
    }
}

impl ToSchema for Given {
    fn name() -> std::borrow::Cow<'static, str> {
        "InputItem".into()
    }
}

fn texts() -> Shape {
    any_of([text().into(), list(part(), 0..=usize::MAX).into()]).into()
}

fn part() -> Shape {
    let part = |kind: &str, field: &str| {
        Described::inner().required("type", "What it is", word([kind])).required(field, "What it says", text()).into()
    };
    let kinds = [("input_text", "text"), ("output_text", "text"), ("refusal", "refusal"), ("reasoning_text", "text")];
    any_of(kinds.map(|(kind, field)| part(kind, field))).into()
}
