//! The other replicas' nodes, as seen from here: a connection to each replica, and what it tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Incoming;
use openapi::sse::Scanner;
use sqlx::PgPool;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::credentials::CREDENTIAL_HEADER;
use super::news::{NEWS_PATH, News};
use super::remote::Remote;
use super::{Internal, Other, Replica};
use crate::nodes::connection::{self, Sender};
use crate::nodes::way::Way;
use crate::socket;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// From the first packet to the first news.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// An offer and what goes around it.
const LONGEST_NEWS: usize = 2 * 1024 * 1024;

/// A replica that is followed, and how long to wait before it is dialled again.
struct Followed {
    task: JoinHandle<()>,
    since: Instant,
    pause: Duration,
}

/// Follows every other living replica until told to stop. A connection that stands is kept whatever the database says:
/// it is the better witness.
pub(crate) async fn follow_all(replica: &Replica, database: &PgPool, internal: &Internal, stop: CancellationToken) {
    let mut living = Vec::new();
    let mut followed: HashMap<Uuid, Followed> = HashMap::new();
    loop {
        match replica.others(database).await {
            Ok(others) => living = others,
            Err(error) => tracing::debug!(%error, "the other replicas could not be looked up"),
        }
        followed.retain(|id, other| !other.task.is_finished() || living.iter().any(|living| living.id == *id));
        for other in &living {
            let pause = match followed.get(&other.id) {
                None => Duration::ZERO,
                Some(before) if before.task.is_finished() => before.next_pause(),
                Some(_) => continue,
            };
            let task = internal.tasks.spawn(follow_after(pause, internal.clone(), other.clone(), stop.clone()));
            followed.insert(other.id, Followed { task, since: Instant::now(), pause });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

impl Followed {
    /// Grows from try to try; a connection that lasted begins anew.
    fn next_pause(&self) -> Duration {
        if self.since.elapsed() > LONGEST_PAUSE * 2 {
            return FIRST_PAUSE;
        }
        (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
    }
}

async fn follow_after(pause: Duration, internal: Internal, other: Other, stop: CancellationToken) {
    let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
    let following = async {
        tokio::time::sleep(jittered).await;
        follow(&internal, &other).await
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ended = following => match ended {
            Ok(()) => tracing::info!(replica = %other.id, "a replica has left"),
            Err(error) => tracing::warn!(replica = %other.id, address = other.address, "a replica is not connected: {error:#}"),
        },
    }
}

/// Dials a replica and mirrors its nodes for as long as the connection lasts.
pub(super) async fn follow(internal: &Internal, other: &Other) -> anyhow::Result<()> {
    let dial = async {
        let stream = TcpStream::connect(&other.address).await.context("it can't be reached")?;
        socket::tune(&stream);
        anyhow::Ok(connection::open(stream, &internal.tasks).await?)
    };
    let (sender, connection) = tokio::time::timeout(ANSWER_WITHIN, dial).await.context("it is silent")??;
    let remote = Arc::new(Remote::new(Arc::clone(&internal.credentials)));
    let mut mirror = Mirror { internal, other, sender, remote, ways: HashMap::new() };
    tokio::select! {
        told = mirror.listen() => told,
        ended = connection => ended?.context("the connection broke"),
    }
}

/// The nodes of one replica; forgotten when dropped.
struct Mirror<'a> {
    internal: &'a Internal,
    other: &'a Other,
    sender: Sender,
    remote: Arc<Remote>,
    /// By connection: the node and the way to it.
    ways: HashMap<Uuid, (Uuid, Arc<Way>)>,
}

impl Mirror<'_> {
    async fn listen(&mut self) -> anyhow::Result<()> {
        let mut body = tokio::time::timeout(ANSWER_WITHIN, self.ask()).await.context("it is silent")??;
        tracing::info!(replica = %self.other.id, address = self.other.address, "a replica is connected");
        let mut scanner = Scanner::new(LONGEST_NEWS);
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else { continue };
            for event in scanner.push(&bytes)? {
                match event.data().map(serde_json::from_str::<News>) {
                    Some(Ok(news)) => self.hear(news)?,
                    // A newer version may have more to tell.
                    Some(Err(error)) => tracing::debug!(%error, "news that are not understood"),
                    None => {}
                }
            }
        }
        Ok(())
    }

    async fn ask(&mut self) -> anyhow::Result<Incoming> {
        let mut request = connection::get(NEWS_PATH)?;
        request.headers_mut().insert(CREDENTIAL_HEADER, self.internal.credentials.sign()?);
        let response = self.sender.send_request(request).await?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            StatusCode::UNAUTHORIZED => bail!("it has another secret, or another time"),
            status => bail!("it answered {status}"),
        }
    }

    fn hear(&mut self, news: News) -> anyhow::Result<()> {
        match news {
            News::Replica(id) if id == self.other.id => {}
            News::Replica(id) => bail!("at its address is the replica {id}"),
            News::Joined { node, connection, connected_at, instance, offer } => {
                let offer = Arc::unwrap_or_clone(offer);
                let (sender, remote) = (self.sender.clone(), Arc::clone(&self.remote));
                let way = Way::over_replica(connection, connected_at, offer, sender, remote);
                let way = Arc::new(way.of_instance(instance));
                self.internal.nodes.add(node, Arc::clone(&way));
                self.ways.insert(connection, (node, way));
            }
            News::Status { connection, status } => {
                if let Some((node, way)) = self.ways.get(&connection) {
                    self.internal.nodes.set_status(*node, way, status);
                }
            }
            News::Left { connection } => {
                if let Some((node, way)) = self.ways.remove(&connection) {
                    self.internal.nodes.remove(node, &way);
                }
            }
            News::Stopping => self.remote.stops(),
        }
        Ok(())
    }
}

impl Drop for Mirror<'_> {
    fn drop(&mut self) {
        for (node, way) in self.ways.values() {
            self.internal.nodes.remove(*node, way);
        }
    }
}
