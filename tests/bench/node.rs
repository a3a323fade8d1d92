//! The mock node as a process of its own.

use std::io::Read;
use std::path::PathBuf;

use openapi::price::Price;
use tests::mock::{self, MockOffer, MockSettings};
use tokio_util::sync::CancellationToken;
use url::Url;

#[derive(clap::Args)]
pub(crate) struct NodeArguments {
    /// Replicas of one gateway.
    #[arg(long, value_delimiter = ',', required = true)]
    gateways: Vec<Url>,
    /// One enrolment token for each node.
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<String>,
    /// Where identities and facts are kept.
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    context_length: u32,
    /// Nanocredits per token of the prompt, of its cached part, and of the answer.
    #[arg(long)]
    price: Option<Price>,
    /// Stop when standard input ends.
    #[arg(long)]
    with_parent: bool,
}

/// Plays nodes until killed.
#[expect(clippy::print_stderr, reason = "the harness waits for this line")]
pub(crate) async fn play(arguments: NodeArguments) {
    let stop = if arguments.with_parent { parent_gone() } else { CancellationToken::new() };
    let settings = MockSettings {
        facts: arguments.folder.join("facts"),
        folder: arguments.folder,
        offer: MockOffer {
            nodes: arguments.tokens.len(),
            price: arguments.price,
            context_length: arguments.context_length,
        },
        gateways: arguments.gateways,
        tokens: arguments.tokens,
    };
    mock::serve(&settings, &stop).await;
    eprintln!("the mock node is ready listen=-");
    stop.cancelled().await;
}

/// Given when standard input ends, which whoever has started this process holds open.
pub(crate) fn parent_gone() -> CancellationToken {
    let gone = CancellationToken::new();
    let giver = gone.clone();
    std::thread::spawn(move || {
        // The end, an error or a byte: all mean that the parent holds the other end no longer.
        let _ = std::io::stdin().read(&mut [0]);
        giver.cancel();
    });
    gone
}
