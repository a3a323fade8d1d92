//! The model's own chat template, rendered here and not in the engine: the engine holds its pipeline during every step,
//! and a long prompt's step takes many seconds, during which nobody else could even be told that theirs is too long.

use std::borrow::Cow;
use std::fmt::Write as _;

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use openapi::chat::{CalledTool, Message, Role, Tool};
use serde_json::json;

use super::guide::{ARGUMENTS_END, ARGUMENTS_FOLLOW, CALL_BEGINS, CALL_ENDS, NAME_FOLLOWS, THOUGHT_BEGINS, Thinking};

/// What a template writes out.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    pub messages: &'a [Message],
    /// What the model may call.
    pub tools: &'a [Tool],
    /// Whether it shall think before it speaks; as it is used to, if nothing is said.
    pub thinks: Option<bool>,
}

/// A compiled template with the tokens that it may name.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    begin: Option<String>,
    end: Option<String>,
    /// It knows tools, and writes their calls and answers itself.
    knows_tools: bool,
    /// The model was taught to think.
    thinks: bool,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a Hugging Face chat template; `begin` and `end` are the model's special tokens.
    pub(super) fn compile(source: &str, begin: Option<String>, end: Option<String>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        // As transformers does: https://huggingface.co/docs/transformers/chat_templating
        environment.set_lstrip_blocks(true);
        environment.set_trim_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source.replace("[::-1]", "|reverse"))?;
        let (knows_tools, thinks) = (source.contains("tools"), source.contains(THOUGHT_BEGINS));
        Ok(Self { environment, begin, end, knows_tools, thinks })
    }

    /// The conversation as the model was trained to read it, up to where its answer begins.
    pub(super) fn render(&self, conversation: &Conversation<'_>) -> Result<String, Error> {
        let messages = match self.knows_tools {
            true => Cow::Borrowed(conversation.messages),
            false => Cow::Owned(spelt_out(conversation)),
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let tools: Option<Vec<Value>> = (!conversation.tools.is_empty() && self.knows_tools)
            .then(|| conversation.tools.iter().map(|tool| Value::from_serialize(described(tool))).collect());
        let rest = match conversation.thinks {
            Some(thinks) => context! { enable_thinking => thinks },
            None => context! {},
        };
        self.environment.get_template(NAME)?.render(context! {
            messages,
            tools,
            add_generation_prompt => true,
            bos_token => self.begin,
            eos_token => self.end,
            ..rest
        })
    }

    /// How the model may think after this prompt.
    pub(super) fn thinking(&self, prompt: &str, wanted: Option<bool>) -> Thinking {
        match (self.thinks, wanted) {
            (true, _) if prompt.trim_end().ends_with(THOUGHT_BEGINS) => Thinking::Begun,
            (true, None | Some(true)) => Thinking::May,
            _ => Thinking::No,
        }
    }
}

fn message(message: &Message) -> Value {
    let calls = (!message.tool_calls.is_empty()).then(|| message.tool_calls.iter().map(call).collect::<Vec<_>>());
    let content = &message.content;
    match (calls, &message.tool_call_id) {
        (Some(tool_calls), _) => context! { role => role(message.role), content, tool_calls },
        (None, Some(tool_call_id)) => context! { role => role(message.role), content, tool_call_id },
        (None, None) => context! { role => role(message.role), content },
    }
}

/// A call with its arguments as an object, which templates write out themselves.
fn call(call: &CalledTool) -> Value {
    Value::from_serialize(json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments(call)},
    }))
}

fn arguments(call: &CalledTool) -> serde_json::Value {
    serde_json::from_str(&call.arguments).unwrap_or_else(|_| call.arguments.clone().into())
}

fn described(tool: &Tool) -> serde_json::Value {
    let mut function = json!({"name": tool.name, "parameters": tool.parameters});
    if let Some(description) = &tool.description {
        function["description"] = description.clone().into();
    }
    json!({"type": "function", "function": function})
}

/// For templates that know no tools: what there is to call is said in the system's message, and calls and what came of them
/// stand in messages that every template knows.
fn spelt_out(conversation: &Conversation<'_>) -> Vec<Message> {
    let mut messages: Vec<Message> = conversation.messages.iter().map(plain).collect();
    if conversation.tools.is_empty() {
        return messages;
    }
    let told = told(conversation.tools);
    match messages.first_mut() {
        Some(first) if first.role == Role::System => first.content = format!("{}\n\n{told}", first.content),
        _ => messages.insert(0, Message { role: Role::System, content: told, ..Message::default() }),
    }
    messages
}

fn told(tools: &[Tool]) -> String {
    let mut told = "You can call functions. These are their signatures:\n<tools>\n".to_owned();
    for tool in tools {
        // Writing to a text does not fail.
        let _ = writeln!(told, "{}", described(tool));
    }
    let _ = write!(
        told,
        "</tools>\nTo call one, answer with its name and arguments as JSON:\n\
         {CALL_BEGINS}{NAME_FOLLOWS}<name>{ARGUMENTS_FOLLOW}<arguments>{ARGUMENTS_END}{CALL_ENDS}"
    );
    told
}

fn plain(message: &Message) -> Message {
    let mut content = message.content.clone();
    for call in &message.tool_calls {
        let separator = if content.is_empty() { "" } else { "\n" };
        let (name, arguments) = (&call.name, arguments(call));
        let _ = write!(
            content,
            "{separator}{CALL_BEGINS}{NAME_FOLLOWS}{name}{ARGUMENTS_FOLLOW}{arguments}{ARGUMENTS_END}{CALL_ENDS}"
        );
    }
    match message.role {
        Role::Tool => {
            let content = format!("<tool_response>\n{content}\n</tool_response>");
            Message { role: Role::User, content, ..Message::default() }
        }
        role => Message { role, content, ..Message::default() },
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// As transformers writes it: nothing is escaped for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Templates ask for what is the case anyway.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    match indent {
        None => serde_json::to_string(value).map_err(failed),
        Some(_) => serde_json::to_string_pretty(value).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT_ML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ \
        '<|im_start|>system\nHelp.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + \
        message['content'].strip() + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ \
        '<|im_start|>assistant\n' }}{% endif %}";

    fn said(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned(), ..Message::default() }
    }

    fn render(source: &str, messages: &[Message], tools: &[Tool]) -> String {
        let template = ChatTemplate::compile(source, None, None).unwrap();
        template.render(&Conversation { messages, tools, thinks: None }).unwrap()
    }

    fn tool() -> Tool {
        Tool { name: "sum".into(), description: Some("Adds <up>.".into()), parameters: json!({"type": "object"}) }
    }

    fn called() -> Vec<Message> {
        let call = CalledTool { id: "c".into(), name: "sum".into(), arguments: r#"{"of": [1, 2]}"#.into() };
        let assistant = Message { tool_calls: vec![call], ..said(Role::Assistant, "") };
        let answer = Message { tool_call_id: Some("c".into()), ..said(Role::Tool, "3") };
        vec![said(Role::User, "1+2?"), assistant, answer]
    }

    #[test]
    fn a_conversation_is_written_out_up_to_the_answer() {
        assert_eq!(
            render(CHAT_ML, &[said(Role::User, " Hi {{ 7 * 7 }} ")], &[]),
            "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nHi {{ 7 * 7 }}<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_template_without_tools_has_them_spelt_out() {
        let text = render(CHAT_ML, &called(), &[tool()]);
        assert!(text.starts_with("<|im_start|>system\nYou can call functions."), "{text}");
        assert!(text.contains(r#""description":"Adds <up>.""#) && text.contains("\"name\":\"sum\""), "{text}");
        assert!(
            text.contains(
                "assistant\n<tool_call>\n{\"name\": \"sum\", \"arguments\": {\"of\":[1,2]}}\n</tool_call><|im_end|>"
            ),
            "{text}"
        );
        assert!(text.contains("<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>"), "{text}");
        let system = render(CHAT_ML, &[said(Role::System, "Be brief."), said(Role::User, "x")], &[tool()]);
        assert!(system.starts_with("<|im_start|>system\nBe brief.\n\nYou can call functions."), "{system}");
    }

    #[test]
    fn a_template_that_knows_tools_gets_them_as_they_are() {
        let source = "{% for tool in tools %}{{ tool | tojson }};{% endfor %}{% for message in messages %}{% if \
            message.tool_calls %}{% for call in message.tool_calls %}{{ call.function.name }}({{ \
            call.function.arguments | tojson }}){% endfor %}{% else %}{{ message.role }}={{ message.content }}{% endif \
            %};{% endfor %}";
        assert_eq!(
            render(source, &called(), &[tool()]),
            "{\"function\":{\"description\":\"Adds <up>.\",\"name\":\"sum\",\"parameters\":{\"type\":\"object\"}},\"type\":\
             \"function\"};user=1+2?;sum({\"of\":[1,2]});tool=3;"
        );
    }

    #[test]
    fn a_model_thinks_as_its_template_and_the_request_say() {
        let thinks = ChatTemplate::compile(
            "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}",
            None,
            None,
        )
        .unwrap();
        assert_eq!(thinks.thinking("user", None), Thinking::May);
        assert_eq!(thinks.thinking("user", Some(false)), Thinking::No);
        assert_eq!(thinks.thinking("assistant\n<think>\n", None), Thinking::Begun);
        let told = thinks.render(&Conversation { messages: &[], tools: &[], thinks: Some(false) }).unwrap();
        assert_eq!(told, "<think></think>");
        assert_eq!(ChatTemplate::compile(CHAT_ML, None, None).unwrap().thinking("x", Some(true)), Thinking::No);
    }

    #[test]
    fn a_template_may_refuse() {
        let template =
            ChatTemplate::compile("{{ bos_token }}{{ raise_exception('no') }}", Some("<s>".into()), None).unwrap();
        let conversation = Conversation { messages: &[said(Role::User, "x")], tools: &[], thinks: None };
        assert!(template.render(&conversation).is_err());
        assert!(ChatTemplate::compile("{% if %}", None, None).is_err());
    }
}
