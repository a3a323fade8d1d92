//! `commonwatt admin`: what can be done without the API by whoever can reach the database and the secret.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use openapi::units::Nanocredits;
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use crate::audit_log;
use crate::audit_log::table::Act;
use crate::auth::key::{self, Fresh, Keys, NewKey, Scope};
use crate::auth::password::Passwords;
use crate::auth::user::{self, Found, NewUser};
use crate::config::{AdminAction, Gift, StoreConfig};
use crate::database;
use crate::epochs::{close, table};
use crate::files::{self, OWNER_ONLY};
use crate::ledger::audit;
use crate::ledger::event::{Posted, Refused};
use crate::ledger::movement::{Movement, Order, move_credits};
use crate::log::Log;
use crate::nodes::enrol;
use crate::secrets::{self, Secrets};

/// The address of the user that a first start makes.
pub const FIRST_USER: &str = "admin@localhost";
/// So that a first try works out of the box.
const FIRST_CREDITS: Nanocredits = Nanocredits::new(1000 * Nanocredits::PER_CREDIT);

/// Does what was asked and returns what to print.
///
/// # Errors
/// With a sentence that says what to do.
pub async fn run(store: &StoreConfig, action: AdminAction) -> anyhow::Result<String> {
    const CONNECTIONS: u32 = 2;
    let secrets = Secrets::open(&store.data)?;
    let database = database::open(&store.database_url, CONNECTIONS).await?;
    if let Some(act) = act(&action) {
        note(&database, act).await?;
    }
    match action {
        AdminAction::CreateUser { email, name, admin, credits } => {
            create_user(&database, &email, &name, admin, password_from_input()?).await?;
            let owner = existing(&database, &email).await?;
            if credits > Nanocredits::ZERO {
                welcome_gift(&database, &owner, credits, &format!("user:{}:welcome", owner.id)).await?;
            }
            Ok(format!("created {email}"))
        }
        AdminAction::CreateKey { email, name, management } => {
            let scope = if management { Scope::Management } else { Scope::Inference };
            create_key(&database, &secrets, &existing(&database, &email).await?, &name, scope).await
        }
        AdminAction::CreateEnrolmentToken { email } => {
            let owner = existing(&database, &email).await?;
            Ok(enrol::create_token(&database, &secrets, owner.account_id).await?.0)
        }
        AdminAction::Grant(gift) => give(&database, gift, Movement::Grant).await,
        AdminAction::TopUp(gift) => give(&database, gift, Movement::TopUp).await,
        AdminAction::Audit => {
            let differences = audit::compare(&database).await?;
            if differences.is_empty() { Ok(differences.to_string()) } else { Err(anyhow!("{differences}")) }
        }
        AdminAction::RebuildBalances => {
            let count = audit::rebuild_balances(&database).await.context("the balances stay as they were")?;
            Ok(format!("wrote {count} balances anew"))
        }
        AdminAction::RecomputeEpoch { number } => recompute(&database, &secrets, number).await,
        AdminAction::Bootstrap { out } => {
            bootstrap(&database, secrets, &out).await?;
            Ok(format!("the files are in {}", out.display()))
        }
    }
}

/// Makes an epoch again, and holds it against what was published.
async fn recompute(database: &PgPool, secrets: &Secrets, number: i32) -> anyhow::Result<String> {
    let log = Log::open(database, secrets, None, None).await?;
    let closed = close::again(database, &log, number).await?.closed;
    let other = table::others(database, &closed).await?;
    if other.is_empty() {
        let (statements, receipts) = (closed.statements.len(), closed.epoch.totals.receipts);
        Ok(format!(
            "epoch {number}: {statements} statements of {receipts} receipts, byte for byte as they were published"
        ))
    } else {
        Err(anyhow!("epoch {number} comes out otherwise than was published: {}", other.join(", ")))
    }
}

/// What an action changes, for the audit log.
fn act(action: &AdminAction) -> Option<String> {
    Some(match action {
        AdminAction::CreateUser { email, .. } => format!("admin create-user {email}"),
        AdminAction::CreateKey { email, .. } => format!("admin create-key for {email}"),
        AdminAction::CreateEnrolmentToken { email } => format!("admin create-enrolment-token for {email}"),
        AdminAction::Grant(gift) => format!("admin grant {} to {}", gift.credits.credits(), gift.email),
        AdminAction::TopUp(gift) => format!("admin top-up {} of {}", gift.credits.credits(), gift.email),
        AdminAction::RebuildBalances => "admin rebuild-balances".to_owned(),
        AdminAction::Bootstrap { .. } => "admin bootstrap".to_owned(),
        AdminAction::Audit | AdminAction::RecomputeEpoch { .. } => return None,
    })
}

/// Whoever has the database at hand is noted before anything is done.
async fn note(database: &PgPool, act: String) -> anyhow::Result<()> {
    let act = Act { id: Uuid::now_v7(), who: None, address: None, act, status: 0 };
    audit_log::table::add(database, &act).await.context("the audit log can't be written, so nothing was done")
}

fn password_from_input() -> anyhow::Result<SecretString> {
    let mut password = String::new();
    std::io::stdin().read_to_string(&mut password).context("cannot read the password from standard input")?;
    Ok(password.trim_end_matches(['\r', '\n']).into())
}

/// Books credits for a user's account and says under which key.
async fn give(database: &PgPool, gift: Gift, movement: fn(Uuid) -> Movement) -> anyhow::Result<String> {
    let owner = existing(database, &gift.email).await?;
    let key = gift.idempotency_key.unwrap_or_else(|| Uuid::now_v7().to_string());
    let scoped = format!("command-line:{key}");
    let order = Order { idempotency_key: &scoped, reason: &gift.reason, created_by: None };
    let done = match move_credits(database, &movement(owner.account_id), gift.credits, order).await? {
        Posted::Now(event) => format!("posted {}", event.id),
        Posted::Before(event) => format!("posted before: {}", event.id),
    };
    Ok(format!("{done}\nidempotency key {key}"))
}

/// Credits to begin with, once for the key.
async fn welcome_gift(database: &PgPool, owner: &Found, credits: Nanocredits, key: &str) -> anyhow::Result<()> {
    let order = Order { idempotency_key: key, reason: "credits to begin with", created_by: None };
    match move_credits(database, &Movement::Grant(owner.account_id), credits, order).await {
        // Given before, if not to this one.
        Ok(_) | Err(Refused::KeyUsed) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn create_user(
    database: &PgPool,
    email: &str,
    name: &str,
    is_admin: bool,
    password: SecretString,
) -> anyhow::Result<()> {
    if !user::is_address(email) {
        bail!("'{email}' is no e-mail address");
    }
    let password_hash = Passwords::default().hash(&password).await?;
    let created = user::create(database, NewUser { email, name, password_hash: &password_hash, is_admin }).await?;
    created.map(drop).ok_or_else(|| anyhow!("there is a user with the address {email} already"))
}

async fn existing(database: &PgPool, email: &str) -> anyhow::Result<Found> {
    user::find_by_email(database, email).await?.with_context(|| format!("there is no user with the address {email}"))
}

async fn create_key(
    database: &PgPool,
    secrets: &Secrets,
    owner: &Found,
    name: &str,
    scope: Scope,
) -> anyhow::Result<String> {
    let fresh = Fresh::draw(secrets)?;
    key::create(database, (owner.account_id, owner.id), NewKey::unlimited(name, scope), &fresh).await?;
    Ok(fresh.into_text())
}

/// Leaves a first user with credits, a key of each kind and a usable enrolment token in files; what is there and still good stays.
async fn bootstrap(database: &PgPool, secrets: Secrets, out: &Path) -> anyhow::Result<()> {
    // The node, which may run as another user, has to read its token.
    const NODE_TOO: u32 = 0o644;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let owner = match user::find_by_email(database, FIRST_USER).await? {
        Some(owner) => owner,
        None => {
            let password = secrets::random()?;
            create_user(database, FIRST_USER, "Administrator", true, password.clone().into()).await?;
            write(&out.join("admin_password"), &password, OWNER_ONLY)?;
            existing(database, FIRST_USER).await?
        }
    };
    welcome_gift(database, &owner, FIRST_CREDITS, "bootstrap").await?;
    let secrets = std::sync::Arc::new(secrets);
    let keys = Keys::new(database.clone(), std::sync::Arc::clone(&secrets), std::sync::Arc::default());
    for (file, name, scope) in
        [("api_key", "first key", Scope::Inference), ("admin_token", "first management key", Scope::Management)]
    {
        let path = out.join(file);
        if keys.find(&read(&path)).await.is_err() {
            write(&path, &create_key(database, &secrets, &owner, name, scope).await?, OWNER_ONLY)?;
        }
    }
    let path = out.join("node_token");
    if !enrol::token_is_good(database, &secrets, &read(&path)).await? {
        write(&path, &enrol::create_token(database, &secrets, owner.account_id).await?.0, NODE_TOO)?;
    }
    Ok(())
}

/// A file's text; empty when there is none.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    files::write(path, format!("{text}\n").as_bytes(), mode)
}
