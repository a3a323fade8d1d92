//! How replicas prove to one another that they share the secret: a signed word that lives for a minute, with every call.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::secrets::Secrets;

/// The header that carries a credential as compact JWS.
pub(super) const CREDENTIAL_HEADER: HeaderName = HeaderName::from_static("x-commonwatt-replica");
const AUDIENCE: &str = "commonwatt-replica";
const LIFETIME_SECONDS: i64 = 60;
/// The clocks of two replicas may differ by this many seconds.
const CLOCK_SKEW_SECONDS: u64 = 60;

/// Signs for one replica, and checks what the others have signed.
pub(crate) struct Credentials {
    replica: Uuid,
    secrets: Arc<Secrets>,
    checking: Vec<DecodingKey>,
    validation: Validation,
}

/// A JWS (EdDSA) with the key that tickets are signed with; no ticket has this audience, and no node is called so.
#[derive(Serialize, Deserialize)]
struct Credential {
    /// The replica that calls.
    iss: Uuid,
    /// Always [`AUDIENCE`].
    aud: String,
    /// Seconds since 1970.
    exp: i64,
}

impl Credentials {
    /// For the replica of this id.
    pub(crate) fn new(secrets: Arc<Secrets>, replica: Uuid) -> anyhow::Result<Self> {
        let checking = secrets.trusted().map(|trusted| DecodingKey::from_ed_components(&trusted.ticket_public));
        let checking = checking.collect::<Result<_, _>>()?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        validation.leeway = CLOCK_SKEW_SECONDS;
        Ok(Self { replica, secrets, checking, validation })
    }

    /// Whose they are.
    pub(super) fn replica(&self) -> Uuid {
        self.replica
    }

    /// A new credential, to be sent now.
    pub(super) fn sign(&self) -> anyhow::Result<HeaderValue> {
        self.sign_until(OffsetDateTime::now_utc().unix_timestamp() + LIFETIME_SECONDS, AUDIENCE)
    }

    fn sign_until(&self, exp: i64, audience: &str) -> anyhow::Result<HeaderValue> {
        let credential = Credential { iss: self.replica, aud: audience.to_owned(), exp };
        let mut value = HeaderValue::try_from(self.secrets.newest.sign_for_nodes(&credential)?)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The replica that calls with these headers, if one does.
    pub(super) fn check(&self, headers: &HeaderMap) -> Option<Uuid> {
        let credential = headers.get(CREDENTIAL_HEADER)?.to_str().ok()?;
        let proven = |key| jsonwebtoken::decode::<Credential>(credential, key, &self.validation).ok();
        Some(self.checking.iter().find_map(proven)?.claims.iss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Standing;

    #[test]
    fn only_a_fresh_word_of_the_same_secret_counts() {
        let secrets = Arc::new(Secrets::derive(&[1; 32]).unwrap());
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let ours = Credentials::new(Arc::clone(&secrets), one).unwrap();
        let others = Credentials::new(secrets, two).unwrap();
        let strange = Credentials::new(Arc::new(Secrets::derive(&[2; 32]).unwrap()), two).unwrap();
        let check = |value| ours.check(&HeaderMap::from_iter([(CREDENTIAL_HEADER, value)]));

        assert_eq!(check(others.sign().unwrap()), Some(two));
        assert_eq!(check(strange.sign().unwrap()), None, "another secret");
        let now = OffsetDateTime::now_utc().unix_timestamp();
        assert_eq!(check(others.sign_until(now - 120, AUDIENCE).unwrap()), None, "too old");
        assert_eq!(check(others.sign_until(now + 60, "another-purpose").unwrap()), None, "for something else");
        assert_eq!(ours.check(&HeaderMap::new()), None);
        for (standing, trusts) in [(Standing::Trusted, true), (Standing::Retired, false)] {
            let ahead = Secrets::derive(&[3; 32]).unwrap().beside(&[1; 32], standing).unwrap();
            let ahead = Credentials::new(Arc::new(ahead), two).unwrap();
            let headers = HeaderMap::from_iter([(CREDENTIAL_HEADER, ours.sign().unwrap())]);
            assert_eq!(ahead.check(&headers).is_some(), trusts, "{standing:?}");
        }
    }
}
