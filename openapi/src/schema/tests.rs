//! Each parser takes what its schema allows and refuses what it forbids, field by field.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Named;
use crate::chat::ChatRequest;
use crate::completion::CompletionRequest;
use crate::embedding::EmbeddingRequest;
use crate::error::ApiError;
use crate::responses::{Given, ResponseRequest, in_our_words};

/// A schema, its parser, and a body with whatever other fields need beside them.
struct Case {
    schemas: Map<String, Value>,
    name: &'static str,
    body: Value,
    parse: fn(&[u8]) -> Result<(), ApiError>,
}

impl Case {
    fn new<T: ToSchema>(name: &'static str, body: Value, parse: fn(&[u8]) -> Result<(), ApiError>) -> Self {
        let mut named: Named = Vec::new();
        super::collect::<T>(&mut named);
        let schemas = named.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap())).collect();
        Self { schemas, name, body, parse }
    }

    fn all() -> [Self; 4] {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let flat = json!({"type": "function", "name": "f"});
        let messages = json!([{"role": "user", "content": "x"}]);
        [
            Self::new::<ChatRequest>(
                "ChatRequest",
                json!({"model": "m", "messages": messages, "logprobs": true, "tools": [tool]}),
                |body| ChatRequest::parse(body).map(drop),
            ),
            Self::new::<CompletionRequest>(
                "CompletionRequest",
                json!({"model": "m", "prompt": "x", "echo": true}),
                |body| CompletionRequest::parse(body).map(drop),
            ),
            Self::new::<EmbeddingRequest>("EmbeddingRequest", json!({"model": "m", "input": "x"}), |body| {
                EmbeddingRequest::parse(body).map(drop)
            }),
            Self::new::<ResponseRequest>(
                "ResponseRequest",
                json!({"model": "m", "input": "x", "instructions": "y", "tools": [flat]}),
                response,
            ),
        ]
    }

    fn schema(&self) -> &Value {
        &self.schemas[self.name]
    }

    /// The field that is to blame for a body with this value.
    fn blamed(&self, field: &str, value: &Value) -> Option<String> {
        let mut body = self.body.clone();
        body[field] = value.clone();
        // Nothing but as many as there are answers.
        if field == "best_of" && value.is_i64() {
            body["n"] = value.clone();
        }
        let refused = (self.parse)(&serde_json::to_vec(&body).unwrap()).err()?;
        Some(refused.detail.param.unwrap_or(refused.detail.message))
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/"));
        name.map_or(schema, |name| &self.schemas[name])
    }

    /// Values that a schema allows: the least, the most, and one of each kind.
    fn allowed(&self, schema: &Value) -> Vec<Value> {
        let schema = self.resolved(schema);
        if let Some(any) = schema["anyOf"].as_array() {
            return any.iter().flat_map(|schema| self.allowed(schema)).collect();
        }
        if let Some(words) = schema["enum"].as_array() {
            return words.clone();
        }
        kinds(schema).iter().flat_map(|kind| self.of_kind(kind, schema)).collect()
    }

    fn of_kind(&self, kind: &str, schema: &Value) -> Vec<Value> {
        match kind {
            "null" => vec![Value::Null],
            "boolean" => vec![json!(true), json!(false)],
            "integer" | "number" => {
                let bound = |name: &str| schema.get(name).cloned().unwrap_or(json!(7));
                vec![bound("minimum"), bound("maximum")]
            }
            "string" => vec![json!("7")],
            "array" => {
                let fewest = usize::from(schema["minItems"].is_u64());
                let items = self.allowed(&schema["items"]);
                items.into_iter().map(|item| Value::Array(vec![item; fewest.max(1)])).collect()
            }
            "object" => self.objects(schema),
            other => panic!("what is a {other}?"),
        }
    }

    /// With what must be there alone, and with each of the other fields.
    fn objects(&self, schema: &Value) -> Vec<Value> {
        if let Some(values) = schema["additionalProperties"].as_object() {
            let values = self.allowed(&Value::Object(values.clone()));
            return values.into_iter().map(|value| json!({"7": value})).collect();
        }
        let Some(properties) = schema["properties"].as_object() else { return vec![json!({})] };
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut least = Map::new();
        for name in &required {
            // The one tool that there is.
            let value = if *name == "name" { json!("f") } else { self.allowed(&properties[*name]).remove(0) };
            least.insert((*name).to_owned(), value);
        }
        let more = properties.iter().flat_map(|(name, schema)| {
            let fixed = name == "name";
            let values = if fixed { vec![json!("f")] } else { self.allowed(schema) };
            values.into_iter().map(|value| {
                let mut object = least.clone();
                object.insert(name.clone(), value);
                Value::Object(object)
            })
        });
        let more: Vec<Value> = more.collect();
        [vec![Value::Object(least)], more].concat()
    }

    /// Values that a schema forbids.
    fn forbidden(&self, schema: &Value) -> Vec<Value> {
        let schema = self.resolved(schema);
        let any = schema["anyOf"].as_array();
        let all: Vec<&Value> = any.map_or_else(|| vec![schema], |any| any.iter().map(|s| self.resolved(s)).collect());
        let kinds: BTreeSet<&str> = all.iter().flat_map(|schema| kinds(schema)).collect();
        let wrong = [("boolean", json!(true)), ("number", json!(0.5)), ("array", json!([])), ("object", json!({}))];
        let mut values: Vec<Value> =
            wrong.into_iter().filter(|(kind, _)| !kinds.contains(kind)).map(|(_, value)| value).collect();
        for schema in all {
            values
                .extend(schema["enum"].as_array().filter(|words| words[0].is_string()).map(|_| json!("no such word")));
            values.extend(schema["minimum"].as_f64().map(|least| json!(least - 1.0)));
            values.extend(schema["maximum"].as_f64().map(|most| json!(most + 1.0)));
            values.extend(
                schema["maxItems"]
                    .as_u64()
                    .map(|most| Value::Array(vec![self.allowed(&schema["items"]).remove(0); most as usize + 1])),
            );
            values.extend(schema["minItems"].as_u64().map(|_| json!([])));
        }
        values
    }
}

/// What is asked, and the chat completion that it becomes.
fn response(body: &[u8]) -> Result<(), ApiError> {
    let request = ResponseRequest::parse(body)?;
    let items = request.input.iter().filter_map(|given| match given {
        Given::Item(item) => Some(item),
        Given::Reference(_) => None,
    });
    // The gateway finds what is referred to.
    if request.input.iter().any(|given| matches!(given, Given::Reference(_))) {
        return Ok(());
    }
    ChatRequest::parse(&request.chat(items)?).map(drop).map_err(in_our_words)
}

fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What a value is worth in its place is another question than whether it is one.
fn is_note(schema: &Value) -> bool {
    schema["description"].as_str().is_some_and(|about| about.contains("ithout effect"))
}

#[test]
fn parsers_take_what_their_schemas_allow() {
    for case in Case::all() {
        for (field, schema) in case.schema()["properties"].as_object().unwrap() {
            for value in case.allowed(schema) {
                let missing = value.is_null() && field == "input";
                // What the conversation has to do with its calls is no matter of its form.
                let answers =
                    ["tool_call_id", "function_call_output"].iter().any(|call| value.to_string().contains(call));
                let blamed = case.blamed(field, &value).filter(|_| !missing && !answers);
                assert_eq!(blamed, None, "{}: {field} = {value}", case.name);
            }
        }
    }
}

#[test]
fn parsers_refuse_what_their_schemas_forbid() {
    let mut tried = 0;
    for case in Case::all() {
        for (field, schema) in case.schema()["properties"].as_object().unwrap() {
            for value in case.forbidden(schema).into_iter().filter(|_| !is_note(schema)) {
                let blamed = case.blamed(field, &value).unwrap_or_default();
                assert!(blamed.starts_with(field), "{}: {field} = {value} blames '{blamed}'", case.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn parsers_want_what_their_schemas_require() {
    for case in Case::all() {
        for field in case.schema()["required"].as_array().unwrap().iter().filter_map(Value::as_str) {
            assert_eq!(case.blamed(field, &Value::Null).as_deref(), Some(field), "{}", case.name);
        }
        assert_eq!(case.blamed("nonsense", &json!(1)).as_deref(), Some("nonsense"), "the engine knows no such field");
    }
}

#[test]
fn nothing_is_described_in_vain_and_everything_in_a_few_words() {
    fn walk(schema: &Value, found: &mut usize) {
        if let Some(properties) = schema["properties"].as_object() {
            for (name, property) in properties {
                let about = property["description"].as_str().unwrap_or_default();
                assert!((3..120).contains(&about.len()), "{name}: '{about}'");
                *found += 1;
            }
        }
        match schema {
            Value::Object(fields) => fields.values().for_each(|value| walk(value, found)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = 0;
    for case in Case::all() {
        case.schemas.values().for_each(|schema| walk(schema, &mut found));
    }
    assert!(found > 120, "{found}");
}
