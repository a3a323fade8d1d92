//! A gateway that gets its own certificate, from Pebble: the ACME server that Let's Encrypt tests clients with. Source: RFC
//! 8555 and RFC 8737.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::{Certificate, Client};
use serde_json::json;
use tests::{Database, Gateway, eventually, free_port};
use tokio::process::{Child, Command};
use uuid::Uuid;

const NAME: &str = "gateway.commonwatt.test";
/// A certificate takes a second; the machine may be busy.
const GIVEN_WITHIN: Duration = Duration::from_secs(60);

/// An authority, and a name server after which every name leads to this machine.
struct Authority {
    folder: PathBuf,
    port: u16,
    management: u16,
    certificate: Certificate,
    _programs: [Child; 2],
}

impl Authority {
    /// One that asks all names at this port. None where Pebble is not installed.
    async fn start(asked: u16) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("acme-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("certificate.pem"), cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        let (port, management, names) = (free_port(), free_port(), format!("127.0.0.1:{}", free_port()));
        let settings = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.join("certificate.pem"),
            "privateKey": folder.join("key.pem"),
            "httpPort": free_port(),
            "tlsPort": asked,
        }});
        let config = folder.join("pebble.json");
        std::fs::write(&config, settings.to_string()).unwrap();
        let mut server = Command::new("pebble-challtestsrv");
        server.args(["-dns01", &names, "-defaultIPv6", "", "-management", &format!("127.0.0.1:{}", free_port())]);
        for unused in ["-http01", "-https01", "-tlsalpn01"] {
            server.args([unused, ""]);
        }
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(&config).args(["-dnsserver", &names]).env("PEBBLE_VA_NOSLEEP", "1");
        let start =
            |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().ok();
        let programs = [start(&mut server)?, start(&mut pebble)?];
        let certificate = Certificate::from_pem(cert.pem().as_bytes()).unwrap();
        let authority = Self { folder, port, management, certificate, _programs: programs };
        eventually("the authority", GIVEN_WITHIN, || async { authority.root().await }).await;
        Some(authority)
    }

    fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The certificate under which it signs.
    async fn root(&self) -> Option<Certificate> {
        let client = Client::builder().no_proxy().tls_certs_only([self.certificate.clone()]).build().unwrap();
        let root = client.get(format!("https://localhost:{}/roots/0", self.management)).send().await.ok()?;
        Certificate::from_pem(&root.bytes().await.ok()?).ok()
    }

    async fn gateway(&self, name: &str, listen: u16) -> Gateway {
        let (roots, directory) = (self.folder.join("certificate.pem").display().to_string(), self.directory());
        let settings = [
            ("COMMONWATT_ACME_NAMES", name),
            ("COMMONWATT_ACME_DIRECTORY", directory.as_str()),
            ("COMMONWATT_EXTRA_ROOTS", roots.as_str()),
            // A port that is known before the gateway starts: there the authority asks.
            ("COMMONWATT_ADMIN_LISTEN", &format!("127.0.0.1:{listen}")),
        ];
        Gateway::start_with(Database::create().await, &settings).await
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn the_gateway_gets_a_certificate_and_keeps_it() {
    let port = free_port();
    let Some(authority) = Authority::start(port).await else {
        return println!("SKIPPED: certificates by ACME, since this machine has no Pebble (Debian's package `pebble`)");
    };
    let mut gateway = authority.gateway(NAME, port).await;
    let address: SocketAddr = gateway.address().parse().unwrap();
    let root = authority.root().await.unwrap();
    // A connection that was opened before goes on with what it was shown.
    let client = || Client::builder().no_proxy().tls_certs_only([root.clone()]).resolve(NAME, address).build().unwrap();
    let url = format!("https://{NAME}:{}/healthz", address.port());
    eventually("a certificate that the authority has signed", GIVEN_WITHIN, || async {
        client().get(&url).send().await.ok().filter(|answer| answer.status() == 200).map(drop)
    })
    .await;
    assert!(gateway.log().contains("there is a new certificate"), "{}", gateway.log());

    gateway.kill().await;
    gateway.restart().await;
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200, "the one that it had");

    let elsewhere = authority.gateway("elsewhere.commonwatt.test", free_port()).await;
    eventually("the reason", GIVEN_WITHIN, || async {
        elsewhere.log().contains("could not convince itself that every name is this gateway").then_some(())
    })
    .await;
}
