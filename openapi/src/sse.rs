//! Server-sent events: written by one line of code, split by one scanner. Source: WHATWG HTML, 9.2 "Server-sent events".

use memchr::memchr2;
use serde::Serialize;

/// The last event of every OpenAI stream.
pub const DONE: &str = "data: [DONE]\n\n";
/// Stands at the end of a stream that is complete and in which OpenAI has no such event: a comment, which every client
/// skips.
pub const END: &str = ": end\n\n";

/// An event without a name whose data is JSON.
///
/// # Errors
/// When the value can't be written as JSON.
pub fn data(json: &impl Serialize) -> serde_json::Result<String> {
    Ok(format!("data: {}\n\n", serde_json::to_string(json)?))
}

/// A named event whose data is JSON.
///
/// # Errors
/// When the value can't be written as JSON.
pub fn named(event: &str, json: &impl Serialize) -> serde_json::Result<String> {
    Ok(format!("event: {event}\n{}", data(json)?))
}

/// A comment, which every client skips.
pub fn comment(text: &str) -> String {
    format!(": {text}\n\n")
}

/// One event as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Every byte of it, with the blank line that ends it.
    pub raw: Vec<u8>,
}

impl Event {
    /// Its name; an event without one is a `message`, a comment has none.
    pub fn name(&self) -> Option<&str> {
        self.field("event").or_else(|| self.data().map(|_| "message"))
    }

    /// Its data; of several `data` lines the first, since everybody who speaks this protocol sends one.
    pub fn data(&self) -> Option<&str> {
        self.field("data")
    }

    /// True of what a client reads: an event with data, and without a name.
    pub fn is_of_answer(&self) -> bool {
        self.data().is_some() && self.field("event").is_none()
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut rest = std::str::from_utf8(&self.raw).ok()?;
        loop {
            let end = memchr2(b'\n', b'\r', rest.as_bytes());
            let line = &rest[..end.unwrap_or(rest.len())];
            if let Some(value) = line.strip_prefix(name).and_then(|line| line.strip_prefix(':')) {
                return Some(value.strip_prefix(' ').unwrap_or(value));
            }
            // Between the two bytes of one end lies an empty line, which names nothing.
            rest = &rest[end? + 1..];
        }
    }
}

/// An event grew beyond what the scanner holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub struct EventTooLong(pub usize);

/// Splits a byte stream into events, wherever the chunks are cut.
#[derive(Debug)]
pub struct Scanner {
    pending: Vec<u8>,
    limit: usize,
}

impl Scanner {
    /// A scanner for events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { pending: Vec::new(), limit }
    }

    /// Adds bytes and takes out every event that they complete.
    ///
    /// # Errors
    /// When an event, finished or not, is longer than the limit.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventTooLong> {
        // A blank line may straddle the border, so look again at the last two bytes: one end of a line, or a part of it and one more.
        let mut from = self.pending.len().saturating_sub(2);
        self.pending.extend_from_slice(bytes);
        let (mut events, mut begin) = (Vec::new(), 0);
        while let Some(end) = end_of_event(&self.pending, from) {
            events.push(Event { raw: self.pending[begin..end].to_vec() });
            (begin, from) = (end, end);
        }
        self.pending.drain(..begin);
        let mut lengths = events.iter().map(|event| event.raw.len()).chain([self.pending.len()]);
        if lengths.any(|length| length > self.limit) { Err(EventTooLong(self.limit)) } else { Ok(events) }
    }

    /// True when no event is half read.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

/// The index just behind the blank line that ends the first event. Each of the three ends of a line may follow each other.
fn end_of_event(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let line = from + memchr2(b'\n', b'\r', bytes.get(from..)?)?;
        let next = line + end_of_line(&bytes[line..])?;
        if let Some(length) = end_of_line(&bytes[next..]) {
            return Some(next + length);
        }
        from = next;
    }
}

/// The length of the end of a line that stands here. None too as long as a `\r` may turn out to be half of one.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        [b'\r', _, ..] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_data_are_read() {
        let mut scanner = Scanner::new(1000);
        let stream = ": hello\n\nevent: usage\ndata: {\"a\":1}\n\ndata: [DONE]\r\n\r\ndata: half";
        let events = scanner.push(stream.as_bytes()).unwrap();
        let seen: Vec<_> = events.iter().map(|e| (e.name(), e.data())).collect();
        assert_eq!(seen, [(None, None), (Some("usage"), Some("{\"a\":1}")), (Some("message"), Some("[DONE]"))]);
        assert!(!scanner.is_empty());
    }

    #[test]
    fn an_endless_event_is_refused() {
        assert_eq!(Scanner::new(10).push(&[b'x'; 11]), Err(EventTooLong(10)));
    }

    #[test]
    fn a_long_event_is_refused_whether_it_comes_at_once_or_not() {
        assert_eq!(Scanner::new(10).push(b"data: 1234\n\n"), Err(EventTooLong(10)));
        assert!(Scanner::new(12).push(b"data: 1234\n\n").is_ok());
    }

    #[test]
    fn a_blank_line_ends_an_event_whatever_ended_the_line_before() {
        let events = Scanner::new(100).push(b"data: 1\n\r\ndata: 2\r\n\ndata: 3\r\n\r\n").unwrap();
        assert_eq!(events.iter().map(|event| event.data()).collect::<Vec<_>>(), [Some("1"), Some("2"), Some("3")]);
    }

    #[test]
    fn a_lone_carriage_return_ends_a_line_as_clients_have_it() {
        let hidden = Scanner::new(100)
            .push(b": seen by none\rdata: 1\n\nevent: a\rdata: 2\r\rdata: 3\n\rdata: 4\r\n\rx")
            .unwrap();
        let seen: Vec<_> = hidden.iter().map(|event| (event.name(), event.data())).collect();
        let message = |data| (Some("message"), Some(data));
        assert_eq!(seen, [message("1"), (Some("a"), Some("2")), message("3"), message("4")]);
        let mut scanner = Scanner::new(100);
        assert!(scanner.push(b"data: 1\r\n\r").unwrap().is_empty(), "it may be half of an end");
        assert_eq!(scanner.push(b"\n").unwrap()[0].raw, b"data: 1\r\n\r\n");
        assert!(scanner.push(b"data: 2\r\r").unwrap().is_empty());
        assert_eq!(scanner.push(b"data: 3").unwrap()[0].raw, b"data: 2\r\r");
    }

    proptest! {
        /// However a stream is cut into chunks, the same events come out and no byte is lost.
        #[test]
        fn cuts_do_not_matter(texts in prop::collection::vec("[a-z\n\r:]{0,12}", 0..8), cuts in prop::collection::vec(1usize..7, 0..40)) {
            let stream: String = texts.iter().map(|text| format!("data: {}\n\n", text.replace("\n\n", "\n").trim_matches('\n'))).collect();
            let whole = Scanner::new(9999).push(stream.as_bytes()).unwrap();
            let mut scanner = Scanner::new(9999);
            let mut pieces = Vec::new();
            let mut rest = stream.as_bytes();
            for cut in cuts.iter().cycle().take(stream.len() + 1).chain([&usize::MAX]) {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.extend(scanner.push(head).unwrap());
                rest = tail;
            }
            pieces.extend(scanner.push(rest).unwrap());
            let bytes: Vec<u8> = pieces.iter().flat_map(|e| e.raw.clone()).chain(scanner.pending).collect();
            prop_assert_eq!(bytes, stream.as_bytes());
            prop_assert_eq!(pieces, whole);
        }
    }
}
