//! Events of a stream. OpenAPI 3.1 has no word for the items of a stream, so a stream's schema is that of its events, in
//! the shape that OpenAPI 3.2 gives them: `data` is text, and its content has a schema of its own.

use std::borrow::Cow;
use std::marker::PhantomData;

use utoipa::{PartialSchema, ToSchema};

use super::{Described, Named, Shape, any_of, collect, integer, list, named, text, word};
use crate::chat::{ChatChunk, TokenLogprob};
use crate::completion::Completion;
use crate::error::ErrorBody;
use crate::responses::{self, Item, Response};

/// An event of a streamed chat completion.
pub type ChatEvent = StreamEvent<ChatChunk>;
/// An event of a streamed completion.
pub type CompletionEvent = StreamEvent<Completion>;
/// An event of a streamed response.
pub type ResponseStreamEvent = StreamEvent<ResponseEvent>;

/// An event of a stream whose data are `T`, an error, or the end mark.
pub struct StreamEvent<T>(PhantomData<T>);

impl<T: ToSchema> PartialSchema for StreamEvent<T> {
    fn schema() -> Shape {
        let json = |part: Shape| text().content_media_type("application/json").content_schema(Some(part)).into();
        let data = any_of([json(named::<T>()), json(named::<ErrorBody>()), word(["[DONE]"]).into()]);
        Described::new("An event of a stream. Comments stand between events, and clients skip them.")
            .required("data", "JSON; `[DONE]` at the end of a complete stream of chunks", data)
            .into()
    }
}

impl<T: ToSchema> ToSchema for StreamEvent<T> {
    fn name() -> Cow<'static, str> {
        format!("{}InStream", T::name()).into()
    }

    fn schemas(into: &mut Named) {
        collect::<T>(into);
    }
}

/// The data of an event of a streamed response.
pub struct ResponseEvent;

impl PartialSchema for ResponseEvent {
    fn schema() -> Shape {
        let number = || integer(&(0..=i64::from(i32::MAX)));
        let event = |kinds: &[&str]| {
            Described::inner().required("type", "What happened", word(kinds.iter().copied())).required(
                "sequence_number",
                "From 0 on, by one each",
                number(),
            )
        };
        let of_item = |kinds: &[&str]| event(kinds).required("output_index", "Which item", number());
        let within = |kinds: &[&str]| of_item(kinds).required("item_id", "Its id", text());
        let of_part = |kinds: &[&str]| within(kinds).required("content_index", "Which part", number());
        let likely = || list(named::<TokenLogprob>(), 0..=usize::MAX);
        let whole = [
            "response.created",
            "response.in_progress",
            "response.completed",
            "response.incomplete",
            "response.failed",
        ];
        let item = ["response.output_item.added", "response.output_item.done"];
        let part = ["response.content_part.added", "response.content_part.done"];
        let events =
            [
                event(&whole).required("response", "As it is now", named::<Response>()),
                of_item(&item).required("item", "As it is now", named::<Item>()),
                of_part(&part).required("part", "As it is now", named::<responses::Part>()),
                of_part(&["response.output_text.delta"]).required("delta", "What comes next", text()).required(
                    "logprobs",
                    "Of its tokens",
                    likely(),
                ),
                of_part(&["response.output_text.done"]).required("text", "All of it", text()).required(
                    "logprobs",
                    "Of its tokens",
                    likely(),
                ),
                of_part(&["response.reasoning_text.delta"]).required("delta", "What comes next", text()),
                of_part(&["response.reasoning_text.done"]).required("text", "All of it", text()),
                within(&["response.function_call_arguments.delta"]).required("delta", "What comes next", text()),
                within(&["response.function_call_arguments.done"])
                    .required("name", "Of the function", text())
                    .required("arguments", "All of the JSON text", text()),
                event(&["error"])
                    .required("message", "What went wrong", text())
                    .optional("code", "The same for programs", text())
                    .optional("param", "The field to blame", text()),
            ];
        any_of(events.map(Shape::from)).description(Some("The data of an event of a streamed response")).into()
    }
}

impl ToSchema for ResponseEvent {
    fn schemas(into: &mut Named) {
        collect::<Response>(into);
        collect::<Item>(into);
        collect::<responses::Part>(into);
        collect::<TokenLogprob>(into);
    }
}
