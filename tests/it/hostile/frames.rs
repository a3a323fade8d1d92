//! HTTP/2 by the frame (RFC 9113, section 4.1), to send what no library would.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

const ACKNOWLEDGED: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` of HPACK's static table (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];
/// The client's connection preface.
const PREFACE: usize = 24;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Plays a node well enough to be taken in: the first request gets the offer, all others an answer without an end. Pings
/// are answered. What comes from the sender is sent too.
pub(super) fn play(stream: TcpStream, offer: String) -> mpsc::Sender<Vec<u8>> {
    let (reading, writing) = stream.into_split();
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(write(writing, receiver));
    tokio::spawn(read(reading, sender.clone(), offer));
    sender
}

async fn write(mut writing: OwnedWriteHalf, mut receiver: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = receiver.recv().await {
        if writing.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Kind, flags, stream and payload of the next frame.
async fn next(reading: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    reading.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    reading.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// Reads up to the first question, answers it with the offer, and reads nothing from then on.
pub(super) async fn offer_and_fall_silent(stream: &mut TcpStream, offer: &str) {
    stream.read_exact(&mut [0; PREFACE]).await.unwrap();
    while next(stream).await.unwrap().0 != HEADERS {}
    let head = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS, 1, OK)].concat();
    stream.write_all(&[head, frame(DATA, END_STREAM, 1, offer.as_bytes())].concat()).await.unwrap();
}

async fn read(mut reading: OwnedReadHalf, sender: mpsc::Sender<Vec<u8>>, offer: String) -> Option<()> {
    reading.read_exact(&mut [0; PREFACE]).await.ok()?;
    sender.send(frame(SETTINGS, 0, 0, &[])).await.ok()?;
    loop {
        let (kind, flags, stream, payload) = next(&mut reading).await?;
        let answer = match kind {
            SETTINGS if flags & ACKNOWLEDGED == 0 => frame(SETTINGS, ACKNOWLEDGED, 0, &[]),
            PING if flags & ACKNOWLEDGED == 0 => frame(PING, ACKNOWLEDGED, 0, &payload),
            HEADERS if stream == 1 => {
                let head = frame(HEADERS, END_HEADERS, stream, OK);
                [head, frame(DATA, END_STREAM, stream, offer.as_bytes())].concat()
            }
            HEADERS => frame(HEADERS, END_HEADERS, stream, OK),
            _ => continue,
        };
        sender.send(answer).await.ok()?;
    }
}

/// Sends the same again and again, and never reads, until the other side has closed or `within` is over. True when it has.
pub(super) async fn pour(mut stream: TcpStream, first: &[u8], again: &[u8], within: Duration) -> bool {
    let pouring = async {
        if stream.write_all(first).await.is_err() {
            return;
        }
        let many = again.repeat((64 * 1024 / again.len().max(1)).max(1));
        loop {
            if many.is_empty() {
                // Nothing is sent: the end can only be read.
                let mut byte = [0; 1024];
                while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {}
                return;
            }
            if stream.write_all(&many).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(within, pouring).await.is_ok()
}
