//! Whom to believe about this log, for whoever has no opinion of their own: the log's keys, and more than half of the nodes
//! that have witnessed it lately.

use openapi::log::policy::Policy;
use sqlx::PgConnection;

use super::Failed;
use super::keys::Keys;
use super::tiles::number;
use super::witnesses::table;

/// Among so many of the newest checkpoints one is looked for that enough witnesses have cosigned.
const LOOK_AT: i64 = 500;

/// The policy as a file.
pub(super) async fn write(connection: &mut PgConnection, keys: &Keys) -> Result<Vec<u8>, Failed> {
    let witnesses = table::lately(connection).await?;
    let mut file: String = keys.trusted().map(|key| format!("log {key}\n")).collect();
    let names: Vec<String> = (1..=witnesses.len()).map(|number| format!("node-{number}")).collect();
    for (name, key) in names.iter().zip(&witnesses) {
        file += &format!("witness {name} {key}\n");
    }
    file += &match quorum(witnesses.len()) {
        0 => "quorum none\n".to_owned(),
        least => format!("group nodes {least} {}\nquorum nodes\n", names.join(" ")),
    };
    let read = Policy::read(file.as_bytes());
    read.map(|policy| policy.write())
        .map_err(|error| Failed::Damaged(format!("log_witnesses makes no policy: {error}")))
}

/// The newest checkpoint with this leaf that the policy's witnesses are enough for, if there is one.
pub(super) async fn cosigned(connection: &mut PgConnection, index: u64) -> Result<Option<u64>, sqlx::Error> {
    let witnesses = table::lately(connection).await?;
    let least = quorum(witnesses.len());
    if least == 0 {
        return Ok(None);
    }
    let size = sqlx::query_scalar!(
        "select c.size from log_cosignatures c
         where c.key = any($2)
             and c.size in (select size from log_checkpoints where size > $1 order by size desc limit $4)
         group by c.size having count(*) >= $3::bigint order by c.size desc limit 1",
        number(index),
        &witnesses,
        least as i64,
        LOOK_AT
    );
    Ok(size.fetch_optional(connection).await?.map(i64::unsigned_abs))
}

/// More than half, where there is anybody.
fn quorum(witnesses: usize) -> usize {
    if witnesses == 0 { 0 } else { witnesses / 2 + 1 }
}
