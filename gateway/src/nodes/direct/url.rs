//! The URL of a node that is dialled. What could hide where it leads, or carry a secret, is refused when it is given, not
//! when it is used.

use std::fmt;

use rustls::pki_types::{DnsName, ServerName};
use url::Url;

const LONGEST: usize = 2048;
const TOO_LONG: UrlError =
    UrlError("The URL is too long. Give one of at most 2048 bytes, other letters than ASCII's written with %.");

/// Where a node or an attached server is reached: a scheme, a host, a port, and the path before its API's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUrl {
    purpose: Purpose,
    encrypted: bool,
    host: ServerName<'static>,
    port: u16,
    authority: String,
    prefix: String,
}

/// What is expected at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A node of ours, which speaks HTTP/2 and has its API at the root.
    Direct,
    /// Any server with OpenAI's API, under any path, over HTTP/2 or HTTP/1.1.
    Attached,
}

/// Whether `http://` will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainText {
    /// Never.
    Refused,
    /// In the networks that the gateway's operator allows, and nowhere else.
    Allowed,
}

/// Why a text is no URL of a node. Says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(&'static str);

impl NodeUrl {
    /// Reads a URL such as `https://node.example` or, for an attached server, `https://host.example/openai/v1`.
    ///
    /// # Errors
    /// When the text is no such URL, or has parts that a node's has not: the error says which, and repeats nothing of it.
    pub fn parse(text: &str, purpose: Purpose, plain_text: PlainText) -> Result<Self, UrlError> {
        if text.len() > LONGEST {
            return Err(TOO_LONG);
        }
        // The parser would leave some of these out and take others for a slash.
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(UrlError("The URL has spaces, control characters or backslashes in it. Leave them out."));
        }
        let url =
            Url::parse(text).map_err(|_| UrlError("This is not a URL. Give one such as https://node.example."))?;
        // As it is kept, or it could not be read again.
        if url.as_str().len() > LONGEST {
            return Err(TOO_LONG);
        }
        let encrypted = match (url.scheme(), plain_text) {
            ("https", _) => true,
            ("http", PlainText::Allowed) => false,
            ("http", PlainText::Refused) => {
                return Err(UrlError(
                    "The URL begins with http://, which everybody on the way can read. Use https://.",
                ));
            }
            _ => return Err(UrlError("The URL must begin with https://.")),
        };
        bare(&url)?;
        let host = host(&url)?;
        let prefix = url.path().trim_end_matches('/');
        if purpose == Purpose::Direct && !prefix.is_empty() {
            return Err(UrlError("A node's URL ends after its host and port. Leave the path out."));
        }
        let port = url.port_or_known_default().filter(|port| *port != 0);
        let port = port.ok_or(UrlError("Port 0 can't be dialled. Give the port that the node listens on."))?;
        Ok(Self { purpose, encrypted, host, port, authority: url.authority().to_owned(), prefix: prefix.to_owned() })
    }

    /// What is expected at the other end.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// False for `http://`.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The host, to which the certificate must belong.
    pub(crate) fn host(&self) -> &ServerName<'static> {
        &self.host
    }

    /// The port to dial, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as a request names them; the port only if it isn't the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What comes before the API's own paths: empty, or a path without a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Written as it was understood; reading it again gives the same.
impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// Refuses the parts of a URL that a node's has not.
fn bare(url: &Url) -> Result<(), UrlError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError(
            "The URL has a user name or a password in it. Leave them out: a server's key goes elsewhere.",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlError("The URL must end before any '?' or '#'."));
    }
    Ok(())
}

/// An address, in whatever form it is written, or a name that a certificate can have.
fn host(url: &Url) -> Result<ServerName<'static>, UrlError> {
    let wrong = UrlError("The URL's host is neither a name such as node.example nor an address.");
    match url.host().ok_or(wrong)? {
        url::Host::Ipv4(address) => Ok(ServerName::IpAddress(address.into())),
        url::Host::Ipv6(address) => Ok(ServerName::IpAddress(address.into())),
        // A dot at the end would make a second name for the same host.
        url::Host::Domain(name) if name.ends_with('.') => {
            Err(UrlError("The URL's host ends with a dot. Leave the dot out."))
        }
        url::Host::Domain(name) => DnsName::try_from(name.to_owned()).map(ServerName::DnsName).map_err(|_| wrong),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn direct(text: &str) -> Result<NodeUrl, UrlError> {
        NodeUrl::parse(text, Purpose::Direct, PlainText::Refused)
    }

    fn attached(text: &str) -> Result<NodeUrl, UrlError> {
        NodeUrl::parse(text, Purpose::Attached, PlainText::Allowed)
    }

    #[test]
    fn a_url_is_written_in_one_form() {
        for (text, form) in [
            ("https://node.example", "https://node.example"),
            ("https://node.example/", "https://node.example"),
            ("HTTPS://Node.Example:443", "https://node.example"),
            ("https://node.example:8443", "https://node.example:8443"),
            ("https://@node.example", "https://node.example"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
            ("https://a_b.example", "https://a_b.example"),
        ] {
            assert_eq!(direct(text).map(|url| url.to_string()), Ok(form.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_address_is_found_in_whatever_form_it_hides() {
        for text in [
            "https://127.0.0.1",
            "https://2130706433",
            "https://0177.0.0.1",
            "https://0x7f.0.0.1",
            "https://0x7F000001",
            "https://127.1",
            "https://%31%32%37.0.0.1",
            "https://127.0.0.1.",
            "https://１２７。０。０。１",
        ] {
            let url = direct(text).unwrap();
            assert_eq!(url.host(), &ServerName::from(std::net::Ipv4Addr::LOCALHOST), "{text}");
            assert_eq!(url.authority(), "127.0.0.1", "{text}");
        }
    }

    #[test]
    fn an_attached_server_may_have_a_path_before_its_api() {
        for (text, authority, prefix) in [
            ("https://host.example/v1", "host.example", "/v1"),
            ("https://host.example/openai/v1/", "host.example", "/openai/v1"),
            ("https://host.example/a/../v1", "host.example", "/v1"),
            ("http://10.0.0.5:11434/v1", "10.0.0.5:11434", "/v1"),
            ("http://[fd00::5]", "[fd00::5]", ""),
        ] {
            let url = attached(text).unwrap();
            assert_eq!((url.authority(), url.prefix()), (authority, prefix), "{text}");
            assert_eq!(url.is_encrypted(), text.starts_with("https"), "{text}");
        }
        assert_eq!(attached("http://host.example").unwrap().port(), 80);
        assert_eq!(attached("https://host.example").unwrap().port(), 443);
    }

    #[test]
    fn what_could_mislead_is_refused_with_what_to_do() {
        let long = format!("https://node.example/{}", "a".repeat(LONGEST));
        let long_as_kept = format!("https://node.example/{}", "é".repeat(LONGEST / 4));
        for (text, advice) in [
            ("http://node.example", "Use https://"),
            ("ftp://node.example", "begin with https://"),
            ("file:///etc/passwd", "begin with https://"),
            ("node.example", "Give one such as"),
            ("node.example:443", "begin with https://"),
            ("", "Give one such as"),
            ("https://", "Give one such as"),
            ("https://user@node.example", "Leave them out"),
            ("https://user:hunter2@node.example", "Leave them out"),
            ("https://:hunter2@node.example", "Leave them out"),
            ("https://node.example?", "before any '?'"),
            ("https://node.example/?key=hunter2", "before any '?'"),
            ("https://node.example#", "before any '?' or '#'"),
            ("https://node.example/v1", "Leave the path out"),
            ("https://node.example:0", "Port 0"),
            ("https://node.example:65536", "Give one such as"),
            ("https://node.example.", "Leave the dot out"),
            ("https://node..example", "neither a name"),
            ("https://-node.example", "neither a name"),
            ("https://256.0.0.1", "Give one such as"),
            ("https://[fe80::1%25eth0]", "Give one such as"),
            (" https://node.example", "spaces"),
            ("https://node.exa\nmple", "control characters"),
            ("https://node.example\\@other.example", "backslashes"),
            (long.as_str(), "2048 bytes"),
            (long_as_kept.as_str(), "2048 bytes"),
        ] {
            let error = direct(text).expect_err(text).to_string();
            assert!(error.contains(advice) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_once_reads_the_same_again(
            text in r"https?://[a-zA-Z0-9._~%@:\[\]-]{1,20}(:[0-9]{1,5})?(/[a-z0-9./%;~]{0,20})?",
        ) {
            if let Ok(url) = attached(&text) {
                prop_assert_eq!(attached(&url.to_string()), Ok(url.clone()));
                prop_assert!(url.port() != 0 && !url.prefix().ends_with('/'));
                let request = format!("{url}/models");
                prop_assert!(request.parse::<http::Uri>().is_ok());
            }
        }
    }
}
