//! The mock server as a process of its own.

use std::net::SocketAddr;

use tests::{Program, mock};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::node::parent_gone;

/// A running mock server.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _program: Program,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let program = Program::start("commonwatt-bench", &["upstream"], &[]).await;
        Self { address: program.address.parse().expect("an address"), _program: program }
    }
}

#[derive(clap::Args)]
pub(crate) struct UpstreamArguments {
    /// Stop when standard input ends.
    #[arg(long)]
    with_parent: bool,
}

/// Serves until killed.
#[expect(clippy::print_stderr, reason = "the harness waits for this line")]
pub(crate) async fn serve(arguments: UpstreamArguments) {
    let stop = if arguments.with_parent { parent_gone() } else { CancellationToken::new() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    eprintln!("the mock server is ready listen={}", listener.local_addr().expect("an address"));
    if let Some(served) = stop.run_until_cancelled(mock::serve_upstream(listener)).await {
        served.expect("it serves");
    }
}
