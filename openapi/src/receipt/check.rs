//! What must follow from what in a receipt, and what a gateway must find in a node's before it puts its own name to it.

use super::commitment::Commitment;
use super::jws::{self, Jws};
use super::{Alone, NodeReceipt, Receipt, ReceiptEnergy, Shares, VERSION};
use crate::energy::Energy;
use crate::price::{BilledTokens, Price};
use crate::units::{Microjoules, Nanocredits};

/// Microjoules in a kilowatt-hour, over the micrograms in a milligram.
const MICROJOULES_PER_KWH_MILLI: u128 = 3_600_000_000;

/// Joules of the site, of so many of the machine and of its idle share. Rounded down, as in the database.
pub fn facility(microjoules: Microjoules, idle: Microjoules, pue_milli: u32) -> Microjoules {
    let sum = (u128::from(microjoules.get()) + u128::from(idle.get())) * u128::from(pue_milli) / 1_000;
    Microjoules::new(u64::try_from(sum).unwrap_or(u64::MAX))
}

/// Micrograms of CO₂ equivalent of so many joules of a site. Rounded down.
pub fn carbon(facility: Microjoules, mg_per_kwh: u64) -> u64 {
    let micrograms = u128::from(facility.get()) * u128::from(mg_per_kwh) / MICROJOULES_PER_KWH_MILLI;
    u64::try_from(micrograms).unwrap_or(u64::MAX)
}

/// What doesn't follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u8),
    #[error("the cost is {said} nanocredits, and the tokens at this price cost {due}")]
    Cost { said: u64, due: u64 },
    #[error("something was paid for an answer that is free")]
    PaidForNothing,
    #[error("what was paid is not shared, or nothing was paid and is shared")]
    Unshared,
    #[error("the split's parts are not a whole")]
    Split,
    #[error("{whose} share is {said} nanocredits, and by the split it is {due}")]
    Share { whose: String, said: u64, due: u64 },
    #[error("the energy's parts are not parts, or it is beyond reason")]
    Energy,
    #[error("the site's energy does not follow from the machine's")]
    Facility,
    #[error("the carbon does not follow from the energy")]
    Carbon,
    #[error("it has neither the node's word nor a reason why not, or both")]
    NodeOrAlone,
    #[error("the node's part: {0}")]
    NodeSignature(jws::NotSigned),
    #[error("the node's part is about another {0}")]
    NodeOther(&'static str),
    #[error("the node's part says {node} {what}, and the gateway's {gateway}")]
    NodeFigure { what: &'static str, node: u64, gateway: u64 },
    #[error("it says that another gateway has answered and has no receipt of it, or the other way round")]
    PartnerOrNot,
    #[error("the other gateway's receipt: {0}")]
    PartnerSignature(jws::NotSigned),
    #[error("in the other gateway's receipt, {0}")]
    Partner(Box<Self>),
    #[error("the other gateway's receipt says {partner} {what}, and this one {gateway}")]
    PartnerFigure { what: &'static str, partner: u64, gateway: u64 },
}

impl Receipt {
    /// Whether everything in it follows from what else is in it, the node's part included.
    ///
    /// # Errors
    /// What doesn't, the first of it.
    pub fn check(&self) -> Result<Option<NodeReceipt>, Contradiction> {
        if self.v != VERSION {
            return Err(Contradiction::Version(self.v));
        }
        self.check_cost()?;
        self.check_shares()?;
        if let Some(energy) = &self.energy {
            energy.check_parts()?;
            energy.check_site()?;
            energy.check_carbon()?;
        }
        self.check_node()
    }

    /// Whether the cost is the tokens at their price.
    ///
    /// # Errors
    /// When it isn't.
    pub fn check_cost(&self) -> Result<(), Contradiction> {
        let tokens =
            BilledTokens { prompt: self.prompt_tokens, cached: self.cached_tokens, completion: self.completion_tokens };
        let due = if self.is_paid { self.price.cost(&tokens) } else { Nanocredits::ZERO };
        match (self.nanocredits == due, self.is_paid) {
            (true, _) => Ok(()),
            (false, true) => Err(Contradiction::Cost { said: self.nanocredits.get(), due: due.get() }),
            (false, false) => Err(Contradiction::PaidForNothing),
        }
    }

    /// Whether what was paid, and nothing else, is shared as the split says.
    ///
    /// # Errors
    /// When it isn't.
    pub fn check_shares(&self) -> Result<(), Contradiction> {
        match &self.shares {
            Some(shares) if self.nanocredits > Nanocredits::ZERO => shares.check(self.nanocredits),
            None if self.nanocredits == Nanocredits::ZERO => Ok(()),
            _ => Err(Contradiction::Unshared),
        }
    }

    /// The node's part, if it is the node's and of the same attempt; none where the gateway says why it signs alone.
    ///
    /// # Errors
    /// When it is another's, of another attempt, or both missing and not accounted for.
    pub fn check_node(&self) -> Result<Option<NodeReceipt>, Contradiction> {
        match (&self.node_receipt, &self.node_key, self.alone) {
            (Some(token), Some(key), None) => self.check_node_says(token, key).map(Some),
            (None, None, Some(_)) => self.check_partner().map(|_| None),
            _ => Err(Contradiction::NodeOrAlone),
        }
    }

    /// The receipt of the gateway that has answered this one, if one has and that follows from itself. Whether that gateway has
    /// signed it, its keys tell.
    ///
    /// # Errors
    /// When it doesn't, or more is paid here than it says was answered.
    pub fn check_partner(&self) -> Result<Option<Self>, Contradiction> {
        let token = match (&self.partner_receipt, self.alone) {
            (Some(token), Some(Alone::Partner)) => token,
            (None, alone) if alone != Some(Alone::Partner) => return Ok(None),
            _ => return Err(Contradiction::PartnerOrNot),
        };
        let jws = Jws::read(token).map_err(Contradiction::PartnerSignature)?;
        let said: Self = jws.claimed().map_err(Contradiction::PartnerSignature)?;
        said.check().map_err(|contradiction| Contradiction::Partner(Box::new(contradiction)))?;
        for (what, partner, gateway) in [
            ("tokens of the prompt", said.prompt_tokens, self.prompt_tokens),
            ("tokens of the answer", said.completion_tokens, self.completion_tokens),
        ] {
            if gateway > partner {
                return Err(Contradiction::PartnerFigure { what, partner, gateway });
            }
        }
        Ok(Some(said))
    }

    fn check_node_says(&self, token: &str, key: &str) -> Result<NodeReceipt, Contradiction> {
        let key = jws::public_key(key).ok_or(Contradiction::NodeSignature(jws::NotSigned::Signature))?;
        let jws = Jws::read(token).map_err(Contradiction::NodeSignature)?;
        let said: NodeReceipt = jws.verify(&key).map_err(Contradiction::NodeSignature)?;
        let seen = Seen {
            gateways: std::slice::from_ref(&self.gateway),
            node: self.node,
            request: self.id.request,
            attempt: self.id.attempt,
            model: &self.model,
            price: self.price,
            request_commitment: self.request_commitment,
            answer_commitment: self.answer_commitment,
            heard: matches!(self.outcome.as_str(), "completed" | "cut_short" | "cancelled"),
            most_prompt_tokens: u64::MAX,
            completion_tokens: None,
        };
        seen.check(&said)?;
        // Paid is at most what the node says that it has done.
        for (what, node, gateway) in [
            ("tokens of the prompt", said.prompt_tokens, self.prompt_tokens),
            ("tokens of the answer", said.begun_tokens.saturating_add(said.completion_tokens), self.completion_tokens),
        ] {
            if gateway > node {
                return Err(Contradiction::NodeFigure { what, node, gateway });
            }
        }
        Ok(said)
    }

    /// Why the gateway signs alone, in words.
    pub fn why_alone(&self) -> Option<&'static str> {
        self.alone.map(|alone| match alone {
            Alone::Attached => "the server is attached to the gateway and signs nothing",
            Alone::NotReceived => "the node has sent no receipt in time",
            Alone::Contradicts => "what the node says is not what the gateway has seen",
            Alone::Partner => "another gateway has answered",
        })
    }
}

impl Shares {
    fn check(&self, income: Nanocredits) -> Result<(), Contradiction> {
        if !self.split.is_whole() {
            return Err(Contradiction::Split);
        }
        let due = self.split.divide(income, self.authors.len());
        let authors = self.authors.iter().zip(&due.authors);
        let parts = [
            ("the operator's", self.operator, due.operator),
            ("the gateway's", self.gateway, due.gateway),
            ("the audit fund's", self.audit_fund, due.audit_fund),
        ];
        let parts = parts.into_iter().map(|(whose, said, due)| (whose.to_owned(), said, due));
        let authors = authors.map(|(author, due)| (format!("{}'s", author.author), author.nanocredits, *due));
        match parts.chain(authors).find(|(_, said, due)| said != due) {
            Some((whose, said, due)) => Err(Contradiction::Share { whose, said: said.get(), due: due.get() }),
            None => Ok(()),
        }
    }
}

impl ReceiptEnergy {
    /// Whether the machine's energy is one that can be.
    ///
    /// # Errors
    /// When its parts are larger than it, or it is beyond reason.
    pub fn check_parts(&self) -> Result<(), Contradiction> {
        let parts = Energy {
            microjoules: self.microjoules,
            low_microjoules: self.low_microjoules,
            high_microjoules: self.high_microjoules,
            marginal_microjoules: self.marginal_microjoules,
            prefill_microjoules: self.prefill_microjoules,
            tier: self.tier,
            boundary: self.boundary,
            method: String::new(),
            settled: true,
        };
        if parts.is_sane() { Ok(()) } else { Err(Contradiction::Energy) }
    }

    /// Whether the site's energy follows from the machine's.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn check_site(&self) -> Result<(), Contradiction> {
        let due = facility(self.microjoules, self.idle_microjoules, self.pue_milli);
        if self.facility_microjoules == due { Ok(()) } else { Err(Contradiction::Facility) }
    }

    /// Whether the carbon follows from the site's energy.
    ///
    /// # Errors
    /// When it doesn't.
    pub fn check_carbon(&self) -> Result<(), Contradiction> {
        let due = self.grid.as_ref().map(|grid| carbon(self.facility_microjoules, grid.mg_per_kwh));
        if self.micrograms_co2e == due { Ok(()) } else { Err(Contradiction::Carbon) }
    }
}

/// What a gateway has seen of an attempt itself.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Every name that this gateway goes by, see [`NodeReceipt::gateway`].
    pub gateways: &'a [String],
    pub node: uuid::Uuid,
    pub request: uuid::Uuid,
    pub attempt: u32,
    /// The model id.
    pub model: &'a str,
    pub price: Price,
    pub request_commitment: Commitment,
    /// None when the client got nothing of it.
    pub answer_commitment: Option<Commitment>,
    /// The answer was heard to its end.
    pub heard: bool,
    /// More tokens the prompt can't have.
    pub most_prompt_tokens: u64,
    /// Tokens of the answer that came from this node; none when the answer was not heard to its end, so that the node may
    /// have made more.
    pub completion_tokens: Option<u64>,
}

impl Seen<'_> {
    /// Whether the node says the same.
    ///
    /// # Errors
    /// What it says otherwise.
    pub fn check(&self, said: &NodeReceipt) -> Result<(), Contradiction> {
        if said.v != VERSION {
            return Err(Contradiction::Version(said.v));
        }
        for (what, is_same) in [
            ("gateway", self.gateways.contains(&said.gateway)),
            ("node", said.node == self.node),
            ("request", said.request == self.request),
            ("attempt", said.attempt == self.attempt),
            ("model", said.model == self.model),
            ("price", said.price == self.price),
            ("prompt", said.request_commitment == self.request_commitment),
            // Of one that was not heard to its end the node may have said more.
            ("answer", !self.heard || self.answer_commitment.is_none_or(|answer| answer == said.answer_commitment)),
        ] {
            if !is_same {
                return Err(Contradiction::NodeOther(what));
            }
        }
        if said.prompt_tokens > self.most_prompt_tokens {
            let (node, gateway) = (said.prompt_tokens, self.most_prompt_tokens);
            return Err(Contradiction::NodeFigure { what: "tokens of the prompt", node, gateway });
        }
        match self.completion_tokens {
            Some(gateway) if gateway != said.completion_tokens => {
                let node = said.completion_tokens;
                Err(Contradiction::NodeFigure { what: "tokens of the answer", node, gateway })
            }
            _ if !said.energy.is_sane() => Err(Contradiction::Energy),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::chat::FinishReason;
    use crate::energy::{Boundary, Tier};
    use crate::receipt::AuthorShare;
    use crate::receipt::commitment::Salt;
    use crate::receipt::example::receipt;
    use crate::units::Microseconds;

    #[test]
    fn a_receipt_whose_figures_follow_is_consistent() {
        for cost in [0, 1, 10, 12_345_678] {
            assert_eq!(receipt(cost, 1).check(), Ok(None));
        }
    }

    #[test]
    fn whatever_does_not_follow_is_named() {
        type Change = fn(&mut Receipt);
        let changes: [(Change, &str); 14] = [
            (|receipt| receipt.v = 2, "version 2"),
            (|receipt| receipt.prompt_tokens += 1, "cost 1001"),
            (|receipt| receipt.nanocredits = Nanocredits::new(999), "999 nanocredits"),
            (|receipt| receipt.is_paid = false, "free"),
            (|receipt| receipt.shares = None, "not shared"),
            (|receipt| receipt.shares.as_mut().unwrap().gateway = Nanocredits::new(81), "the gateway's share is 81"),
            (|receipt| receipt.shares.as_mut().unwrap().split.gateway_ppm = 1, "not a whole"),
            (
                |receipt| {
                    let author = AuthorShare { author: "Eve".to_owned(), nanocredits: Nanocredits::new(25) };
                    receipt.shares.as_mut().unwrap().authors.push(author);
                },
                "Ada's share is 50 nanocredits, and by the split it is 25",
            ),
            (
                |receipt| receipt.energy.as_mut().unwrap().low_microjoules = Microjoules::new(9_999),
                "parts are not parts",
            ),
            (|receipt| receipt.energy.as_mut().unwrap().idle_microjoules = Microjoules::ZERO, "the site's energy"),
            (|receipt| receipt.energy.as_mut().unwrap().micrograms_co2e = None, "carbon"),
            (|receipt| receipt.alone = None, "neither the node's word"),
            (|receipt| receipt.alone = Some(Alone::Partner), "has no receipt of it"),
            (|receipt| receipt.partner_receipt = Some(String::new()), "has no receipt of it"),
        ];
        for (change, said) in changes {
            let mut changed = receipt(1_000, 1);
            change(&mut changed);
            let found = changed.check().unwrap_err().to_string();
            assert!(found.contains(said), "{found}");
        }
    }

    #[test]
    fn another_gateway_s_receipt_is_held_to_itself_and_to_what_is_paid_here() {
        let signer = jws::Signer::from_seed(&[3; 32]).unwrap();
        let with = |said: &Receipt| {
            let (alone, partner_receipt) = (Some(Alone::Partner), signer.sign(said));
            Receipt { alone, partner_receipt, ..receipt(1_000, 1) }
        };
        let said = receipt(1_000, 1);
        assert_eq!(with(&said).check(), Ok(None));
        assert_eq!(with(&said).check_partner(), Ok(Some(said.clone())));
        for (said, why) in [
            (Receipt { nanocredits: Nanocredits::new(1), ..said.clone() }, "in the other gateway's receipt, the cost"),
            (receipt(900, 1), "the other gateway's receipt says 900 tokens of the prompt, and this one 1000"),
            (Receipt { v: 9, ..said }, "version 9"),
        ] {
            let found = with(&said).check().unwrap_err().to_string();
            assert!(found.contains(why), "{found}");
        }
        let garbled = Receipt { partner_receipt: Some("a.b.c".to_owned()), ..with(&receipt(1_000, 1)) };
        assert!(matches!(garbled.check(), Err(Contradiction::PartnerSignature(_))));
    }

    #[test]
    fn a_node_is_held_to_an_answer_that_was_heard_to_its_end_and_to_no_other() {
        let salt = Salt([1; 32]);
        let said = NodeReceipt {
            v: VERSION,
            node: Uuid::nil(),
            gateway: "g".to_owned(),
            sequence: 1,
            previous: String::new(),
            request: Uuid::nil(),
            attempt: 1,
            model: "m".to_owned(),
            engine: "e".to_owned(),
            prompt_tokens: 9,
            cached_tokens: 0,
            begun_tokens: 0,
            completion_tokens: 4,
            started_at: Microseconds::ZERO,
            duration_microseconds: Microseconds::ZERO,
            energy: Energy::exact(Microjoules::ZERO, (Tier::E, Boundary::Device), "test/1"),
            price: Price::default(),
            seed: 7,
            request_commitment: salt.request(b"{}"),
            answer_commitment: salt.whole_answer(b"{}"),
            finish_reason: Some(FinishReason::Stop),
        };
        let seen = |heard| Seen {
            gateways: std::slice::from_ref(&said.gateway),
            node: said.node,
            request: said.request,
            attempt: 1,
            model: "m",
            price: said.price,
            request_commitment: said.request_commitment,
            answer_commitment: Some(salt.answer().end()),
            heard,
            most_prompt_tokens: 9,
            completion_tokens: None,
        };
        assert_eq!(seen(false).check(&said), Ok(()), "its client left, and the node had said all");
        assert_eq!(seen(true).check(&said), Err(Contradiction::NodeOther("answer")));
    }

    #[test]
    fn a_node_s_part_that_is_nobody_s_or_another_s_is_found_out() {
        let mut changed = receipt(1_000, 1);
        (changed.alone, changed.node_key) = (None, Some("AAAA".to_owned()));
        changed.node_receipt = Some(format!("{}.a.a", Uuid::nil()));
        assert!(matches!(changed.check(), Err(Contradiction::NodeSignature(_))));
    }
}
