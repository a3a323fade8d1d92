//! Finds members that stand in an object twice, of which readers take one or the other.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// JSON pointers to every member that stands in its object twice.
pub fn find(json: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let within = Within { path: String::new(), found: &mut found };
    // Whether it is JSON at all is somebody else's question.
    let _ = reader.deserialize_any(within);
    found
}

struct Within<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl Within<'_> {
    fn at(&mut self, member: &str) -> Within<'_> {
        let member = member.replace('~', "~0").replace('/', "~1");
        Within { path: format!("{}/{member}", self.path), found: self.found }
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(member) = map.next_key::<String>()? {
            let within = self.at(&member);
            if !seen.insert(member) {
                within.found.push(within.path.clone());
            }
            map.next_value_seed(within)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        while items.next_element_seed(self.at(&at.to_string()))?.is_some() {
            at += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_stands_twice_is_found_wherever_it_is() {
        let json = br#"{"a":[{"b":1,"c":null,"b":{}}],"d/e":"x","\u0061":2.5,"f":-1,"d/e":true}"#;
        assert_eq!(super::find(json), ["/a/0/b", "/a", "/d~1e"]);
        assert!(super::find(b"[{").is_empty());
    }
}
