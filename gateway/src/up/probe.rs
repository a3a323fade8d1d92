//! Is it ready yet? One GET over a plain connection to this machine.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than a model list ever is.
const LONGEST_ANSWER: u64 = 4 << 20;

/// Asks `http://127.0.0.1:<port><path>` and gives back the body of a 200; anything else is an error saying what came.
pub(super) async fn get(port: u16, path: &str, bearer: Option<&str>) -> anyhow::Result<String> {
    let answer = timeout(PATIENCE, exchange(port, path, bearer));
    let answer = answer.await.with_context(|| format!("{path} did not answer within {} s", PATIENCE.as_secs()))?;
    let answer = answer.with_context(|| format!("{path} can't be asked"))?;
    match parse(&answer) {
        Some((200, body)) => Ok(body.to_owned()),
        Some((status, _)) => bail!("{path} answers {status}"),
        None => bail!("{path} answers something that isn't HTTP: is it another program's port?"),
    }
}

/// Is `model` in this answer of `GET /v1/models`?
pub(super) fn lists(models: &str, model: &str) -> bool {
    let models: serde_json::Value = serde_json::from_str(models).unwrap_or_default();
    models["data"].as_array().is_some_and(|data| data.iter().any(|entry| entry["id"] == model))
}

async fn exchange(port: u16, path: &str, bearer: Option<&str>) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    let authorization = bearer.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    // HTTP/1.0: the answer is never chunked and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{authorization}\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn parse(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status_and_body() {
        assert_eq!(parse("HTTP/1.0 200 OK\r\na: b\r\n\r\nbody"), Some((200, "body")));
        assert_eq!(parse("HTTP/1.1 503 Service Unavailable\r\n\r\n"), Some((503, "")));
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n\r\n"), None);
    }

    #[test]
    fn finds_a_model_by_its_whole_id() {
        let models = r#"{"object":"list","data":[{"id":"smollm2-135m-instruct"}]}"#;
        assert!(lists(models, "smollm2-135m-instruct"));
        assert!(!lists(models, "smollm2"));
        assert!(!lists("not json", "smollm2"));
    }
}
