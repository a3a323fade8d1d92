//! What a node signs and keeps, read through a way to it for as long as that lasts: its energy reports and its receipts.
//! While the database is away, the node keeps them.

use std::time::Duration;

use anyhow::{anyhow, bail};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::sse::Scanner;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::connection::{self, NodeBody};
use super::operate::signing_keys;
use super::way::Way;
use crate::app::App;
use crate::inference::ship;

const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A node's statements as they come, and the keys with which it may have signed them.
pub(crate) struct Statements {
    node: Uuid,
    keys: Vec<Vec<u8>>,
    body: NodeBody,
    scanner: Scanner,
}

impl Statements {
    /// Asks a node for those after a number, at a path of its own. None is longer than `longest` bytes.
    ///
    /// # Errors
    /// When it has none, or the way breaks.
    pub(crate) async fn follow(
        app: &App,
        (node, way): (Uuid, &Way),
        (path, after): (&str, u64),
        longest: usize,
    ) -> anyhow::Result<Self> {
        let keys = patiently(app, || signing_keys(&app.database, node)).await;
        let response = way.send(node, connection::get(&format!("{path}?after={after}"))?).await?;
        if response.status() != StatusCode::OK {
            bail!("it answered {}", response.status());
        }
        Ok(Self { node, keys, body: response.into_body(), scanner: Scanner::new(longest) })
    }

    /// The next ones, unread: what arrives in one piece. None at the end. Nothing is lost when this is dropped half way.
    ///
    /// # Errors
    /// When the way breaks, or what comes are no statements.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(bytes) = frame?.into_data() else { continue };
            let events = self.scanner.push(&bytes)?;
            let statements = events.iter().filter_map(|event| event.data());
            return Ok(Some(statements.map(serde_json::from_str).collect::<Result<_, _>>()?));
        }
    }

    /// What a statement says, if the node has signed it, and the key that it has signed it with. The node may have changed
    /// its key under way, so keys are asked for again before a statement is refused.
    ///
    /// # Errors
    /// When it is not the node's, or no such statement.
    pub(crate) async fn read<Claims: DeserializeOwned>(
        &mut self,
        app: &App,
        statement: &str,
    ) -> anyhow::Result<(Claims, Vec<u8>)> {
        if let Ok(read) = read(statement, &self.keys) {
            return Ok(read);
        }
        self.keys = patiently(app, || signing_keys(&app.database, self.node)).await;
        read(statement, &self.keys)
    }
}

/// What a statement says, if it is signed by one of these keys: the one that counts, or the one before it. Whoever has but
/// the older one can't open a tunnel to bring statements through.
///
/// # Errors
/// When it is signed by none of them, or says something else.
pub fn read<Claims: DeserializeOwned>(statement: &str, keys: &[Vec<u8>]) -> anyhow::Result<(Claims, Vec<u8>)> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // A statement has no audience and no end.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let mut refused = None;
    for public in keys {
        let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(public))?;
        match jsonwebtoken::decode::<Claims>(statement, &key, &validation) {
            Ok(said) => return Ok((said.claims, public.clone())),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.map_or_else(|| anyhow!("the node has no key"), Into::into))
}

/// Asks the database until it answers. What it refuses for good is said, and left out.
pub(crate) async fn patiently<T: Default, Asked: Future<Output = Result<T, sqlx::Error>>>(
    app: &App,
    mut ask: impl FnMut() -> Asked,
) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if ship::is_about_the_data(&error) => {
                tracing::warn!(%error, "a node's statement is refused by the database");
                return T::default();
            }
            Err(error) => tracing::debug!(%error, "statements wait for the database"),
        }
        tokio::select! {
            () = app.closing.cancelled() => return T::default(),
            () = tokio::time::sleep(TRY_AGAIN) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    /// A statement, and the public key that verifies it.
    fn signed(sequence: u64) -> (String, Vec<u8>) {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap().public_key().as_ref().to_vec();
        let (head, key) = (Header::new(Algorithm::EdDSA), EncodingKey::from_ed_der(pkcs8.as_ref()));
        (jsonwebtoken::encode(&head, &json!({"sequence": sequence}), &key).unwrap(), public)
    }

    #[test]
    fn a_statement_is_read_with_the_key_that_counts_and_with_the_one_before_it() {
        let ((statement, previous), (_, current), (_, stranger)) = (signed(7), signed(8), signed(9));
        for keys in [vec![previous.clone()], vec![current.clone(), previous.clone()]] {
            let (said, key) = read::<Value>(&statement, &keys).unwrap();
            assert_eq!((said["sequence"].as_u64(), key), (Some(7), previous.clone()));
        }
        assert!(read::<Value>(&statement, &[current, stranger]).is_err() && read::<Value>(&statement, &[]).is_err());
    }
}
