//! Other names for models, by the gateway's administrators: who asks for `gpt-4o-mini` gets the model that it stands for.
//! An alias counts before a model of the same name, so nobody draws requests to a node by calling its model like an alias.

pub mod listing;

pub mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use openapi::error::echo;
use openapi::manifest::ModelManifest;
use sqlx::PgPool;
use tokio::sync::Mutex;

/// All of them are read together, and listed to everybody.
const MOST: usize = 1_000;
const LONGEST: usize = 100;
/// With so many characters every content address of a model begins alike: they say what kind of address it is.
const HEADER: usize = 9;

/// Models by their aliases.
pub type Table = BTreeMap<String, String>;

/// The aliases, in memory.
#[derive(Default)]
pub struct Aliases {
    table: ArcSwap<Table>,
    /// One reading at a time, so that what was read first is not kept last.
    reading: Mutex<()>,
}

/// Why a name can't stand for a model; says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAlias {
    #[error(
        "An alias has 1 to {LONGEST} characters: letters of the English alphabet, digits, and '.', '_', ':', '/', '@', '-'. \
         It begins with a letter or a digit."
    )]
    NotAName,
    #[error("'{0}' is the name of a model, which could not be asked any more. Choose another alias.")]
    HidesAModel(String),
    #[error("'{alias}' is itself an alias. Name the model that it stands for, which is '{model}'.")]
    OfAnAlias { alias: String, model: String },
    #[error("'{0}' can't stand for itself. Name a model, by its name or its content address.")]
    OfItself(String),
    #[error("No node has ever offered a model '{0}'. GET /v1/models lists those that can be asked.")]
    OfNothing(String),
    #[error("There are {MOST} aliases, which is the most. Remove one first.")]
    TooMany,
}

impl Aliases {
    /// Reads all aliases.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(database: &PgPool) -> Result<Self, sqlx::Error> {
        let aliases = Self::default();
        aliases.reload(database).await?;
        Ok(aliases)
    }

    /// Reads them again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reload(&self, database: &PgPool) -> Result<(), sqlx::Error> {
        let _turn = self.reading.lock().await;
        let rows = table::all(database).await?;
        self.table.store(Arc::new(rows.into_iter().map(|row| (row.alias, row.model)).collect()));
        Ok(())
    }

    /// The model that a name stands for, by its name or content address; none for a name that is no alias.
    pub fn stands_for(&self, name: &str) -> Option<String> {
        self.table.load().get(name).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Arc<Table> {
        self.table.load_full()
    }
}

/// Makes sure that a name can stand for a model, beside the aliases that there are. `is_known` says which models exist.
///
/// # Errors
/// When it can't.
pub fn check(aliases: &Table, (alias, model): (&str, &str), is_known: impl Fn(&str) -> bool) -> Result<(), NoAlias> {
    let may_begin = |character: char| character.is_ascii_alphanumeric();
    let may_stand = |character: char| may_begin(character) || "._:/@-".contains(character);
    if !alias.starts_with(may_begin) || alias.len() > LONGEST || !alias.chars().all(may_stand) {
        return Err(NoAlias::NotAName);
    }
    if alias == model {
        return Err(NoAlias::OfItself(alias.to_owned()));
    }
    let exists = aliases.contains_key(alias);
    // A model that came later with an alias's name hides nothing: the alias may be changed as before.
    if (is_known(alias) && !exists) || is_content_address(alias) {
        return Err(NoAlias::HidesAModel(alias.to_owned()));
    }
    if let Some(target) = aliases.get(model) {
        return Err(NoAlias::OfAnAlias { alias: model.to_owned(), model: target.clone() });
    }
    if !is_known(model) {
        return Err(NoAlias::OfNothing(echo(model)));
    }
    if aliases.len() >= MOST && !exists { Err(NoAlias::TooMany) } else { Ok(()) }
}

fn is_content_address(name: &str) -> bool {
    let other = ModelManifest::default().id();
    name.len() == other.len() && name.get(..HEADER) == other.get(..HEADER)
}

#[cfg(test)]
mod tests;
