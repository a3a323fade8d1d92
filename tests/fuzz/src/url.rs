//! Where a node says that it can be dialled: the two parsers that a URL goes through see the same host, and nothing hides
//! in it.

use axum::http::Uri;
use gateway::nodes::direct::url::{NodeUrl, PlainText, Purpose};

/// Reads a URL, of a node's own and of an attached server.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for (purpose, plain_text) in [(Purpose::Direct, PlainText::Refused), (Purpose::Attached, PlainText::Allowed)] {
        let Ok(url) = NodeUrl::parse(text, purpose, plain_text) else { continue };
        let written = url.to_string();
        assert_eq!(NodeUrl::parse(&written, purpose, plain_text).as_ref(), Ok(&url), "{written}");
        assert!(!written.contains(['?', '#', '\\']) && !written.contains(char::is_whitespace), "{written}");
        assert!(!url.authority().contains('@'), "{written}");
        assert!(url.port() != 0 && (url.is_encrypted() || plain_text == PlainText::Allowed));
        let called: Uri = format!("{written}/v1/models").parse().unwrap();
        assert_eq!(called.authority().map(|authority| authority.as_str()), Some(url.authority()));
        assert_eq!(called.path(), format!("{}/v1/models", url.prefix()));
    }
}
