//! What is spoken on a connection of clients: HTTP/1 or HTTP/2, and how much of it at once.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;

/// A client that dawdles over its headers gives its place to others.
pub(crate) const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// What the head of a request may take, in bytes. Longer ones are answered with 431.
const LONGEST_HEAD: usize = 32 * 1024;
/// How HTTP/2 begins (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken on connections. Where it is known to be HTTP/1, hyper need not read to find out: it would keep a buffer of
/// twice the size for that.
#[derive(Clone)]
pub(crate) struct Protocols {
    http1: http1::Builder,
    any: auto::Builder<TokioExecutor>,
}

/// What is spoken on one of them.
pub(crate) enum Protocol {
    Http1(http1::Builder),
    Any(auto::Builder<TokioExecutor>),
}

impl Default for Protocols {
    fn default() -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(LONGEST_HEAD);
        let mut any = auto::Builder::new(TokioExecutor::new());
        any.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(LONGEST_HEAD);
        any.http2().timer(TokioTimer::new()).max_header_list_size(LONGEST_HEAD as u32);
        Self { http1, any }
    }
}

impl Protocols {
    /// Of somebody who begins so.
    pub(crate) fn begun_with(self, first: &[u8]) -> Protocol {
        if PREFACE.starts_with(first) { Protocol::Any(self.any) } else { Protocol::Http1(self.http1) }
    }

    /// Of somebody with whom this was agreed on in TLS (RFC 7301).
    pub(crate) fn agreed(self, protocol: Option<&[u8]>) -> Protocol {
        if protocol == Some(b"http/1.1") { Protocol::Http1(self.http1) } else { Protocol::Any(self.any) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_still_be_http2_is_not_taken_for_http1() {
        let is_http1 = |first: &[u8]| matches!(Protocols::default().begun_with(first), Protocol::Http1(_));
        for first in [&PREFACE[..], &PREFACE[..3], b"P", b""] {
            assert!(!is_http1(first), "{first:?}");
        }
        for first in [&b"POST /v1/chat/completions"[..24], b"PR ", b"G", b"\x16\x03\x01"] {
            assert!(is_http1(first), "{first:?}");
        }
        let agreed = |protocol| matches!(Protocols::default().agreed(protocol), Protocol::Http1(_));
        assert!(agreed(Some(b"http/1.1")) && !agreed(Some(b"h2")) && !agreed(None));
    }
}
