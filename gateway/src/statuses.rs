//! The statuses in the description of the API. Which of them an operation refuses with follows from what it takes: a key,
//! a body, a query, an id. Whatever else it has is said where it stands.

use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr, ResponseBuilder};

/// Spells out for everybody but nodes what the one `default` response of each operation stands for.
pub(crate) fn spelled_out(mut document: OpenApi) -> OpenApi {
    let paths = document.paths.paths.iter_mut();
    for (_, path) in paths.filter(|(path, _)| !path.starts_with("/node/")) {
        operations(path).for_each(spell_out);
    }
    document
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.patch, &mut path.delete].into_iter().flatten()
}

fn spell_out(operation: &mut Operation) {
    let Some(RefOr::T(error)) = operation.responses.responses.remove("default") else { return };
    let statuses = refusals(operation);
    let responses = &mut operation.responses.responses;
    for (status, about) in statuses {
        let response = || RefOr::T(ResponseBuilder::new().description(about).build());
        responses.entry(status.to_string()).or_insert_with(response);
    }
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
        {
            response.content.clone_from(&error.content);
        }
    }
}

/// What an operation refuses because of what it takes, and with which words.
fn refusals(operation: &Operation) -> Vec<(u16, &'static str)> {
    let takes = |place: ParameterIn| {
        operation
            .parameters
            .iter()
            .flatten()
            .any(|parameter| matches!(parameter, RefOr::T(it) if it.parameter_in == place))
    };
    let has_body = operation.request_body.is_some();
    let when =
        |condition: bool, refusals: &[(u16, &'static str)]| if condition { refusals.to_vec() } else { Vec::new() };
    [
        when(
            operation.security.is_some(),
            &[(401, "The key or session is wrong, or has ended"), (403, "It may not do this")],
        ),
        when(
            has_body || takes(ParameterIn::Query) || takes(ParameterIn::Header),
            &[(400, "The request is wrong; the message says what")],
        ),
        when(
            has_body,
            &[
                (408, "The body took too long to arrive"),
                (413, "The body is too large"),
                (415, "The body is not said to be JSON"),
            ],
        ),
        when(takes(ParameterIn::Path), &[(404, "There is nothing of this name, or not for this account")]),
        vec![(500, "The gateway failed"), (503, "The gateway's database is away; try again after `Retry-After`")],
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::router::document;

    fn operations() -> Vec<(String, Value)> {
        let document = serde_json::to_value(document()).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let all = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
        });
        all.filter(|(name, _)| !name.contains(" /node/")).collect()
    }

    fn statuses(operation: &Value) -> Vec<&str> {
        operation["responses"].as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn every_refusal_has_a_status_and_a_form() {
        let all = operations();
        for (name, operation) in &all {
            assert!(!statuses(operation).contains(&"default"), "{name}");
            assert_eq!(operation.get("security").is_some(), statuses(operation).contains(&"403"), "{name}");
            assert_eq!(operation.get("requestBody").is_some(), statuses(operation).contains(&"415"), "{name}");
            let media = if name.contains(" /v1/") { "application/json" } else { "application/problem+json" };
            let refusals =
                operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.as_str() >= "400");
            for (status, response) in refusals {
                assert!(response["content"][media]["schema"]["$ref"].is_string(), "{name}: {status}");
                assert!(response["description"].as_str().unwrap().len() > 5, "{name}: {status}");
            }
        }
        assert!(all.len() > 45, "{}", all.len());
    }

    #[test]
    fn paths_that_compute_name_their_streams_and_all_that_they_refuse() {
        let refusals =
            ["400", "401", "402", "403", "404", "408", "409", "413", "415", "422", "429", "500", "502", "503"];
        let computes = |name: &str| {
            ["post /v1/chat/completions", "post /v1/completions", "post /v1/responses", "post /v1/embeddings"]
                .contains(&name)
        };
        let all: Vec<(String, Value)> = operations().into_iter().filter(|(name, _)| computes(name)).collect();
        assert_eq!(all.len(), 4);
        for (name, operation) in all {
            assert_eq!(statuses(&operation)[1..], refusals, "{name}");
            let content = operation["responses"]["200"]["content"].as_object().unwrap();
            let streams = content.contains_key("text/event-stream");
            assert!(content.contains_key("application/json") && streams != name.ends_with("embeddings"), "{name}");
            assert!(operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].is_string(), "{name}");
        }
    }
}
