//! One JSON object a line.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The keys and values of one line; or the column where reading stopped, and why.
pub(super) fn object(line: &str) -> Result<Map<String, Value>, (usize, String)> {
    let error = match serde_json::from_str(line) {
        Ok(Object(row)) => return Ok(row),
        Err(error) => error,
    };
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(_)) => Err((error.column(), without_place(&error))),
        Ok(Value::Array(rows)) if rows.iter().any(Value::is_object) => {
            Err((1, "a list where one JSON object a line is expected; write each of its objects as a line".into()))
        }
        Ok(other) => Err((1, format!("{} where one JSON object a line is expected", kind(&other)))),
        Err(error) => Err((error.column(), syntax(line, &error))),
    }
}

/// What a value is, for errors.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn syntax(line: &str, error: &serde_json::Error) -> String {
    let hint = match line.trim_start() {
        start if start.starts_with('[') => " (a JSON array must be rewritten as one object a line)",
        start if start.trim_end() == "{" => " (an object over several lines must be rewritten as one line)",
        _ => "",
    };
    format!("not valid JSON: {}{hint}", without_place(error))
}

/// Serde's message without its "at line 1 column 7": the line is always 1 there.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.clone(), |(reason, _)| reason.to_owned())
}

/// An object that says each key once: of two values for one key, either could be the one that was meant.
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs).map(Self)
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut row = Map::new();
        while let Some((key, value)) = pairs.next_entry::<String, Value>()? {
            if row.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` stands here twice")));
            }
            row.insert(key, value);
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_once() {
        let (column, reason) = object(r#"{"text": "a", "label": 1, "text": "b"}"#).unwrap_err();
        assert_eq!(reason, "key `text` stands here twice");
        assert!((27..=38).contains(&column), "{column}");
        let row = object(r#"{"a": {"b": 1}, "b": 2}"#).unwrap();
        assert_eq!((&row["a"]["b"], &row["b"]), (&1.into(), &2.into()), "within another key it is another one");
    }

    #[test]
    fn what_is_no_object_is_said() {
        assert_eq!(object("3").unwrap_err(), (1, "a whole number where one JSON object a line is expected".into()));
        let (_, reason) = object("{").unwrap_err();
        assert!(reason.starts_with("not valid JSON: ") && reason.contains("rewritten as one line"), "{reason}");
        let (_, reason) = object("[").unwrap_err();
        assert!(reason.starts_with("not valid JSON: EOF while parsing a list (a JSON array"), "{reason}");
        let (column, reason) = object(r#"{"a" 1}"#).unwrap_err();
        assert_eq!((column, reason.as_str()), (6, "not valid JSON: expected `:`"));
    }
}
