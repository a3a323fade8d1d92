use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::serve::{MOST_OF_ONE, group_number};
use super::*;
use crate::energy::sensor::SensorError;
use crate::energy::sensor::fixture::Folder;

/// Serves what is below a root for as long as the test runs.
pub(crate) fn serve(socket: &Path, root: &Path) {
    serve_with(socket, root, Duration::from_secs(60));
}

fn serve_with(socket: &Path, root: &Path, quiet: Duration) {
    let listener = bind(socket, None).unwrap();
    let server = Server::new(root, quiet);
    std::thread::spawn(move || server.serve(&listener));
}

struct Machine {
    folder: Folder,
    socket: std::path::PathBuf,
}

impl Machine {
    fn new() -> Self {
        let folder = Folder::new();
        folder.write("sys/class/powercap/intel-rapl:0/energy_uj", b"262143328849\n");
        folder.write("sys/class/powercap/intel-rapl:0:0/energy_uj", b"17\n");
        folder.write("sys/class/powercap/intel-rapl/enabled", b"1\n");
        folder.write("etc/secret", b"1234\n");
        let socket = folder.path().join("reader.sock");
        Self { folder, socket }
    }

    fn client(&self, zone: &str) -> Client {
        Client::new(self.socket.clone(), zone.to_owned())
    }

    /// What the reader answers to raw bytes before it closes the connection, if the other side does not.
    fn answer(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }
}

#[test]
fn a_client_reads_what_it_may_not_read_itself() {
    let machine = Machine::new();
    serve(&machine.socket, machine.folder.path());
    let mode = std::fs::metadata(&machine.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut package = machine.client("intel-rapl:0");
    assert_eq!(package.read(), Ok(262_143_328_849));
    machine.folder.write("sys/class/powercap/intel-rapl:0/energy_uj", b"5\n");
    assert_eq!(package.read(), Ok(5), "read anew every time, over the same connection");
    assert_eq!(machine.client("intel-rapl:0:0").read(), Ok(17));
    machine.folder.write("sys/class/powercap/intel-rapl:0/energy_uj", b"secret\n");
    assert!(matches!(package.read(), Err(SensorError::Gone(_))), "nothing but numbers");
}

#[test]
fn only_names_from_the_list_are_answered() {
    let machine = Machine::new();
    serve(&machine.socket, machine.folder.path());
    let requests: [&[u8]; 8] = [
        b"intel-rapl:1\n",
        b"intel-rapl\n",
        b"intel-rapl:0/../../../../etc/secret\n",
        b"../../../etc/secret\n",
        b"/etc/secret\n",
        b"intel-rapl:0\0\n",
        b"\n",
        b"\xff\xfe\n",
    ];
    for request in requests {
        assert_eq!(machine.answer(request), "error unknown\n", "{}", String::from_utf8_lossy(request));
    }
    assert_eq!(machine.answer(b"intel-rapl:0:0\nintel-rapl:7\nintel-rapl:0:0\n"), "17\nerror unknown\n17\n");
    assert!(matches!(machine.client("intel-rapl:7").read(), Err(SensorError::Gone(_))));
}

#[test]
fn long_lines_and_silence_end_the_connection() {
    let machine = Machine::new();
    serve_with(&machine.socket, machine.folder.path(), Duration::from_millis(50));
    assert_eq!(machine.answer(&vec![b'a'; 1_000_000]), "");
    assert_eq!(machine.answer(b"intel-rapl:0:0"), "", "no line's end");
    let mut silent = UnixStream::connect(&machine.socket).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "closed by the reader");
    let mut client = machine.client("intel-rapl:0:0");
    assert_eq!(client.read(), Ok(17));
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert_eq!(client.read(), Ok(17), "a closed connection is opened anew");
}

#[test]
fn a_flood_of_connections_is_turned_away_and_leaves_no_trace() {
    let machine = Machine::new();
    serve(&machine.socket, machine.folder.path());
    for _ in 0..5 {
        let flood: Vec<UnixStream> = (0..200).map(|_| UnixStream::connect(&machine.socket).unwrap()).collect();
        // All are still held, so that the seats are taken by those that were given one.
        let answered = flood.iter().filter(|stream| is_answered(stream)).count();
        assert!(answered <= MOST_OF_ONE, "{answered} of one user are served");
        drop(flood);
        let (mut client, patience) = (machine.client("intel-rapl:0:0"), Instant::now() + Duration::from_secs(10));
        while client.read() != Ok(17) {
            assert!(Instant::now() < patience, "the seats are not free again");
        }
    }
}

/// True when it is answered, false when it is closed.
fn is_answered(mut stream: &UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(b"intel-rapl:0:0\n");
    match stream.read(&mut [0; 3]) {
        Ok(length) => length > 0,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
        Err(error) => panic!("neither answered nor closed: {error}"),
    }
}

#[test]
fn a_socket_is_taken_over_only_when_nobody_listens() {
    let folder = Folder::new();
    let path = folder.path().join("reader.sock");
    let first = bind(&path, None).unwrap();
    assert!(bind(&path, None).is_err(), "somebody listens");
    drop(first);
    assert!(bind(&path, None).is_ok());
    folder.write("file", b"");
    assert!(bind(&folder.path().join("file"), None).is_err(), "not a socket");
    assert!(bind(&folder.path().join("other.sock"), Some("no such group")).is_err());
}

#[test]
fn zones_have_a_pattern_and_an_order() {
    let folder = Folder::new();
    let names = [
        "intel-rapl:10",
        "intel-rapl-mmio:0",
        "intel-rapl:2",
        "intel-rapl:0:1",
        "intel-rapl:0",
        "intel-rapl",
        "dtpm:0",
        "intel-rapl:",
        "intel-rapl:x",
        "intel-rapl:0:",
        "intel-rapl-X:0",
        "intel-rapl:+1",
        "intel-rapls:0",
    ];
    names.iter().for_each(|name| folder.write(&format!("{name}/name"), b""));
    let zones = zones(folder.path());
    assert_eq!(zones, ["intel-rapl:0", "intel-rapl:0:1", "intel-rapl:2", "intel-rapl:10", "intel-rapl-mmio:0"]);
}

#[test]
fn a_group_has_a_number() {
    let groups = "root:x:0:\nnode:x:987:a,b\nbroken:x\n";
    assert_eq!(group_number("node", groups).unwrap(), 987);
    assert!(group_number("broken", groups).is_err() && group_number("nod", groups).is_err());
}
