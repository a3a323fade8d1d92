//! How fast a node may send frames of HTTP/2. Reading a frame costs the gateway something even where there is nothing in it, and
//! the protocol lets either side send as many as it likes; whoever floods is cut off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// One small frame in this time, over a while: as many as a thousand answers with fifty tokens a second have.
const EACH: Duration = Duration::from_micros(20);
/// How far a node may be ahead of that.
const AHEAD: Duration = Duration::from_secs(2);
/// Frames with so many bytes of payload are paid for by what they bring.
const LARGE: usize = 1024;
/// Length of a frame's head. Source: RFC 9113, section 4.1.
const HEAD: usize = 9;

/// A connection from which too many small frames are an error.
pub(super) struct Paced<T> {
    io: T,
    frames: Frames,
    /// When a node that keeps the pace would have sent what has come.
    due: Instant,
}

impl<T> Paced<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, frames: Frames::default(), due: Instant::now() }
    }

    /// Small frames have come.
    fn count(&mut self, small: u32) -> io::Result<()> {
        let now = Instant::now();
        self.due = self.due.max(now) + EACH * small;
        if self.due <= now + AHEAD {
            return Ok(());
        }
        let message = format!("it sends more than one small frame in {EACH:?}");
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let small = self.frames.read(&buffer.filled()[before..]);
        Poll::Ready(self.count(small))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Where in the sequence of frames a connection is.
#[derive(Default)]
struct Frames {
    head: [u8; HEAD],
    /// Bytes of the head that have come.
    seen: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
}

impl Frames {
    /// Reads on; how many small frames began.
    fn read(&mut self, mut bytes: &[u8]) -> u32 {
        let mut small = 0;
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            (self.payload, bytes) = (self.payload - skipped, &bytes[skipped..]);
            let taken = (HEAD - self.seen).min(bytes.len());
            self.head[self.seen..self.seen + taken].copy_from_slice(&bytes[..taken]);
            (self.seen, bytes) = (self.seen + taken, &bytes[taken..]);
            if self.seen == HEAD {
                let [one, two, three, ..] = self.head;
                self.payload = u32::from_be_bytes([0, one, two, three]) as usize;
                self.seen = 0;
                small += u32::from(self.payload < LARGE);
            }
        }
        small
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let [_, one, two, three] = (length as u32).to_be_bytes();
        [vec![one, two, three, 0, 0, 0, 0, 0, 1], vec![7; length]].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_small_frames_is_an_error_and_a_pace_is_none() {
        let (mut node, gateway) = duplex(1 << 20);
        let mut paced = Paced::new(gateway);
        let mut buffer = vec![0; 1 << 20];
        let burst = frame(5).repeat(5_000);
        // In pace, and more than was there at the beginning.
        for _ in 0..50 {
            node.write_all(&burst).await.unwrap();
            paced.read_exact(&mut buffer[..burst.len()]).await.unwrap();
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        for _ in 0..20 {
            node.write_all(&burst).await.unwrap();
            paced.read_exact(&mut buffer[..burst.len()]).await.unwrap();
        }
        node.write_all(&burst).await.unwrap();
        let error = paced.read_exact(&mut buffer[..burst.len()]).await.unwrap_err();
        assert!(error.to_string().contains("one small frame in 20µs"), "{error}");
    }

    #[tokio::test]
    async fn a_model_s_bytes_pass_as_fast_as_they_come() {
        let (mut node, gateway) = duplex(1 << 20);
        let mut paced = Paced::new(gateway);
        let mut buffer = vec![0; 1 << 20];
        let large = frame(16 * 1024);
        for _ in 0..10_000 {
            node.write_all(&large).await.unwrap();
            paced.read_exact(&mut buffer[..large.len()]).await.unwrap();
        }
    }

    proptest! {
        /// However the bytes come, the small frames are counted once.
        #[test]
        fn cuts_do_not_matter(lengths in prop::collection::vec(0_usize..3_000, 0..20), piece in 1_usize..4_000) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
            let mut frames = Frames::default();
            let small: u32 = bytes.chunks(piece).map(|piece| frames.read(piece)).sum();
            prop_assert_eq!(small as usize, lengths.iter().filter(|length| **length < LARGE).count());
        }
    }
}
