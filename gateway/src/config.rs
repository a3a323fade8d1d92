//! Every setting of the gateway: flags and environment. The comments are the help text.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The Commonwatt gateway: OpenAI's API in front of independently operated nodes.
#[derive(Debug, Parser)]
#[command(name = "commonwatt", version)]
pub struct Config {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a private Postgres, the gateway and one node on this machine, to try it all.
    Up(UpConfig),
    /// Serve the gateway.
    Serve(ServeConfig),
    /// Create users, keys and tokens from the command line.
    Admin {
        #[command(flatten)]
        store: StoreConfig,
        #[command(subcommand)]
        action: AdminAction,
    },
    /// Say whether the gateway on this machine answers; for container health checks.
    Healthcheck {
        /// Address of the gateway.
        #[arg(long, env = "COMMONWATT_LISTEN", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
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

/// Where the gateway keeps things.
#[derive(Clone, Debug, Args)]
pub struct StoreConfig {
    /// Postgres, such as postgres://user:password@host/database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: String,
    /// Folder of the gateway's secret. Replicas share the secret.
    #[arg(long, env = "COMMONWATT_DATA", default_value = "./data/gateway")]
    pub data: PathBuf,
}

/// How to serve.
#[derive(Clone, Debug, Args)]
pub struct ServeConfig {
    #[command(flatten)]
    pub store: StoreConfig,
    /// Address to listen on.
    #[arg(long, env = "COMMONWATT_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Seconds that running answers get when the gateway is told to stop.
    #[arg(long, env = "COMMONWATT_DRAIN_SECONDS", default_value_t = 60)]
    pub drain_seconds: u64,
    /// Seconds without a sign of life after which a node that computes is taken for dead; nodes give one every two.
    #[arg(long, env = "COMMONWATT_NODE_SILENCE_SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..))]
    pub node_silence_seconds: u64,
    /// Most connections to Postgres.
    #[arg(long, env = "COMMONWATT_DATABASE_CONNECTIONS", default_value_t = 10)]
    pub database_connections: u32,
    /// Stop when standard input ends: for a supervisor that must not leave a gateway behind.
    #[arg(long, hide = true)]
    pub with_parent: bool,
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
        /// May see every node.
        #[arg(long)]
        admin: bool,
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
    /// Create a first user, a key of each kind and an enrolment token, unless they are there, and write them to files.
    Bootstrap {
        /// Folder for the files `api_key`, `admin_token` and `node_token`.
        #[arg(long)]
        out: PathBuf,
    },
}
