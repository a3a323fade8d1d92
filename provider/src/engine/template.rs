//! The model's own chat template, rendered here and not in the engine: the engine holds its pipeline during every step,
//! and a long prompt's step takes many seconds, during which nobody else could even be told that theirs is too long.

use minijinja::{Environment, Error, ErrorKind, context};
use openapi::chat::{Message, Role};

/// A compiled template with the tokens that it may name.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    begin: Option<String>,
    end: Option<String>,
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
        environment.add_template_owned(NAME, source.replace("[::-1]", "|reverse"))?;
        Ok(Self { environment, begin, end })
    }

    /// The conversation as the model was trained to read it, up to where its answer begins.
    pub(super) fn render(&self, messages: &[Message]) -> Result<String, Error> {
        let messages: Vec<_> = messages
            .iter()
            .map(|message| context! { role => role(message.role), content => message.content })
            .collect();
        self.environment.get_template(NAME)?.render(context! {
            messages,
            add_generation_prompt => true,
            bos_token => self.begin,
            eos_token => self.end,
        })
    }
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT_ML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ \
        '<|im_start|>system\nHelp.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + \
        message['content'].strip() + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ \
        '<|im_start|>assistant\n' }}{% endif %}";

    fn user(content: &str) -> Message {
        Message { role: Role::User, content: content.to_owned() }
    }

    #[test]
    fn a_conversation_is_written_out_up_to_the_answer() {
        let template = ChatTemplate::compile(CHAT_ML, None, None).unwrap();
        let text = template.render(&[user(" Hi {{ 7 * 7 }} ")]).unwrap();
        assert_eq!(
            text,
            "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nHi {{ 7 * 7 }}<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_template_may_refuse() {
        let template =
            ChatTemplate::compile("{{ bos_token }}{{ raise_exception('no') }}", Some("<s>".into()), None).unwrap();
        assert!(template.render(&[user("x")]).is_err());
        assert!(ChatTemplate::compile("{% if %}", None, None).is_err());
    }
}
