//! `commonwatt author`: an author's key, and what it signs. No gateway and no database is asked.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use data_encoding::BASE64URL_NOPAD;
use openapi::author::{self, Author, AuthorClaim, VERSION};
use openapi::receipt::jws::Signer;
use openapi::units::Microseconds;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::files::{self, OWNER_ONLY};

/// What an author does.
#[derive(Clone, Debug, Subcommand)]
pub enum AuthorAction {
    /// Make a key, and print the text that names you in manifests of your models.
    NewKey {
        /// File for the key, which is written nowhere else. What is there stays.
        #[arg(long)]
        out: PathBuf,
        /// How you are called.
        #[arg(long)]
        name: String,
    },
    /// Print a claim, for POST /api/authors/claims: what this author has earned and will earn at a gateway belongs to an
    /// account.
    Claim {
        /// File with the key.
        #[arg(long)]
        key: PathBuf,
        /// The text that names you in manifests, with the key.
        #[arg(long)]
        author: String,
        /// What the gateway's log is called: the first line of its /log/checkpoint.
        #[arg(long)]
        gateway: String,
        /// Id of the account.
        #[arg(long)]
        account: Uuid,
    },
}

/// Does what was asked and returns what to print.
///
/// # Errors
/// With a sentence that says what to do.
pub fn run(action: &AuthorAction) -> anyhow::Result<String> {
    match action {
        AuthorAction::NewKey { out, name } => new_key(out, name),
        AuthorAction::Claim { key, author, gateway, account } => {
            let at = u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000)?;
            let (author, gateway) = (author.trim().to_owned(), gateway.trim().to_owned());
            let claim = AuthorClaim { v: VERSION, author, gateway, account: *account, at: Microseconds::new(at) };
            Ok(claim.sign(&read(key)?)?)
        }
    }
}

fn new_key(out: &Path, name: &str) -> anyhow::Result<String> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| anyhow!("the system gives no random numbers"))?;
    let signer = signer(&seed)?;
    let author = Author { name: name.trim(), key: Some(signer.public()) };
    let text = author.to_string();
    if Author::read(&text) != author || name.chars().any(char::is_control) {
        bail!(
            "a name has 1 to {} characters, and no control characters such as line breaks",
            author::LONGEST - Author { name: "", ..author }.to_string().chars().count()
        );
    }
    files::create(out, format!("{}\n", BASE64URL_NOPAD.encode(&seed)).as_bytes(), OWNER_ONLY)?;
    Ok(text)
}

fn read(path: &Path) -> anyhow::Result<Signer> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let seed = BASE64URL_NOPAD.decode(text.trim().as_bytes()).ok().and_then(|seed| seed.try_into().ok());
    let seed = seed.with_context(|| format!("{} holds no key of an author", path.display()))?;
    signer(&seed)
}

fn signer(seed: &[u8; 32]) -> anyhow::Result<Signer> {
    Signer::from_seed(seed).ok_or_else(|| anyhow!("this can't be a key"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_claims_for_its_author_alone() {
        let folder = std::env::temp_dir().join(format!("authors-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let out = folder.join("key");
        let new_key = |name: &str| run(&AuthorAction::NewKey { out: out.clone(), name: name.to_owned() });
        for wrong in ["", "  ", "two\nlines", &"n".repeat(149)] {
            assert!(new_key(wrong).unwrap_err().to_string().contains("1 to 148 characters"), "{wrong:?}");
        }
        let author = new_key("Ada Lovelace").unwrap();
        assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        let before = std::fs::read(&out).unwrap();
        assert!(new_key("Ada Lovelace").unwrap_err().to_string().contains("already"));
        assert_eq!(std::fs::read(&out).unwrap(), before);
        let claim = |author: &str| {
            let (author, gateway) = (author.to_owned(), "gateway.example/log".to_owned());
            run(&AuthorAction::Claim { key: out.clone(), author, gateway, account: Uuid::from_u128(7) })
        };
        let claimed = AuthorClaim::read(&claim(&author).unwrap()).unwrap();
        assert_eq!((claimed.author, claimed.account), (author.clone(), Uuid::from_u128(7)));
        assert!(claim("Ada Lovelace").unwrap_err().to_string().contains("no key"));
        let stranger = Author { key: Some(signer(&[9; 32]).unwrap().public()), ..Author::read(&author) };
        assert!(claim(&stranger.to_string()).unwrap_err().to_string().contains("not the one"));
        std::fs::write(&out, "nonsense").unwrap();
        assert!(claim(&author).unwrap_err().to_string().contains("holds no key"));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
