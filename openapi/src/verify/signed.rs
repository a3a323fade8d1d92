//! Which receipt it is, and who has signed it.

use super::read::{self, File, Key, Signed};
use super::{Finding, What};
use crate::error::echo;
use crate::receipt::jws::Jws;
use crate::receipt::{NodeReceipt, Receipt, VERSION};

/// What the file says around the receipt is what is signed in it.
pub(super) fn identity(file: &File, signed: &Signed<'_>) -> Finding {
    let claims = &signed.claims;
    if claims.v != VERSION {
        let says = format!("It is a receipt of version {}, and this program knows version {VERSION}.", claims.v);
        return Finding::fails(What::Identity, says);
    }
    if let Some(id) = file.id.filter(|id| *id != claims.id) {
        let says = format!("The file says that it is receipt {id}, and receipt {} is what was signed.", claims.id);
        return Finding::fails(What::Identity, says);
    }
    let (said, kid) = (file.kid.as_deref(), signed.jws.kid());
    if said.is_some() && said != kid {
        let [said, kid] = [said, kid].map(|kid| kid.map_or_else(|| "no key".to_owned(), echo));
        return Finding::fails(What::Identity, format!("The file names {said}, and the signature {kid}."));
    }
    let says = format!(
        "Attempt {} of request {}, on node {}, with model {}: {}.",
        claims.id.attempt,
        claims.id.request,
        claims.node,
        echo(&claims.model),
        echo(&claims.outcome),
    );
    Finding::holds(What::Identity, says)
}

/// The gateway's signature over everything.
pub(super) fn gateway(signed: &Signed<'_>, keys: Option<&[Key]>) -> Finding {
    let Some(keys) = keys else {
        let says = "Not checked: the gateway's keys were not given. It serves them at /.well-known/jwks.json.";
        return Finding::unchecked(What::Signature, says);
    };
    let kid = signed.jws.kid();
    let mut named = keys.iter().filter(|key| kid.is_none_or(|kid| kid == key.id)).peekable();
    if named.peek().is_none() {
        let says = format!("It names the key {}, which is not among those given.", echo(kid.unwrap_or_default()));
        return Finding::fails(What::Signature, says);
    }
    match named.find(|key| signed.jws.verify::<Receipt>(&key.public).is_ok()) {
        Some(key) => Finding::holds(
            What::Signature,
            format!("The gateway has signed all of it, with its key {}.", echo(&key.id)),
        ),
        None => {
            let says = "The gateway has not signed this: it was changed afterwards, or somebody else has made it.";
            Finding::fails(What::Signature, says)
        }
    }
}

/// The node's signature, and that it is of the same attempt.
pub(super) fn node(claims: &Receipt) -> Finding {
    match claims.check_node() {
        Ok(Some(said)) if is_strict(claims.node_receipt.as_deref()) => {
            let tokens = said.begun_tokens.saturating_add(said.completion_tokens);
            let says = format!(
                "The node has signed too: the same attempt, model, price, request and answer, with {} tokens of the prompt \
                 and {tokens} of the answer.",
                said.prompt_tokens,
            );
            Finding::holds(What::Node, says)
        }
        Ok(Some(_)) => Finding::fails(What::Node, "The node's part has members that no receipt has."),
        Ok(None) => match claims.check_partner() {
            Ok(Some(said)) => {
                let says = format!(
                    "Another gateway has answered. Its receipt {} is in this one, follows from itself, and says that as much was \
                     answered; whether it has signed that, its own keys tell.",
                    said.id
                );
                Finding::unchecked(What::Node, says)
            }
            _ => {
                let why = claims.why_alone().unwrap_or_default();
                Finding::unchecked(What::Node, format!("The gateway signs alone: {why}."))
            }
        },
        Err(contradiction) => Finding::contradicted(What::Node, &contradiction),
    }
}

fn is_strict(token: Option<&str>) -> bool {
    token.and_then(|token| Jws::read(token).ok()).is_some_and(|jws| read::claims::<NodeReceipt>(&jws).is_ok())
}
