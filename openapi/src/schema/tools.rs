//! Tools, and the choice among them.

use utoipa::openapi::schema::ObjectBuilder;
use utoipa::{PartialSchema, ToSchema};

use super::{Described, Shape, any_of, flag, list, text, word};
use crate::chat::{LONGEST_NAME, Tool, ToolChoice};

/// Describes a function where its name stands beside what it takes.
pub(super) fn function(object: Described) -> Described {
    let arguments = Described::inner().unless_null("type", "Arguments are one object", word(["object"])).open();
    object
        .required("name", "To call it by; no two tools have the same", name())
        .optional("description", "What it is good for, in words for the model", text())
        .optional("parameters", "A JSON schema of its arguments, of at most 64 KiB; none if not given", arguments)
        .optional("strict", "Arguments fit the schema in any case", flag())
}

pub(super) fn function_kind() -> ObjectBuilder {
    word(["function"])
}

pub(super) fn name() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(LONGEST_NAME)).pattern(Some("^[A-Za-z0-9_-]+$"))
}

/// None, any, or one at least.
pub(super) fn choice_word() -> Shape {
    word(["none", "auto", "required"]).into()
}

pub(super) fn mode() -> ObjectBuilder {
    word(["auto", "required"])
}

impl PartialSchema for Tool {
    fn schema() -> Shape {
        Described::new("A function that the model may call")
            .required("type", "Functions alone", function_kind())
            .required("function", "Which one", function(Described::inner()))
            .into()
    }
}

impl ToSchema for Tool {}

impl PartialSchema for ToolChoice {
    fn schema() -> Shape {
        let named = || {
            let function = Described::inner().required("name", "One of `tools`", name());
            Described::inner().required("type", "A function", function_kind()).required(
                "function",
                "Which one",
                function,
            )
        };
        let allowed = Described::inner().required("mode", "Whether one must be called", mode()).required(
            "tools",
            "Which may be called",
            list(named(), 0..=usize::MAX),
        );
        let allowed = Described::inner().required("type", "Some of the tools", word(["allowed_tools"])).required(
            "allowed_tools",
            "Which, and how",
            allowed,
        );
        any_of([choice_word(), named().into(), allowed.into()])
            .description(Some("Which tools the model may call, and whether it must"))
            .into()
    }
}

impl ToSchema for ToolChoice {}
