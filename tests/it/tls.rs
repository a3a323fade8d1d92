//! TLS in the gateway itself, without a proxy in front.

use std::path::PathBuf;
use std::process::Stdio;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client, Version};
use serde_json::json;
use tests::{Database, Gateway, program};
use uuid::Uuid;

struct Files {
    folder: PathBuf,
    certificate: String,
}

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("tls-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("certificate.pem"), cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        Self { folder, certificate: cert.pem() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn is_healthy(gateway: &Gateway, settings: &[(&str, &str)]) -> bool {
    let mut command = tokio::process::Command::new(program("commonwatt"));
    command.args(["healthcheck", "--listen", gateway.address()]).envs(settings.iter().copied());
    command.stderr(Stdio::null()).status().await.unwrap().success()
}

#[tokio::test]
async fn the_gateway_speaks_tls_by_itself() {
    let files = Files::new();
    let (certificate, key) = (files.path("certificate.pem"), files.path("key.pem"));
    let settings = [("COMMONWATT_TLS_CERTIFICATE", certificate.as_str()), ("COMMONWATT_TLS_KEY", key.as_str())];
    let gateway = Gateway::start_with(Database::create().await, &settings).await;
    let port = gateway.address().rsplit_once(':').unwrap().1.to_owned();
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let root = Certificate::from_pem(files.certificate.as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();

    let models = client.get(url("/v1/models")).bearer_auth(&gateway.key).send().await.unwrap();
    assert_eq!((models.status().as_u16(), models.version()), (200, Version::HTTP_2));
    assert_eq!(models.headers()["strict-transport-security"], "max-age=31536000");
    let only_http1 = Client::builder()
        .no_proxy()
        .http1_only()
        .tls_certs_only([Certificate::from_pem(files.certificate.as_bytes()).unwrap()]);
    let wrong = json!({"email": "nobody@example.com", "password": "wrong password"});
    let refused = only_http1.build().unwrap().post(url("/api/sessions")).json(&wrong).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.version()), (401, Version::HTTP_11));

    let right = json!({"email": "admin@localhost", "password": gateway.first_password(), "cookie": true});
    let signed_in = client.post(url("/api/sessions")).json(&right).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cookie}");

    let stranger = Client::builder().no_proxy().build().unwrap();
    assert!(stranger.get(url("/healthz")).send().await.is_err(), "nobody has signed this certificate");
    assert!(stranger.get(gateway.url("/healthz")).send().await.is_err(), "in plain text nothing is said");
    assert!(is_healthy(&gateway, &settings).await && !is_healthy(&gateway, &[]).await);
}
