//! What a server says of its models. Sources: OpenAI API reference, "Models"; vLLM and SGLang, `max_model_len`; llama.cpp,
//! `tools/server`, `meta` of `/v1/models`.

use anyhow::Context;
use openapi::error::echo;
use serde::Deserialize;

/// As many models as a sentence names.
const MOST_NAMED: usize = 10;

/// All models of a server.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    data: Vec<Listed>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    id: String,
    max_model_len: Option<usize>,
    meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    /// What one sequence may have, as the server was started.
    n_ctx: Option<usize>,
    /// What the model was made for.
    n_ctx_train: Option<usize>,
}

impl Listing {
    /// Reads the answer to `GET /v1/models`.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn read(body: &[u8]) -> anyhow::Result<Self> {
        serde_json::from_slice(body).context("its list of models is none")
    }

    pub(super) fn find(&self, model: &str) -> Option<&Listed> {
        self.data.iter().find(|listed| listed.id == model)
    }

    /// A sentence that says what there is.
    pub(super) fn choice(&self) -> String {
        if self.data.is_empty() {
            return "It has none".to_owned();
        }
        let names: Vec<String> = self.data.iter().take(MOST_NAMED).map(|listed| echo(&listed.id)).collect();
        let more = if self.data.len() > MOST_NAMED { " and more" } else { "" };
        format!("It has {}{more}: choose with --upstream-model", names.join(", "))
    }

    /// Names of all models, for people to read.
    pub(super) fn names(&self) -> String {
        self.data.iter().map(|listed| echo(&listed.id)).collect::<Vec<_>>().join(", ")
    }
}

impl Listed {
    /// The most tokens that prompt and answer may have together, where the server says so.
    pub(super) fn context_length(&self) -> Option<usize> {
        let meta = self.meta.as_ref();
        self.max_model_len.or(meta.and_then(|meta| meta.n_ctx.or(meta.n_ctx_train))).filter(|length| *length > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context_length(fields: &str) -> Option<usize> {
        let listing =
            Listing::read(format!(r#"{{"object":"list","data":[{{"id":"m"{fields}}}]}}"#).as_bytes()).unwrap();
        listing.find("m").unwrap().context_length()
    }

    #[test]
    fn every_servers_word_for_the_context_is_read() {
        for (fields, length) in [
            (r#","max_model_len":32768,"root":"org/m""#, Some(32_768)),
            (r#","meta":{"n_vocab":49152,"n_ctx":2048,"n_ctx_train":8192}"#, Some(2_048)),
            (r#","meta":{"n_ctx_train":8192}"#, Some(8_192)),
            (r#","meta":null"#, None),
            (r#","max_model_len":0"#, None),
            ("", None),
        ] {
            assert_eq!(context_length(fields), length, "{fields}");
        }
    }

    #[test]
    fn who_asks_for_what_is_not_there_hears_what_is() {
        let listing = |ids: &[&str]| {
            let data: Vec<_> = ids.iter().map(|id| serde_json::json!({"id": id})).collect();
            Listing::read(serde_json::json!({"data": data}).to_string().as_bytes()).unwrap()
        };
        assert!(listing(&["a", "b"]).find("c").is_none());
        assert_eq!(listing(&["a", "b\n"]).choice(), "It has a, b: choose with --upstream-model");
        assert_eq!(listing(&[]).choice(), "It has none");
        assert!(listing(&["x"; 11]).choice().contains("x and more"));
        assert!(Listing::read(b"<html>").is_err() && Listing::read(br#"{"error":{}}"#).is_err());
    }
}
