//! Answers that begin when their model is loaded.

use std::sync::Arc;

use axum::response::Response;
use futures_util::StreamExt;
use openapi::frame::WAITING;
use tokio::sync::mpsc;

use super::line::{Line, Output, Stopped};
use super::{PIECES_AHEAD, stream};
use crate::error::Failure;
use crate::node::{Backend, Served};

/// Answers with the engine of a model, at once where that is loaded. While it is being loaded a gateway hears again and again
/// that the node is alive, and what would be an error is one in the stream; a client of the machine's own just waits.
pub(super) async fn when_loaded<A>(
    served: &Arc<Served>,
    for_gateway: bool,
    answer: impl FnOnce(Backend) -> A + Send + 'static,
) -> Result<Response, Failure>
where
    A: Future<Output = Result<Response, Failure>> + Send + 'static,
{
    if let Some(backend) = served.keeper.loaded() {
        return answer(backend).await;
    }
    let keeper = Arc::clone(&served.keeper);
    let answering = async move { answer(keeper.get().await?).await };
    if !for_gateway {
        return answering.await;
    }
    let (to, pieces) = mpsc::channel(PIECES_AHEAD);
    let line = Line::new(to, Output::Frames { stream: true }, true);
    served.answers.spawn(pass_on(line, answering));
    Ok(stream(None, pieces))
}

/// Says that the node is alive until the answer begins, and then what that says.
async fn pass_on(mut line: Line, answering: impl Future<Output = Result<Response, Failure>>) {
    let passed = async {
        let Failure(error) = match line.during(WAITING, answering).await? {
            Ok(response) => {
                let mut pieces = response.into_body().into_data_stream();
                // An answer that breaks off does so for whoever reads it here too.
                while let Some(Ok(bytes)) = pieces.next().await {
                    line.send(bytes).await?;
                }
                return Ok(());
            }
            Err(failure) => failure,
        };
        Err(Stopped::Failed(error))
    };
    let passed = passed.await;
    line.close(passed).await;
}
