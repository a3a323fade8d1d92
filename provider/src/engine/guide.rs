//! Holds an answer to a form: of all tokens only those are left that can go on to a text of that form. The form is a grammar
//! of JSON schemas and calls of tools; llguidance says which tokens it allows, and [`super::sampler`] chooses among them.

use std::fmt::Write as _;

use mistralrs::llguidance::api::{GrammarInit, TopLevelGrammar};
use mistralrs::llguidance::{Matcher, ParserFactory};
use openapi::chat::Tool;
use serde_json::{Map, Value, json};

/// What stands around a call of a tool, as Hermes, Qwen and SmolLM write it; the call itself is a JSON object.
pub(crate) const CALL_BEGINS: &str = "<tool_call>";
pub(crate) const CALL_ENDS: &str = "</tool_call>";
/// What stands between these and the name, the arguments and the end of a call.
pub(crate) const NAME_FOLLOWS: &str = "\n{\"name\": \"";
pub(crate) const ARGUMENTS_FOLLOW: &str = "\", \"arguments\": ";
pub(crate) const ARGUMENTS_END: &str = "}\n";
/// What stands around the thoughts of models that think.
pub(crate) const THOUGHT_BEGINS: &str = "<think>";
pub(crate) const THOUGHT_ENDS: &str = "</think>";

/// Characters of llguidance's reason why there is no such form: it repeats what the schema says.
const LONGEST_REASON: usize = 300;

/// How a model may think before it speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// It was not taught to, or was told not to.
    #[default]
    No,
    /// If it wants.
    May,
    /// The prompt ends with the beginning of a thought.
    Begun,
}

/// What an answer must look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    pub thinking: Thinking,
    /// The text is JSON of this schema.
    pub schema: Option<Value>,
    /// Tools that may be called.
    pub tools: Vec<Tool>,
    /// One must be called.
    pub must_call: bool,
    /// Several may be.
    pub parallel: bool,
}

/// Why there is no such form.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FormError(String);

/// The form of one answer, and where in it the answer is.
pub(super) struct Guide(Matcher);

/// The answer can't go on: its grammar is too complex at this place. The reason is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Lost(String);

impl Form {
    /// True when any text will do.
    pub fn is_free(&self) -> bool {
        self.schema.is_none() && self.tools.is_empty()
    }

    /// The form in llguidance's dialect of Lark: <https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md>.
    fn grammar(&self) -> String {
        let (mut start, mut rules) = (String::new(), String::new());
        // Writing to a text does not fail.
        match self.thinking {
            Thinking::No => {}
            Thinking::May => {
                let _ = writeln!(
                    rules,
                    "thought: {} thinking /\\s*/\nthinking[suffix={}]: /(.|\\n)*/",
                    quoted(THOUGHT_BEGINS),
                    quoted(THOUGHT_ENDS)
                );
                start.push_str("thought? ");
            }
            Thinking::Begun => {
                let _ = writeln!(rules, "thinking[suffix={}]: /(.|\\n)*/", quoted(THOUGHT_ENDS));
                start.push_str("thinking /\\s*/ ");
            }
        }
        let begins = quoted(CALL_BEGINS);
        start.push_str(match (&self.schema, self.tools.is_empty(), self.must_call, self.parallel) {
            (Some(_), true, ..) => "json",
            (Some(_), false, false, true) => "(json | calls)",
            (Some(_), false, false, false) => "(json | call)",
            (_, false, true, true) => "calls",
            (_, false, true, false) => "call",
            (None, false, false, true) => "(before_call call_body)* text",
            (None, false, false, false) => "(before_call call_body | text)",
            (None, true, ..) => "text",
        });
        if let Some(schema) = &self.schema {
            let _ = writeln!(rules, "json: %json {}", compact(schema));
        }
        for (index, tool) in self.tools.iter().enumerate() {
            let (head, tail) =
                (format!("{NAME_FOLLOWS}{}{ARGUMENTS_FOLLOW}", tool.name), format!("{ARGUMENTS_END}{CALL_ENDS}"));
            let parameters = compact(&without_inventions(&tool.parameters));
            let _ = writeln!(rules, "tool_{index}: {} arguments_{index} {}", quoted(&head), quoted(&tail));
            let _ = writeln!(rules, "arguments_{index}: %json {parameters}");
        }
        if !self.tools.is_empty() {
            let tools: Vec<String> = (0..self.tools.len()).map(|index| format!("tool_{index}")).collect();
            let _ = writeln!(rules, "call_body: {}", tools.join(" | "));
            let _ = writeln!(rules, "call: {begins} call_body\ncalls: call (\"\\n\" call)*");
            let _ = writeln!(rules, "before_call[suffix={begins}]: /(.|\\n)*/");
        }
        format!("start: {start}\n{rules}text: /(.|\\n)*/\n")
    }

    /// Makes a guide of it. Takes time, up to some tenths of a second for a large schema.
    ///
    /// # Errors
    /// When it asks for what can't be held to, in words for whoever asked.
    pub(super) fn compile(&self, factory: &ParserFactory) -> Result<Guide, FormError> {
        let grammar = TopLevelGrammar::from_lark(self.grammar());
        // Without a log of its own: it would hold what people ask.
        let parser = factory.create_parser_from_init(GrammarInit::Serialized(grammar), 0, 0);
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(FormError(reason(&error))),
            None => Ok(Guide(matcher)),
        }
    }
}

impl Guide {
    /// The same from its beginning, for another answer.
    pub(super) fn again(&self) -> Self {
        Self(self.0.deep_clone())
    }

    /// Leaves of the logits only what the form allows next. `end_tokens` are allowed where the answer may end.
    ///
    /// # Errors
    /// When nothing can be said.
    pub(super) fn mask(&mut self, logits: &mut [f32], end_tokens: &[u32]) -> Result<(), Lost> {
        let ends: Vec<(u32, f32)> =
            end_tokens.iter().filter_map(|token| Some((*token, *logits.get(*token as usize)?))).collect();
        if self.is_complete() {
            logits.fill(f32::NEG_INFINITY);
        } else {
            let allowed = self.0.compute_mask().map_err(|error| Lost(error.to_string()))?;
            for (token, logit) in (0..).zip(logits.iter_mut()) {
                if (token as usize) >= allowed.len() || !allowed.is_allowed(token) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let may_end = self.is_complete() || self.0.is_accepting().map_err(|error| Lost(error.to_string()))?;
        for (token, score) in ends {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if may_end { score } else { f32::NEG_INFINITY };
            }
        }
        if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            return Err(Lost("no token can follow".to_owned()));
        }
        Ok(())
    }

    /// The answer goes on with this token.
    ///
    /// # Errors
    /// When the form does not allow it.
    pub(super) fn take(&mut self, token: u32) -> Result<(), Lost> {
        self.0.consume_token(token).map_err(|error| Lost(error.to_string()))
    }

    /// True when nothing can follow.
    pub(super) fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}

/// A schema whose JSON has no room to spare: small models lose themselves in blanks.
fn compact(schema: &Value) -> Value {
    let mut schema = schema.clone();
    close_bounds(&mut schema);
    if let Value::Object(schema) = &mut schema {
        let separators = json!({"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false});
        schema.insert("x-guidance".to_owned(), separators);
    }
    schema
}

/// The schema of a function's arguments, without any that it does not name: where a schema is left open, small models invent
/// arguments, and the function can't be called. A schema that is put together from others stays as it is.
fn without_inventions(parameters: &Value) -> Value {
    const OPEN: [&str; 12] = [
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "propertyNames",
        "minProperties",
        "dependentSchemas",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "$ref",
    ];
    let mut parameters = parameters.clone();
    let Value::Object(schema) = &mut parameters else { return parameters };
    let Some(known) = schema.get("properties").and_then(Value::as_object) else { return parameters };
    let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names_all = required.iter().all(|name| name.as_str().is_some_and(|name| known.contains_key(name)));
    if names_all && !OPEN.iter().any(|keyword| schema.contains_key(*keyword)) {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    parameters
}

/// llguidance 1.9 takes -2.0 for less than -2. So a number's bound that is itself not meant becomes one that is, a little
/// further in: what then comes fits the schema.
fn close_bounds(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(close_bounds),
        Value::Object(fields) => {
            if fields.get("type").is_none_or(|kind| kind != "integer") {
                close_bound(fields, ("exclusiveMinimum", "minimum"), |bound, by| bound + by, f64::max);
                close_bound(fields, ("exclusiveMaximum", "maximum"), |bound, by| bound - by, f64::min);
            }
            // These hold values, and no schemas.
            let holds_schemas = |name: &str| !["const", "enum", "default", "examples"].contains(&name);
            fields.iter_mut().filter(|(name, _)| holds_schemas(name)).for_each(|(_, value)| close_bounds(value));
        }
        _ => {}
    }
}

fn close_bound(
    fields: &mut Map<String, Value>,
    (exclusive, inclusive): (&str, &str),
    inwards: fn(f64, f64) -> f64,
    tighter: fn(f64, f64) -> f64,
) {
    const CLOSE: f64 = 1e-6;
    let Some(bound) = fields.get(exclusive).and_then(Value::as_f64) else { return };
    fields.remove(exclusive);
    let closed = inwards(bound, CLOSE * bound.abs().max(1.0));
    let other = fields.get(inclusive).and_then(Value::as_f64).unwrap_or(closed);
    fields.insert(inclusive.to_owned(), json!(tighter(closed, other)));
}

/// As a literal of the grammar, which is written as JSON writes it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// llguidance's reason, in one line and without a word on our own grammar.
fn reason(error: &str) -> String {
    const AT: &str = "failed to compile JSON schema: ";
    let line = error.lines().next().unwrap_or_default();
    let line = line.split_once(AT).map_or(line, |(_, reason)| reason);
    line.chars().filter(|character| !character.is_control()).take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use mistralrs::llguidance::toktrie::ApproximateTokEnv;
    use proptest::prelude::*;

    use super::*;

    /// Each byte is a token.
    fn factory() -> ParserFactory {
        ParserFactory::new_simple(&ApproximateTokEnv::single_byte_env()).unwrap()
    }

    /// True when the form allows this whole text, and that it ends there.
    fn allows(form: &Form, text: &str) -> bool {
        let mut guide = form.compile(&factory()).unwrap();
        text.bytes().all(|byte| guide.take(u32::from(byte)).is_ok())
            && (guide.is_complete() || guide.0.is_accepting().unwrap())
    }

    fn of_schema(schema: Value) -> Form {
        Form { schema: Some(schema), ..Form::default() }
    }

    fn with_tools(must_call: bool, parallel: bool) -> Form {
        let parameters = json!({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": false});
        let tool = |name: &str| Tool { name: name.to_owned(), description: None, parameters: parameters.clone() };
        Form { tools: vec![tool("f"), tool("g")], must_call, parallel, ..Form::default() }
    }

    const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
    const OTHER: &str = "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"a\": 2}}\n</tool_call>";

    #[test]
    fn calls_stand_where_they_may_and_have_what_they_must() {
        let (both, wrong) = (format!("{CALL}\n{OTHER}"), CALL.replace("1}", "3}"));
        for (must, parallel, text, fits) in [
            (false, true, "no call", true),
            (false, true, CALL, true),
            (false, true, &format!("Well: {CALL} and {OTHER}!"), true),
            (false, true, &wrong, false),
            (false, false, &format!("Well: {CALL}"), true),
            (false, false, &both, false),
            (true, true, "no call", false),
            (true, true, &both, true),
            (true, false, CALL, true),
            (true, false, &both, false),
            (true, true, &wrong, false),
        ] {
            assert_eq!(allows(&with_tools(must, parallel), text), fits, "{must} {parallel} {text}");
        }
    }

    #[test]
    fn a_function_gets_the_arguments_that_it_names_unless_its_schema_says_otherwise() {
        let form = |parameters: Value| {
            let tool = Tool { name: "f".to_owned(), description: None, parameters };
            Form { tools: vec![tool], must_call: true, ..Form::default() }
        };
        let invents = CALL.replace("1}", "1, \"b\": 2}");
        let named = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
        assert!(allows(&form(named.clone()), CALL) && !allows(&form(named.clone()), &invents));
        for (keyword, value) in [
            ("additionalProperties", json!(true)),
            ("required", json!(["a", "b"])),
            ("allOf", json!([{"properties": {"b": {"type": "integer"}}}])),
        ] {
            let mut open = named.clone();
            open[keyword] = value;
            assert!(allows(&form(open), &invents), "{keyword}");
        }
        assert!(allows(&form(json!({"type": "object"})), &invents));
    }

    #[test]
    fn json_or_a_call_is_all_there_is_where_both_are_asked_for() {
        let form = Form { schema: Some(json!({"type": "integer"})), ..with_tools(false, true) };
        assert!(
            allows(&form, "7") && allows(&form, CALL) && !allows(&form, "text") && !allows(&form, &format!("7{CALL}"))
        );
    }

    #[test]
    fn a_thought_may_come_first() {
        let form = |thinking| Form { thinking, ..of_schema(json!({"type": "boolean"})) };
        let may = form(Thinking::May);
        assert!(allows(&may, "true") && allows(&may, "<think>Is it < 2?</think>\n\ntrue"));
        assert!(!allows(&may, "<think>true") && !allows(&may, "Well, true"));
        assert!(allows(&form(Thinking::Begun), "It is.</think>true") && !allows(&form(Thinking::Begun), "true"));
        assert!(!allows(&form(Thinking::No), "<think>x</think>true"));
    }

    #[test]
    fn an_answer_may_end_only_where_its_form_is_complete() {
        let mut guide =
            of_schema(json!({"type": "array", "items": {"const": 1}, "maxItems": 2})).compile(&factory()).unwrap();
        let (end, mut told) = (300, Vec::new());
        for byte in "[1, 1]".bytes() {
            let mut logits = vec![0.0; 301];
            guide.mask(&mut logits, &[end]).unwrap();
            assert_eq!((logits[end as usize], logits[byte as usize]), (f32::NEG_INFINITY, 0.0), "after {told:?}");
            guide.take(u32::from(byte)).unwrap();
            told.push(byte);
        }
        let mut logits = vec![0.0; 301];
        guide.mask(&mut logits, &[end]).unwrap();
        assert!(
            guide.is_complete() && logits.iter().filter(|logit| logit.is_finite()).count() == 1,
            "nothing else follows"
        );
    }

    #[test]
    fn what_can_not_be_held_to_is_named() {
        let refused = |schema: Value| of_schema(schema).compile(&factory()).err().unwrap().to_string();
        assert!(refused(json!({"type": "object", "unevaluatedProperties": false})).contains("unevaluatedProperties"));
        assert!(refused(json!({"type": "string", "pattern": "("})).len() <= LONGEST_REASON);
        assert!(!refused(json!({"$ref": "#/$defs/none"})).is_empty());
    }

    proptest! {
        /// Both ways to say that a bound itself is not meant, and every way to write a number.
        #[test]
        fn bounds_are_kept_however_a_number_is_written(bound in -30i32..30, tenths in -400i32..400, digits in 0usize..3) {
            let number = f64::from(tenths) / 10.0;
            let text = format!("{number:.digits$}");
            let value: f64 = text.parse().unwrap();
            for (keyword, fits) in [
                ("minimum", value >= f64::from(bound)),
                ("maximum", value <= f64::from(bound)),
                ("exclusiveMinimum", value > f64::from(bound)),
                ("exclusiveMaximum", value < f64::from(bound)),
            ] {
                                let allowed = allows(&of_schema(json!({"type": "number", keyword: bound})), &text);
                prop_assert!(fits || !allowed, "{} {}: {}", keyword, bound, &text);
                // Of the others, those near the bound may be left out, and noughts that say nothing.
                let says_nothing = text.ends_with('0') || text.starts_with("-0") || (value - f64::from(bound)).abs() < 1.0;
                prop_assert!(allowed || !fits || says_nothing, "{} {}: {}", keyword, bound, &text);
            }
        }
    }
}
