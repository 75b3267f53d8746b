//! A connection that is kept: how long it may be silent, and how slowly a head may come.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trommel::Host;
use trommel::server::ServerOptions;
use trommel_tests::plugin::PluginFolder;

use super::{JSON, Running, answer};

/// One request on a connection that is kept, and its answer.
async fn on_kept(stream: &mut TcpStream) -> std::io::Result<String> {
    on_kept_of(stream, r#"{"id":"a","text":"hello"}"#).await
}

async fn on_kept_of(stream: &mut TcpStream, body: &str) -> std::io::Result<String> {
    let length = body.len();
    let request = format!(
        "POST /v1/check HTTP/1.1\r\nhost: test\r\n{JSON}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    let mut bytes = [0; 4096];
    // An answer is one JSON object on one line.
    while !text.ends_with('}') {
        let n_bytes = stream.read(&mut bytes).await?;
        if n_bytes == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        text.push_str(std::str::from_utf8(&bytes[..n_bytes]).unwrap());
    }
    Ok(text)
}

#[tokio::test]
async fn a_connection_may_be_silent_between_requests_for_longer_than_a_head_may_take() {
    let options = ServerOptions {
        head_time: Duration::from_millis(100),
        idle_time: Duration::from_secs(60),
        ..ServerOptions::default()
    };
    let running = Running::start(options).await;
    let mut kept = TcpStream::connect(&running.public).await.unwrap();
    for _ in 0..3 {
        let answer = on_kept(&mut kept).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // A head that has begun has its own time, however long the connection was good.
    kept.write_all(b"POST /v1/check HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), answer(kept)).await;
    let ended = ended.expect("it ends long before it was idle for too long");
    assert!(ended.is_none_or(|answer| answer.status == 408));
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off_however_often_a_byte_comes() {
    let options = ServerOptions {
        head_time: Duration::from_millis(300),
        idle_time: Duration::from_secs(60),
        ..ServerOptions::default()
    };
    let running = Running::start(options).await;
    let mut kept = TcpStream::connect(&running.public).await.unwrap();
    on_kept(&mut kept).await.unwrap();
    let trickling = async {
        while kept.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), trickling).await;
    ended.expect("it is cut off");
}

#[tokio::test]
async fn a_connection_that_is_idle_for_too_long_is_closed() {
    let options = ServerOptions {
        max_connections: 1,
        idle_time: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let running = Running::start(options).await;
    let mut kept = TcpStream::connect(&running.public).await.unwrap();
    on_kept(&mut kept).await.unwrap();
    // It has the only place, and gives it up.
    let judged = running.check(r#"{"id":"a","text":"hello"}"#).await;
    assert_eq!(judged.status, 200);
    let mut rest = Vec::new();
    assert_eq!(kept.read_to_end(&mut rest).await.unwrap_or(0), 0);
}

/// hyper looks for the next head while it waits for an answer, and then not again.
#[tokio::test]
async fn a_connection_whose_answer_took_its_time_is_closed_when_it_is_idle_too() {
    let options = ServerOptions {
        idle_time: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let folder = PluginFolder::of_guest("spins", &["content", "log", "results"]);
    let host = Host::builder().detector(folder.path()).build().unwrap();
    let running = Running::of(host, options).await;
    let mut kept = TcpStream::connect(&running.public).await.unwrap();
    on_kept_of(&mut kept, r#"{"id":"a","text":"please misbehave"}"#)
        .await
        .unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), kept.read_to_end(&mut rest)).await;
    assert_eq!(closed.expect("it is closed").unwrap_or(0), 0);
}
