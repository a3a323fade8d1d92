//! The tables `log_checkpoints` and `log_cosignatures`.

use openapi::log::checkpoint::SignedCheckpoint;
use openapi::log::hash::Hash;
use openapi::log::key::VerifierKey;
use openapi::log::note::Signature;
use openapi::log::tree::TreeHead;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Failed;
use super::keys::Keys;
use super::tiles::number;

/// So many checkpoints are looked at for one that is the log's own: somebody may have added rows.
const LOOK_AT: i64 = 16;
/// Cosignatures in a note: with the log's own they are fewer than whoever reads notes has to read.
const MOST_COSIGNATURES: i64 = 48;

struct Row {
    size: i64,
    root: Vec<u8>,
    note: String,
    /// The log's own signatures that came later.
    own: Vec<String>,
}

impl Row {
    fn read(&self, keys: &Keys) -> Result<SignedCheckpoint, Failed> {
        let size = self.size;
        let wrong = |what: String| Failed::Damaged(format!("the checkpoint of {size} leaves: {what}"));
        let mut signed: SignedCheckpoint = self.note.parse().map_err(|error| wrong(format!("{error}")))?;
        self.own.iter().filter_map(|line| line.parse().ok()).for_each(|signature| signed.add(signature));
        let root = self.root.as_slice().try_into().ok().map(Hash);
        let tree = root.map(|root| TreeHead { size: size.unsigned_abs(), root });
        if tree != Some(signed.checkpoint().tree()) {
            return Err(wrong("its row says another size or root than its note".to_owned()));
        }
        keys.verify(&signed).map(|()| signed)
    }
}

/// What the log is called, if it has a checkpoint.
pub(super) async fn origin(database: &PgPool) -> Result<Option<String>, sqlx::Error> {
    let first = sqlx::query_scalar!("select note from log_checkpoints order by size limit 1");
    let first = first.fetch_optional(database).await?;
    Ok(first.and_then(|note| note.lines().next().map(str::to_owned)))
}

/// The newest checkpoint.
pub(super) async fn newest(connection: &mut PgConnection, keys: &Keys) -> Result<Option<SignedCheckpoint>, Failed> {
    let rows = rows(connection, i64::MAX, 1).await?;
    rows.first().map(|row| row.read(keys)).transpose()
}

/// The newest one that is the log's own, whatever somebody has put behind it.
pub(super) async fn last_good(
    connection: &mut PgConnection,
    keys: &Keys,
) -> Result<Option<SignedCheckpoint>, sqlx::Error> {
    let rows = rows(connection, i64::MAX, LOOK_AT).await?;
    Ok(rows.iter().find_map(|row| row.read(keys).ok()))
}

/// The checkpoint of a size.
pub(super) async fn of_size(
    connection: &mut PgConnection,
    keys: &Keys,
    size: u64,
) -> Result<Option<SignedCheckpoint>, sqlx::Error> {
    let rows = rows(connection, number(size), 1).await?;
    Ok(rows.iter().filter(|row| row.size == number(size)).find_map(|row| row.read(keys).ok()))
}

async fn rows(connection: &mut PgConnection, largest: i64, most: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select size, root, note, array(select c.line from log_cosignatures c
               where c.size = k.size and c.node_id is null order by c.received_at) as "own!"
           from log_checkpoints k where size <= $1 order by size desc limit $2"#,
        largest,
        most
    )
    .fetch_all(connection)
    .await
}

/// Adds a checkpoint.
pub(super) async fn add(connection: &mut PgConnection, signed: &SignedCheckpoint) -> Result<(), sqlx::Error> {
    let tree = signed.checkpoint().tree();
    sqlx::query!(
        "insert into log_checkpoints (size, root, note) values ($1, $2, $3)",
        number(tree.size),
        tree.root.0.as_slice(),
        signed.to_string()
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Signs the newest checkpoint with the newest key too, so that it is known by that when the older secrets are forgotten.
pub(super) async fn countersign(database: &PgPool, keys: &Keys) -> Result<(), Failed> {
    let mut connection = database.acquire().await?;
    let Some(newest) = newest(&mut connection, keys).await? else { return Ok(()) };
    let (Some(key), Some(signature)) = (keys.newest(), keys.countersign(&newest)?) else { return Ok(()) };
    let size = newest.checkpoint().tree().size;
    add_signature(&mut connection, size, (key, None), &signature).await?;
    Ok(())
}

/// Adds a signature that came after its checkpoint: the log's own, or a node's.
pub(super) async fn add_signature(
    connection: &mut PgConnection,
    size: u64,
    (key, node): (&VerifierKey, Option<Uuid>),
    signature: &Signature,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into log_cosignatures (size, key, node_id, line) values ($1, $2, $3, $4) on conflict do nothing",
        number(size),
        key.to_string(),
        node,
        signature.to_string()
    )
    .execute(connection)
    .await
    .map(drop)
}

/// A checkpoint with who has cosigned it: those first who witness for longest.
pub(super) async fn with_cosignatures(
    connection: &mut PgConnection,
    mut signed: SignedCheckpoint,
) -> Result<SignedCheckpoint, sqlx::Error> {
    let rows = sqlx::query!(
        "select c.key, c.line from log_cosignatures c join log_witnesses w on w.node_id = c.node_id and w.key = c.key
         where c.size = $1 order by w.first_size, w.node_id limit $2",
        number(signed.checkpoint().tree().size),
        MOST_COSIGNATURES
    )
    .fetch_all(connection)
    .await?;
    let text = signed.note().text().to_owned();
    for row in rows {
        let (key, signature) = (row.key.parse::<VerifierKey>(), row.line.parse::<Signature>());
        // A wrong one would make others refuse the whole note.
        if let (Ok(key), Ok(signature)) = (key, signature)
            && signature.verify(&text, &key).is_some()
        {
            signed.add(signature);
        }
    }
    Ok(signed)
}
