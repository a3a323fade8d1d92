//! The mock node's process as a story sees it: started, killed, started again, and asked for its facts.

use std::path::PathBuf;
use std::time::Duration;

use openapi::price::Price;
use uuid::Uuid;

use super::{Fact, MockOffer, facts};
use crate::process::Program;
use crate::{Gateway, eventually};

/// A running process that plays one or more nodes.
pub struct Mock {
    program: Program,
    arguments: Vec<String>,
    folder: PathBuf,
}

const CONNECTED_WITHIN: Duration = Duration::from_secs(30);

impl Mock {
    /// Starts it and waits until every gateway is connected with its nodes. All gateways are replicas over one database.
    pub async fn join(gateways: &[Gateway], offer: MockOffer) -> Self {
        let folder = std::env::temp_dir().join(format!("mock-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).expect("a folder");
        let mut tokens = Vec::new();
        for _ in 0..offer.nodes {
            tokens.push(gateways[0].enrolment_token().await);
        }
        let urls: Vec<String> = gateways.iter().map(|gateway| gateway.url("")).collect();
        let mut arguments: Vec<String> = ["node", "--gateways"].map(str::to_owned).to_vec();
        arguments.extend([urls.join(","), "--tokens".to_owned(), tokens.join(",")]);
        arguments.extend(["--folder".to_owned(), folder.display().to_string()]);
        arguments.extend(["--context-length".to_owned(), offer.context_length.to_string()]);
        if let Some(Price { prompt, cached, completion }) = offer.price {
            let price = [prompt, cached, completion].map(|part| part.get().to_string()).join(",");
            arguments.extend(["--price".to_owned(), price]);
        }
        let mock = Self { program: start(&arguments).await, arguments, folder };
        for gateway in gateways {
            eventually("the mock nodes", CONNECTED_WITHIN, || async {
                (gateway.nodes_now().await >= offer.nodes).then_some(())
            })
            .await;
        }
        mock
    }

    /// As `kill -9`.
    pub async fn kill(&mut self) {
        self.program.kill().await;
    }

    /// Starts it again after it was killed.
    pub async fn restart(&mut self) {
        self.program = start(&self.arguments).await;
    }

    /// What it has done so far, earlier lives included.
    pub fn facts(&self) -> Vec<Fact> {
        facts::read(&self.folder.join("facts"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

async fn start(arguments: &[String]) -> Program {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::start("commonwatt-bench", &arguments, &[]).await
}

impl Drop for Mock {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
