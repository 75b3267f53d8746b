//! A server of a test, and a client that says what it is told to.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use trommel::Host;
use trommel::server::{AdminToken, Beside, Server, ServerOptions};

pub(super) const TOKEN: &str = "a-token-of-a-test-0123456789";

/// A server on a free port, and its admin surface on another.
pub(super) struct Running {
    pub(super) server: Server,
    pub(super) host: Arc<Host>,
    pub(super) public: String,
    pub(super) admin: String,
    pub(super) serving: JoinHandle<()>,
}

impl Running {
    pub(super) async fn start(options: ServerOptions) -> Self {
        Self::of(
            Host::builder().bundled_detectors().build().unwrap(),
            options,
        )
        .await
    }

    pub(super) async fn of(host: Host, options: ServerOptions) -> Self {
        Self::with(host, options, Beside::default()).await
    }

    pub(super) async fn with(host: Host, options: ServerOptions, beside: Beside) -> Self {
        let host = Arc::new(host);
        let server = Server::with(host.clone(), options, beside);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = listener.local_addr().unwrap().to_string();
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = admin_listener.local_addr().unwrap().to_string();
        let (serves, administers) = (server.clone(), server.clone());
        let serving = tokio::spawn(async move {
            let token = AdminToken::new(TOKEN).unwrap();
            let admin = administers.serve_admin(admin_listener, token);
            tokio::try_join!(serves.serve(listener), admin).unwrap();
        });
        Self {
            server,
            host,
            public,
            admin,
            serving,
        }
    }

    pub(super) async fn check(&self, body: &str) -> Answer {
        post(&self.public, "/v1/check", &[JSON], body.as_bytes()).await
    }

    pub(super) async fn metrics(&self) -> String {
        send(&self.public, "GET", "/metrics", &[], b"").await.text
    }
}

pub(super) const JSON: &str = "content-type: application/json";

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(super) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

pub(super) async fn post(address: &str, path: &str, head: &[&str], body: &[u8]) -> Answer {
    send(address, "POST", path, head, body).await
}

pub(super) async fn send(
    address: &str,
    method: &str,
    path: &str,
    head: &[&str],
    body: &[u8],
) -> Answer {
    let length = format!("content-length: {}", body.len());
    let head: Vec<&str> = head.iter().copied().chain([length.as_str()]).collect();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(&request_head(method, path, &head))
        .await
        .unwrap();
    // A server that refuses the head may close before it has read the rest.
    let _ = stream.write_all(body).await;
    answer(stream).await.expect("an answer")
}

pub(super) fn request_head(method: &str, path: &str, head: &[&str]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for line in head {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// What comes until the server closes; none when nothing does.
pub(super) async fn answer(mut stream: TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A reset after the answer is no matter.
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).expect("answers are UTF-8");
    let (head, text) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_ascii_lowercase(),
        text: text.to_owned(),
    })
}
