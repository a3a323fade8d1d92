//! A node that is enrolled, holds its key, and does as it likes on the connection.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openapi::node::{Enrolled, Greeting, TUNNEL_AUDIENCE, TUNNEL_PATH, TUNNEL_PROTOCOL};
use provider::enrol;
use provider::identity::Identity;
use reqwest::Response;
use tests::Gateway;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;
use uuid::Uuid;

pub(super) struct Imposter {
    pub(super) enrolled: Enrolled,
    pub(super) url: Url,
    identity: Identity,
}

impl Imposter {
    /// Enrols a machine of the gateway's first user.
    pub(super) async fn enrol(gateway: &Gateway) -> Self {
        let folder = std::env::temp_dir().join(format!("imposter-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let identity = Identity::open(&folder).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        let url = Url::parse(&gateway.url("")).unwrap();
        let enrolled = enrol::enrol(&identity, &url, &gateway.enrolment_token().await, "imposter").await.unwrap();
        Self { enrolled, url, identity }
    }

    /// What a well-behaved node says, by a clock that is so many seconds ahead.
    pub(super) fn greeting(&self, seconds_ahead: i64) -> Greeting {
        let now = (OffsetDateTime::now_utc().unix_timestamp() + seconds_ahead).unsigned_abs();
        Greeting {
            sub: self.enrolled.node,
            aud: TUNNEL_AUDIENCE.to_owned(),
            gateway: self.enrolled.ticket_key.clone(),
            instance: Uuid::now_v7(),
            yields: false,
            iat: now,
            exp: now + 60,
            jti: Uuid::now_v7(),
        }
    }

    pub(super) fn sign(&self, greeting: &Greeting) -> String {
        self.identity.statement(greeting).unwrap()
    }

    /// A greeting that nobody has signed.
    pub(super) fn unsigned(greeting: &Greeting) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", part(r#"{"alg":"none","typ":"JWT"}"#), part(&serde_json::to_string(greeting).unwrap()))
    }

    /// Asks for a tunnel and reads the answer's head. After a 101 the connection is the tunnel, and this side is HTTP/2's
    /// server.
    pub(super) async fn dial(&self, gateway: &Gateway, greeting: &str) -> (u16, TcpStream) {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let request = format!(
            "GET {TUNNEL_PATH} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: {TUNNEL_PROTOCOL}\r\n\
             authorization: Bearer {greeting}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), stream)
    }

    /// Opens a tunnel as it should be.
    pub(super) async fn tunnel(&self, gateway: &Gateway) -> TcpStream {
        let (status, stream) = self.dial(gateway, &self.sign(&self.greeting(0))).await;
        assert_eq!(status, 101);
        stream
    }
}

/// Calls a path of the gateway's for nodes.
pub(super) async fn call(gateway: &Gateway, path: &str, greeting: &str) -> Response {
    let request = match path {
        openapi::node::STANDING_PATH | TUNNEL_PATH => gateway.client.get(gateway.url(path)),
        _ => gateway.client.post(gateway.url(path)).json(&serde_json::json!({"url": null})),
    };
    request.bearer_auth(greeting).timeout(Duration::from_secs(10)).send().await.unwrap()
}
