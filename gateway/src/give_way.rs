//! Long work on a thread that serves requests as well.

/// Pieces of work, some 50 µs each, after which whoever has come meanwhile is served: a request then waits less than a
/// millisecond. More often would cost more than it is worth, since the runtime asks the kernel for news each time.
const PIECES: usize = 16;

/// Lets others run after some pieces of work. `done` counts them from 0.
pub(crate) async fn give_way(done: usize) {
    if done % PIECES == PIECES - 1 {
        tokio::task::yield_now().await;
    }
}
