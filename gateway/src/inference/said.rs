//! What has been said of an answer, whichever nodes said it: what the client has, and what another node needs to go on.

use std::sync::Arc;

use openapi::continuation::SoFar;
use openapi::frame::UsageFrame;
use openapi::price::BilledTokens;

use super::count::Count;
use crate::nodes::ServedModel;

/// An answer so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    token_ids: Vec<u32>,
    /// The model that said it, as the node serves it that was the first to say something.
    model: Option<Arc<ServedModel>>,
    count: Count,
    opened: bool,
    finished: bool,
    delivered: BilledTokens,
}

impl Said {
    /// A node says what it has used.
    pub(super) fn frame(&mut self, frame: &UsageFrame, model: &Arc<ServedModel>) {
        self.count.frame(frame, model.names_tokens);
        self.token_ids.extend_from_slice(&frame.token_ids);
        self.model.get_or_insert_with(|| Arc::clone(model));
    }

    /// The model that must go on; none as long as nothing was said.
    pub(super) fn model(&self) -> Option<&ServedModel> {
        self.model.as_deref().filter(|_| !self.is_nothing())
    }

    /// The client gets this event now. `most_prompt` and `most` bound what is paid for.
    pub(super) fn piece(&mut self, data: &str, most_prompt: u64, most: u64) {
        self.finished |= self.count.piece(data);
        self.opened = true;
        self.delivered = BilledTokens {
            prompt: self.count.prompt(most_prompt),
            cached: 0,
            completion: self.count.completion().min(most),
        };
    }

    /// What the client has.
    pub(super) fn delivered(&self) -> BilledTokens {
        self.delivered
    }

    /// What the gateway counted.
    pub(super) fn count(&self) -> &Count {
        &self.count
    }

    /// Tokens that were named.
    pub(super) fn tokens(&self) -> u64 {
        self.token_ids.len() as u64
    }

    /// For the node that goes on.
    pub(super) fn so_far(&self) -> SoFar {
        SoFar {
            fingerprint: self.model.as_ref().and_then(|model| model.fingerprint.clone()),
            token_ids: self.token_ids.clone(),
            text_bytes: self.count.text_bytes(),
            opened: self.opened,
            finished: self.finished,
        }
    }

    /// True when no other node can go on from here: the client has text whose tokens nobody has named.
    pub(super) fn is_stuck(&self) -> bool {
        self.count.text_bytes() > 0 && self.token_ids.is_empty()
    }

    /// True when nothing is known of it.
    pub(super) fn is_nothing(&self) -> bool {
        self.token_ids.is_empty() && self.is_unseen()
    }

    /// True when the client has the event that says why the answer ends.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// True while the client has nothing of it, and it can as well begin anew.
    pub(super) fn is_unseen(&self) -> bool {
        !self.opened
    }
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Energy, Tier};
    use openapi::units::Microjoules;

    use super::*;

    fn frame(completion_tokens: u64, token_ids: &[u32]) -> UsageFrame {
        let energy = Energy::exact(Microjoules::ZERO, (Tier::E, Boundary::Device), "test/1");
        UsageFrame { prompt_tokens: 9, completion_tokens, token_ids: token_ids.to_vec(), energy, finish_reason: None }
    }

    fn model() -> Arc<ServedModel> {
        Arc::new(ServedModel {
            name: "m".to_owned(),
            id: "bagaa".to_owned(),
            context_length: 100,
            authors: Vec::new(),
            fingerprint: None,
            continues: true,
            caches_prefixes: false,
            quantisation: String::new(),
            parameters: None,
            names_tokens: true,
        })
    }

    #[test]
    fn what_was_said_grows_over_two_nodes_and_is_counted_once() {
        let mut said = Said::default();
        assert!(said.is_nothing() && said.so_far() == SoFar::default());
        said.frame(&frame(1, &[5]), &model());
        assert!(said.is_unseen() && said.model().is_some(), "named, and not yet handed over");
        said.piece(r#"{"choices":[{"delta":{"content":"ab"}}]}"#, 100, 100);
        said.frame(&frame(2, &[6]), &model());
        let so_far = SoFar { token_ids: vec![5, 6], text_bytes: 2, opened: true, finished: false, ..SoFar::default() };
        assert_eq!(said.so_far(), so_far, "the text of the last one is the next node's to say");
        // The next node counts all tokens, and names its own.
        said.frame(&frame(3, &[7]), &model());
        said.piece(r#"{"choices":[{"delta":{"content":"cd"}}]}"#, 100, 100);
        said.piece(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, 100, 100);
        let so_far =
            SoFar { token_ids: vec![5, 6, 7], text_bytes: 4, opened: true, finished: true, ..SoFar::default() };
        assert_eq!(said.so_far(), so_far);
        assert_eq!((said.delivered().prompt, said.delivered().completion), (9, 3));
    }

    #[test]
    fn text_without_names_can_not_be_gone_on_with() {
        let mut said = Said::default();
        said.frame(&frame(1, &[]), &model());
        said.piece(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, 100, 100);
        assert!(!said.is_stuck(), "nothing but the opening");
        said.piece(r#"{"choices":[{"delta":{"content":"ab"}}]}"#, 100, 100);
        assert!(said.is_stuck());
    }
}
