//! Fewer and larger writes to a connection that speaks HTTP/2. Left to themselves, hyper and h2 write the head of each request
//! at once and its body after another turn of their tasks, one by one, however many there are at the same time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More is not kept back.
const MOST_HELD: usize = 4096;

/// A connection that keeps small writes back until everybody else who is ready had a turn, and then makes one of them.
///
/// It does not say that it can write several pieces at once: h2 would write each frame of more than 256 bytes by itself.
pub(super) struct Gathered<T> {
    io: T,
    held: Vec<u8>,
    /// The others are having their turn.
    waits: bool,
}

impl<T> Gathered<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, held: Vec::new(), waits: false }
    }
}

impl<T: AsyncWrite + Unpin> Gathered<T> {
    /// Writes what is held, and with the last of it as much of this as goes: how many bytes of it went.
    fn poll_release(&mut self, context: &mut Context<'_>, more: &[u8]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let pieces = [IoSlice::new(&self.held), IoSlice::new(more)];
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, &pieces))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let released = written.min(self.held.len());
            self.held.drain(..released);
            if written > released {
                return Poll::Ready(Ok(written - released));
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.len() + bytes.len() <= MOST_HELD {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        match ready!(self.poll_release(context, bytes))? {
            0 => Pin::new(&mut self.io).poll_write(context, bytes),
            written => Poll::Ready(Ok(written)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waits && !self.held.is_empty() {
            self.waits = true;
            // Whoever wakes itself is last in the queue of those that are ready.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_release(context, &[]))?;
        self.waits = false;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_release(context, &[]))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What was written to it, write by write, none with more bytes than it takes at a time.
    struct Written {
        writes: Vec<Vec<u8>>,
        most: usize,
    }

    impl AsyncWrite for Written {
        fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut bytes = pieces.iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>();
            bytes.truncate(self.most);
            let written = bytes.len();
            self.writes.push(bytes);
            Poll::Ready(Ok(written))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gathered(most: usize) -> Gathered<Written> {
        Gathered::new(Written { writes: Vec::new(), most })
    }

    #[tokio::test]
    async fn a_frame_s_head_goes_with_its_payload_and_small_frames_go_together() {
        let mut connection = gathered(usize::MAX);
        connection.write_all(&[1; 9]).await.unwrap();
        connection.write_all(&[2; 16 * 1024]).await.unwrap();
        connection.flush().await.unwrap();
        for _ in 0..3 {
            connection.write_all(&[3; 300]).await.unwrap();
        }
        assert_eq!(connection.io.writes.len(), 1, "nobody has asked for the small ones to be written");
        connection.flush().await.unwrap();
        let lengths: Vec<usize> = connection.io.writes.iter().map(Vec::len).collect();
        assert_eq!(lengths, [9 + 16 * 1024, 900]);
    }

    #[tokio::test]
    async fn whoever_is_ready_writes_before_it_is_flushed() {
        let mut connection = gathered(usize::MAX);
        for expected in 1..=3 {
            connection.write_all(b"one, ").await.unwrap();
            let mut context = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut connection).poll_flush(&mut context).is_pending());
            connection.write_all(b"and another").await.unwrap();
            assert!(Pin::new(&mut connection).poll_flush(&mut context).is_ready());
            assert_eq!(connection.io.writes, vec![b"one, and another"; expected]);
        }
    }

    #[tokio::test]
    async fn what_is_held_is_written_before_the_end() {
        let mut connection = gathered(usize::MAX);
        connection.write_all(b"the last words").await.unwrap();
        connection.shutdown().await.unwrap();
        assert_eq!(connection.io.writes, [b"the last words"]);
    }

    #[tokio::test]
    async fn a_connection_that_takes_nothing_is_an_error() {
        let mut connection = gathered(0);
        connection.write_all(b"a word").await.unwrap();
        assert_eq!(connection.flush().await.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

    proptest! {
        /// Whatever is written, flushed between or not, and taken in whatever portions, comes once and in order.
        #[test]
        fn everything_comes_in_order(writes in prop::collection::vec((0_usize..3_000, any::<bool>()), 0..20), most in 1_usize..2_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut connection = gathered(most);
            let mut all = Vec::new();
            runtime.block_on(async {
                for (length, flushed) in writes {
                    let bytes: Vec<u8> = (all.len()..all.len() + length).map(|at| at as u8).collect();
                    connection.write_all(&bytes).await.unwrap();
                    all.extend(bytes);
                    if flushed {
                        connection.flush().await.unwrap();
                        prop_assert_eq!(&connection.io.writes.concat(), &all);
                    }
                }
                connection.flush().await.unwrap();
                prop_assert_eq!(&connection.io.writes.concat(), &all);
                Ok(())
            })?;
        }
    }
}
