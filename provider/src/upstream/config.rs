//! What the operator says of his server: flags and environment. The comments are the help text.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use url::Url;

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// The engine in this program.
    Mistralrs,
    /// A server of yours that speaks OpenAI's API: vLLM, SGLang, llama.cpp's, Ollama.
    Openai,
}

/// The server that computes with `--engine openai`.
#[derive(Clone, Debug, Default, Args)]
pub struct UpstreamConfig {
    /// Address of the server, such as http://127.0.0.1:8000/v1.
    #[arg(long, env = "COMMONWATT_UPSTREAM")]
    pub upstream: Option<Url>,
    /// Key that the server asks for.
    #[arg(long, env = "COMMONWATT_UPSTREAM_KEY", hide_env_values = true)]
    pub upstream_key: Option<SecretString>,
    /// File that holds the key.
    #[arg(long, env = "COMMONWATT_UPSTREAM_KEY_FILE", conflicts_with = "upstream_key")]
    pub upstream_key_file: Option<PathBuf>,
}

/// What is said of the model that the server has.
#[derive(Clone, Debug, Args)]
pub struct UpstreamModelConfig {
    /// What the server calls the model; as `--model` if not given.
    #[arg(long, env = "COMMONWATT_UPSTREAM_MODEL")]
    pub upstream_model: Option<String>,
    /// The server computes on this machine although its address is not one of its own, as in another container: then
    /// this machine's sensors meter it.
    #[arg(long, env = "COMMONWATT_UPSTREAM_HERE")]
    pub upstream_here: bool,
    /// How the server's model is quantised, such as Q4_K_M, AWQ or BF16.
    #[arg(long, env = "COMMONWATT_QUANTISATION", default_value = "unknown")]
    pub quantisation: String,
    /// Licence of the server's model, or of an embedding model's folder, as an SPDX identifier.
    #[arg(long, env = "COMMONWATT_LICENCE", default_value = "unknown")]
    pub licence: String,
}

impl UpstreamConfig {
    /// The server's key, from the flag or the file.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn upstream_key(&self) -> anyhow::Result<Option<SecretString>> {
        match (&self.upstream_key, &self.upstream_key_file) {
            (Some(key), _) => Ok(Some(key.clone())),
            (None, None) => Ok(None),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(Some(SecretString::from(text.trim().to_owned()))),
                Err(error) => anyhow::bail!("cannot read the server's key from {}: {error}", path.display()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_key_comes_from_its_file_without_the_lines_end() {
        let from = |path: &std::path::Path| {
            UpstreamConfig { upstream_key_file: Some(path.to_owned()), ..UpstreamConfig::default() }.upstream_key()
        };
        let path = std::env::temp_dir().join(format!("commonwatt-upstream-key-{}", std::process::id()));
        std::fs::write(&path, "sk-secret\n").unwrap();
        let key = from(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(key.expose_secret(), "sk-secret");
        assert!(from(&path).unwrap_err().to_string().contains("commonwatt-upstream-key"));
        assert!(UpstreamConfig::default().upstream_key().unwrap().is_none());
    }
}
