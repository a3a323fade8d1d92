//! `commonwatt admin`: what can be done without the API by whoever can reach the database and the secret.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use secrecy::SecretString;
use sqlx::PgPool;

use crate::auth::key::{self, Keys, Scope};
use crate::auth::password::Passwords;
use crate::auth::user::{self, Found, NewUser};
use crate::config::{AdminAction, StoreConfig};
use crate::nodes::enrol;
use crate::secrets::{self, Secrets};
use crate::serve::open_database;

const FIRST_USER: &str = "admin@localhost";

/// Does what was asked and returns what to print.
///
/// # Errors
/// With a sentence that says what to do.
pub async fn run(store: &StoreConfig, action: AdminAction) -> anyhow::Result<String> {
    const CONNECTIONS: u32 = 2;
    let secrets = Secrets::open(&store.data)?;
    let database = open_database(&store.database_url, CONNECTIONS).await?;
    match action {
        AdminAction::CreateUser { email, name, admin } => {
            let mut password = String::new();
            std::io::stdin().read_to_string(&mut password).context("cannot read the password from standard input")?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            create_user(&database, &email, &name, admin, password.into()).await?;
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
        AdminAction::Bootstrap { out } => {
            bootstrap(&database, secrets, &out).await?;
            Ok(format!("the files are in {}", out.display()))
        }
    }
}

async fn create_user(
    database: &PgPool,
    email: &str,
    name: &str,
    is_admin: bool,
    password: SecretString,
) -> anyhow::Result<()> {
    if !email.contains('@') || email.len() > 254 {
        bail!("'{email}' is no e-mail address");
    }
    let password_hash = Passwords::new()?.hash(&password).await?;
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
    Ok(key::create(database, secrets, (owner.account_id, owner.id), name, scope).await?.1)
}

/// Leaves a first user, a key of each kind and a usable enrolment token in files; what is there and still good stays.
async fn bootstrap(database: &PgPool, secrets: Secrets, out: &Path) -> anyhow::Result<()> {
    const OWNER_ONLY: u32 = 0o600;
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
    let secrets = std::sync::Arc::new(secrets);
    let keys = Keys::new(database.clone(), std::sync::Arc::clone(&secrets));
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
    let fresh = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
