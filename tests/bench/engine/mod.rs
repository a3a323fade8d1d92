//! A node's engine beside llama.cpp's server: the same model file, the same cores, the same prompts, in turns, so that whatever
//! else the machine does meets both. No figure without the tokens that were ordered.

mod power;

mod server;

mod stream;

mod table;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::figures::say;
use power::{Cost, Power};
use server::Server;

/// In tokens: each word of a prompt is one.
const SHORT_PROMPT: usize = 30;
const READ_PROMPTS: [usize; 2] = [100, 1_500];
/// Of one answer, and of each of those that are made at once.
const TOKENS: u64 = 64;
const TOKENS_OF_EACH: u64 = 48;
const STREAMS: [usize; 2] = [2, MOST_STREAMS];
const MOST_STREAMS: usize = 4;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds, in each of which both have a turn at everything.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    engine_rounds: u32,
    /// llama.cpp's server: a name to look for in PATH, or a path. Anything that takes its options will do, such as
    /// tests/operations/llama_server.py, which runs the one that the Python package xllamacpp brings.
    #[arg(long, default_value = "llama-server")]
    llama_server: PathBuf,
    /// Folder with the model, as `commonwatt-node pull` prints it.
    #[arg(long, env = "COMMONWATT_TEST_MODEL")]
    model_folder: Option<PathBuf>,
}

/// All turns.
#[derive(Serialize)]
pub(crate) struct Engines {
    /// What energy is computed from.
    power: String,
    versions: Vec<String>,
    turns: Vec<Turn>,
}

/// What one did in one turn. Times are in nanoseconds, memory is in bytes.
#[derive(Serialize)]
struct Turn {
    arm: &'static str,
    round: u32,
    /// From a short question to its first token.
    first_token: i64,
    decode: Cost,
    /// Of prompts as long as [`READ_PROMPTS`].
    prefill: [Cost; 2],
    /// Of as many answers at once as [`STREAMS`].
    streams: [Cost; 2],
    /// After all that.
    resident: i64,
}

/// Measures, and prints the table; none where there is no llama.cpp, or no model.
///
/// # Errors
/// When an answer is not what was ordered.
pub(crate) async fn measure(arguments: &Arguments) -> Result<Option<Engines>, String> {
    let Some(folder) = &arguments.model_folder else {
        say("the engine is not measured: COMMONWATT_TEST_MODEL names no folder with a model");
        return Ok(None);
    };
    let Some(llama) = Server::llama(&arguments.llama_server, &model_file(folder)?).await else {
        say(&format!("the engine is not measured: there is no {}", arguments.llama_server.display()));
        return Ok(None);
    };
    let power = Power::estimated();
    let mut servers = [Server::node(folder).await, llama];
    let mut prompts = stream::Prompts::default();
    for server in &servers {
        server.ask(&prompts.next(SHORT_PROMPT), TOKENS).await?;
    }
    let mut turns = Vec::new();
    for round in 0..arguments.engine_rounds {
        // Each of them is the first as often as the other.
        servers.rotate_left(1);
        for server in &servers {
            turns.push(
                turn(server, &power, round, &mut prompts).await.map_err(|wrong| format!("{}: {wrong}", server.name))?,
            );
        }
        say(&format!("round {} of {} is over", round + 1, arguments.engine_rounds));
    }
    let engines =
        Engines { power: power.basis, versions: servers.iter().map(|server| server.version.clone()).collect(), turns };
    table::print(&engines);
    Ok(Some(engines))
}

async fn turn(server: &Server, power: &Power, round: u32, prompts: &mut stream::Prompts) -> Result<Turn, String> {
    let before = server.processor();
    let one = server.ask(&prompts.next(SHORT_PROMPT), TOKENS).await?;
    let decode = power.cost(one.gap, (server.processor() - before) / TOKENS.cast_signed());
    let [short, long] = READ_PROMPTS;
    let prefill = [prefill(server, power, short, prompts).await?, prefill(server, power, long, prompts).await?];
    let [two, four] = STREAMS;
    let streams = [streams(server, power, two, prompts).await?, streams(server, power, four, prompts).await?];
    Ok(Turn { arm: server.name, round, first_token: one.first, decode, prefill, streams, resident: server.resident() })
}

/// Of one token of a prompt.
async fn prefill(server: &Server, power: &Power, length: usize, prompts: &mut stream::Prompts) -> Result<Cost, String> {
    let before = server.processor();
    let answer = server.ask(&prompts.next(length), 1).await?;
    let length = length as i64;
    Ok(power.cost(answer.first / length, (server.processor() - before) / length))
}

/// Of one token of answers that are made at once, all of them together.
async fn streams(server: &Server, power: &Power, count: usize, prompts: &mut stream::Prompts) -> Result<Cost, String> {
    let (before, began) = (server.processor(), Instant::now());
    let prompts: Vec<String> = (0..count).map(|_| prompts.next(SHORT_PROMPT)).collect();
    futures_util::future::try_join_all(prompts.iter().map(|prompt| server.ask(prompt, TOKENS_OF_EACH))).await?;
    let tokens = count as i64 * TOKENS_OF_EACH.cast_signed();
    Ok(power.cost(began.elapsed().as_nanos() as i64 / tokens, (server.processor() - before) / tokens))
}

/// The model's own file, among those that were made from it.
fn model_file(folder: &Path) -> Result<PathBuf, String> {
    let entry = provider::pull::catalogue::find(tests::MODEL).map_err(|error| error.to_string())?;
    let file = entry.files.first().ok_or("the catalogue names no file")?;
    Ok(folder.join(file.path))
}
