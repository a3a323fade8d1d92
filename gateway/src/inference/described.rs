//! What the paths that compute take and refuse, for the description of the API: what a node reads, and what the gateway
//! itself reads of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use openapi::chat::ChatRequest;
use openapi::completion::CompletionRequest;
use openapi::embedding::EmbeddingRequest;
use openapi::responses::ResponseRequest;
use openapi::schema::{Asked, Named, Shape, any_of, list, named, text, word};
use utoipa::openapi::{RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::request::{MOST_MODELS, SERVICE_TIERS};
use crate::nodes::preference::Preference;

/// A chat completion.
pub type ChatBody = Routed<ChatRequest>;
/// A completion.
pub type CompletionBody = Routed<CompletionRequest>;
/// Embeddings.
pub type EmbeddingBody = Routed<EmbeddingRequest>;
/// A response.
pub type ResponseBody = Routed<ResponseRequest>;

/// A request with what says where it may be computed.
pub struct Routed<T>(PhantomData<T>);

impl<T: Asked> PartialSchema for Routed<T> {
    fn schema() -> Shape {
        T::described()
            .optional("models", "Others that may answer when no node can for the first", list(text(), 0..=MOST_MODELS))
            .optional("provider", "Which nodes may compute it", named::<Preference>())
            .optional(
                "service_tier",
                "Which of the account's requests goes first when all are busy",
                word(SERVICE_TIERS),
            )
            .into()
    }
}

impl<T: Asked> ToSchema for Routed<T> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(into: &mut Named) {
        T::schemas(into);
        into.push((Preference::name().into_owned(), Preference::schema()));
    }
}

/// The body of a request for what another one would take.
pub struct EstimateBody;

impl PartialSchema for EstimateBody {
    fn schema() -> Shape {
        any_of([named::<ChatBody>(), named::<CompletionBody>(), named::<EmbeddingBody>()])
            .description(Some("The body of a chat completion, a completion or embeddings; the fields say which"))
            .into()
    }
}

impl ToSchema for EstimateBody {
    fn name() -> Cow<'static, str> {
        "EstimateRequest".into()
    }

    fn schemas(into: &mut Named) {
        ChatBody::schemas(into);
        CompletionBody::schemas(into);
        EmbeddingBody::schemas(into);
    }
}

/// What is refused of an estimate.
pub struct Unestimated;

impl IntoResponses for Unestimated {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals([
            (404, "The model does not exist, or not for this key"),
            (422, "A server behind the node can't process the request"),
            (429, "A limit is reached; the message names it, and `Retry-After` says when to try again"),
            (502, "The node failed, and so did those that were tried after it"),
            (503, "No node can take the request at the moment, or none may; `Retry-After` says when to try again"),
        ])
    }
}

/// What is refused of a request that computes.
pub struct NoAnswer;

impl IntoResponses for NoAnswer {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut refused = Unestimated::responses();
        refused.extend(refusals([
            (402, "The account's credit does not cover the most that the request could cost"),
            (409, "The `Idempotency-Key` was used for another request, or the first one still runs"),
        ]));
        refused
    }
}

fn refusals<const N: usize>(refusals: [(u16, &str); N]) -> BTreeMap<String, RefOr<Response>> {
    let response = |about: &str| RefOr::T(ResponseBuilder::new().description(about).build());
    refusals.map(|(status, about)| (status.to_string(), response(about))).into()
}
