//! Programs that know nothing of models and carry requests to a server: the floor under every gateway.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{eventually, free_port};
use tokio::net::TcpStream;
use uuid::Uuid;

const THERE_WITHIN: Duration = Duration::from_secs(10);

/// A running proxy; it ends when dropped.
pub(super) struct Proxy {
    child: tokio::process::Child,
    pub(super) address: SocketAddr,
    pub(super) version: String,
    folder: PathBuf,
}

impl Proxy {
    /// nginx with one worker, in front of the server; none where it is not installed.
    pub(super) async fn nginx(server: SocketAddr) -> Option<Self> {
        let arguments = |folder: &Path| {
            let file = folder.join("conf").display().to_string();
            vec!["-p".to_owned(), folder.display().to_string(), "-c".to_owned(), file]
        };
        Self::start("nginx", "-v", arguments, |listen, folder| nginx_file(listen, server, folder)).await
    }

    /// HAProxy with one thread, in front of the server; none where it is not installed.
    pub(super) async fn haproxy(server: SocketAddr) -> Option<Self> {
        let arguments =
            |folder: &Path| vec!["-db".to_owned(), "-f".to_owned(), folder.join("conf").display().to_string()];
        Self::start("haproxy", "-v", arguments, |listen, _| haproxy_file(listen, server)).await
    }

    async fn start(
        program: &str,
        version: &str,
        arguments: impl Fn(&Path) -> Vec<String>,
        file: impl Fn(SocketAddr, &Path) -> String,
    ) -> Option<Self> {
        let said = Command::new(program).arg(version).output().ok()?;
        // nginx says it on its standard error.
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).lines().next()?.to_owned();
        let folder = std::env::temp_dir().join(format!("{program}-{}", Uuid::now_v7()));
        fs::create_dir(&folder).expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        fs::write(folder.join("conf"), file(address, &folder)).expect("room for a file");
        let child = tokio::process::Command::new(program)
            .args(arguments(&folder))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        eventually(program, THERE_WITHIN, || async { TcpStream::connect(address).await.ok() }).await;
        Some(Self { child, address, version: said, folder })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Left behind at worst in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Nothing is written to a log, nothing is held back, and connections are kept on both sides.
fn nginx_file(listen: SocketAddr, server: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 128k;
    client_max_body_size 8m;
    keepalive_requests 100000000;
    upstream server {{ server {server}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}

fn haproxy_file(listen: SocketAddr, server: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind {listen}
    default_backend servers
backend servers
    server one {server}
"
    )
}
