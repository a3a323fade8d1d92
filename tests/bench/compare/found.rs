//! Which programs of others are installed here, and which version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that is there.
pub(super) struct Found {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) version: String,
}

impl Found {
    /// A program of the system, which says its version when it is asked with `-v`.
    pub(super) fn on_path(name: &'static str) -> Option<Self> {
        let path = look(name, None)?;
        let said = Command::new(&path).arg("-v").output().ok()?;
        // nginx says it on its standard error.
        let version = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).lines().next()?.to_owned();
        Some(Self { name, path, version })
    }

    /// A program that came with a package of Python.
    pub(super) fn of_python(name: &'static str, peers: Option<&Path>) -> Option<Self> {
        let path = look(name, peers)?;
        let script = fs::read_to_string(&path).ok()?;
        let python = script.lines().next()?.strip_prefix("#!")?;
        let ask = format!("from importlib.metadata import version; print(version('{name}'))");
        let said = Command::new(python).args(["-c", &ask]).output().ok().filter(|said| said.status.success())?;
        let version = format!("{name} {}", String::from_utf8_lossy(&said.stdout).trim());
        Some(Self { name, path, version })
    }

    /// The program of this name of a package of Node's.
    pub(super) fn of_node(name: &'static str, (program, package): (&str, &str), peers: Option<&Path>) -> Option<Self> {
        // A link to a file in one of the package's folders.
        let path = fs::canonicalize(look(program, peers)?).ok()?;
        let description = fs::read_to_string(path.parent()?.parent()?.join("package.json")).ok()?;
        let description: serde_json::Value = serde_json::from_str(&description).ok()?;
        let version = format!("{package} {}", description["version"].as_str()?);
        (description["name"] == package).then_some(Self { name, path, version })
    }
}

/// In the folder `bin` of those that were installed to be compared, or where the system has its programs.
fn look(program: &str, peers: Option<&Path>) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "where the system has its programs is no setting")]
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = peers.map(|peers| peers.join("bin")).into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
