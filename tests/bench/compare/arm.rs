//! One of those that are compared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::load::{Clients, Pace, Seen, begin};
use tests::mock::Trouble;
use tests::{ended_children_nanoseconds, family, pin, processor_nanoseconds, resident_bytes};

use super::found::Found;
use super::profile::Profile;
use super::proxy::{Launch, Proxy, haproxy, nginx};
use super::turn::{Spread, Turn};
use super::{Arguments, CORES, peer};
use crate::figures::quantile;
use crate::side::Side;
use crate::upstream::Upstream;

/// All there can be, as they stand in tables: the server itself, what stands in front of it, and ours, with it attached and with
/// nodes of its own.
pub(super) const ARMS: [&str; 10] = [
    "direct",
    "nginx",
    "haproxy",
    "sglang-router",
    "portkey",
    "litellm",
    "attached-bare",
    "attached-governed",
    "bare",
    "governed",
];
/// Other gateways among them.
pub(super) const PEERS: [&str; 3] = ["sglang-router", "portkey", "litellm"];

const NODES: usize = 2;

/// Our gateway, whatever computes its answers.
fn is_ours(arm: &str) -> bool {
    is_governed(arm) || arm.ends_with("bare")
}

/// It accounts for everything.
pub(super) fn is_governed(arm: &str) -> bool {
    arm.ends_with("governed")
}

/// It has the server itself behind it, as the others have, and no nodes.
fn is_attached(arm: &str) -> bool {
    arm.starts_with("attached")
}

/// It is somebody else's program.
pub(super) fn is_of_others(arm: &str) -> bool {
    !is_ours(arm) && arm != "direct"
}

pub(super) struct Arm {
    pub(super) name: &'static str,
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

/// Reads what a turn takes: of the program, if there is one, and of the database.
struct Meter {
    began: Instant,
    program: Option<u32>,
    database: u32,
}

/// Processor time in nanoseconds.
struct Used {
    elapsed: Duration,
    program: Option<i64>,
    database: i64,
}

impl Meter {
    fn read(&self) -> Used {
        Used { elapsed: self.began.elapsed(), program: self.program.map(used), database: used(self.database) }
    }
}

impl Arm {
    /// Starts all that are wanted, or all there are.
    pub(super) async fn all(arguments: &Arguments) -> Vec<Self> {
        let wanted = |name: &&str| arguments.only.is_empty() || arguments.only.iter().any(|one| one == name);
        let server = Arc::new(Upstream::start().await);
        let mut arms = Vec::new();
        for name in ARMS.into_iter().filter(|name| *name == "direct" || wanted(name)) {
            let arm = match name {
                "direct" => Some(Self::direct(&server)),
                ours if is_ours(ours) => Some(Self::ours(name, &server).await),
                _ => match launch(name, arguments, &server) {
                    Some(launch) => Some(Self::behind(name, launch.start().await, &server)),
                    None => None,
                },
            };
            arms.extend(arm);
        }
        arms
    }

    fn direct(server: &Arc<Upstream>) -> Self {
        let clients = Arc::new(Clients::at([server.address], "key"));
        let kind = Kind::Plain { clients, proxy: None, _server: Arc::clone(server) };
        Self { name: "direct", version: "clients of the server itself".to_owned(), kind }
    }

    fn behind(name: &'static str, proxy: Proxy, server: &Arc<Upstream>) -> Self {
        let clients = Arc::new(Clients::at([proxy.address], proxy.key).with_headers(proxy.headers.clone()));
        let version = proxy.version.clone();
        Self { name, version, kind: Kind::Plain { clients, proxy: Some(proxy), _server: Arc::clone(server) } }
    }

    async fn ours(name: &'static str, server: &Upstream) -> Self {
        // One runtime thread, as there is one core.
        let settings = [("TOKIO_WORKER_THREADS", "1")];
        let side = if is_attached(name) {
            Side::attached(is_governed(name), server.address, &settings).await
        } else {
            Side::start_with(is_governed(name), NODES, &settings).await
        };
        pin(side.gateway().pid(), CORES[0]);
        Self { name, version: env!("CARGO_PKG_VERSION").to_owned(), kind: Kind::Ours(side) }
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

    /// Asks for a while. Says what was seen, and what had been used when the last was asked for. Whoever keeps books has
    /// written them.
    async fn load(&mut self, profile: &Profile, during: Duration, meter: &Meter) -> (Vec<Seen>, Used) {
        let ask = profile.ask();
        match &mut self.kind {
            Kind::Ours(side) => {
                let load = side.begin(profile.pace, move |_| ask.clone());
                tokio::time::sleep(during).await;
                let used = meter.read();
                (side.end(load).await.to_vec(), used)
            }
            Kind::Plain { clients, .. } => {
                let load = begin(Arc::clone(clients), profile.pace, move |_| ask.clone());
                tokio::time::sleep(during).await;
                let used = meter.read();
                (load.end().await, used)
            }
        }
    }

    fn meter(&self, database: u32) -> Meter {
        Meter { began: Instant::now(), program: self.pid(), database }
    }

    /// Asks for a while without trouble, and says why this arm can't carry such requests. Ours has to.
    ///
    /// # Errors
    /// When it is ours, and an answer is wrong.
    pub(super) async fn warm_up(
        &mut self,
        profile: &Profile,
        during: Duration,
        database: u32,
    ) -> Result<Option<String>, String> {
        if is_attached(self.name) && profile.trouble.is_some() {
            return Ok(Some("there is no other server that could answer".to_owned()));
        }
        let ease = profile.at_ease();
        let mut carried = self.carries(&ease, during, database).await;
        if let Pace::Open { per_second } = profile.pace
            && is_of_others(self.name)
        {
            // What has been started just now is slower than it will be.
            if carried.as_ref().is_ok_and(|carried| *carried < per_second) {
                carried = self.carries(&ease, during, database).await;
            }
            if let Ok(carried) = carried
                && carried < per_second
            {
                return Ok(Some(format!("it carries {carried} requests a second")));
            }
        }
        match carried {
            Err(wrong) if is_of_others(self.name) => Ok(Some(wrong)),
            Err(wrong) => Err(format!("{}, {}: {wrong}", self.name, profile.name)),
            Ok(_) => Ok(None),
        }
    }

    /// How many requests a second it answers rightly.
    async fn carries(&mut self, profile: &Profile, during: Duration, database: u32) -> Result<u32, String> {
        let meter = self.meter(database);
        let (seen, _) = self.load(profile, during, &meter).await;
        profile.check(&seen)?;
        Ok((seen.len() as u128 * 1000 / meter.began.elapsed().as_millis().max(1)) as u32)
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
        database: u32,
    ) -> Result<Turn, String> {
        let meter = self.meter(database);
        let before = meter.read();
        let (seen, mut used) = self.load(profile, during, &meter).await;
        let answered = meter.began.elapsed();
        if let Kind::Ours(side) = &self.kind {
            side.signed().await;
        }
        // What is done after an answer is part of what it costs; but not what is done while everybody waits for one who is silent.
        if profile.trouble != Some(Trouble::Hangs) {
            used = Used { elapsed: answered, ..meter.read() };
        }
        self.check(profile, &seen).await.map_err(|wrong| format!("{}, {}: {wrong}", self.name, profile.name))?;
        let in_time = || seen.iter().filter(|seen| !profile.is_failure(seen) && !profile.is_late(seen));
        Ok(Turn {
            profile: profile.name.to_owned(),
            arm: self.name.to_owned(),
            round,
            requests: seen.len(),
            tokens: seen.iter().map(|seen| seen.tokens).sum(),
            elapsed: used.elapsed.as_nanos() as i64,
            processor: used.program.zip(before.program).map(|(now, before)| now - before),
            database: used.database - before.database,
            resident: self.pid().map(|pid| sum(pid, resident_bytes)),
            failed: seen.iter().filter(|seen| profile.is_failure(seen)).count(),
            late: seen.iter().filter(|seen| profile.is_late(seen)).count(),
            first_byte: spread(in_time().filter_map(|seen| seen.first_byte)),
            total: spread(in_time().map(|seen| seen.total)),
            gap: spread(in_time().flat_map(|seen| seen.gaps.iter().copied())),
        })
    }

    async fn check(&self, profile: &Profile, seen: &[Seen]) -> Result<(), String> {
        profile.check(seen)?;
        match &self.kind {
            Kind::Ours(side) => profile.check_tries(seen, &side.check().await?),
            Kind::Plain { .. } => Ok(()),
        }
    }
}

/// How a program of others is started; none where it is not installed.
fn launch(name: &'static str, Arguments { peers, .. }: &Arguments, server: &Upstream) -> Option<Launch> {
    let (server, peers) = (server.address, peers.as_deref());
    Some(match name {
        "nginx" => nginx(Found::on_path(name)?, server),
        "haproxy" => haproxy(Found::on_path(name)?, server),
        "sglang-router" => peer::sglang_router(Found::of_python(name, peers)?, server),
        "portkey" => peer::portkey(Found::of_node(name, ("gateway", "@portkey-ai/gateway"), peers)?, server),
        "litellm" => peer::litellm(Found::of_python(name, peers)?, server),
        _ => return None,
    })
}

/// Processor time that a process and all that it has started have used, in nanoseconds.
pub(crate) fn used(pid: u32) -> i64 {
    sum(pid, |pid| processor_nanoseconds(pid) + ended_children_nanoseconds(pid))
}

/// Of a process and all that it has started.
fn sum(pid: u32, of_process: fn(u32) -> u64) -> i64 {
    family(pid).into_iter().map(of_process).sum::<u64>().cast_signed()
}

fn spread(times: impl Iterator<Item = Duration>) -> Spread {
    let times: Vec<i64> = times.map(|time| time.as_nanos() as i64).collect();
    Spread { median: quantile(&times, 50), p99: quantile(&times, 99) }
}
