//! The response while it grows, and the events that say how.

use serde_json::{Value, json};

use super::item::{Item, ItemStatus, Part, output_id};
use super::object::Response;
use crate::sse;

/// Only its last item may be open: each is closed before the next one begins.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) response: Response,
    is_open: bool,
    /// Of the next event.
    sequence: u64,
    written: String,
}

impl Output {
    pub(super) fn new(response: Response) -> Self {
        Self { response, is_open: false, sequence: 0, written: String::new() }
    }

    /// What was written since the last time.
    pub(super) fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.written).into_bytes()
    }

    /// The item that goes on, if any, and where it stands.
    pub(super) fn current(&mut self) -> Option<(usize, &mut Item)> {
        let index = self.response.output.len().checked_sub(1).filter(|_| self.is_open)?;
        Some((index, self.response.output.get_mut(index)?))
    }

    /// The last part of the item that goes on.
    pub(super) fn current_part(&mut self) -> Option<&mut Part> {
        match self.current()?.1 {
            Item::Message { content, .. } | Item::Reasoning { content, .. } => content.last_mut(),
            Item::FunctionCall { .. } | Item::FunctionCallOutput { .. } => None,
        }
    }

    /// The id of the next item.
    pub(super) fn next_id(&self, prefix: &str) -> String {
        output_id(prefix, &self.response.id, self.response.output.len())
    }

    /// Begins an item. It has no parts yet.
    pub(super) fn open(&mut self, item: Item) {
        self.close(ItemStatus::Completed);
        self.event("response.output_item.added", json!({"output_index": self.response.output.len(), "item": item}));
        self.response.output.push(item);
        self.is_open = true;
    }

    /// Begins the one part of a message.
    pub(super) fn add_part(&mut self, part: Part) {
        self.part_event("response.content_part.added", json!({"part": part}));
        if let Some((_, Item::Message { content, .. } | Item::Reasoning { content, .. })) = self.current() {
            content.push(part);
        }
    }

    /// Ends the item that goes on.
    pub(super) fn close(&mut self, status: ItemStatus) {
        let Some((index, item)) = self.current() else { return };
        *item.status_mut() = status;
        let item = item.clone();
        match &item {
            Item::FunctionCall { name, arguments, .. } => {
                let done = json!({"name": name, "arguments": arguments});
                self.item_event("response.function_call_arguments.done", done);
            }
            Item::Message { content, .. } | Item::Reasoning { content, .. } => {
                content.iter().for_each(|part| self.close_part(part));
            }
            Item::FunctionCallOutput { .. } => {}
        }
        self.is_open = false;
        self.event("response.output_item.done", json!({"output_index": index, "item": item}));
    }

    /// Gives up the item that goes on.
    pub(super) fn abandon(&mut self) {
        if let Some((_, item)) = self.current() {
            *item.status_mut() = ItemStatus::Incomplete;
            self.is_open = false;
        }
    }

    fn close_part(&mut self, part: &Part) {
        let (kind, done) = match part {
            Part::OutputText { text, logprobs, .. } => {
                ("response.output_text.done", json!({"text": text, "logprobs": logprobs}))
            }
            part => ("response.reasoning_text.done", json!({"text": part.text()})),
        };
        self.part_event(kind, done);
        self.part_event("response.content_part.done", json!({"part": part}));
    }

    /// An event of the response as it is now.
    pub(super) fn response_event(&mut self, kind: &str) {
        self.event(kind, json!({"response": self.response}));
    }

    /// An event of the last item's one part.
    pub(super) fn part_event(&mut self, kind: &str, mut fields: Value) {
        fields["content_index"] = json!(0);
        self.item_event(kind, fields);
    }

    /// An event of the last item.
    pub(super) fn item_event(&mut self, kind: &str, mut fields: Value) {
        fields["output_index"] = json!(self.response.output.len().saturating_sub(1));
        fields["item_id"] = json!(self.response.output.last().map(Item::id));
        self.event(kind, fields);
    }

    /// Any event.
    pub(super) fn event(&mut self, kind: &str, mut fields: Value) {
        fields["type"] = json!(kind);
        fields["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        self.written.push_str(&sse::named(kind, &fields).unwrap_or_default());
    }
}
