//! The scanner that stands between a node's bytes and the relay: what goes out is what came, however it was cut, and an
//! event is one event for a client too.

use openapi::sse::{Event, Scanner};

const LIMIT: usize = 256;

/// Cuts a stream in several ways, and compares.
pub fn check(bytes: &[u8]) {
    let (whole, too_long) = scanned([bytes]);
    let relayed: Vec<u8> = whole.iter().flat_map(|event| event.raw.clone()).collect();
    assert!(bytes.starts_with(&relayed), "what is relayed is what came");
    whole.iter().for_each(one_event);
    let seed = bytes.iter().fold(1_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let mut random = fastrand::Rng::with_seed(seed);
    for longest in [1, 2, 3, 40] {
        let mut rest = bytes;
        let pieces = std::iter::from_fn(|| {
            let (piece, after) = rest.split_at(random.usize(1..=longest).min(rest.len()));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        });
        let (events, refused) = scanned(pieces);
        assert_eq!(refused, too_long, "whether an event is too long has nothing to do with how it was cut");
        assert!(too_long || events == whole, "{events:?} {whole:?}");
    }
}

/// The events, and whether one was too long.
fn scanned<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, bool) {
    let mut scanner = Scanner::new(LIMIT);
    let (mut events, mut pushed) = (Vec::new(), 0);
    for piece in pieces {
        pushed += piece.len();
        match scanner.push(piece) {
            Ok(more) => events.extend(more),
            Err(_) => return (events, true),
        }
    }
    let relayed = events.iter().map(|event| event.raw.len()).sum::<usize>();
    assert_eq!(scanner.is_empty(), relayed == pushed, "what is no event yet is kept");
    (events, false)
}

/// Reads it once more as WHATWG HTML, 9.2.6 has it, and finds nothing behind a blank line.
fn one_event(event: &Event) {
    assert!(event.raw.len() <= LIMIT);
    let Ok(text) = std::str::from_utf8(&event.raw) else {
        assert!(event.name().is_none() && event.data().is_none());
        return;
    };
    let ended = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = ended.strip_suffix('\n').unwrap_or(&ended).split('\n').collect();
    let said: Vec<&str> = lines.iter().copied().skip_while(|line| line.is_empty()).collect();
    let blank = said.iter().position(|line| line.is_empty());
    assert!(blank.is_none_or(|blank| blank + 1 == said.len()), "a client sees more than one event in {text:?}");
    let field = |name: &str| {
        let mut values = lines.iter().filter_map(|line| line.split_once(':')).filter(|(found, _)| *found == name);
        values.next().map(|(_, value)| value.strip_prefix(' ').unwrap_or(value))
    };
    assert_eq!(event.data(), field("data"));
    assert_eq!(event.name(), field("event").or(event.data().map(|_| "message")));
}
