//! What the node signs of each attempt that it has answered for a gateway: made of what it has told that gateway meanwhile,
//! kept in a [`Chain`], and read by the gateway from there, so that no answer waits for it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openapi::continuation::SoFar;
use openapi::energy::Energy;
use openapi::frame::{USAGE_EVENT, UsageFrame};
use openapi::node::Ticket;
use openapi::receipt::commitment::{Commitment, Committing, Salt};
use openapi::receipt::{NodeReceipt, VERSION, jws};
use openapi::sse::Scanner;
use openapi::units::Microseconds;

use crate::chain::Chain;
use crate::energy::Share;
use crate::identity::Identity;
use crate::node::Served;
use crate::ticket::TicketVerifier;

/// A receipt waits no longer than this for the last reading of its energy.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// The receipts for one gateway.
pub struct Receipts {
    pub chain: Arc<Chain>,
    tickets: Arc<TicketVerifier>,
}

/// What is noted of an attempt until it is over.
pub struct Draft {
    receipts: Arc<Receipts>,
    served: Arc<Served>,
    ticket: Ticket,
    request_commitment: Commitment,
    begun_tokens: u64,
    answer: Committing,
    scanner: Scanner,
    /// The last usage frame, as it was told.
    frame: Option<String>,
    /// None until it is computed.
    metered: Option<Metered>,
}

struct Metered {
    share: Share,
    started_at: Microseconds,
    begun: Instant,
}

impl Receipts {
    /// Those in a node's data folder for the gateway whose tickets these are.
    ///
    /// # Errors
    /// When the folder can't be read or written.
    pub fn open(data: &Path, identity: Arc<Identity>, tickets: Arc<TicketVerifier>) -> io::Result<Self> {
        let folder = data.join("receipts").join(tickets.node().to_string());
        let (chain, _) = Chain::open(&folder, identity, jws::digest)?;
        Ok(Self { chain: Arc::new(chain), tickets })
    }

    /// Begins to note an attempt at this request, of whose answer there may be some already. None for a gateway that wants
    /// no receipt.
    pub fn draft(
        self: &Arc<Self>,
        served: &Arc<Served>,
        ticket: &Ticket,
        body: &[u8],
        so_far: &SoFar,
    ) -> Option<Draft> {
        let salt: Salt = ticket.salt?;
        Some(Draft {
            receipts: Arc::clone(self),
            served: Arc::clone(served),
            ticket: ticket.clone(),
            request_commitment: salt.request(body),
            begun_tokens: so_far.choices.iter().map(|choice| choice.token_ids.len() as u64).sum(),
            answer: salt.answer(),
            scanner: Scanner::new(usize::MAX),
            frame: None,
            metered: None,
        })
    }
}

impl Draft {
    /// The answer is computed from now on, and metered so.
    pub fn metered(&mut self, share: &Share) {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().into();
        self.metered = Some(Metered { share: share.clone(), started_at, begun: Instant::now() });
    }

    /// The gateway is told these bytes.
    pub fn told(&mut self, bytes: &[u8]) {
        // What this program writes are events.
        for event in self.scanner.push(bytes).unwrap_or_default() {
            self.answer.event(&event);
            if event.name() == Some(USAGE_EVENT) {
                self.frame = event.data().map(str::to_owned);
            }
        }
    }

    /// The attempt is over: signs what became of it, once its energy is known. Nothing of what was never computed.
    pub fn sign(mut self) {
        let Some(metered) = self.metered.take() else { return };
        let (took, answers) = (metered.begun.elapsed(), self.served.answers.clone());
        answers.spawn(async move {
            let Metered { mut share, started_at, .. } = metered;
            let energy = share.settled(SETTLED_WITHIN).await;
            let kept = tokio::task::spawn_blocking(move || self.keep(started_at, took.into(), energy));
            if let Ok(Err(error)) = kept.await {
                tracing::error!(%error, "a receipt can't be kept");
            }
        });
    }

    fn keep(self, started_at: Microseconds, duration_microseconds: Microseconds, energy: Energy) -> io::Result<()> {
        let Self { receipts, served, ticket, frame, begun_tokens, .. } = self;
        let frame: Option<UsageFrame> = frame.and_then(|frame| serde_json::from_str(&frame).ok());
        let (prompt_tokens, claimed) =
            frame.as_ref().map_or((0, begun_tokens), |frame| (frame.prompt_tokens, frame.completion_tokens));
        receipts.chain.append(|sequence, previous| NodeReceipt {
            v: VERSION,
            node: ticket.aud,
            gateway: receipts.tickets.gateway(),
            sequence,
            previous,
            request: ticket.request,
            attempt: ticket.attempt,
            model: served.model_id.clone(),
            engine: served.fingerprint.clone(),
            prompt_tokens,
            cached_tokens: 0,
            begun_tokens,
            completion_tokens: claimed.saturating_sub(begun_tokens),
            started_at,
            duration_microseconds,
            energy,
            price: ticket.price,
            seed: ticket.seed,
            request_commitment: self.request_commitment,
            answer_commitment: self.answer.end(),
            finish_reason: frame.and_then(|frame| frame.finish_reason),
        })
    }
}
