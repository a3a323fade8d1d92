//! One of those that are compared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tests::load::{Clients, Seen, begin};
use tests::{family, pin, processor_nanoseconds, resident_bytes};

use super::profile::Profile;
use super::proxy::Proxy;
use super::{CORES, Spread, Turn};
use crate::figures::quantile;
use crate::side::Side;
use crate::upstream::Upstream;

const NODES: usize = 2;

pub(super) struct Arm {
    name: &'static str,
    version: String,
    kind: Kind,
}

enum Kind {
    Ours(Side),
    /// Clients of the server itself, or of what stands in front of it.
    Plain {
        clients: Arc<Clients>,
        proxy: Option<Proxy>,
        _server: Arc<Upstream>,
    },
}

impl Arm {
    /// Starts all that are wanted, or all there are.
    pub(super) async fn all(wanted: &[String]) -> Vec<Self> {
        let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
        let server = Arc::new(Upstream::start().await);
        let plain = |name, address, proxy: Option<Proxy>| {
            let version = proxy.as_ref().map_or_else(String::new, |proxy| proxy.version.clone());
            let clients = Arc::new(Clients::at([address], "key"));
            Self { name, version, kind: Kind::Plain { clients, proxy, _server: Arc::clone(&server) } }
        };
        let mut arms = vec![plain("direct", server.address, None)];
        let proxies: [(_, Option<Proxy>); 2] =
            [("nginx", Proxy::nginx(server.address).await), ("haproxy", Proxy::haproxy(server.address).await)];
        for (name, proxy) in proxies.into_iter().filter(|(name, _)| is_wanted(name)) {
            let Some(proxy) = proxy else { continue };
            pin(proxy.pid(), CORES[0]);
            arms.push(plain(name, proxy.address, Some(proxy)));
        }
        for (name, governed) in [("bare", false), ("governed", true)].into_iter().filter(|(name, _)| is_wanted(name)) {
            // One runtime thread, as there is one core.
            let side = Side::start_with(governed, NODES, &[("TOKIO_WORKER_THREADS", "1")]).await;
            pin(side.gateway().pid(), CORES[0]);
            arms.push(Self { name, version: env!("CARGO_PKG_VERSION").to_owned(), kind: Kind::Ours(side) });
        }
        arms
    }

    pub(super) fn version(&self) -> String {
        format!("{}: {}", self.name, self.version)
    }

    fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Ours(side) => Some(side.gateway().pid()),
            Kind::Plain { proxy, .. } => proxy.as_ref().map(Proxy::pid),
        }
    }

    /// Asks for a while. Whoever keeps books has written them.
    pub(super) async fn load(&mut self, profile: &Profile, during: Duration) -> Vec<Seen> {
        let ask = profile.ask();
        match &mut self.kind {
            Kind::Ours(side) => side.load(profile.pace, during, move |_| ask.clone()).await.to_vec(),
            Kind::Plain { clients, .. } => {
                let load = begin(Arc::clone(clients), profile.pace, move |_| ask.clone());
                tokio::time::sleep(during).await;
                load.end().await
            }
        }
    }

    /// Asks for a while and says what it took.
    ///
    /// # Errors
    /// When an answer is not what it should be, or the books are wrong.
    pub(super) async fn turn(
        &mut self,
        profile: &Profile,
        round: u32,
        during: Duration,
        server: u32,
    ) -> Result<Turn, String> {
        let used = |pid: Option<u32>| pid.map(processor_nanoseconds);
        let of_database =
            || family(server).into_iter().filter(|pid| is_there(*pid)).map(processor_nanoseconds).sum::<u64>();
        let (began, before, database) = (Instant::now(), used(self.pid()), of_database());
        let seen = self.load(profile, during).await;
        let elapsed = began.elapsed();
        if let Kind::Ours(side) = &self.kind {
            // What is done after an answer is part of what it costs.
            side.signed().await;
        }
        let processor = used(self.pid()).zip(before).map(|(now, before)| now.saturating_sub(before).cast_signed());
        let database = of_database().saturating_sub(database).cast_signed();
        self.check(profile, &seen).await.map_err(|wrong| format!("{}, {}: {wrong}", self.name, profile.name))?;
        Ok(Turn {
            profile: profile.name,
            arm: self.name,
            round,
            requests: seen.len(),
            tokens: seen.iter().map(|seen| seen.tokens).sum(),
            elapsed: elapsed.as_nanos() as i64,
            processor,
            database,
            resident: self.pid().map(|pid| resident_bytes(pid).cast_signed()),
            first_byte: spread(seen.iter().filter_map(|seen| seen.first_byte)),
            total: spread(seen.iter().map(|seen| seen.total)),
            gap: spread(seen.iter().flat_map(|seen| seen.gaps.iter().copied())),
        })
    }

    async fn check(&self, profile: &Profile, seen: &[Seen]) -> Result<(), String> {
        if let Some(wrong) = seen.iter().find(|seen| !seen.done || seen.tokens != profile.tokens()) {
            return Err(format!("an answer of {} tokens with status {}", wrong.tokens, wrong.status));
        }
        match &self.kind {
            Kind::Ours(side) => side.check().await,
            Kind::Plain { .. } => Ok(()),
        }
    }
}

fn is_there(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn spread(times: impl Iterator<Item = Duration>) -> Spread {
    let times: Vec<i64> = times.map(|time| time.as_nanos() as i64).collect();
    Spread { median: quantile(&times, 50), p99: quantile(&times, 99) }
}

/// The process of the database's server.
pub(super) async fn database_server() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "what `with-postgres` gives to every program that it starts")]
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make bench`");
    let mut connection = PgConnection::connect(&url).await.expect("a database");
    #[expect(clippy::disallowed_methods, reason = "what is asked here is asked nowhere else")]
    let (backend,): (i32,) =
        sqlx::query_as("select pg_backend_pid()").fetch_one(&mut connection).await.expect("a process id");
    let status = std::fs::read_to_string(format!("/proc/{backend}/status")).expect("a server on this machine");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    parent.trim().parse().expect("a number")
}
