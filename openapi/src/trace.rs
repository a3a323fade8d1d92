//! Where in a trace a request is: W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context/>), as far as the gateway and
//! its nodes need it. What other vendors keep in `tracestate` is not passed on: nodes are other people's machines.

use std::fmt;
use std::str::FromStr;

/// The header in which a request bears its [`TraceContext`].
pub const TRACE_HEADER: &str = "traceparent";

/// A trace, and the span in it that goes on with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Never 0.
    pub trace: u128,
    /// Never 0.
    pub span: u64,
    /// Whoever calls writes its own part of the trace down.
    pub sampled: bool,
}

/// A header that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no traceparent")]
pub struct NoTrace;

impl TraceContext {
    /// The same trace, at another span.
    #[must_use]
    pub fn at(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// Whether one in so many traces is written down, and this is one of them: the same answer for all who ask. Decided by
    /// the 56 bits that are random in traces of whoever keeps to level 2 of the specification.
    pub fn is_one_in(self, many: u64) -> bool {
        const RANDOM: u128 = (1 << 56) - 1;
        many != 0 && (self.trace & RANDOM).is_multiple_of(u128::from(many))
    }
}

impl FromStr for TraceContext {
    type Err = NoTrace;

    /// Section 3.2. Versions to come may have more after a fourth hyphen.
    fn from_str(text: &str) -> Result<Self, NoTrace> {
        let mut parts = text.split('-');
        let mut next = |length: usize| {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            parts.next().filter(|part| part.len() == length && part.bytes().all(is_hex)).ok_or(NoTrace)
        };
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let has_more = parts.next().is_some();
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NoTrace)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NoTrace)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTrace)?;
        if version == "ff" || (version == "00" && has_more) || trace == 0 || span == 0 {
            return Err(NoTrace);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specification_s_example_is_read() {
        let context: TraceContext = GOOD.parse().unwrap();
        assert_eq!(context.span, 0x00f0_67aa_0ba9_02b7);
        assert!(context.sampled && context.to_string() == GOOD);
        assert!(!"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe".parse::<TraceContext>().unwrap().sampled);
        assert!("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more".parse::<TraceContext>().is_ok());
    }

    #[test]
    fn whatever_else_is_none() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(NoTrace), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let context = TraceContext { trace, span, sampled };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn nothing_that_comes_in_a_header_is_more_than_an_error(text in "\\PC*") {
            let _ = text.parse::<TraceContext>();
        }

        #[test]
        fn one_in_one_is_all_and_one_in_none_nothing(trace in 1_u128..) {
            let context = TraceContext { trace, span: 1, sampled: false };
            prop_assert!(context.is_one_in(1) && !context.is_one_in(0));
        }
    }
}
