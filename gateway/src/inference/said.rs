//! What has been said of an answer, whichever nodes said it: what the client has, and what another node needs to go on.

use std::sync::Arc;

use openapi::continuation::{ChoiceSoFar, SoFar};
use openapi::frame::UsageFrame;
use openapi::price::BilledTokens;

use super::count::Count;
use crate::nodes::ServedModel;

/// All that was said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of each of the answers.
    choices: Vec<ChoiceSoFar>,
    /// The model that said it, as the node serves it that was the first to say something.
    model: Option<Arc<ServedModel>>,
    count: Count,
    delivered: BilledTokens,
}

/// Answers that a request can ask for at most.
const MOST_CHOICES: u32 = 128;

impl Said {
    /// A node says what it has used. What it names beyond what it claims is not kept: it may claim no more than its limit.
    pub(super) fn frame(&mut self, frame: &UsageFrame, model: &Arc<ServedModel>) {
        self.count.frame(frame, model.names_tokens);
        let claimed = frame.completion_tokens.saturating_sub(self.tokens());
        let named = frame.token_ids.iter().zip(0..claimed).map(|(id, _)| id);
        self.choice(frame.choice).token_ids.extend(named);
        self.model.get_or_insert_with(|| Arc::clone(model));
    }

    /// The model that must go on; none as long as nothing was said.
    pub(super) fn model(&self) -> Option<&ServedModel> {
        self.model.as_deref().filter(|_| !self.is_nothing())
    }

    /// The client gets this event now. `most_prompt` and `most` bound what is paid for.
    pub(super) fn piece(&mut self, data: &str, most_prompt: u64, most: u64) {
        for heard in self.count.piece(data) {
            let choice = self.choice(heard.choice);
            choice.text_bytes += heard.bytes;
            choice.logprobs += heard.logprobs;
            choice.opened = true;
            choice.finished |= heard.finishes;
        }
        self.deliver_all(most_prompt, most);
    }

    /// The client has everything that was said until now: what is paid for, within these bounds. Some servers say only at the
    /// very end, after the last piece, how many tokens there were.
    pub(super) fn deliver_all(&mut self, most_prompt: u64, most: u64) {
        self.delivered = BilledTokens {
            prompt: self.count.prompt(most_prompt),
            cached: 0,
            completion: self.count.completion().min(most),
        };
    }

    /// What there is of one of the answers. Of a node that counts higher than anybody may ask, all is in the last.
    fn choice(&mut self, index: u32) -> &mut ChoiceSoFar {
        let index = index.min(MOST_CHOICES) as usize;
        if index >= self.choices.len() {
            self.choices.resize(index + 1, ChoiceSoFar::default());
        }
        &mut self.choices[index]
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
        self.choices.iter().map(|choice| choice.token_ids.len() as u64).sum()
    }

    /// For the node that goes on.
    pub(super) fn so_far(&self) -> SoFar {
        SoFar {
            fingerprint: self.model.as_ref().and_then(|model| model.fingerprint.clone()),
            choices: self.choices.clone(),
        }
    }

    /// True when no other node can go on from here: the client has text whose tokens nobody has named.
    pub(super) fn is_stuck(&self) -> bool {
        self.choices.iter().any(|choice| choice.text_bytes > 0 && choice.token_ids.is_empty())
    }

    /// True when nothing is known of it.
    pub(super) fn is_nothing(&self) -> bool {
        self.is_unseen() && self.choices.iter().all(|choice| choice.token_ids.is_empty())
    }

    /// True while the client has nothing of it, and it can as well begin anew.
    pub(super) fn is_unseen(&self) -> bool {
        !self.choices.iter().any(|choice| choice.opened)
    }
}

#[cfg(test)]
mod tests {
    use openapi::energy::{Boundary, Energy, Tier};
    use openapi::units::Microjoules;

    use super::*;

    fn frame(completion_tokens: u64, token_ids: &[u32]) -> UsageFrame {
        let energy = Energy::exact(Microjoules::ZERO, (Tier::E, Boundary::Device), "test/1");
        UsageFrame {
            prompt_tokens: 9,
            completion_tokens,
            token_ids: token_ids.to_vec(),
            choice: 0,
            energy,
            finish_reason: None,
        }
    }

    fn model() -> Arc<ServedModel> {
        Arc::new(ServedModel {
            name: "m".to_owned(),
            id: "bagaa".to_owned(),
            kind: openapi::model::ModelKind::Text,
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
        let so_far = ChoiceSoFar { token_ids: vec![5, 6], text_bytes: 2, opened: true, ..ChoiceSoFar::default() };
        assert_eq!(said.so_far().choices, [so_far], "the text of the last one is the next node's to say");
        // The next node counts all tokens, and names its own.
        said.frame(&frame(3, &[7]), &model());
        said.piece(r#"{"choices":[{"delta":{"content":"cd"}}]}"#, 100, 100);
        said.piece(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, 100, 100);
        let so_far = ChoiceSoFar { token_ids: vec![5, 6, 7], text_bytes: 4, logprobs: 0, opened: true, finished: true };
        assert_eq!(said.so_far().choices, [so_far]);
        assert_eq!((said.delivered().prompt, said.delivered().completion), (9, 3));
    }

    #[test]
    fn what_is_said_after_the_last_piece_counts_once_the_client_has_it() {
        let mut said = Said::default();
        said.frame(&UsageFrame { prompt_tokens: 65, ..frame(1, &[5]) }, &model());
        said.piece(r#"{"choices":[{"delta":{"content":"ab"}}]}"#, 100, 100);
        said.frame(&frame(3, &[6, 7]), &model());
        assert_eq!((said.delivered().prompt, said.delivered().completion), (65, 1), "the client has the first piece");
        said.deliver_all(100, 100);
        assert_eq!((said.delivered().prompt, said.delivered().completion), (9, 3));
        said.deliver_all(5, 2);
        assert_eq!((said.delivered().prompt, said.delivered().completion), (5, 2), "within what may be paid for");
    }

    #[test]
    fn each_of_several_answers_has_its_own_tokens_and_text() {
        let mut said = Said::default();
        said.frame(&frame(1, &[5]), &model());
        said.piece(r#"{"choices":[{"index":0,"delta":{"content":"ab"},"finish_reason":"stop"}]}"#, 100, 100);
        said.frame(&UsageFrame { choice: 1, ..frame(2, &[6]) }, &model());
        let chunk = r#"{"choices":[{"index":1,"delta":{"content":"c"},"logprobs":{"content":[{}]}}]}"#;
        said.piece(chunk, 100, 100);
        let choices = said.so_far().choices;
        assert_eq!((&choices[0].token_ids[..], choices[0].finished), (&[5][..], true));
        assert_eq!((&choices[1].token_ids[..], choices[1].text_bytes, choices[1].logprobs), (&[6][..], 1, 1));
        assert_eq!((said.tokens(), said.delivered().completion), (2, 2));
        said.frame(&UsageFrame { choice: u32::MAX, ..frame(3, &[7]) }, &model());
        assert!(said.so_far().choices.len() <= 129, "a node can't make the gateway count to the moon");
    }

    #[test]
    fn names_beyond_the_claim_are_not_kept() {
        let mut said = Said::default();
        for _ in 0..3 {
            said.frame(&frame(2, &[5; 1_000]), &model());
        }
        assert_eq!(said.so_far().choices[0].token_ids, [5, 5]);
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
