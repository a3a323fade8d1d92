//! Checks that a call through a tunnel is the gateway's own, for this node, and still fresh.

use axum::http::HeaderMap;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::error::ApiError;
use openapi::node::{TICKET_HEADER, Ticket};
use uuid::Uuid;

/// The clocks of gateway and node may differ by this many seconds.
const CLOCK_SKEW_SECONDS: u64 = 120;

/// Knows one gateway's ticket key.
pub struct TicketVerifier {
    key: DecodingKey,
    validation: Validation,
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
        validation.leeway = CLOCK_SKEW_SECONDS;
        Ok(Self { key: DecodingKey::from_ed_components(ticket_key)?, validation })
    }

    /// The ticket of a request.
    ///
    /// # Errors
    /// 401 when there is none, or none that this node accepts.
    pub fn verify(&self, headers: &HeaderMap) -> Result<Ticket, ApiError> {
        let refused = |message: &str| ApiError::new(401, "invalid_request_error", Some("invalid_ticket"), message);
        let token = headers.get(TICKET_HEADER).and_then(|value| value.to_str().ok());
        let token = token.ok_or_else(|| refused("This node serves its gateway's signed calls only."))?;
        let data = jsonwebtoken::decode::<Ticket>(token, &self.key, &self.validation).map_err(|error| {
            tracing::warn!(%error, "refused a ticket");
            refused("This node does not accept the ticket.")
        })?;
        Ok(data.claims)
    }
}
