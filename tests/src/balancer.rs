//! A load balancer as small as can be: passes connections on to replicas that say that they are ready.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Gateway;

/// How often it asks.
const EVERY: Duration = Duration::from_millis(100);
/// An answer that takes longer says nothing: a busy machine is no reason to turn everybody away.
const WITHIN: Duration = Duration::from_secs(1);

/// A running balancer; ends when dropped.
pub struct Balancer {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// Begins to accept connections for these replicas.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(gateways: &[Gateway]) -> Self {
        let all: Vec<String> = gateways.iter().map(|gateway| gateway.address().to_owned()).collect();
        let ready = Arc::new(Mutex::new(all.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        for replica in all {
            tasks.spawn(watch(replica, Arc::clone(&ready), gateways[0].client.clone()));
        }
        tasks.spawn(accept(listener, ready));
        Self { address, _tasks: tasks }
    }
}

async fn watch(replica: String, ready: Arc<Mutex<Vec<String>>>, client: reqwest::Client) {
    loop {
        let answer = client.get(format!("http://{replica}/readyz")).timeout(WITHIN).send().await;
        let is_slow = answer.as_ref().is_err_and(reqwest::Error::is_timeout);
        let is_ready = answer.is_ok_and(|answer| answer.status().is_success());
        if !is_slow {
            let mut ready = ready.lock().unwrap();
            ready.retain(|other| *other != replica);
            if is_ready {
                ready.push(replica.clone());
            }
        }
        sleep(EVERY).await;
    }
}

async fn accept(listener: TcpListener, ready: Arc<Mutex<Vec<String>>>) {
    let (turn, mut connections) = (AtomicUsize::new(0), JoinSet::new());
    while let Ok((mut client, _)) = listener.accept().await {
        let replica = {
            let ready = ready.lock().unwrap();
            ready.get(turn.fetch_add(1, Ordering::Relaxed) % ready.len().max(1)).cloned()
        };
        // With nobody there the client's connection is closed.
        let Some(replica) = replica else { continue };
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(replica).await {
                // Ends with either side.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}
