//! `commonwatt up`: Postgres, gateway and one node with the real model, from one data folder, in one command.
//! `House::start` tells the start in order; whatever was started is ended in reverse order, however it came to an end.

mod folder;

mod postgres;

mod programs;

mod child;

mod probe;

mod environment;

mod process;

mod interrupts;

mod say;

mod until;

use std::future::pending;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use rustix::process::Signal;
use tokio::time::Instant;

use self::child::Child;
use self::environment::{Environment, Pids};
use self::folder::DataFolder;
use self::interrupts::Interrupts;
use self::programs::Programs;
use self::say::{say, step};
use self::until::until;

pub use self::postgres::{PrivatePostgres, with_postgres};

/// A little longer than the programs give their streams to end.
const STOP_PATIENCE: Duration = Duration::from_secs(35);

/// What `commonwatt up` is asked for.
#[derive(Clone, Debug)]
pub struct UpSettings {
    /// Everything that lasts lies in this folder.
    pub data: PathBuf,
    /// The gateway's port on 127.0.0.1.
    pub port: u16,
    /// The node's port on 127.0.0.1.
    pub node_port: u16,
    /// A Postgres to use instead of a private one.
    pub database_url: Option<String>,
    /// The name of the model that the node offers.
    pub model: String,
}

/// Runs everything until Ctrl-C or SIGTERM.
pub async fn up(settings: UpSettings) -> anyhow::Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let mut house = tokio::select! {
        _ = interrupts.next() => return Ok(()),
        house = House::prepare(settings) => house?,
    };
    let outcome = tokio::select! {
        biased;
        _ = interrupts.next() => Ok(()),
        outcome = house.live() => outcome,
    };
    tokio::select! {
        () = house.end() => outcome,
        _ = interrupts.next() => {
            house.kill();
            bail!("Ended at once, as asked by a second signal.")
        }
    }
}

/// Everything that `up` runs.
struct House {
    settings: UpSettings,
    data: DataFolder,
    programs: Programs,
    postgres: Option<PrivatePostgres>,
    gateway: Option<Child>,
    node: Option<Child>,
    environment: Option<Environment>,
}

impl House {
    /// Whatever can be refused is refused here, before anything is started.
    async fn prepare(settings: UpSettings) -> anyhow::Result<House> {
        let data = DataFolder::take(&settings.data)?;
        let programs = Programs::beside_us(&settings, data.path())?;
        folder::wait_for_leftovers(&data.join("up.env")).await?;
        folder::check_port(settings.port, "COMMONWATT_PORT")?;
        folder::check_port(settings.node_port, "COMMONWATT_NODE_PORT")?;
        Ok(House { settings, data, programs, postgres: None, gateway: None, node: None, environment: None })
    }

    async fn live(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let environment = self.start().await?;
        say(format_args!("everything runs after {:.1} s", begun.elapsed().as_secs_f32()));
        environment.write(&self.data.join("up.env"), self.pids())?;
        // Nobody is left to greet when stdout is closed.
        let _ = stdout().lock().write_all(environment.greeting(self.data.path()).as_bytes());
        self.environment = Some(environment);
        loop {
            self.restarted().await;
            self.note(self.pids());
        }
    }

    async fn start(&mut self) -> anyhow::Result<Environment> {
        let programs = self.programs.clone();
        // The download needs nothing of what is started meanwhile.
        let pull = step("fetching and checking the model", programs.pull());
        let (database_url, ()) = tokio::try_join!(self.start_gateway(), pull)?;
        let environment = step("preparing the first account", programs.bootstrap(database_url)).await?;
        step("starting the node and loading the model", self.start_node(&environment)).await?;
        Ok(environment)
    }

    /// Postgres first, unless one was named. Gives back its URL.
    async fn start_gateway(&mut self) -> anyhow::Result<String> {
        let database_url = if let Some(url) = &self.settings.database_url {
            url.clone()
        } else {
            let postgres = step("starting Postgres", PrivatePostgres::start(self.data.path(), true)).await?;
            self.postgres.insert(postgres).url().to_owned()
        };
        let (programs, url) = (self.programs.clone(), database_url.clone());
        let gateway = Child::start("gateway", &self.data.join("logs"), move || programs.serve_gateway(&url))?;
        let gateway = self.gateway.insert(gateway);
        let port = self.settings.port;
        let healthy = async || probe::get(port, "/healthz", None).await.map(drop);
        step("starting the gateway", until([gateway], healthy)).await?;
        Ok(database_url)
    }

    async fn start_node(&mut self, environment: &Environment) -> anyhow::Result<()> {
        let programs = self.programs.clone();
        let node = Child::start("node", &self.data.join("logs"), move || programs.serve_node())?;
        let node = self.node.insert(node);
        let Some(gateway) = &mut self.gateway else { bail!("The gateway does not run") };
        let UpSettings { port, model, .. } = &self.settings;
        let offered = async || {
            probe::get(*port, "/readyz", None).await?;
            let models = probe::get(*port, "/v1/models", Some(&environment.api_key)).await?;
            if !probe::lists(&models, model) {
                bail!("/v1/models does not list {model}");
            }
            Ok(())
        };
        until([gateway, node], offered).await
    }

    /// Returns when one of the programs has ended by itself and runs anew.
    async fn restarted(&mut self) {
        async fn child(child: &mut Option<Child>) {
            match child {
                Some(child) => child.restarted().await,
                None => pending().await,
            }
        }
        let postgres = async {
            match &mut self.postgres {
                Some(postgres) => postgres.restarted().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = postgres => {}
            () = child(&mut self.gateway) => {}
            () = child(&mut self.node) => {}
        }
    }

    /// Ends what runs, in the reverse order of the start.
    async fn end(&mut self) {
        for (name, child) in [("the node", &mut self.node), ("the gateway", &mut self.gateway)] {
            if let Some(child) = child {
                say_end(name, child.stop(Signal::TERM, STOP_PATIENCE)).await;
            }
        }
        if let Some(postgres) = self.postgres.take() {
            say_end("Postgres", postgres.stop()).await;
        }
        self.note(Pids::default());
    }

    /// What is asked to end at once. Postgres' watchdog sees to Postgres.
    fn kill(&mut self) {
        for child in [&mut self.node, &mut self.gateway].into_iter().flatten() {
            child.kill();
        }
        self.note(Pids::default());
    }

    fn pids(&self) -> Pids {
        Pids {
            gateway: self.gateway.as_ref().and_then(Child::pid),
            node: self.node.as_ref().and_then(Child::pid),
            postgres: self.postgres.as_ref().and_then(PrivatePostgres::pid),
            up: Some(std::process::id()),
        }
    }

    /// A script misses the new process ids when this fails; everything else goes on.
    fn note(&self, pids: Pids) {
        let written = self.environment.as_ref().map(|environment| environment.write(&self.data.join("up.env"), pids));
        if let Some(Err(error)) = written {
            say(format_args!("{error:#}"));
        }
    }
}

async fn say_end(name: &str, ending: impl Future<Output = ()>) {
    let ended = async {
        ending.await;
        Ok(())
    };
    // It never fails: what does not end is killed.
    let _ = step(&format!("ending {name}"), ended).await;
}
