//! Meters that answer over HTTP: asking one, and believing only what looks like an answer.

mod http;
mod poll;

#[cfg(test)]
pub(super) mod fake;

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::SensorError;

pub(super) use http::Http;
pub use http::Login;
pub(super) use poll::{Figure, Polled, Source};

/// An answer that takes longer is none. Meters are near.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read. A full status of the largest meters has a tenth of it.
const LONGEST: usize = 64 * 1024;

/// What a meter answers to one question.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// The way to a meter.
pub(super) trait Transport: Send + Sync + 'static {
    /// Host and port, for people.
    fn address(&self) -> &str;

    /// Asks for a path, which begins with a slash.
    ///
    /// # Errors
    /// When nothing came back, or more than [`LONGEST`].
    fn get(&self, path: &str) -> impl Future<Output = Result<Answer, Trouble>> + Send;
}

/// Why a question brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers.
    Silent(String),
    /// It wants to know who asks.
    Denied(PathBuf),
    /// It answers that it can't.
    Refused(u16),
    /// It answers something else.
    Nonsense(String),
}

impl From<Trouble> for SensorError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Silent(reason) => Self::Gone(reason),
            Trouble::Denied(path) => Self::Denied { path },
            Trouble::Refused(status) => Self::Gone(format!("it answers with status {status}")),
            Trouble::Nonsense(what) => Self::Nonsense(what),
        }
    }
}

/// The JSON that a meter answers.
///
/// # Errors
/// When it answers something else, or nothing in time.
pub(super) async fn ask(transport: &impl Transport, path: &str) -> Result<Vec<u8>, Trouble> {
    let answer = tokio::time::timeout(PATIENCE, transport.get(path)).await;
    let answer = answer.map_err(|_| Trouble::Silent(format!("no answer within {} s", PATIENCE.as_secs())))??;
    let resource = path.split('?').next().unwrap_or_default();
    match answer.status {
        200 => {}
        401 | 403 => return Err(Trouble::Denied(format!("{}{resource}", transport.address()).into())),
        status => return Err(Trouble::Refused(status)),
    }
    let essence = answer.content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Trouble::Nonsense(format!("the answer to {resource} is not JSON")));
    }
    Ok(answer.body)
}

/// Reads JSON. What the device wrote is not repeated in the error: it may be anything.
///
/// # Errors
/// `Nonsense` when it is not JSON or not of this shape.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SensorError> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        SensorError::Nonsense(format!("an answer of unknown shape, at line {line}, column {column}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::fake::Fake;
    use super::*;

    async fn trouble(status: u16, content_type: &str) -> Trouble {
        let fake = Fake::new();
        fake.answer("/x?y=secret", Answer { status, content_type: content_type.to_owned(), body: b"{}".to_vec() });
        ask(&fake, "/x?y=secret").await.unwrap_err()
    }

    #[tokio::test]
    async fn only_json_is_an_answer() {
        assert_eq!(trouble(401, "text/html").await, Trouble::Denied("meter/x".into()));
        assert_eq!(trouble(403, "application/json").await, Trouble::Denied("meter/x".into()));
        assert_eq!(trouble(302, "application/json").await, Trouble::Refused(302));
        for other in ["text/html", "", "application/jsonp", "text/json; application/json"] {
            assert!(matches!(trouble(200, other).await, Trouble::Nonsense(_)), "{other}");
        }
        let fake = Fake::new();
        fake.json("/x", "{}");
        assert_eq!(ask(&fake, "/x").await, Ok(b"{}".to_vec()));
    }

    #[test]
    fn what_is_deep_long_or_broken_is_nonsense_and_is_not_repeated() {
        let deep = "[".repeat(LONGEST);
        for wrong in [deep.as_str(), "<html>", "", "{\"total\": 1e999}", "{\"total\": NaN}", "\u{feff}{}"] {
            let error = parse::<Value>(wrong.as_bytes()).unwrap_err().to_string();
            assert!(error.len() < 120 && !error.contains("html"), "{error}");
        }
    }
}
