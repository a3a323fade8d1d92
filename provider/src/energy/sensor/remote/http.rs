//! The way to a meter over HTTP/1.1, with nothing followed and nothing long read.

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, header};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Answer, LONGEST, Transport, Trouble};
use crate::error::cause_of;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: SecretString,
}

/// A meter at a URL. It may hold a password and is therefore never shown.
pub(in super::super) struct Http {
    client: Client,
    base: Url,
    login: Option<Login>,
    address: String,
}

impl Http {
    /// A way to the meter at `base`, whose path does not count. `certificate` is the PEM text of one that is trusted
    /// beside the system's.
    ///
    /// # Errors
    /// A sentence when this can't be a meter's address.
    pub(in super::super) fn new(base: Url, login: Option<Login>, certificate: Option<&[u8]>) -> Result<Self, String> {
        let host = base.host_str().filter(|_| ["http", "https"].contains(&base.scheme()));
        let host = host.ok_or("the address is not one of HTTP")?;
        let address = base.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        // A meter's web server is small: it may redirect to a page of its own, and no proxy leads to it.
        let mut builder = Client::builder().redirect(Policy::none()).no_proxy().http1_only();
        if let Some(pem) = certificate {
            let trusted = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if trusted.is_empty() {
                return Err("the certificate is not PEM".to_owned());
            }
            builder = builder.tls_certs_merge(trusted);
        }
        let client = builder.build().map_err(|error| cause_of(&error))?;
        Ok(Self { client, base, login, address })
    }
}

impl Transport for Http {
    fn address(&self) -> &str {
        &self.address
    }

    async fn get(&self, path: &str) -> Result<Answer, Trouble> {
        let url = self.base.join(path).map_err(|_| Trouble::Nonsense("no path".to_owned()))?;
        let mut request = self.client.get(url);
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.user, Some(login.password.expose_secret()));
        }
        let silent = |error: reqwest::Error| Trouble::Silent(cause_of(&error));
        let mut response = request.send().await.map_err(silent)?;
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(silent)? {
            if body.len() + chunk.len() > LONGEST {
                return Err(Trouble::Nonsense(format!("more than {LONGEST} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, content_type, body })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// A server that reads one request, answers with these bytes and hands over what it read.
    async fn server(answer: Vec<u8>) -> (Url, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ignored", listener.local_addr().unwrap()).parse().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            // Who has read enough hangs up.
            let _ = stream.write_all(&answer).await;
            String::from_utf8(request).unwrap()
        });
        (url, served)
    }

    fn page(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[tokio::test]
    async fn a_question_carries_its_login_and_brings_the_answer() {
        let (url, served) = server(page("200 OK\r\nContent-Type: application/json", "{}")).await;
        let login = Login { user: "root".to_owned(), password: "calvin".to_owned().into() };
        assert!(!format!("{login:?}").contains("calvin"));
        let http = Http::new(url, Some(login), None).unwrap();
        let answer = http.get("/cm?cmnd=Status%2010").await.unwrap();
        assert_eq!((answer.status, &*answer.content_type, &*answer.body), (200, "application/json", &b"{}"[..]));
        let request = served.await.unwrap().to_lowercase();
        assert!(request.starts_with("get /cm?cmnd=status%2010 http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: basic cm9vddpjywx2aw4=\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_login_in_the_address_is_sent_and_never_shown() {
        let (mut url, served) = server(page("200 OK", "")).await;
        url.set_username("admin").unwrap();
        url.set_password(Some("s%26cret")).unwrap();
        let http = Http::new(url.clone(), None, None).unwrap();
        assert!(!http.address().contains("admin") && !http.address().contains("cret"), "{}", http.address());
        http.get("/status").await.unwrap();
        assert!(served.await.unwrap().contains("uthorization: Basic YWRtaW46cyZjcmV0"));
        // Nobody listens there any more.
        let Trouble::Silent(reason) = http.get("/status").await.unwrap_err() else { panic!("it answered") };
        assert!(!reason.contains("cret") && !reason.contains("127.0.0.1"), "{reason}");
    }

    #[tokio::test]
    async fn redirects_are_answers_and_long_answers_are_none() {
        let (url, _) = server(page("302 Found\r\nLocation: http://127.0.0.1:1/", "")).await;
        assert_eq!(Http::new(url, None, None).unwrap().get("/").await.unwrap().status, 302);
        let (url, _) = server(page("200 OK", &"x".repeat(LONGEST))).await;
        assert_eq!(Http::new(url, None, None).unwrap().get("/").await.unwrap().body.len(), LONGEST);
        let (url, _) = server(page("200 OK", &"x".repeat(LONGEST + 1))).await;
        assert!(matches!(Http::new(url, None, None).unwrap().get("/").await, Err(Trouble::Nonsense(_))));
        let (url, _) = server(b"SSH-2.0-dropbear\r\n".to_vec()).await;
        assert!(matches!(Http::new(url, None, None).unwrap().get("/").await, Err(Trouble::Silent(_))));
    }

    #[test]
    fn other_addresses_are_refused() {
        for wrong in ["ftp://meter/", "file:///etc/passwd", "data:,x"] {
            assert!(Http::new(wrong.parse().unwrap(), None, None).is_err(), "{wrong}");
        }
        assert!(Http::new("https://bmc/".parse().unwrap(), None, Some(b"no PEM")).is_err());
    }
}
