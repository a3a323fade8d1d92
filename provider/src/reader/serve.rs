//! The privileged side. A client is trusted with nothing: names come from a fixed list, lines are short, silence ends
//! the connection, and each user has but a few.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{LONGEST_LINE, POWERCAP, zones};

/// Connections at a time, of one user and of all.
pub(super) const MOST_OF_ONE: usize = 8;
const MOST: usize = 32;
/// More than `energy_uj` ever holds.
const LONGEST_FILE: u64 = 32;

/// Answers clients.
#[derive(Clone, Debug)]
pub struct Server {
    files: Arc<BTreeMap<String, PathBuf>>,
    connections: Arc<Mutex<BTreeMap<u32, usize>>>,
    quiet: Duration,
}

impl Server {
    /// A server of the zones that are now below a root (`/` but in tests). A connection that is quiet for longer than
    /// `quiet` is closed.
    pub fn new(root: &Path, quiet: Duration) -> Self {
        let powercap = root.join(POWERCAP.trim_start_matches('/'));
        let file = |zone: String| (zone.clone(), powercap.join(zone).join("energy_uj"));
        Self { files: Arc::new(zones(&powercap).into_iter().map(file).collect()), connections: Arc::default(), quiet }
    }

    /// The zones that are served.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Serves until the listener fails.
    ///
    /// # Errors
    /// When no connection can be accepted any more.
    pub fn serve(&self, listener: &UnixListener) -> io::Result<()> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a connection a thread of its own, or closes it if its user has enough of them.
    fn admit(&self, stream: UnixStream) {
        let Some(seat) = user(&stream).ok().and_then(|user| Seat::take(&self.connections, user)) else { return };
        let server = self.clone();
        // Without a thread the connection is closed with what was to move into it.
        let _ = thread::Builder::new().name("client".to_owned()).stack_size(128 * 1024).spawn(move || {
            let _seat = seat;
            // However a connection ends, there is nobody left to tell.
            let _ = server.converse(&stream);
        });
    }

    fn converse(&self, stream: &UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(self.quiet))?;
        stream.set_write_timeout(Some(self.quiet))?;
        let (mut reader, mut writer) = (BufReader::with_capacity(LONGEST_LINE as usize, stream), stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            // The end, or a line that is too long.
            let Some(name) = line.strip_suffix(b"\n") else { return Ok(()) };
            writer.write_all(format!("{}\n", self.answer(name)).as_bytes())?;
        }
    }

    fn answer(&self, name: &[u8]) -> String {
        let Some(file) = str::from_utf8(name).ok().and_then(|name| self.files.get(name)) else {
            return "error unknown".to_owned();
        };
        match figure(file) {
            Ok(figure) => figure.to_string(),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => "error denied".to_owned(),
            Err(_) => "error gone".to_owned(),
        }
    }
}

/// Nothing but a number leaves the program.
fn figure(file: &Path) -> io::Result<u64> {
    let mut text = String::new();
    File::open(file)?.take(LONGEST_FILE).read_to_string(&mut text)?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// One of its user's connections; free again when dropped.
struct Seat {
    connections: Arc<Mutex<BTreeMap<u32, usize>>>,
    user: u32,
}

impl Seat {
    fn take(connections: &Arc<Mutex<BTreeMap<u32, usize>>>, user: u32) -> Option<Self> {
        let mut seats = connections.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.get(&user).copied().unwrap_or_default();
        if taken >= MOST_OF_ONE || seats.values().sum::<usize>() >= MOST {
            return None;
        }
        seats.insert(user, taken + 1);
        Some(Self { connections: Arc::clone(connections), user })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let left = seats.get(&self.user).map_or(0, |taken| taken - 1);
        if left == 0 {
            seats.remove(&self.user)
        } else {
            seats.insert(self.user, left)
        };
    }
}

#[cfg(target_os = "linux")]
fn user(stream: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// Elsewhere there are no zones to serve, and all clients are one user.
#[cfg(not(target_os = "linux"))]
fn user(_stream: &UnixStream) -> io::Result<u32> {
    Ok(0)
}

/// The client has gone before it was accepted, or a signal came between.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// Listens at a path, for its owner and a group. A socket that nobody listens at any more is replaced.
///
/// # Errors
/// When somebody listens there, something else lies there, or the group is not in `/etc/group`.
pub fn bind(path: &Path, group: Option<&str>) -> io::Result<UnixListener> {
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() || UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let group = group.map(|name| group_number(name, &fs::read_to_string("/etc/group")?)).transpose()?;
    let listener = UnixListener::bind(path)?;
    if group.is_some() {
        std::os::unix::fs::chown(path, None, group)?;
    }
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// The number of a group in the text of `/etc/group`.
pub(super) fn group_number(name: &str, groups: &str) -> io::Result<u32> {
    let fields = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = fields.filter(|fields| fields.first() == Some(&name));
    let number = found.next().and_then(|fields| fields.get(2)?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name}")))
}
