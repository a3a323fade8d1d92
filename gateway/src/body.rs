//! Reading request bodies. Every refusal has the shape of the API that it happens on.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use openapi::error::ApiError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Failure, Problem};

/// The longest request that the gateway reads.
pub const LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// The longest that is read of whoever manages something, or has shown nothing yet but that he is there.
const SMALL_BYTES: usize = 256 * 1024;

/// A client that dawdles over its body gives its place to others.
const WITHIN: Duration = Duration::from_secs(60);
/// The same for small ones.
const SMALL_WITHIN: Duration = Duration::from_secs(10);

/// A JSON body, not yet parsed, for the OpenAI-shaped API.
pub struct RawJson(pub Bytes);

impl<S: Sync> FromRequest<S> for RawJson {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        Ok(Self(read(request, (LIMIT_BYTES, WITHIN)).await?))
    }
}

/// The same for what is read before anybody knows who sends it.
pub struct SmallJson(pub Bytes);

impl<S: Sync> FromRequest<S> for SmallJson {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        Ok(Self(read(request, (SMALL_BYTES, SMALL_WITHIN)).await?))
    }
}

/// A JSON value, parsed, for the management API; also the reply.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read(request, (SMALL_BYTES, SMALL_WITHIN)).await.map_err(problem)?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("The request body is wrong: {error}.")))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A table as CSV, for the management API.
pub struct Csv(pub String);

impl<S: Sync> FromRequest<S> for Csv {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_of_type(&request, "text/csv") {
            return Err(Problem::of(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Send the table with the header 'Content-Type: text/csv'.",
            ));
        }
        let body = collect(request, (LIMIT_BYTES, WITHIN)).await.map_err(problem)?;
        String::from_utf8(body.into()).map(Self).map_err(|_| Problem::bad_request("The table is no text in UTF-8."))
    }
}

/// Parameters of the query string, for the management API.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|query| Self(query.0))
            .map_err(|error| Problem::bad_request(format!("The query is wrong: {}.", error.body_text())))
    }
}

/// A parameter of the path, for the management API.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|_| Problem::not_found("id"))
    }
}

/// The one parameter of a path, for the OpenAI-shaped API.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|_| ApiError::unknown_url(parts.method.as_str(), parts.uri.path()).into())
    }
}

fn problem(error: ApiError) -> Problem {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    Problem::of(status, error.detail.message)
}

fn is_of_type(request: &Request, kind: &str) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(kind))
}

async fn read(request: Request, within: (usize, Duration)) -> Result<Bytes, ApiError> {
    if is_of_type(&request, "application/json") {
        collect(request, within).await
    } else {
        Err(ApiError::not_json_content_type())
    }
}

async fn collect(request: Request, (limit, within): (usize, Duration)) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(within, Limited::new(request.into_body(), limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(limit)),
        Ok(Err(_)) => Err(ApiError::invalid("The request body ended before it was complete.")),
        Err(_) => Err(ApiError::new(
            408,
            "invalid_request_error",
            Some("request_timeout"),
            "The request body took too long to arrive.",
        )),
    }
}
