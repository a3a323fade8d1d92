//! The tree that sensors read, and their clock. Both can be moved: tests read recorded trees at recorded times.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::SensorError;

/// More than any file of a sensor holds; what is longer is none.
const LONGEST: u64 = 64 * 1024;

/// A tree of files and a clock. Every path is below it, with or without a leading slash.
#[derive(Clone, Debug)]
pub(super) struct Root {
    folder: PathBuf,
    #[cfg(test)]
    scene: std::sync::Arc<std::sync::Mutex<Scene>>,
}

/// What a test decides instead of the machine.
#[cfg(test)]
#[derive(Debug, Default)]
struct Scene {
    now: Option<Instant>,
    denied: std::collections::BTreeSet<PathBuf>,
}

impl Root {
    /// The tree below `folder`: `/` but in tests.
    pub(super) fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            #[cfg(test)]
            scene: std::sync::Arc::default(),
        }
    }

    /// Where a path of this tree lies on the machine.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.folder.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's content.
    ///
    /// # Errors
    /// What the system says; `InvalidData` when it is longer than any sensor's file.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        self.check(path.as_ref())?;
        let mut content = Vec::new();
        File::open(self.path(path))?.take(LONGEST + 1).read_to_end(&mut content)?;
        if content.len() as u64 > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any sensor's file"));
        }
        Ok(content)
    }

    /// A file's content as text without the white space around it.
    ///
    /// # Errors
    /// `Denied`, `Gone`, or `Nonsense` when it is not text.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Result<String, SensorError> {
        let path = path.as_ref();
        let content = self.read(path).map_err(|error| self.error(path, &error))?;
        match String::from_utf8(content) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(_) => Err(SensorError::Nonsense(format!("{} is not text", self.path(path).display()))),
        }
    }

    /// A file that holds one whole number.
    ///
    /// # Errors
    /// `Denied`, `Gone`, or `Nonsense` when it holds something else.
    pub(super) fn number(&self, path: impl AsRef<Path>) -> Result<u64, SensorError> {
        let path = path.as_ref();
        let text = self.text(path)?;
        text.parse().map_err(|_| {
            let start: String = text.chars().take(40).collect();
            SensorError::Nonsense(format!("{} holds {start:?}", self.path(path).display()))
        })
    }

    /// The names in a folder, sorted; none if it can't be listed.
    pub(super) fn names(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// True when something is there, readable or not.
    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// What a failure to read a path means for a sensor.
    pub(super) fn error(&self, path: impl AsRef<Path>, error: &io::Error) -> SensorError {
        let path = self.path(path);
        match error.kind() {
            io::ErrorKind::PermissionDenied => SensorError::Denied { path },
            io::ErrorKind::InvalidData => SensorError::Nonsense(format!("{}: {error}", path.display())),
            _ => SensorError::Gone(format!("{}: {error}", path.display())),
        }
    }

    #[cfg(not(test))]
    fn check(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// The time.
    #[cfg(not(test))]
    pub(super) fn now(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
impl Root {
    /// The time that a test has set, or else the time.
    pub(super) fn now(&self) -> Instant {
        self.scene.lock().unwrap().now.unwrap_or_else(Instant::now)
    }

    /// Stops the clock at a time.
    pub(super) fn set_now(&self, now: Instant) {
        self.scene.lock().unwrap().now = Some(now);
    }

    /// May this path not be read from now on? A test that runs as root could read everything.
    pub(super) fn deny(&self, path: impl AsRef<Path>, denied: bool) {
        let (path, mut scene) = (self.path(path), self.scene.lock().unwrap());
        if denied {
            scene.denied.insert(path)
        } else {
            scene.denied.remove(&path)
        };
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        if self.scene.lock().unwrap().denied.contains(&self.path(path)) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Folder;
    use super::*;

    #[test]
    fn a_tree_is_read_below_its_root() {
        let folder = Folder::new();
        let root = Root::new(folder.path());
        folder.write("sys/class/thing/energy", b" 42\n");
        folder.write("sys/class/thing/name", b"4two\n");
        folder.write("sys/class/thing/noise", &[0xff]);
        assert_eq!(root.number("/sys/class/thing/energy"), Ok(42));
        assert_eq!(root.number("sys/class/thing/energy"), Ok(42));
        assert_eq!(root.names("sys/class/thing"), ["energy", "name", "noise"]);
        assert_eq!(root.names("sys/class/other"), [""; 0]);
        assert!(matches!(root.number("sys/class/thing/name"), Err(SensorError::Nonsense(_))));
        assert!(matches!(root.text("sys/class/thing/noise"), Err(SensorError::Nonsense(_))));
        assert!(matches!(root.text("sys/class/other"), Err(SensorError::Gone(_))));
        root.deny("sys/class/thing/energy", true);
        let path = folder.path().join("sys/class/thing/energy");
        assert_eq!(root.number("/sys/class/thing/energy"), Err(SensorError::Denied { path }));
        root.deny("/sys/class/thing/energy", false);
        assert_eq!(root.number("sys/class/thing/energy"), Ok(42));
    }

    #[test]
    fn what_is_longer_than_a_sensors_file_is_none() {
        let folder = Folder::new();
        folder.write("long", &vec![b'1'; LONGEST as usize + 1]);
        assert!(matches!(Root::new(folder.path()).text("long"), Err(SensorError::Nonsense(_))));
    }
}
