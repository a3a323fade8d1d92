//! Errors as the node answers them.

use std::error::Error;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use openapi::error::{ApiError, ErrorBody};
use utoipa::openapi::{RefOr, ResponseBuilder};

/// An [`ApiError`] on its way out.
#[derive(Debug)]
pub struct Failure(pub ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0.body())).into_response();
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The innermost reason of a failed call. The outer ones name the URL, in which a password may be.
pub fn cause_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.source().is_some() { cause.to_string() } else { "no answer".to_owned() }
}

/// Describes the errors once for every operation.
impl utoipa::IntoResponses for Failure {
    fn responses() -> std::collections::BTreeMap<String, RefOr<utoipa::openapi::response::Response>> {
        let body = utoipa::openapi::Ref::from_schema_name(<ErrorBody as utoipa::ToSchema>::name());
        let content = utoipa::openapi::ContentBuilder::new().schema(Some(body)).build();
        let response = ResponseBuilder::new()
            .description("What went wrong, in OpenAI's shape")
            .content("application/json", content);
        [("default".to_owned(), RefOr::T(response.build()))].into()
    }
}
