//! Small random changes to bytes, as libFuzzer makes them: flips, cuts, copies, and pieces of other inputs.

use fastrand::Rng;

const LONGEST: usize = 64 * 1024;
/// What readers of text and numbers stumble over.
const WORDS: [&str; 24] = [
    "\n\n",
    "\r\n",
    "\n\r\n",
    "\r",
    ": ",
    "data:",
    "event: usage\n",
    "[DONE]",
    "\"",
    "{}",
    "[]",
    ",",
    "null",
    "true",
    "-1",
    "1e400",
    "18446744073709551615",
    "9223372036854775808",
    "\\ud800",
    "\\u0000",
    "none",
    "HS256",
    "00-",
    "\u{feff}",
];

/// Another input, made of one or two of these.
pub fn mutated(inputs: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = random.choice(inputs).cloned().unwrap_or_default();
    for _ in 0..random.usize(1..=4) {
        change(&mut bytes, inputs, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let piece = at..(at + random.usize(..=16)).min(bytes.len());
    match random.u8(..8) {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.u8(..8)),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.u8(..)),
        2 => drop(bytes.drain(piece)),
        3 => bytes.truncate(at),
        4 => {
            let copied = bytes[piece].to_vec();
            let to = random.usize(..=bytes.len());
            drop(bytes.splice(to..to, copied));
        }
        5 => drop(bytes.splice(at..at, random.choice(WORDS).unwrap_or_default().bytes())),
        6 => drop(bytes.splice(piece, random.choice(WORDS).unwrap_or_default().bytes())),
        _ => {
            let other = random.choice(inputs).map_or(&[][..], Vec::as_slice);
            let from = random.usize(..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}
