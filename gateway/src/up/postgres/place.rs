//! Where a Postgres lies and as whom it runs. Postgres refuses to run as root, so for root it is another user,
//! who must be able to reach the folder.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::geteuid;
use tokio::time::{Instant, sleep};

use super::super::say::say;

/// Where root's clusters go when the data folder lies in a folder that only root may enter.
const COMMON_FOLDER: &str = "/var/lib/commonwatt";
/// A Unix socket's path must fit into 104 bytes on macOS, 108 on Linux.
const SOCKET_PATH_LIMIT: usize = 100;

/// A little longer than a watchdog gives a Postgres for its end.
const LOCK_PATIENCE: Duration = Duration::from_secs(125);

/// A folder that holds a cluster, and the user whom it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    /// `None`: whoever we are.
    user: Option<User>,
}

#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Place {
    /// The place for `data`, made if need be. A cluster that exists stays where it is and keeps its owner.
    pub(super) fn choose(data: &Path) -> anyhow::Result<Place> {
        fs::create_dir_all(data).with_context(|| format!("The folder {} can't be made", data.display()))?;
        let data = data.canonicalize().with_context(|| format!("The folder {} can't be reached", data.display()))?;
        let existing = data.join("postgres").canonicalize().ok();
        if !geteuid().is_root() {
            return Self::of_ourselves(data, existing.as_deref());
        }
        if let Some(cluster) = existing {
            return Self::of_owner(&cluster);
        }
        let user = User::for_a_server()?;
        if user.reaches(&data) {
            return Ok(Place { folder: data, user: Some(user) });
        }
        Ok(Place { folder: elsewhere(&data)?, user: Some(user) })
    }

    fn of_ourselves(data: PathBuf, existing: Option<&Path>) -> anyhow::Result<Place> {
        let Some(cluster) = existing else {
            return Ok(Place { folder: data, user: None });
        };
        let owner = fs::metadata(cluster)?.uid();
        ensure!(
            owner == geteuid().as_raw(),
            "The database in {} belongs to another user (uid {owner}): start as that user or as root, or choose \
             another data folder.",
            cluster.display()
        );
        let folder = cluster.parent().map_or(data, Path::to_owned);
        Ok(Place { folder, user: None })
    }

    fn of_owner(cluster: &Path) -> anyhow::Result<Place> {
        let owner = fs::metadata(cluster)?;
        let user = User { uid: owner.uid(), gid: owner.gid() };
        let folder = cluster.parent().unwrap_or(cluster).to_owned();
        ensure!(
            user.uid != 0,
            "The database in {} belongs to root, and Postgres never runs as root: give it to the user postgres.",
            cluster.display()
        );
        ensure!(
            user.reaches(&folder),
            "The user who owns the database (uid {}) can't reach {}: allow it with chmod a+x on each folder above it.",
            user.uid,
            folder.display()
        );
        Ok(Place { folder, user: Some(user) })
    }

    /// Postgres' own data folder.
    pub(super) fn cluster(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// Where programs that were downloaded lie.
    pub(super) fn programs(&self) -> PathBuf {
        self.folder.join("postgres-programs")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The private folder of the socket: beside the cluster, or in the temp folder when that path is too long.
    pub(super) fn socket_folder(&self) -> anyhow::Result<PathBuf> {
        let near = self.folder.join("run");
        if near.join(".s.PGSQL.5432").as_os_str().len() <= SOCKET_PATH_LIMIT {
            return self.private_folder(near);
        }
        let name = format!("commonwatt-{:016x}", fnv1a(self.folder.as_os_str().as_encoded_bytes()));
        let temp = std::env::temp_dir();
        let fits = temp.join(&name).join(".s.PGSQL.5432").as_os_str().len() <= SOCKET_PATH_LIMIT;
        self.private_folder(if fits { temp.join(name) } else { Path::new("/tmp").join(name) })
    }

    /// Makes a folder that only the place's user can enter, or checks that an existing one is such.
    pub(super) fn private_folder(&self, folder: PathBuf) -> anyhow::Result<PathBuf> {
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => self.give(&folder)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // In a shared temp folder somebody else could have laid it out for us.
                let uid = self.user.map_or_else(|| geteuid().as_raw(), |user| user.uid);
                let found = fs::symlink_metadata(&folder)?;
                let ours = found.is_dir() && found.uid() == uid && found.mode() & 0o777 == 0o700;
                ensure!(ours, "{} isn't a private folder of uid {uid}: remove it and start again.", folder.display());
            }
            Err(error) => return Err(error).context(format!("The folder {} can't be made", folder.display())),
        }
        Ok(folder)
    }

    /// Makes the place's user the owner of `folder`.
    pub(super) fn give(&self, folder: &Path) -> anyhow::Result<()> {
        let Some(User { uid, gid }) = self.user else { return Ok(()) };
        chown(folder, Some(uid), Some(gid))
            .with_context(|| format!("The folder {} can't be given to uid {uid}", folder.display()))
    }

    /// Waits until nobody else uses the place. The lock lasts as long as the file, in whichever process, is open.
    pub(super) async fn lock(&self) -> anyhow::Result<File> {
        let path = self.folder.join("postgres.lock");
        let file = File::create(&path).with_context(|| format!("{} can't be written", path.display()))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        let mut told = false;
        while let Err(error) = file.try_lock() {
            if let TryLockError::Error(error) = error {
                return Err(error).context(format!("{} can't be locked", path.display()));
            }
            ensure!(Instant::now() < deadline, "The database in {} is in use by another run.", self.folder.display());
            if !told {
                say(format_args!("waiting for the Postgres of an earlier run to end ..."));
                told = true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(file)
    }

    /// `program` as the place's user, with nothing of our environment that could steer Postgres' programs.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Our own folder may be one that the user can't enter; and a Ctrl-C in the terminal is ours to handle.
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        if let Some(user) = self.user {
            // The standard library clears the supplementary groups along with this.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

/// Can the Postgres that we would start enter `folder`? Without being root that is our own affair.
pub(super) fn reachable(folder: &Path) -> bool {
    !geteuid().is_root() || User::for_a_server().is_ok_and(|user| user.reaches(folder))
}

impl User {
    fn for_a_server() -> anyhow::Result<User> {
        for name in ["postgres", "nobody"] {
            if let (Some(uid), Some(gid)) = (id("-u", name), id("-g", name)) {
                return Ok(User { uid, gid });
            }
        }
        bail!(
            "Postgres never runs as root, and there is neither a user postgres nor nobody: start as an ordinary user."
        )
    }

    fn reaches(self, folder: &Path) -> bool {
        let mut test = Command::new("/bin/sh");
        test.args(["-c", r#"test -x "$1""#, "sh"]).arg(folder).current_dir("/").uid(self.uid).gid(self.gid);
        test.status().is_ok_and(|status| status.success())
    }
}

fn id(what: &str, user: &str) -> Option<u32> {
    let out = Command::new("id").args([what, user]).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// A new folder that every user can reach, with a link to its cluster in `data`.
fn elsewhere(data: &Path) -> anyhow::Result<PathBuf> {
    let link = data.join("postgres");
    // A start that failed before the cluster was complete has made them already.
    let linked = fs::read_link(&link).ok().and_then(|cluster| cluster.parent().map(Path::to_owned));
    if let Some(folder) = linked.filter(|folder| folder.is_dir()) {
        return Ok(folder);
    }
    let name = format!("{:016x}", fnv1a(data.as_os_str().as_encoded_bytes()));
    let common = Path::new(COMMON_FOLDER);
    // A folder that exists belongs to a data folder that was moved: it is still in use there.
    let names = (2..).map(|number| common.join(format!("{name}-{number}")));
    let Some(folder) = std::iter::once(common.join(&name)).chain(names).find(|folder| !folder.exists()) else {
        bail!("{COMMON_FOLDER} is full of folders for {}.", data.display());
    };
    open_folder(common)?;
    open_folder(&folder)?;
    // It points nowhere, else the cluster would have been found.
    let _ = fs::remove_file(&link);
    symlink(folder.join("postgres"), &link).with_context(|| format!("{} can't be written", link.display()))?;
    say(format_args!(
        "Postgres can't run as root, and no other user can reach {}: the database lies in {}, linked from there",
        data.display(),
        folder.display()
    ));
    Ok(folder)
}

/// Makes a folder that everybody can enter, whatever our umask is; one that exists stays as it is.
pub(super) fn open_folder(folder: &Path) -> anyhow::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)
        .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o755)))
        .with_context(|| format!("The folder {} can't be made", folder.display()))
}

/// FNV-1a, 64 bits: a short name for a path, the same in every release.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
