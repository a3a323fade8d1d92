//! The node's side.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LONGEST_LINE, POWERCAP};
use crate::energy::sensor::SensorError;

/// The reader is on this machine and answers at once or not at all.
const PATIENCE: Duration = Duration::from_millis(100);

/// Reads one zone through a reader, over a connection that is kept.
pub struct Client {
    socket: PathBuf,
    zone: String,
    connection: Option<BufReader<UnixStream>>,
}

impl Client {
    /// A client for a zone such as `intel-rapl:0`; it connects when it reads.
    pub fn new(socket: PathBuf, zone: String) -> Self {
        Self { socket, zone, connection: None }
    }

    /// The zone's energy counter, in microjoules.
    ///
    /// # Errors
    /// `Gone` when there is no reader or it does not know the zone, `Denied` when it may not read it either.
    pub fn read(&mut self) -> Result<u64, SensorError> {
        // A connection that was kept may have been closed meanwhile; a new one is tried before giving up.
        let kept = self.connection.take();
        let answer = match kept.map(|connection| self.ask(connection)) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(_)) | None => connect(&self.socket).and_then(|connection| self.ask(connection)),
        };
        let answer = answer.map_err(|error| {
            SensorError::Gone(format!("the reader at {} does not answer: {error}", self.socket.display()))
        })?;
        match answer.as_str() {
            "error denied" => Err(SensorError::Denied { path: Path::new(POWERCAP).join(&self.zone).join("energy_uj") }),
            "error unknown" | "error gone" => Err(SensorError::Gone(format!("the reader finds no {}", self.zone))),
            figure => figure.parse().map_err(|_| SensorError::Nonsense(format!("the reader says {figure:?}"))),
        }
    }

    fn ask(&mut self, mut connection: BufReader<UnixStream>) -> io::Result<String> {
        connection.get_mut().write_all(format!("{}\n", self.zone).as_bytes())?;
        let mut line = String::new();
        (&mut connection).take(LONGEST_LINE).read_line(&mut line)?;
        let answer = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?.to_owned();
        self.connection = Some(connection);
        Ok(answer)
    }
}

fn connect(socket: &Path) -> io::Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::with_capacity(LONGEST_LINE as usize, stream))
}
