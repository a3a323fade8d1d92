//! The vectors of some texts: read, tokenise, queue, compute one after the other in one slot, write.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use openapi::chat::FinishReason;
use openapi::completion::Prompt;
use openapi::continuation::SoFar;
use openapi::embedding::{
    Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage, Encoding, LONGEST_ANSWER, beginning,
};
use openapi::energy::{Energy, EnergyTerms, Status, disclose};
use openapi::error::ApiError;
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::model::ModelKind;
use openapi::node::{PromptCount, Ticket};
use openapi::price::Price;
use openapi::sse;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::line::{Line, Notes, Output, Stopped};
use super::waking::when_loaded;
use super::write::{SETTLED_WITHIN, failed};
use super::{PIECES_AHEAD, enter, output, stream, whole};
use crate::body::JsonBody;
use crate::engine::Embedder;
use crate::error::Failure;
use crate::limits::Limit;
use crate::node::{Backend, Served};
use crate::router::Doorway;
use crate::slots::Place;

/// Makes vectors of texts.
#[utoipa::path(post, path = "/v1/embeddings", tag = "OpenAI",
    request_body = EmbeddingRequest,
    responses((status = 200, body = EmbeddingList), Failure))]
pub async fn embeddings(
    State(door): State<Doorway>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    let (ticket, trace) = (door.admit(&headers)?, door.node.traces.begin(&headers));
    let served = Arc::clone(door.node.asked(&body));
    let notes = Notes { trace, draft: door.draft(&served, ticket.as_ref(), &body, &SoFar::default()) };
    when_loaded(&Arc::clone(&served), ticket.is_some(), move |backend| async move {
        let Backend::Embedder(embedder) = &backend else {
            return Err(ModelKind::Text.refusal(&served.manifest.name).into());
        };
        embed((&served, embedder), ticket.as_ref(), body, notes).await
    })
    .await
}

/// Has the engine make vectors of the texts in a body.
async fn embed(
    (node, embedder): (&Arc<Served>, &Arc<Embedder>),
    ticket: Option<&Ticket>,
    body: Bytes,
    notes: Notes,
) -> Result<Response, Failure> {
    let asked = read(node, embedder, ticket, body).await?;
    let (place, limit) = enter(node, ticket)?;
    let output = output(ticket, false);
    let (to, pieces) = mpsc::channel(PIECES_AHEAD);
    let writer = Writer {
        embedder: Arc::clone(embedder),
        bill: Bill::new(node, ticket),
        asked,
        line: Line::new(to, output, true).noted(notes),
        output,
        prompt_tokens: 0,
    };
    let writing = node.answers.spawn(writer.run(Arc::clone(node), place, limit));
    Ok(if output == Output::Whole { whole(writing, pieces).await } else { stream(None, pieces) })
}

/// Counts the tokens of a request, and refuses what would be refused.
pub(super) async fn count(
    node: &Arc<Served>,
    embedder: &Arc<Embedder>,
    ticket: Option<&Ticket>,
    body: Bytes,
) -> Result<PromptCount, ApiError> {
    let asked = read(node, embedder, ticket, body).await?;
    let prompt_tokens = asked.inputs.iter().map(|tokens| tokens.len() as u64).sum();
    Ok(PromptCount { prompt_tokens, max_completion_tokens: 0 })
}

/// A request, read and validated.
struct Asked {
    inputs: Vec<Vec<u32>>,
    dimensions: usize,
    encoding: Encoding,
}

/// Reads a body and turns its texts into tokens, off the threads that serve others: there may be many of them.
async fn read(
    node: &Arc<Served>,
    embedder: &Arc<Embedder>,
    ticket: Option<&Ticket>,
    body: Bytes,
) -> Result<Asked, ApiError> {
    let (node, embedder, ticket) = (Arc::clone(node), Arc::clone(embedder), ticket.cloned());
    let reading = tokio::task::spawn_blocking(move || {
        let request = EmbeddingRequest::parse(&body)?;
        node.check_model(&request.model, ticket.as_ref())?;
        Asked::new(&embedder, request)
    });
    reading.await.map_err(|_| ApiError::internal())?
}

impl Asked {
    fn new(embedder: &Embedder, request: EmbeddingRequest) -> Result<Self, ApiError> {
        let EmbeddingRequest { inputs, dimensions, encoding, .. } = request;
        let dimensions = dimensions.map_or(embedder.dimensions(), |asked| asked as usize);
        check_size(inputs.len(), dimensions, embedder.dimensions(), encoding)?;
        let inputs = inputs.into_iter().map(|input| tokens(embedder, input)).collect::<Result<_, _>>()?;
        Ok(Self { inputs, dimensions, encoding })
    }
}

/// Refuses vectors that are longer than the model makes them, and more of them than fit one answer.
fn check_size(inputs: usize, dimensions: usize, most: usize, encoding: Encoding) -> Result<(), ApiError> {
    if dimensions > most {
        let message =
            format!("Invalid 'dimensions': {dimensions} is too many; this model's embeddings have {most} dimensions.");
        return Err(ApiError::invalid(message).with_param("dimensions").with_code("integer_above_max_value"));
    }
    if encoding.answer_bytes(inputs, dimensions) > LONGEST_ANSWER {
        let message = format!(
            "Invalid 'input': {inputs} embeddings of {dimensions} dimensions are more than one answer holds. Send fewer \
             texts at once, or ask for fewer dimensions or for 'encoding_format': 'base64'."
        );
        return Err(ApiError::invalid(message).with_param("input").with_code("array_above_max_length"));
    }
    Ok(())
}

fn tokens(embedder: &Embedder, input: Prompt) -> Result<Vec<u32>, ApiError> {
    let tokens = match input {
        Prompt::Text(text) => embedder.tokenize(&text)?,
        Prompt::Tokens(tokens) => tokens,
    };
    let (context, vocabulary) = (embedder.context_length(), embedder.vocabulary());
    if tokens.len() > context {
        return Err(ApiError::context_length_exceeded(context, tokens.len(), "input"));
    }
    let unknown = tokens.iter().find(|token| **token as usize >= vocabulary);
    let wrong = match unknown {
        Some(token) => format!("Invalid 'input': {token} is not a token; ids lie below {vocabulary}."),
        None if tokens.is_empty() => "Invalid 'input': a text has no tokens. Send at least one.".to_owned(),
        None => return Ok(tokens),
    };
    Err(ApiError::invalid(wrong).with_param("input").with_code("invalid_value"))
}

/// What the answer says of its model, its cost and its energy.
struct Bill {
    model: String,
    /// What a gateway's client pays.
    price: Option<Price>,
    /// Request and attempt, if they are a gateway's.
    attempt: Option<(Uuid, u32)>,
    terms: EnergyTerms,
}

impl Bill {
    fn new(node: &Served, ticket: Option<&Ticket>) -> Self {
        Self {
            model: node.manifest.name.clone(),
            price: ticket.map(|ticket| ticket.price),
            attempt: ticket.map(|ticket| (ticket.request, ticket.attempt)),
            terms: ticket.map_or_else(|| node.terms.clone(), |ticket| ticket.energy.clone()),
        }
    }

    fn usage(&self, prompt_tokens: u64, energy: &Energy) -> EmbeddingUsage {
        let status = if energy.settled { Status::Settled } else { Status::Provisional };
        let usage = EmbeddingUsage::new(prompt_tokens, Some(disclose(energy, &self.terms, status)));
        match &self.price {
            Some(price) => usage.at(price),
            None => usage,
        }
    }
}

/// Makes an answer of vectors.
struct Writer {
    embedder: Arc<Embedder>,
    bill: Bill,
    asked: Asked,
    line: Line,
    output: Output,
    /// Of the texts that are done with.
    prompt_tokens: u64,
}

impl Writer {
    /// Waits for a slot, computes and writes. Returns the error to answer with when nothing could be written. The limit is
    /// that of answers in tokens, of which there are none here; it is kept so that the attempt is answered once.
    async fn run(mut self, node: Arc<Served>, place: Place, _limit: Limit) -> Option<ApiError> {
        let written = self.write(&node, place).await;
        node.metrics.request(self.prompt_tokens, 0);
        self.line.counted(&node.manifest.name, self.prompt_tokens, 0);
        self.line.close(written).await
    }

    async fn write(&mut self, node: &Served, place: Place) -> Result<(), Stopped> {
        let Some(slot) = self.line.slot(place, &mut Limit::none()).await? else { return Ok(()) };
        let (mut share, presence) = node.energy.open(self.bill.attempt);
        self.line.metered(&share);
        let desk = (Arc::new(slot), Arc::new(presence));
        let mut data = Vec::new();
        let since = Instant::now();
        for (index, tokens) in (0..).zip(std::mem::take(&mut self.asked.inputs)) {
            let computing = self.embedder.embed(&tokens, desk.clone());
            let vector = self.line.during("computing", computing).await?.map_err(failed)?;
            data.push(Embedding::new(index, beginning(vector, self.asked.dimensions), self.asked.encoding));
            self.prompt_tokens += tokens.len() as u64;
            // So that the gateway knows what was spent on an answer that nobody gets.
            let frame = self.frame(share.energy(), None);
            self.line.send(frame).await?;
        }
        self.line.passed("prefill", since);
        // The engine lets go of the slot, and the energy can be read to the end.
        drop(desk);
        let energy = self.line.during("metering", share.settled(SETTLED_WITHIN)).await?;
        let usage = self.bill.usage(self.prompt_tokens, &energy);
        let answer = EmbeddingList::new(self.bill.model.clone(), data, usage);
        let answer = match self.output {
            Output::Whole => serde_json::to_string(&answer),
            Output::Stream | Output::Frames { .. } => sse::data(&answer),
        };
        let answer = answer.map_err(|_| Stopped::Failed(ApiError::internal()))?;
        let piece = self.frame(energy, Some(FinishReason::Stop)) + &answer;
        self.line.send(piece).await
    }

    fn frame(&self, energy: Energy, finish_reason: Option<FinishReason>) -> String {
        if self.output == Output::Whole {
            return String::new();
        }
        let frame = UsageFrame {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: 0,
            token_ids: Vec::new(),
            choice: 0,
            energy,
            finish_reason,
        };
        sse::named(USAGE_EVENT, &frame).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_one_answer_holds_is_refused_with_a_way_out() {
        let param = |inputs, dimensions, most, encoding| {
            check_size(inputs, dimensions, most, encoding).err().and_then(|error| error.detail.param)
        };
        assert_eq!(param(1, 8, 8, Encoding::Float), None);
        assert_eq!(param(1, 9, 8, Encoding::Float).as_deref(), Some("dimensions"));
        assert_eq!(param(2048, 1024, 1024, Encoding::Float), None);
        assert_eq!(param(2048, 4096, 4096, Encoding::Float).as_deref(), Some("input"));
        assert_eq!(param(2048, 4096, 4096, Encoding::Base64), None);
        assert_eq!(param(512, 4096, 4096, Encoding::Float), None);
    }
}
