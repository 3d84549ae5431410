//! Reads JSON, and refuses an object that has a key twice.
//!
//! In: a text. Out: its value, or the first fault with its line and column. Most parsers use the last value of a
//! duplicate key (RFC 8259, section 4), so a part of a definition would be ignored.

use std::fmt;

use serde_json::{Map, Number, Value};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The value of a text.
pub(crate) fn read(text: &str) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Place(String::new()).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The place of the value that comes next, such as `containerDefinitions[0]`.
struct Place(String);

impl<'de> DeserializeSeed<'de> for Place {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Place(format!("{}[{}]", self.0, list.len())))? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if members.contains_key(&key) {
                let place = if self.0.is_empty() { String::new() } else { format!(" in `{}`", self.0) };
                return Err(A::Error::custom(format!("the key `{key}` is there twice{place}")));
            }
            let place = if self.0.is_empty() { key.clone() } else { format!("{}.{key}", self.0) };
            let value = entries.next_value_seed(Place(place))?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_refused_with_its_place() {
        for (text, expected) in [
            (r#"{"family": "e", "family": "f"}"#, "the key `family` is there twice at line 1 column 24"),
            (r#"{"a": 1, "\u0061": 1}"#, "the key `a` is there twice at line 1 column 17"),
            (
                "{\"a\": [1, {\"b\": {\n\"c\": 1, \"c\": 1}}]}",
                "the key `c` is there twice in `a[1].b` at line 2 column 11",
            ),
            ("[{\"a\": 1}, {\"a\": 1, \"a\": 1}]", "the key `a` is there twice in `[1]` at line 1 column 23"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected);
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof!["(null|true|-?[0-9]{1,20}|1e3|1e999|0\\.1|\"[a-zä]{0,3}\"|\"\\\\n\"|x)"];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(", "))),
                proptest::collection::btree_map("[a-z]{1,3}", inner, 0..5).prop_map(|members| {
                    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn other_texts_have_the_value_and_the_fault_of_serde_json(text in text(), end in "[ x}]{0,2}") {
            let text = text + &end;
            let ours = read(&text).map_err(|error| error.to_string());
            prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).map_err(|error| error.to_string()));
        }
    }
}
