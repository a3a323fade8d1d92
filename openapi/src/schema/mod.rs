//! JSON schemas of the requests that this crate reads. The parsers read by hand, for the sake of OpenAI's messages, so
//! the schemas are put together here from the same limits; the tests hold each parser to its schema.

mod chat;

mod completion;

mod embedding;

mod event;

mod responses;

mod sampling;

mod tools;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use serde_json::Value;
use utoipa::Number;
use utoipa::openapi::schema::{AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};

pub use event::{ChatEvent, CompletionEvent, ResponseStreamEvent};

/// What a description refers to by name, as `utoipa::ToSchema::schemas` collects it.
pub type Named = Vec<(String, RefOr<Schema>)>;

/// A schema or the name of one.
pub type Shape = RefOr<Schema>;

/// A request that has a description, to which others may add what they read of it.
pub trait Asked: utoipa::ToSchema {
    /// What its parser reads.
    fn described() -> Described;
}

/// An object of a request in the making.
pub struct Described(ObjectBuilder);

impl Described {
    /// An object without fields as yet.
    #[must_use]
    pub fn new(about: &str) -> Self {
        Self(ObjectBuilder::new().schema_type(Type::Object).description(Some(about)))
    }

    /// A part of another object, which needs no description of its own.
    #[must_use]
    pub fn inner() -> Self {
        Self(ObjectBuilder::new().schema_type(Type::Object))
    }

    /// Adds a field that must be given.
    #[must_use]
    pub fn required(self, name: &str, about: &str, shape: impl Into<Shape>) -> Self {
        Self(self.0.property(name, described(shape.into(), about)).required(name))
    }

    /// Adds a field that may be left out; `null` counts as left out.
    #[must_use]
    pub fn optional(self, name: &str, about: &str, shape: impl Into<Shape>) -> Self {
        Self(self.0.property(name, described(or_null(shape.into()), about)))
    }

    /// Adds a field that may be left out, and is not `null`.
    #[must_use]
    pub fn unless_null(self, name: &str, about: &str, shape: impl Into<Shape>) -> Self {
        Self(self.0.property(name, described(shape.into(), about)))
    }

    /// Fields that are not named are refused.
    #[must_use]
    pub fn closed(self) -> Self {
        Self(self.0.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false))))
    }

    /// Fields that are not named are taken.
    #[must_use]
    pub fn open(self) -> Self {
        Self(self.0.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true))))
    }
}

impl From<Described> for Shape {
    fn from(Described(object): Described) -> Self {
        object.build().into()
    }
}

/// A text.
pub fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// True or false.
pub fn flag() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

/// A whole number.
pub fn integer(range: &RangeInclusive<i64>) -> ObjectBuilder {
    let bound = |bound: &i64| Some(Number::Int(isize::try_from(*bound).unwrap_or(isize::MAX)));
    ObjectBuilder::new().schema_type(Type::Integer).minimum(bound(range.start())).maximum(bound(range.end()))
}

/// A number.
pub fn decimal(range: &RangeInclusive<f64>) -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Number);
    object.minimum(Some(*range.start())).maximum(Some(*range.end()))
}

/// One of some words.
pub fn word<'a>(words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    text().enum_values(Some(words.into_iter().map(Value::from)))
}

/// An object of whatever fields.
pub fn anything() -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    object.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
}

/// A list.
pub fn list(items: impl Into<Shape>, lengths: RangeInclusive<usize>) -> ArrayBuilder {
    let most = Some(*lengths.end()).filter(|most| *most != usize::MAX);
    let fewest = Some(*lengths.start()).filter(|fewest| *fewest > 0);
    ArrayBuilder::new().items(items.into()).min_items(fewest).max_items(most)
}

/// Any of these.
pub fn any_of(parts: impl IntoIterator<Item = Shape>) -> AnyOfBuilder {
    parts.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item)
}

/// A schema that stands elsewhere under a name.
pub fn named<T: utoipa::ToSchema>() -> Shape {
    Ref::from_schema_name(T::name()).into()
}

/// What a named schema and those that it names in turn are called.
pub(crate) fn collect<T: utoipa::ToSchema>(into: &mut Named) {
    into.push((T::name().into_owned(), T::schema()));
    T::schemas(into);
}

fn null() -> Shape {
    ObjectBuilder::new().schema_type(Type::Null).into()
}

fn or_null(shape: Shape) -> Shape {
    match shape {
        RefOr::T(Schema::Object(mut object)) => {
            object.schema_type = with_null(&object.schema_type);
            object.enum_values.iter_mut().for_each(|words| words.push(Value::Null));
            object.into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = with_null(&array.schema_type);
            array.into()
        }
        RefOr::T(Schema::AnyOf(mut any)) => {
            any.items.push(null());
            Schema::AnyOf(any).into()
        }
        other => any_of([other, null()]).into(),
    }
}

fn with_null(kind: &SchemaType) -> SchemaType {
    match kind {
        SchemaType::Type(kind) => SchemaType::from_iter([kind.clone(), Type::Null]),
        other => other.clone(),
    }
}

fn described(shape: Shape, about: &str) -> Shape {
    let about = about.to_owned();
    match shape {
        RefOr::Ref(mut named) => {
            named.description = about;
            named.into()
        }
        RefOr::T(Schema::Object(mut object)) => {
            object.description = Some(about);
            object.into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.description = Some(about);
            array.into()
        }
        RefOr::T(Schema::AnyOf(mut any)) => {
            any.description = Some(about);
            Schema::AnyOf(any).into()
        }
        other => other,
    }
}
