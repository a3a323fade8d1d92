//! JSON objects whose values stay text: what nobody touches leaves byte for byte as it came, and in the same order.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// No API gives an object more fields than this; looking a name up goes through all of them.
pub(super) const MOST_FIELDS: usize = 256;

/// An object as it stood in a text. Of fields with the same name the last one counts, as for most readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Object<'a> {
    pub(super) fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The text of a value; `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields().find_map(|(field, value)| (field == name).then_some(value))
    }

    /// The value itself, if it is there and of this type.
    pub(super) fn read<'b, T: Deserialize<'b>>(&'b self, name: &str) -> Option<T> {
        self.get(name).and_then(|value| serde_json::from_str(value).ok())
    }

    /// Names and texts of what is not `null`.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).filter(|(_, value)| *value != "null")
    }

    /// Sets a value where it stands, or as the last one.
    pub(super) fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        match self.fields.iter_mut().find(|(field, _)| *field == name) {
            Some((_, known)) => *known = value,
            None => self.fields.push((name, value)),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.fields.retain(|(field, _)| field != name);
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// Adds its text to another.
    pub(super) fn write(&self, to: &mut String) {
        let mut before = '{';
        for (name, value) in &self.fields {
            to.push(before);
            to.push_str(&json(name));
            to.push(':');
            to.push_str(value);
            before = ',';
        }
        to.push_str(if self.fields.is_empty() { "{}" } else { "}" });
    }
}

/// Strings, numbers and structures of them: writing these as JSON can't fail.
pub(super) fn json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// What stands between the first and the last character: a string without its quotes, a list without its brackets.
pub(super) fn inner(value: &str) -> &str {
    value.get(1..value.len().saturating_sub(1)).unwrap_or_default()
}

/// A field's name, as it stands in the text where nothing in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Object<'de>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::default();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
            object.set(name, value.get());
            if object.fields.len() > MOST_FIELDS {
                return Err(A::Error::custom(format!("an object has more than {MOST_FIELDS} fields")));
            }
        }
        Ok(object)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_touched_stays_byte_for_byte_and_in_its_place() {
        let mut object = Object::parse(r#"{"z": [1.50, {"b":1,"a":2}] ,"model":"x","é\"":1e3,"n":null}"#).unwrap();
        assert_eq!((object.get("n"), object.read::<String>("model").as_deref()), (None, Some("x")));
        object.set("model", json("y"));
        object.set("seed", "7");
        object.remove("n");
        assert_eq!(object.text(), r#"{"z":[1.50, {"b":1,"a":2}],"model":"y","é\"":1e3,"seed":7}"#);
    }

    #[test]
    fn a_field_that_comes_twice_counts_once() {
        let object = Object::parse(r#"{"a":1,"b":2,"\u0061":3}"#).unwrap();
        assert_eq!(object.text(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn what_is_no_object_and_what_has_too_many_fields_is_refused() {
        let many: Vec<String> = (0..=MOST_FIELDS).map(|at| format!("\"{at}\":0")).collect();
        for wrong in ["[]", "7", "{", "", &format!("{{{}}}", many.join(","))] {
            assert!(Object::parse(wrong).is_err(), "{wrong}");
        }
    }
}
