//! Checks that a call through a tunnel is the gateway's own, for this node, and still fresh.

use std::sync::{PoisonError, RwLock};

use axum::http::HeaderMap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use openapi::error::ApiError;
use openapi::log::witness::FollowedLog;
use openapi::node::{Enrolled, LOG_HEADER, LogKeys, SUCCESSION_AUDIENCE, Succession, TICKET_HEADER, Ticket};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::node::unix_seconds;

/// The clocks of gateway and node may differ by this many seconds.
pub(crate) const CLOCK_SKEW_SECONDS: u64 = 120;

/// Knows one gateway's ticket key, and for a while the one before.
pub struct TicketVerifier {
    node: Uuid,
    keys: RwLock<Keys>,
    validation: Validation,
}

struct Keys {
    current: DecodingKey,
    /// Base64url.
    public: String,
    /// Until when the one before counts, in seconds since 1970.
    before: Option<(DecodingKey, u64)>,
}

impl TicketVerifier {
    /// Verifies tickets for `node`, signed by `ticket_key` (Ed25519, base64url).
    ///
    /// # Errors
    /// When the key is malformed.
    pub fn new(node: Uuid, ticket_key: &str) -> Result<Self, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[node]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        // Judged in words of our own: whose clock is wrong must be seen.
        validation.validate_exp = false;
        let current = DecodingKey::from_ed_components(ticket_key)?;
        let keys = Keys { current, public: ticket_key.to_owned(), before: None };
        Ok(Self { node, keys: RwLock::new(keys), validation })
    }

    /// The node that the tickets are for.
    pub fn node(&self) -> Uuid {
        self.node
    }

    /// The gateway, by the public key that it signs with now.
    pub fn gateway(&self) -> String {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).public.clone()
    }

    /// True when it knows the key that this enrolment names.
    pub fn is_of(&self, enrolled: &Enrolled) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        self.node == enrolled.node && keys.public == enrolled.ticket_key
    }

    /// Takes what the gateway says in a [`Succession`]: the key that signs its tickets from now on.
    ///
    /// # Errors
    /// When the key that is known has not signed it, or it is over.
    pub fn succeed(&self, succession: &str) -> Result<String, jsonwebtoken::errors::Error> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[SUCCESSION_AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        validation.set_issuer(&[&keys.public]);
        validation.leeway = CLOCK_SKEW_SECONDS;
        let said = jsonwebtoken::decode::<Succession>(succession, &keys.current, &validation)?.claims;
        let current = DecodingKey::from_ed_components(&said.sub)?;
        let before = std::mem::replace(&mut keys.current, current);
        keys.before = Some((before, said.until));
        keys.public.clone_from(&said.sub);
        Ok(said.sub)
    }

    fn read<Claims: DeserializeOwned + Clone>(
        &self,
        token: &str,
    ) -> Result<TokenData<Claims>, jsonwebtoken::errors::Error> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let read = |key| jsonwebtoken::decode::<Claims>(token, key, &self.validation);
        match (read(&keys.current), &keys.before) {
            (Err(error), Some((before, until)))
                if *error.kind() == ErrorKind::InvalidSignature && unix_seconds() < *until =>
            {
                read(before)
            }
            (outcome, _) => outcome,
        }
    }

    /// The ticket of a request.
    ///
    /// # Errors
    /// 401 when there is none, or none that this node accepts.
    pub fn verify(&self, headers: &HeaderMap) -> Result<Ticket, ApiError> {
        let refused = |message: &str| ApiError::new(401, "invalid_request_error", Some("invalid_ticket"), message);
        let token = headers.get(TICKET_HEADER).and_then(|value| value.to_str().ok());
        let token = token.ok_or_else(|| refused("This node serves its gateway's signed calls only."))?;
        let data = self.read::<Ticket>(token).map_err(|error| {
            tracing::warn!(%error, "refused a ticket");
            refused(match error.kind() {
                ErrorKind::InvalidAudience => "The ticket is for another node.",
                ErrorKind::InvalidSignature => {
                    "The ticket is not signed by the gateway that this node is enrolled with. If that gateway has another \
                     secret now, enrol the node anew."
                }
                _ => "This node does not accept the ticket.",
            })
        })?;
        check_age(data.claims.exp, unix_seconds()).map_err(|message| {
            tracing::warn!("refused a ticket: {message}");
            refused(&message)
        })?;
        Ok(data.claims)
    }

    /// The gateway's log, by the keys that the gateway itself names.
    ///
    /// # Errors
    /// 401 when the gateway has not said so, or not just now.
    pub(crate) fn log(&self, headers: &HeaderMap) -> Result<FollowedLog, ApiError> {
        let refused = |message: &str| ApiError::new(401, "invalid_request_error", Some("invalid_log_keys"), message);
        let token = headers.get(LOG_HEADER).and_then(|value| value.to_str().ok());
        let token = token.ok_or_else(|| refused("This node witnesses the logs of its gateways only."))?;
        let read = self.read::<LogKeys>(token);
        let LogKeys { origin, log_keys, exp, .. } =
            read.map_err(|_| refused("The keys of the log are not signed by this node's gateway."))?.claims;
        check_age(exp, unix_seconds()).map_err(|message| refused(&message))?;
        let keys = log_keys.iter().map(|key| key.parse()).collect::<Result<_, _>>();
        Ok(FollowedLog { origin, keys: keys.map_err(|_| refused("The keys of the log can't be read."))? })
    }
}

/// Tickets are made for a call and used at once, so one that is over is an old one or the work of a wrong clock.
fn check_age(expired_at: u64, now: u64) -> Result<(), String> {
    if now <= expired_at.saturating_add(CLOCK_SKEW_SECONDS) {
        return Ok(());
    }
    let text = |seconds: u64| {
        let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
    };
    Err(format!(
        "The ticket expired at {} and this node's clock says {}. If the gateway has just made it, one of the clocks is wrong: \
         set it, for instance with NTP.",
        text(expired_at),
        text(now)
    ))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use axum::http::HeaderValue;
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    struct Signer {
        key: EncodingKey,
        public: String,
    }

    fn signer() -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let public = BASE64_URL_SAFE_NO_PAD.encode(public.public_key());
        Signer { key: EncodingKey::from_ed_der(document.as_ref()), public }
    }

    fn claims(node: Uuid, exp: u64) -> Value {
        json!({"aud": node, "request": Uuid::nil(), "attempt": 1, "model": "m", "max_tokens": 5, "seed": 0,
            "price": {"prompt": 0, "cached": 0, "completion": 0}, "exp": exp})
    }

    fn outcome(verifier: &TicketVerifier, token: &str) -> Result<Ticket, String> {
        let headers = HeaderMap::from_iter([(TICKET_HEADER.parse().unwrap(), HeaderValue::try_from(token).unwrap())]);
        verifier.verify(&headers).map_err(|error| {
            assert_eq!((error.status, error.detail.code.as_deref()), (401, Some("invalid_ticket")));
            error.detail.message
        })
    }

    #[test]
    fn only_the_gateway_s_own_fresh_tickets_for_this_node_are_accepted() {
        let (gateway, stranger, node) = (signer(), signer(), Uuid::now_v7());
        let verifier = TicketVerifier::new(node, &gateway.public).unwrap();
        let signed = |by: &Signer, claims: &Value| {
            jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &by.key).unwrap()
        };
        let now = unix_seconds();
        let good = signed(&gateway, &claims(node, now + 60));
        assert_eq!(outcome(&verifier, &good).unwrap().max_tokens, 5);
        assert!(outcome(&verifier, &signed(&gateway, &claims(node, now - 60))).is_ok(), "clocks may differ a little");
        let refusal = |token: &str| outcome(&verifier, token).unwrap_err();
        assert!(refusal(&signed(&gateway, &claims(Uuid::now_v7(), now + 60))).contains("another node"));
        assert!(refusal(&signed(&stranger, &claims(node, now + 60))).contains("enrol the node anew"));
        let old = refusal(&signed(&gateway, &claims(node, now - 600)));
        assert!(
            old.contains("NTP") && old.contains("The ticket expired at 20") && old.contains("clock says 20"),
            "{old}"
        );

        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let payload = part(&claims(node, now + 60));
        let unsigned = format!("{}.{payload}.", part(&json!({"alg": "none", "typ": "JWT"})));
        let keyed = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims(node, now + 60),
            &EncodingKey::from_secret(gateway.public.as_bytes()),
        );
        let (head, signature) = (good.split('.').next().unwrap(), good.rsplit('.').next().unwrap());
        let changed = part(&claims(node, now + 3_600));
        let no_end = json!({"aud": node});
        for wrong in [
            unsigned,
            keyed.unwrap(),
            format!("{head}.{changed}.{signature}"),
            signed(&gateway, &no_end),
            String::new(),
            "a.b.c".to_owned(),
        ] {
            assert!(outcome(&verifier, &wrong).is_err(), "{wrong}");
        }
        assert!(verifier.verify(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_key_follows_another_by_that_one_s_word() {
        let (old, new, stranger, node) = (signer(), signer(), signer(), Uuid::now_v7());
        let now = unix_seconds();
        let ticket = |by: &Signer| {
            jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims(node, now + 60), &by.key).unwrap()
        };
        let said = |by: &Signer, to: &Signer, until: u64, exp: u64| {
            let (iss, sub) = (by.public.clone(), to.public.clone());
            let said = Succession { iss, sub, aud: SUCCESSION_AUDIENCE.to_owned(), until, exp };
            jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &said, &by.key).unwrap()
        };
        let verifier = TicketVerifier::new(node, &old.public).unwrap();
        for wrong in [
            said(&stranger, &new, now + 60, now + 60),
            said(&old, &new, now + 60, now - 600),
            ticket(&old),
            String::new(),
        ] {
            assert!(verifier.succeed(&wrong).is_err(), "{wrong}");
        }
        assert!(outcome(&verifier, &ticket(&new)).is_err() && outcome(&verifier, &ticket(&old)).is_ok());
        assert_eq!(verifier.succeed(&said(&old, &new, now + 60, now + 60)).unwrap(), new.public);
        for (by, counts) in [(&new, true), (&old, true), (&stranger, false)] {
            assert_eq!(outcome(&verifier, &ticket(by)).is_ok(), counts);
        }
        let verifier = TicketVerifier::new(node, &old.public).unwrap();
        verifier.succeed(&said(&old, &new, now, now + 60)).unwrap();
        assert!(outcome(&verifier, &ticket(&new)).is_ok());
        assert!(
            outcome(&verifier, &ticket(&old)).unwrap_err().contains("not signed by the gateway"),
            "it is not trusted"
        );
    }
}
