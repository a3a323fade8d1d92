//! The file of secrets, one on each line: the first makes all that is new, the others are known beside it. A line that ends
//! with `retired` is known for what it has made and signs nothing.
//!
//! Replicas take turns in restarting, so a secret is replaced in steps, each of which all replicas have to have taken before
//! the next: [`add`], [`promote`], [`retire`], [`forget`].

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use data_encoding::BASE32_NOPAD;

use super::{Derived, random};
use crate::files::{self, OWNER_ONLY};

const RETIRED: &str = "retired";
/// Characters of a ticket key's public half that name its secret.
const NAME: usize = 8;

/// What a secret beside the newest is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What it signs counts: some replicas may use it, or are going to.
    Trusted,
    /// Keys, tokens and attached servers that it has made are still known, and that is all: whoever has learned it can't sign
    /// in with it.
    Retired,
}

type Secret = Vec<u8>;
/// A secret as text, and what it is good for. Of the first one nothing is said.
type Line = (String, Standing);

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("secret")
}

/// The secrets of a folder: the newest and the others. Makes one on first start.
pub(super) fn open(folder: &Path) -> anyhow::Result<(Secret, Vec<(Secret, Standing)>)> {
    let advice = || format!("cannot use the folder {}; choose another with COMMONWATT_DATA", folder.display());
    std::fs::create_dir_all(folder).with_context(advice)?;
    let path = path(folder);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => create(&path).with_context(advice)?,
        Err(error) => return Err(error).with_context(advice),
    };
    let mut secrets = parse(&path, &text)?.into_iter().map(|(text, standing)| Ok((decode(&path, &text)?, standing)));
    let (newest, _) = secrets.next().with_context(|| damaged(&path))??;
    Ok((newest, secrets.collect::<anyhow::Result<_>>()?))
}

/// Makes another secret and puts it beside the first.
///
/// # Errors
/// When there is one already, or the file can't be written.
pub fn add(folder: &Path) -> anyhow::Result<String> {
    change(folder, |lines| {
        if lines.iter().skip(1).any(|(_, standing)| *standing == Standing::Trusted) {
            bail!("there is another secret beside the first one already: promote or retire it");
        }
        lines.insert(1, (random()?, Standing::Trusted));
        Ok("restart every gateway with this file, one after the other, then promote it")
    })
}

/// Lets the secret beside the first make all that is new.
///
/// # Errors
/// When there is none, or the file can't be written.
pub fn promote(folder: &Path) -> anyhow::Result<String> {
    change(folder, |lines| {
        if lines.get(1).is_none_or(|(_, standing)| *standing != Standing::Trusted) {
            bail!("there is no other secret that all gateways trust: add one first");
        }
        lines.swap(0, 1);
        Ok("restart every gateway with this file, one after the other, then retire the other one")
    })
}

/// Takes all trust from every secret but the first.
///
/// # Errors
/// When there is none, or the file can't be written.
pub fn retire(folder: &Path) -> anyhow::Result<String> {
    change(folder, |lines| {
        let Some(others) = lines.get_mut(1..).filter(|others| !others.is_empty()) else {
            bail!("there is no other secret: add one first");
        };
        others.iter_mut().for_each(|(_, standing)| *standing = Standing::Retired);
        Ok("restart every gateway with this file; keys that the retired one has made go on working")
    })
}

/// Removes every retired secret.
///
/// # Errors
/// When there is none, or the file can't be written.
pub fn forget(folder: &Path) -> anyhow::Result<String> {
    change(folder, |lines| {
        let before = lines.len();
        lines.retain(|(_, standing)| *standing == Standing::Trusted);
        if lines.len() == before {
            bail!("there is no retired secret");
        }
        Ok("restart every gateway with this file; keys that the forgotten one has made end with that")
    })
}

/// The secrets by their names, and what each is good for.
///
/// # Errors
/// When the file can't be read.
pub fn list(folder: &Path) -> anyhow::Result<String> {
    let path = path(folder);
    described(&path, &read(&path)?)
}

fn change(folder: &Path, act: impl FnOnce(&mut Vec<Line>) -> anyhow::Result<&'static str>) -> anyhow::Result<String> {
    let path = path(folder);
    let mut lines = read(&path)?;
    let advice = act(&mut lines)?;
    let described = described(&path, &lines)?;
    let text = lines.iter().map(|(secret, standing)| match standing {
        Standing::Trusted => format!("{secret}\n"),
        Standing::Retired => format!("{secret} {RETIRED}\n"),
    });
    files::write(&path, text.collect::<String>().as_bytes(), OWNER_ONLY)?;
    Ok(format!("{described}\nNow {advice}."))
}

fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path);
    let text =
        text.with_context(|| format!("cannot read {}: give the gateway's folder with --data", path.display()))?;
    parse(path, &text)
}

fn described(path: &Path, lines: &[Line]) -> anyhow::Result<String> {
    let described = lines.iter().enumerate().map(|(place, (text, standing))| {
        let name: String = Derived::from(&decode(path, text)?)?.ticket_public.chars().take(NAME).collect();
        Ok(match (place, standing) {
            (0, _) => format!("{name}  makes all that is new"),
            (_, Standing::Trusted) => format!("{name}  is trusted"),
            (_, Standing::Retired) => format!("{name}  is retired"),
        })
    });
    Ok(described.collect::<anyhow::Result<Vec<_>>>()?.join("\n"))
}

fn parse(path: &Path, text: &str) -> anyhow::Result<Vec<Line>> {
    if text.trim().is_empty() {
        bail!(damaged(path));
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty()).enumerate().map(|(place, line)| {
        let mut words = line.split_whitespace();
        let secret = words.next().unwrap_or_default().to_owned();
        match (words.next(), words.next()) {
            (None, None) => Ok((secret, Standing::Trusted)),
            (Some(RETIRED), None) if place > 0 => Ok((secret, Standing::Retired)),
            _ => bail!(damaged(path)),
        }
    });
    lines.collect()
}

fn decode(path: &Path, text: &str) -> anyhow::Result<Secret> {
    BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).ok().with_context(|| damaged(path))
}

fn damaged(path: &Path) -> String {
    format!("{} is damaged: restore it from a backup, since every key depends on it", path.display())
}

fn create(path: &Path) -> anyhow::Result<String> {
    let secret = random()?;
    // Complete under another name first: two replicas that start together must not read half a secret.
    let fresh = files::write_beside(path, secret.as_bytes(), OWNER_ONLY)?;
    let linked = std::fs::hard_link(&fresh, path);
    std::fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(std::fs::read_to_string(path)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Secrets;
    use super::*;

    fn folder() -> PathBuf {
        std::env::temp_dir().join(format!("secrets-{}", uuid::Uuid::now_v7()))
    }

    fn name(folder: &Path) -> String {
        Secrets::open(folder).unwrap().newest.ticket_public
    }

    #[test]
    fn the_secret_is_made_once_and_read_again() {
        let folder = folder();
        let first = Secrets::open(&folder).unwrap();
        let second = Secrets::open(&folder).unwrap();
        assert_eq!(first.newest.ticket_public, second.newest.ticket_public);
        assert!(first.is_hash(&second.hash("a").0, "a"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_secret_follows_another_step_by_step() {
        let folder = folder();
        let old = name(&folder);
        for refused in [promote(&folder), retire(&folder), forget(&folder)] {
            assert!(refused.is_err(), "there is only one");
        }
        let said = add(&folder).unwrap();
        assert!(said.starts_with(&old[..NAME]) && said.contains("is trusted") && said.contains("promote"), "{said}");
        assert_eq!(name(&folder), old, "it makes nothing yet");
        assert!(add(&folder).is_err(), "one at a time");
        promote(&folder).unwrap();
        let new = name(&folder);
        assert_ne!(new, old);
        let both = Secrets::open(&folder).unwrap();
        assert!(both.is_ours(&old) && both.trusted().count() == 2);
        assert_eq!(std::fs::metadata(path(&folder)).unwrap().permissions().mode() & 0o777, 0o600);
        retire(&folder).unwrap();
        let retired = Secrets::open(&folder).unwrap();
        assert!(retired.is_ours(&old) && retired.trusted().count() == 1);
        assert!(promote(&folder).is_err(), "nobody trusts that one again");
        add(&folder).unwrap();
        assert_eq!(Secrets::open(&folder).unwrap().all().count(), 3, "the next one");
        forget(&folder).unwrap();
        assert!(!Secrets::open(&folder).unwrap().is_ours(&old));
        assert_eq!((name(&folder), list(&folder).unwrap().lines().count()), (new, 2));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_file_is_named_and_not_repeated() {
        let folder = folder();
        std::fs::create_dir_all(&folder).unwrap();
        let good = random().unwrap();
        for damaged in ["", "\n", "no base 32!", "abc", &format!("{good} retired"), &format!("{good}\n{good} whatever")]
        {
            std::fs::write(path(&folder), damaged).unwrap();
            let error = format!("{:#}", Secrets::open(&folder).err().unwrap());
            assert!(error.contains("is damaged") && !error.contains(&good), "{error}");
            assert!(add(&folder).is_err() && list(&folder).is_err(), "{damaged}");
        }
        std::fs::write(path(&folder), format!("{good}\n\n{} retired\n", random().unwrap())).unwrap();
        assert_eq!(Secrets::open(&folder).unwrap().all().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
