//! Who calls: a node's greeting, signed by its key for this gateway alone, and good for a minute.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::error::ApiError;
use openapi::node::{Greeting, TUNNEL_AUDIENCE};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{enrol, lock, unix_seconds};
use crate::app::App;
use crate::error::Failure;

/// The clocks of gateway and node may differ by this many seconds.
const CLOCK_SKEW_SECONDS: u64 = 120;
/// From a node's signature to its use.
const LIFETIME_SECONDS: u64 = 60;
/// Of one node, within the life of a greeting.
const TUNNELS_REMEMBERED: usize = 64;

/// A node that has proven who it is.
pub(super) struct Guest {
    pub(super) id: Uuid,
    pub(super) public_key: Vec<u8>,
}

/// The node that signed the greeting.
pub(super) async fn who(app: &App, headers: &HeaderMap) -> Result<Guest, Failure> {
    Ok(read(app, headers).await?.0)
}

/// The same, with what it says of itself.
pub(super) async fn read(app: &App, headers: &HeaderMap) -> Result<(Guest, Greeting), Failure> {
    let greeting = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let greeting = greeting.ok_or_else(unknown_node)?;
    let claimed = jsonwebtoken::dangerous::insecure_decode::<Greeting>(greeting).map_err(|_| unknown_node())?;
    let public_key = enrol::public_key(&app.database, claimed.claims.sub).await?.ok_or_else(unknown_node)?;
    let greeting = proven(greeting, &public_key).ok_or_else(unknown_node)?;
    if !app.secrets.is_ours(&greeting.gateway) {
        return Err(unknown_node().into());
    }
    check_age(greeting.iat, unix_seconds())?;
    Ok((Guest { id: greeting.sub, public_key }, greeting))
}

/// Whoever greets is no node of this gateway.
pub(super) fn unknown_node() -> ApiError {
    let message =
        "This node is not enrolled here under this key, or with another secret of this gateway. Enrol it anew.";
    ApiError::new(401, "invalid_request_error", Some("unknown_node"), message)
}

/// The greeting, if this key has signed it. Its age is judged apart.
pub fn proven(greeting: &str, public_key: &[u8]) -> Option<Greeting> {
    let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(public_key)).ok()?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[TUNNEL_AUDIENCE]);
    validation.validate_exp = false;
    Some(jsonwebtoken::decode::<Greeting>(greeting, &key, &validation).ok()?.claims)
}

/// A node signs a greeting for each call, so an age beyond a minute or two is the work of a wrong clock, or of somebody who
/// has kept the greeting.
fn check_age(signed_at: u64, now: u64) -> Result<(), ApiError> {
    let is_fresh = signed_at <= now.saturating_add(CLOCK_SKEW_SECONDS)
        && now <= signed_at.saturating_add(LIFETIME_SECONDS + CLOCK_SKEW_SECONDS);
    if is_fresh {
        return Ok(());
    }
    let message = format!(
        "The node's clock says {} and the gateway's {}: they are {} seconds apart. Set the one that is wrong, for instance \
         with NTP (`timedatectl set-ntp true`); up to {CLOCK_SKEW_SECONDS} seconds are tolerated.",
        text(signed_at),
        text(now),
        signed_at.abs_diff(now)
    );
    Err(ApiError::invalid(message).with_code("clocks_differ"))
}

fn text(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

/// The greetings that have opened a tunnel here, for as long as somebody could show them again.
#[derive(Default)]
pub(super) struct Used(Mutex<HashMap<Uuid, VecDeque<(u64, Uuid)>>>);

impl Used {
    /// Takes note of a greeting that opens a tunnel.
    ///
    /// # Errors
    /// When it has opened one before.
    pub(super) fn take(&self, greeting: &Greeting, now: u64) -> Result<(), ApiError> {
        let mut used = lock(&self.0);
        let used = used.entry(greeting.sub).or_default();
        used.retain(|(until, _)| *until > now);
        if used.iter().any(|(_, known)| *known == greeting.jti) {
            let message = "This greeting has opened a tunnel before. Sign another one for each.";
            return Err(ApiError::invalid(message).with_code("greeting_used"));
        }
        // Only the node itself can bring so many.
        if used.len() == TUNNELS_REMEMBERED {
            used.pop_front();
        }
        let until = greeting.iat.saturating_add(LIFETIME_SECONDS + CLOCK_SKEW_SECONDS + 1);
        used.push_back((until, greeting.jti));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(iat: u64) -> Greeting {
        Greeting {
            sub: Uuid::nil(),
            aud: TUNNEL_AUDIENCE.to_owned(),
            gateway: "g".to_owned(),
            instance: Uuid::now_v7(),
            yields: false,
            iat,
            exp: iat + 60,
            jti: Uuid::now_v7(),
        }
    }

    #[test]
    fn clocks_may_differ_by_two_minutes_and_beyond_both_times_are_named() {
        let now = 1_800_000_000;
        for good in [now - 180, now - 60, now, now + 120] {
            assert_eq!(check_age(good, now), Ok(()), "{good}");
        }
        for (wrong, node) in [(now - 600, "2027-01-15T07:50:00Z"), (now + 600, "2027-01-15T08:10:00Z")] {
            let refused = check_age(wrong, now).unwrap_err();
            let message = &refused.detail.message;
            assert_eq!((refused.status, refused.detail.code.as_deref()), (400, Some("clocks_differ")));
            assert!(message.contains(node) && message.contains("2027-01-15T08:00:00Z"), "{message}");
            assert!(message.contains("600 seconds apart") && message.contains("NTP"), "{message}");
        }
        assert!(check_age(u64::MAX, now).is_err() && check_age(0, now).is_err(), "and nothing overflows");
    }

    #[test]
    fn a_greeting_opens_one_tunnel_for_as_long_as_it_lives() {
        let (used, one) = (Used::default(), greeting(1_000));
        assert!(used.take(&one, 1_000).is_ok() && used.take(&greeting(1_000), 1_000).is_ok());
        assert_eq!(used.take(&one, 1_180).unwrap_err().detail.code.as_deref(), Some("greeting_used"));
        let elsewhere = Greeting { sub: Uuid::now_v7(), ..one.clone() };
        assert!(used.take(&elsewhere, 1_180).is_ok(), "each node has its own");
        for _ in 0..TUNNELS_REMEMBERED * 2 {
            used.take(&greeting(1_000), 1_000).unwrap();
        }
        assert_eq!(lock(&used.0)[&Uuid::nil()].len(), TUNNELS_REMEMBERED);
    }
}
