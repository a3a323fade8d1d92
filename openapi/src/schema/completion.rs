//! Continuations of a text.

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{Number, PartialSchema, ToSchema};

use super::{Asked, Described, Named, Shape, any_of, collect, flag, integer, list, named, text};
use crate::completion::{CompletionRequest, MOST_LOGPROBS, MOST_PROMPTS, Prompt};
use crate::sampling::MOST_CHOICES;

const ABOUT: &str = "As OpenAI's `completions.create`. `max_tokens` is 16 if not given; 0 asks for the prompt alone, with \
                     `echo`. Fields that are not named here go on to the node: the built-in engine refuses them with 400, \
                     as it does `suffix`; another server gets them as they are.";

impl Asked for CompletionRequest {
    fn described() -> Described {
        Described::new(ABOUT)
            .required("model", "The model's name, or the content address of its manifest", text())
            .required("prompt", "Each is answered by itself; at most 128 answers in all", prompts(MOST_PROMPTS))
            .sampling(0)
            .delivery()
            .optional("logprobs", "Say how likely the tokens were, with so many others", integer(&(0..=MOST_LOGPROBS)))
            .optional("echo", "Give the prompt before its answer", flag())
            .optional("best_of", "No other number than `n`", integer(&(1..=MOST_CHOICES)))
            .user()
            .open()
    }
}

impl PartialSchema for CompletionRequest {
    fn schema() -> Shape {
        Self::described().into()
    }
}

impl ToSchema for CompletionRequest {
    fn schemas(into: &mut Named) {
        collect::<Prompt>(into);
    }
}

/// One text, or a list of at most so many.
pub(super) fn prompts(most: usize) -> Shape {
    any_of([named::<Prompt>(), list(named::<Prompt>(), 1..=most).into()]).into()
}

impl PartialSchema for Prompt {
    fn schema() -> Shape {
        let token = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(Number::Int(0)))
            .maximum(Some(Number::UInt(u32::MAX as usize)));
        let texts = [text().min_length(Some(1)).into(), list(token, 1..=usize::MAX).into()];
        any_of(texts).description(Some("A text, or its tokens by their ids; never empty")).into()
    }
}

impl ToSchema for Prompt {}
