//! Reads a request body: JSON by its content type, no longer than the limit, and every refusal in OpenAI's shape.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use openapi::error::ApiError;

use crate::error::Failure;

/// The longest request that a node reads.
pub const LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// The bytes of a JSON body, not yet parsed.
pub struct JsonBody(pub Bytes);

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
        // Also keeps web pages out of a local node: a browser asks before it sends this type to another site.
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            return Err(ApiError::not_json_content_type().into());
        }
        match Limited::new(request.into_body(), LIMIT_BYTES).collect().await {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(LIMIT_BYTES).into()),
            Err(_) => Err(ApiError::invalid("The request body ended before it was complete.").into()),
        }
    }
}
