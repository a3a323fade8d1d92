//! Where the next page of sums begins. To its holder a cursor is opaque: sealed with the gateway's secret, so that one
//! that was changed, or belongs to another question, is told from a real one.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::sums::{Question, UsageRow};
use crate::secrets::Secrets;

/// Bytes of the hash that seals a cursor, before its text.
const SEAL: usize = 32;

/// The last row that was seen, and the span of the question: without one of its own it would move on with the clock.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
    pub start: OffsetDateTime,
    pub key: Option<Uuid>,
    pub user: Option<Uuid>,
    pub model: Option<String>,
    pub node: Option<Uuid>,
    pub outcome: Option<String>,
}

impl Cursor {
    /// Behind this row.
    pub fn behind(row: &UsageRow, question: &Question) -> Self {
        Self {
            from: question.from,
            to: question.to,
            start: row.start,
            key: row.key,
            user: row.user,
            model: row.model.clone(),
            node: row.node,
            outcome: row.outcome.clone(),
        }
    }

    /// As a text for whoever asked `question`.
    ///
    /// # Errors
    /// When it can't be written as JSON.
    pub fn seal(&self, secrets: &Secrets, question: &str) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string(self)?;
        let sealed = [&secrets.hash(&sealed_text(question, &text)).0, text.as_bytes()].concat();
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// The cursor that this text is, if it was sealed for the same question.
    pub fn open(sealed: &str, secrets: &Secrets, question: &str) -> Option<Self> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (found, text) = sealed.split_at_checked(SEAL)?;
        let text = std::str::from_utf8(text).ok()?;
        if secrets.is_hash(found, &sealed_text(question, text)) { serde_json::from_str(text).ok() } else { None }
    }
}

fn sealed_text(question: &str, text: &str) -> String {
    format!("cursor {question} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_for_the_same_question_opens() {
        let (secrets, now) = (Secrets::derive(&[7; 32]).unwrap(), OffsetDateTime::now_utc());
        let cursor = Cursor {
            from: now,
            to: now,
            start: now,
            key: Some(Uuid::now_v7()),
            user: None,
            model: Some("m\"ö".to_owned()),
            node: None,
            outcome: None,
        };
        let sealed = cursor.seal(&secrets, "q").unwrap();
        assert_eq!(Cursor::open(&sealed, &secrets, "q"), Some(cursor));
        assert_eq!(Cursor::open(&sealed, &secrets, "other"), None);
        assert_eq!(Cursor::open(&sealed, &Secrets::derive(&[8; 32]).unwrap(), "q"), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(Cursor::open(std::str::from_utf8(&changed).unwrap(), &secrets, "q"), None, "byte {at}");
            assert_eq!(Cursor::open(&sealed[..at], &secrets, "q"), None);
        }
    }
}
