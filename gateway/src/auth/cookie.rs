//! The refresh token of a browser's session, in a cookie that no script can read.
//!
//! It needs no token against requests that another site makes a browser send. The cookie goes to `/api/sessions` alone,
//! and as `SameSite=Strict` with no request that another site began. Even if it did, all that it does is to renew the
//! session: the reply, which another site can't read, bears the access token, and whatever else the API does asks for that
//! in a header which no form and no link can set. Signing in takes `application/json`, which a browser doesn't send to
//! another site unless that allows it, and the gateway never does.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::address::{OverTls, Peer};
use super::session::REFRESH;
use crate::app::App;

const NAME: &str = "commonwatt_session";

/// What a request says in the cookie, and how the reply sets it.
#[derive(Debug)]
pub struct SessionCookie {
    token: Option<String>,
    /// The browser came by TLS, and is to send the cookie by nothing else.
    secure: bool,
}

impl FromRequestParts<App> for SessionCookie {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>();
        let by_proxy = peer.is_some_and(|peer| app.trusted_proxies.is_tls(peer.0, &parts.headers));
        let secure = by_proxy || parts.extensions.get::<OverTls>().is_some();
        Ok(Self { token: token(&parts.headers), secure })
    }
}

impl SessionCookie {
    /// The refresh token that the browser has.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The header that gives the browser this one.
    pub fn bearing(&self, token: &str) -> Option<(HeaderName, HeaderValue)> {
        self.header(token, REFRESH.whole_seconds())
    }

    /// The header that takes it from the browser.
    pub fn cleared(&self) -> Option<(HeaderName, HeaderValue)> {
        self.header("", 0)
    }

    fn header(&self, token: &str, seconds: i64) -> Option<(HeaderName, HeaderValue)> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{NAME}={token}; Path=/api/sessions; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some((SET_COOKIE, value))
    }
}

fn token(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|&(name, value)| name == NAME && !value.is_empty()).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        for (lines, found) in [
            (&["commonwatt_session=abc"][..], Some("abc")),
            (&["a=b; commonwatt_session=abc; c=d"], Some("abc")),
            (&["a=b", "commonwatt_session=abc"], Some("abc")),
            (&["commonwatt_session="], None),
            (&["other_commonwatt_session=abc; commonwatt_sessions=abc"], None),
            (&["commonwatt_session"], None),
            (&[], None),
        ] {
            assert_eq!(token(&headers(lines)).as_deref(), found, "{lines:?}");
        }
    }

    #[test]
    fn no_script_reads_it_and_no_other_site_sends_it() {
        let header = |secure, token| {
            let cookie = SessionCookie { token: None, secure };
            cookie.bearing(token).map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        let plain = "commonwatt_session=abc; Path=/api/sessions; Max-Age=2592000; HttpOnly; SameSite=Strict";
        assert_eq!(header(false, "abc").as_deref(), Some(plain));
        assert_eq!(header(true, "abc"), Some(format!("{plain}; Secure")));
        let cleared = SessionCookie { token: None, secure: false }.cleared().unwrap().1;
        assert!(cleared.to_str().unwrap().starts_with("commonwatt_session=; Path=/api/sessions; Max-Age=0;"));
    }
}
