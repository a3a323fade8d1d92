//! Which error to use: on `/v1` and `/node` an [`ApiError`] in OpenAI's shape, wrapped in [`Failure`] on its way out; on
//! `/api` a [`Problem`] (RFC 9457). Either way an internal cause goes to the log, and the client reads one fixed sentence.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use openapi::error::{ApiError, ErrorBody};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// An OpenAI-shaped error on its way out.
#[derive(Debug, Clone)]
pub struct Failure(pub ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed");
        Self(database_away())
    }
}

/// What `/api` refuses with, said in OpenAI's shape.
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem.status {
            401 => ApiError::new(401, "invalid_request_error", Some("invalid_api_key"), problem.detail),
            403 => ApiError::new(403, "invalid_request_error", Some("insufficient_permissions"), problem.detail),
            status @ 400..500 => ApiError::new(status, "invalid_request_error", None, problem.detail),
            503 => database_away(),
            _ => ApiError::internal(),
        }
        .into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, json(&self.0.body())).into_response();
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The database can't be asked: a key that is not known yet can't be told from a wrong one.
pub fn database_away() -> ApiError {
    const SECONDS: u32 = 5;
    ApiError::overloaded("The gateway can't reach its database at the moment. Try again shortly.", SECONDS)
}

/// An error of the management API. Source: RFC 9457.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the title says what the status means.
    #[serde(rename = "type")]
    kind: &'static str,
    status: u16,
    title: &'static str,
    /// What went wrong and what to do.
    detail: String,
    /// Seconds after which another try makes sense; the reply's `Retry-After`.
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", status: status.as_u16(), title, detail: detail.into(), retry_after: None }
    }

    /// 400: the request is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: who is asking?
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: not for this user.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404: nothing of this id, or not this account's.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no such {what} in your account."))
    }

    /// 503: too much at once, to be tried again in so many seconds.
    pub fn overloaded(detail: impl Into<String>, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 429: too many tries.
    pub fn too_many(detail: impl Into<String>, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 500: our fault.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The gateway failed. Try again; if it stays, tell its operator.")
    }

    /// Any other status that the server itself answers with.
    pub fn of(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(status, detail)
    }

    /// The same, to be tried again in so many seconds.
    #[must_use]
    pub fn after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, database_away().detail.message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[expect(clippy::disallowed_types, reason = "answering with it is fine, only its rejections are not")]
fn json<T: Serialize>(value: &T) -> axum::Json<&T> {
    axum::Json(value)
}

/// Describes OpenAI-shaped errors once for every operation.
impl IntoResponses for Failure {
    fn responses() -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::response::Response>> {
        described("application/json", &<ErrorBody as ToSchema>::name())
    }
}

/// Describes problems once for every operation.
impl IntoResponses for Problem {
    fn responses() -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::response::Response>> {
        described("application/problem+json", &<Self as ToSchema>::name())
    }
}

fn described(
    media: &str,
    schema: &str,
) -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::response::Response>> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let response = ResponseBuilder::new().description("What went wrong and what to do").content(media, content).build();
    [("default".to_owned(), RefOr::T(response))].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_said_in_openai_s_shape_keeps_its_status_and_sentence() {
        for status in [400_u16, 401, 403, 404, 429, 500, 503] {
            let Failure(error) = Problem::of(StatusCode::from_u16(status).unwrap(), "Why.").into();
            assert_eq!(error.status, status);
            assert_eq!(error.detail.message == "Why.", status < 500, "{status}");
            assert_eq!(error.retry_after.is_some(), status == 503);
        }
    }
}
