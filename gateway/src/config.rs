//! Every setting of the gateway: flags and environment. The comments are the help text.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use openapi::price::Price;
use openapi::units::Nanocredits;

use crate::auth::address::TrustedProxies;
use crate::authors::command::AuthorAction;
use crate::energy::honesty::canary::ONE_IN;
use crate::log;
use crate::monitor::{self, MonitorSettings};
use crate::nodes::SILENCE;
use crate::nodes::direct::address::AllowedNetworks;
#[cfg(feature = "acme")]
use crate::tls::acme;
use crate::verify::VerifyAction;

/// The Commonwatt gateway: OpenAI's API in front of independently operated nodes.
#[derive(Debug, Parser)]
#[command(name = "commonwatt", version)]
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
    /// Start a private Postgres, the gateway and one node on this machine, to try it all.
    Up(UpConfig),
    /// Serve the gateway.
    Serve(Box<ServeConfig>),
    /// Create users, keys and tokens, give credits, and check the ledger.
    Admin {
        #[command(flatten)]
        store: StoreConfig,
        #[command(subcommand)]
        action: AdminAction,
    },
    /// Let another secret follow the gateway's, without anybody noticing.
    Secret {
        /// Folder of the gateway's secret.
        #[arg(long, env = "COMMONWATT_DATA", default_value = "./data/gateway")]
        data: PathBuf,
        #[command(subcommand)]
        action: SecretAction,
    },
    /// Check a receipt, a statement, an epoch or the log, without taking anybody's word.
    Verify {
        #[command(subcommand)]
        action: VerifyAction,
    },
    /// Make an author's key and claim with it what models of theirs have earned.
    Author {
        #[command(subcommand)]
        action: AuthorAction,
    },
    /// Follow a gateway's log, and raise an alarm at whatever doesn't hold.
    #[command(after_long_help = monitor::ABOUT)]
    Monitor(MonitorSettings),
    /// Say whether the gateway on this machine answers; for container health checks.
    Healthcheck {
        /// Address of the gateway.
        #[arg(long, env = "COMMONWATT_LISTEN", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Given, in whatever words, where its listener speaks TLS.
        #[arg(long, env = "COMMONWATT_TLS_CERTIFICATE")]
        tls_certificate: Option<PathBuf>,
        /// The same.
        #[arg(long, env = "COMMONWATT_ACME_NAMES")]
        acme_names: Option<String>,
    },
    /// Print the description of the API as OpenAPI JSON.
    Openapi,
    /// Run a command with DATABASE_URL set to a Postgres that lives as long as the command.
    WithPostgres {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// A step from one secret to the next. After each, every gateway gets the file and is started anew.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum SecretAction {
    /// Say which there are, and what each is good for.
    List,
    /// Make another one, which is trusted beside the first.
    Add,
    /// Let the other one make all that is new; the first stays trusted.
    Promote,
    /// Trust but the first one; keys that the others have made go on working.
    Retire,
    /// Remove the retired ones; keys that they have made end with that.
    Forget,
}

/// Where the gateway keeps things.
#[derive(Clone, Debug, Args)]
pub struct StoreConfig {
    /// Postgres, such as postgres://user:password@host/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Folder of the gateway's secret, and of its journal if that has no other. Replicas share the secret, not the
    /// journal.
    #[arg(long, env = "COMMONWATT_DATA", default_value = "./data/gateway")]
    pub data: PathBuf,
}

/// How usage and money are accounted for.
#[derive(Clone, Debug, Args)]
pub struct AccountingConfig {
    /// Folder of the journal, on a local disk that outlives the process; each replica needs its own. `journal` in the
    /// data folder if not given.
    #[arg(long, env = "COMMONWATT_JOURNAL")]
    pub journal: Option<PathBuf>,
    /// Wait for the disk before the first and the last byte of every answer: a power cut then loses nothing, instead of
    /// the last ten milliseconds.
    #[arg(long, env = "COMMONWATT_STRICT_JOURNAL")]
    pub strict_journal: bool,
    /// Megabytes of settled requests that may wait for the database; with more, no request is let in.
    #[arg(long, env = "COMMONWATT_JOURNAL_MEGABYTES", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub journal_megabytes: u64,
    /// Megabytes that must be free on the journal's disk; with less, no request is let in.
    #[arg(long, env = "COMMONWATT_JOURNAL_FREE_MEGABYTES", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub journal_free_megabytes: u64,
    /// Seconds without a sign of life after which a replica is taken for dead and what it has leased returns; the same
    /// for all replicas. Without the database requests go on for about as long, and for at most fifteen minutes.
    #[arg(long, env = "COMMONWATT_LEASE_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(30..=86_400))]
    pub lease_seconds: u64,
    /// Switch accounting off, to measure what it costs: nothing is held, counted, written down or paid.
    #[arg(long, env = "COMMONWATT_METERING", default_value = "on")]
    pub metering: Metering,
}

impl AccountingConfig {
    /// The journal's folder, given the gateway's data folder.
    pub fn journal_folder(&self, data: &Path) -> PathBuf {
        self.journal.clone().unwrap_or_else(|| data.join("journal"))
    }
}

/// Whether requests are accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metering {
    On,
    Off,
}

/// A certificate that the gateway gets itself.
#[cfg(feature = "acme")]
#[derive(Clone, Debug, Args)]
pub struct AcmeConfig {
    /// The names under which clients find this gateway, with commas between them: it gets a certificate for them by ACME, and
    /// renews it, and the listener speaks TLS then. The authority has to reach it at port 443 of each name. Giving this you
    /// agree to the authority's terms of service.
    #[arg(long, env = "COMMONWATT_ACME_NAMES", value_delimiter = ',', conflicts_with = "tls_certificate")]
    pub acme_names: Vec<String>,
    /// The authority's directory.
    #[arg(long, env = "COMMONWATT_ACME_DIRECTORY", default_value = "https://acme-v02.api.letsencrypt.org/directory")]
    pub acme_directory: String,
    /// An e-mail address to which the authority may write.
    #[arg(long, env = "COMMONWATT_ACME_CONTACT")]
    pub acme_contact: Option<String>,
}

#[cfg(feature = "acme")]
impl AcmeConfig {
    /// What to ask for, if anything.
    pub(crate) fn settings(&self) -> Option<acme::Settings> {
        let names: Vec<String> = self.acme_names.iter().map(|name| name.trim().to_lowercase()).collect();
        let (directory, contact) = (self.acme_directory.clone(), self.acme_contact.clone());
        (!names.is_empty()).then_some(acme::Settings { names, directory, contact })
    }
}

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct ServeConfig {
    #[command(flatten)]
    pub store: StoreConfig,
    #[command(flatten)]
    pub accounting: AccountingConfig,
    /// Address to listen on.
    #[arg(long, env = "COMMONWATT_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Another address to listen on, where administrators act: in a network that is theirs alone. They are ordinary users on
    /// the first one then. Without it they act there.
    #[arg(long, env = "COMMONWATT_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// File with the certificate under which clients find this gateway, and its chain, as PEM text: the listener speaks TLS
    /// then. A renewed one is taken within a minute.
    #[arg(long, env = "COMMONWATT_TLS_CERTIFICATE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// File with the certificate's private key, as PEM text.
    #[arg(long, env = "COMMONWATT_TLS_KEY", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    #[cfg(feature = "acme")]
    #[command(flatten)]
    pub acme: AcmeConfig,
    /// Address to listen on for the other replicas of this gateway, in a network that is theirs alone. Without it no
    /// replica can use this one's nodes, nor this one theirs.
    #[arg(long, env = "COMMONWATT_INTERNAL_LISTEN")]
    pub internal_listen: Option<SocketAddr>,
    /// Where the other replicas reach that, as host:port; without it the address itself.
    #[arg(long, env = "COMMONWATT_INTERNAL_ADDRESS", requires = "internal_listen")]
    pub internal_address: Option<String>,
    /// Address on which Prometheus finds `/metrics`, in a network that is the operators' alone: it asks for no key.
    #[arg(long, env = "COMMONWATT_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// OpenTelemetry collector that gets the same metrics over OTLP, such as http://127.0.0.1:4318.
    #[arg(long, env = "COMMONWATT_METRICS_COLLECTOR", hide_env_values = true)]
    pub metrics_collector: Option<String>,
    /// OpenTelemetry collector that gets traces of requests over OTLP, such as http://127.0.0.1:4318.
    #[arg(long, env = "COMMONWATT_TRACES_COLLECTOR", hide_env_values = true)]
    pub traces_collector: Option<String>,
    /// One in so many requests is traced, beside those whose client asks for it by a sampled `traceparent`; with 0 none is.
    #[arg(long, env = "COMMONWATT_TRACES_ONE_IN", default_value_t = 10)]
    pub traces_one_in: u64,
    /// File with an inference key of this gateway: after some requests their node gets one more in this key's name, whose
    /// work is known, and what it claims in energy is compared with what others claim.
    #[arg(long, env = "COMMONWATT_SAMPLING_KEY_FILE")]
    pub sampling_key_file: Option<PathBuf>,
    /// After one in so many requests, chosen by chance.
    #[arg(long, env = "COMMONWATT_SAMPLING_ONE_IN", default_value_t = ONE_IN, value_parser = clap::value_parser!(u64).range(1..))]
    pub sampling_one_in: u64,
    /// Most connections of clients at once. When there are more, those that have been silent for longest are closed. Each
    /// takes a file descriptor; a quarter of those that the system allows is kept for everything else.
    #[arg(long, env = "COMMONWATT_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub connections: u32,
    /// Seconds for which new requests are still taken when the gateway is told to stop and says that it is not ready:
    /// a load balancer needs them to notice.
    #[arg(long, env = "COMMONWATT_STOP_DELAY_SECONDS", default_value_t = 0)]
    pub stop_delay_seconds: u64,
    /// Seconds that running answers, and nodes that move to other replicas, get when the gateway is told to stop.
    #[arg(long, env = "COMMONWATT_DRAIN_SECONDS", default_value_t = 60)]
    pub drain_seconds: u64,
    /// Seconds that a request waits for a place when all nodes that suit it are busy.
    #[arg(long, env = "COMMONWATT_QUEUE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub queue_seconds: u64,
    /// Seconds without a sign of life after which a node that computes is taken for dead, and another one goes on with its
    /// answer; nodes give one every two.
    #[arg(long, env = "COMMONWATT_NODE_SILENCE_SECONDS", default_value_t = SILENCE.as_secs(), value_parser = clap::value_parser!(u64).range(5..))]
    pub node_silence_seconds: u64,
    /// Whole months of requests that are kept beside the running one; 0 keeps them for ever. The ledger is always kept.
    #[arg(long, env = "COMMONWATT_KEEP_MONTHS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=600))]
    pub keep_months: u16,
    /// Whether responses are stored where a request does not say `store: false`; with false nothing that is said is stored,
    /// whatever a request says.
    #[arg(long, env = "COMMONWATT_STORE_RESPONSES", default_value_t = true, action = clap::ArgAction::Set)]
    pub store_responses: bool,
    /// Days for which responses are stored; 0 keeps them until they are deleted.
    #[arg(long, env = "COMMONWATT_KEEP_RESPONSES_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(..=3650))]
    pub keep_responses_days: u16,
    /// What the public log is called: as an address without its scheme, such as gateway.example/log. Whoever checks it knows
    /// it by that, so it can't be changed once something is logged. Without it the log is called after the first of the ACME
    /// names, or else after its key.
    #[arg(long, env = "COMMONWATT_LOG_ORIGIN", value_parser = log::read_origin)]
    pub log_origin: Option<String>,
    /// Length of an epoch in hours, 168 being a week that ends on Monday at midnight, UTC: then everybody gets a statement of what
    /// they have earned. With 0 epochs end only when an administrator ends them.
    #[arg(long, env = "COMMONWATT_EPOCH_HOURS", default_value_t = 168, value_parser = clap::value_parser!(u32).range(..=8784))]
    pub epoch_hours: u32,
    /// Price of a model for which a node asks none when it first connects: nanocredits per token of the prompt, of its
    /// cached part, and of the answer.
    #[arg(long, env = "COMMONWATT_DEFAULT_PRICE", default_value = "100,25,400")]
    pub default_price: Price,
    /// Hours for which a new split of the income is announced, at least, before it counts; 0 lets it count at once.
    #[arg(long, env = "COMMONWATT_SPLIT_NOTICE_HOURS", default_value_t = 336, value_parser = clap::value_parser!(u32).range(..=87_600))]
    pub split_notice_hours: u32,
    /// Credits, such as 10 or 0.5, from which on an operator or an author is paid out when an epoch is closed; what is less
    /// waits for the next one.
    #[arg(long, env = "COMMONWATT_MINIMUM_PAYOUT", default_value = "10", value_parser = credits)]
    pub minimum_payout: Nanocredits,
    /// Most connections to Postgres, beside the one that listens for changes.
    #[arg(long, env = "COMMONWATT_DATABASE_CONNECTIONS", default_value_t = 10)]
    pub database_connections: u32,
    /// Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed: addresses and networks such as 10.0.0.0/8, with
    /// commas between them.
    #[arg(long, env = "COMMONWATT_TRUSTED_PROXIES", default_value = "", hide_default_value = true)]
    pub trusted_proxies: TrustedProxies,
    /// Networks in which the gateway dials nodes and attached servers although the internet can't reach them, over plain
    /// HTTP too: addresses and networks such as 10.0.0.0/8, with commas between them.
    #[arg(long, env = "COMMONWATT_ALLOWED_NETWORKS", default_value = "", hide_default_value = true)]
    pub allowed_networks: AllowedNetworks,
    /// File of certificates of authorities, as PEM, that count for nodes and attached servers beside those that this
    /// machine trusts.
    #[arg(long, env = "COMMONWATT_EXTRA_ROOTS")]
    pub extra_roots: Option<PathBuf>,
    /// Stop when standard input ends: for a supervisor that must not leave a gateway behind.
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

impl ServeConfig {
    /// What the log is called where nobody has said so, if clients know the gateway by a name.
    pub(crate) fn likely_log_origin(&self) -> Option<String> {
        #[cfg(feature = "acme")]
        if let Some(settings) = self.acme.settings() {
            return settings.names.first().map(|name| format!("{name}/log"));
        }
        None
    }
}

/// How to try it all on one machine.
#[derive(Clone, Debug, Args)]
pub struct UpConfig {
    /// Folder for everything: database, secret, model, logs.
    #[arg(long, env = "COMMONWATT_DATA", default_value = "./data")]
    pub data: PathBuf,
    /// Port of the gateway.
    #[arg(long, env = "COMMONWATT_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Port of the node's local API.
    #[arg(long, env = "COMMONWATT_NODE_PORT", default_value_t = 8090)]
    pub node_port: u16,
    /// Use this Postgres instead of a private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Name of the model, from the node's catalogue.
    #[arg(long, env = "COMMONWATT_MODEL", default_value = "smollm2-135m-instruct")]
    pub model: String,
}

/// Administration without the API, for whoever can reach the database and the secret.
#[derive(Clone, Debug, Subcommand)]
pub enum AdminAction {
    /// Create a user with an account. The password is read from standard input.
    CreateUser {
        /// Address to sign in with.
        #[arg(long)]
        email: String,
        /// How the user is called.
        #[arg(long)]
        name: String,
        /// May see every node and every account, post to the ledger and set the split.
        #[arg(long)]
        admin: bool,
        /// Credits to begin with, given by the gateway.
        #[arg(long, default_value = "0", value_parser = credits)]
        credits: Nanocredits,
    },
    /// Create a key in a user's account and print it. It is shown this once.
    CreateKey {
        /// The user's address.
        #[arg(long)]
        email: String,
        /// What the key is for.
        #[arg(long)]
        name: String,
        /// A key for /api instead of one for /v1.
        #[arg(long)]
        management: bool,
    },
    /// Create a one-time token with which a node joins a user's account, and print it.
    CreateEnrolmentToken {
        /// The user's address.
        #[arg(long)]
        email: String,
    },
    /// Give credits to a user's account at the gateway's expense.
    Grant(Gift),
    /// Book credits that a user has bought.
    TopUp(Gift),
    /// Show that the ledger adds up, and fail with what does not.
    Audit,
    /// Write all balances anew from the postings.
    RebuildBalances,
    /// Make the statements of a closed epoch again of the log, and fail if one is another than was published.
    RecomputeEpoch {
        /// The epoch's number.
        number: i32,
    },
    /// Create a first user with credits, a key of each kind and an enrolment token, unless they are there, and write them
    /// to files.
    Bootstrap {
        /// Folder for the files `api_key`, `admin_token` and `node_token`.
        #[arg(long)]
        out: PathBuf,
    },
}

/// Credits for a user's account.
#[derive(Clone, Debug, Args)]
pub struct Gift {
    /// The user's address.
    #[arg(long)]
    pub email: String,
    /// How many, such as 100 or 12.5.
    #[arg(long, value_parser = credits)]
    pub credits: Nanocredits,
    /// Why; it stands in the ledger.
    #[arg(long)]
    pub reason: String,
    /// The same key twice gives once. Made up and printed if not given.
    #[arg(long)]
    pub idempotency_key: Option<String>,
}

fn credits(text: &str) -> Result<Nanocredits, &'static str> {
    Nanocredits::from_credits(text).ok_or("credits are a number such as 100 or 12.5, with at most nine decimals")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        Config::try_parse_from([&["commonwatt"], arguments].concat()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_empty_in_the_environment_counts_as_not_given() {
        let empty =
            |name: &OsStr| ["COMMONWATT_ADMIN_LISTEN", "DATABASE_URL"].contains(&name.to_str()?).then(OsString::new);
        let environment = |name: &OsStr| empty(name).or_else(|| (name == "COMMONWATT_LISTEN").then(|| "::1".into()));
        let command = without_empty(Config::command(), &environment);
        let asked = |subcommand: &str| -> Vec<String> {
            let arguments = command.find_subcommand(subcommand).unwrap().get_arguments();
            arguments.filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())).collect()
        };
        let serve = asked("serve");
        assert!(!serve.iter().any(|name| empty(name.as_ref()).is_some()), "{serve:?}");
        assert!(serve.contains(&"COMMONWATT_LISTEN".to_owned()) && serve.contains(&"COMMONWATT_DATA".to_owned()));
        assert!(!asked("admin").contains(&"DATABASE_URL".to_owned()));
    }

    #[test]
    fn wrong_money_is_refused_with_a_sentence() {
        let serve = ["serve", "--database-url", "postgres://x", "--default-price"];
        assert!(refusal(&[&serve[..], &["1,2"]].concat()).contains("three whole numbers"));
        let grant =
            ["admin", "--database-url", "postgres://x", "grant", "--email", "a@b", "--reason", "r", "--credits"];
        assert!(refusal(&[&grant[..], &["1e9"]].concat()).contains("such as 100 or 12.5"));
        assert!(Config::try_parse_from([&["commonwatt"], &grant[..], &["12.5"]].concat()).is_ok());
    }

    #[test]
    fn a_log_that_nobody_could_name_is_refused_with_a_sentence() {
        let serve = ["serve", "--database-url", "postgres://x", "--log-origin"];
        for bad in ["", "a b", "a+b", "https://a.example/log", "/log", "a\tb", "ä.example", &"a".repeat(201)] {
            assert!(refusal(&[&serve[..], &[bad]].concat()).contains("such as gateway.example/log"), "{bad}");
        }
        assert!(Config::try_parse_from([&["commonwatt"], &serve[..], &["gateway.example/log"]].concat()).is_ok());
    }
}
