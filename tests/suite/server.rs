//! The server as its clients meet it: over a socket, well-behaved and not.

mod admin;
mod kept;
mod lineup_file;
mod lists;
mod running;

use std::sync::Arc;
use std::time::Duration;

use image::ImageFormat;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use trommel::item::Item;
use trommel::server::{AdminToken, ServerOptions};
use trommel::{Host, Judgement};
use trommel_tests::pictures::{drawn, encoded};
use trommel_tests::plugin::PluginFolder;

use running::{Answer, JSON, Running, TOKEN, answer, post, request_head, send};

/// A judgement as text has it: numbers lose what JSON does not carry.
fn written(judgement: &Judgement) -> Value {
    serde_json::from_str(&serde_json::to_string(judgement).unwrap()).unwrap()
}

/// A judgement without the times that it took.
fn timeless(mut judgement: Value) -> Value {
    judgement.as_object_mut().unwrap().remove("timings_us");
    judgement
}

#[tokio::test]
async fn an_item_gets_the_judgement_that_the_host_gives() {
    let running = Running::start(ServerOptions::default()).await;
    let body = json!({"id": "1", "text": "You have won! Call 09061701461 now"}).to_string();
    let answer = running.check(&body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let item = Arc::new(Item::from_json(body.as_bytes()).unwrap());
    let judgement = running.host.check(&item).await.unwrap();
    assert_eq!(timeless(answer.json()), timeless(written(&judgement)));
    assert_ne!(answer.json()["verdict"], "allow");
}

#[tokio::test]
async fn a_form_with_a_file_is_the_item_that_json_would_be() {
    let running = Running::start(ServerOptions::default()).await;
    let png = encoded(
        &drawn(40, 30, |x, y| [x as u8, y as u8, 9]),
        ImageFormat::Png,
    );
    let mut form = Vec::new();
    let mut field = |head: &str, bytes: &[u8]| {
        form.extend_from_slice(
            format!("--cut\r\ncontent-disposition: form-data; {head}\r\n\r\n").as_bytes(),
        );
        form.extend_from_slice(bytes);
        form.extend_from_slice(b"\r\n");
    };
    field("name=\"item\"", br#"{"id":"7","text":"hello there"}"#);
    field("name=\"image\"; filename=\"a.png\"", &png);
    form.extend_from_slice(b"--cut--\r\n");
    let head = ["content-type: multipart/form-data; boundary=cut"];
    let mut item =
        Item::from_json(br#"{"id":"7","text":"hello there","images":["a.png"]}"#).unwrap();
    item.open_images(|_| Ok::<_, ()>(png.clone())).unwrap();
    let item = Arc::new(item);
    // Again where the machine was too busy for one of them.
    for n_spare in (0..10).rev() {
        let answer = post(&running.public, "/v1/check", &head, &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let judgement = running.host.check(&item).await.unwrap();
        let (answer, judgement) = (timeless(answer.json()), timeless(written(&judgement)));
        let is_whole = |judged: &Value| judged["degraded"].as_array().is_none_or(Vec::is_empty);
        if n_spare == 0 || (is_whole(&answer) && is_whole(&judgement)) {
            assert_eq!(answer, judgement);
            break;
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_with_its_status() {
    let running = Running::start(ServerOptions {
        max_body_bytes: 1 << 20,
        ..ServerOptions::default()
    })
    .await;
    let deep = format!(r#"{{"id":"a","text":"t","x":{}}}"#, "[".repeat(10_000));
    let long = format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(2 << 20));
    let uri = r#"{"id":"a","images":["data:text/html;base64,AQID"]}"#;
    let path = r#"{"id":"a","images":["/etc/passwd"]}"#;
    let broken_image = r#"{"id":"a","images":["data:image/png;base64,AQID"]}"#;
    let form = "content-type: multipart/form-data; boundary=cut";
    let cases: [(&[&str], &str, u16, &str); 13] = [
        (&[JSON], r#"{"id":"a""#, 400, "EOF"),
        (&[JSON], &deep, 400, "not an item"),
        (&[JSON], r#"{"id":"a"}"#, 400, "the item is empty"),
        (&[JSON], &long, 413, "larger than 1048576 bytes"),
        (&[JSON], uri, 400, "its type is `text/html`"),
        (&[JSON], path, 400, "no files are opened here"),
        (&[JSON], broken_image, 422, "no image that can be judged"),
        (&[], "x", 415, "no content-type"),
        (&["content-type: text/plain"], "x", 415, "application/json"),
        (&["content-type: multipart/form-data"], "x", 415, "boundary"),
        (&[form], "--cut\r\nno form", 400, "the form cannot be read"),
        (
            &[form],
            "--cut\r\ncontent-disposition: form-data; name=\"bad\"\r\n\r\nx\r\n--cut--\r\n",
            400,
            "no field `bad`",
        ),
        (
            &[JSON, "trommel-deadline-ms: 0"],
            "x",
            400,
            "milliseconds from 1 to 2000",
        ),
    ];
    for (head, body, status, why) in cases {
        let answer = post(&running.public, "/v1/check", head, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.error().contains(why), "{answer:?}");
    }
    let not_utf8 =
        b"--cut\r\ncontent-disposition: form-data; name=\"text\"\r\n\r\n\xff\r\n--cut--\r\n";
    let answer = post(&running.public, "/v1/check", &[form], not_utf8).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.error().contains("not UTF-8 at byte 0"), "{answer:?}");
    let answer = send(&running.public, "GET", "/v1/check", &[], b"").await;
    assert_eq!(answer.status, 405, "{answer:?}");
    assert!(answer.head.contains("allow: post"), "{answer:?}");
    let answer = send(&running.public, "GET", "/v1/chek", &[], b"").await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.error().contains("POST /v1/check"), "{answer:?}");
    // None of it disturbed anything.
    assert_eq!(
        running.check(r#"{"id":"a","text":"hello"}"#).await.status,
        200
    );
}

#[tokio::test]
async fn a_body_that_promises_a_gigabyte_is_refused_before_it_is_sent() {
    let running = Running::start(ServerOptions::default()).await;
    let mut stream = TcpStream::connect(&running.public).await.unwrap();
    let head = [JSON, "content-length: 1073741824"];
    let head = request_head("POST", "/v1/check", &head);
    stream.write_all(&head).await.unwrap();
    let answer = answer(stream).await.unwrap();
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[tokio::test]
async fn a_body_that_does_not_end_is_refused_at_its_bound() {
    let options = ServerOptions {
        max_body_bytes: 1 << 20,
        ..ServerOptions::default()
    };
    let running = Running::start(options).await;
    let mut stream = TcpStream::connect(&running.public).await.unwrap();
    let head = request_head("POST", "/v1/check", &[JSON, "transfer-encoding: chunked"]);
    stream.write_all(&head).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 1 << 16], b"\r\n"].concat();
    for _ in 0..64 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let answer = answer(stream).await.unwrap();
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[tokio::test]
async fn who_sends_a_head_or_a_body_too_slowly_is_cut_off_and_others_are_served() {
    let options = ServerOptions {
        max_connections: 2,
        head_time: Duration::from_millis(200),
        body_time: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let running = Running::start(options).await;
    let mut slow = TcpStream::connect(&running.public).await.unwrap();
    slow.write_all(b"POST /v1/check HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut slower = TcpStream::connect(&running.public).await.unwrap();
    let head = request_head("POST", "/v1/check", &[JSON, "content-length: 30"]);
    slower.write_all(&head).await.unwrap();
    slower.write_all(b"{").await.unwrap();
    let silent = TcpStream::connect(&running.public).await.unwrap();
    // Both places are taken; it is served when they are cut off.
    assert_eq!(
        running.check(r#"{"id":"a","text":"hello"}"#).await.status,
        200
    );
    assert!(answer(slow).await.is_none_or(|answer| answer.status == 408));
    let answered = answer(slower).await.unwrap();
    assert_eq!(answered.status, 408, "{answered:?}");
    assert!(
        answer(silent)
            .await
            .is_none_or(|answer| answer.status == 408)
    );
}

/// A host whose one detector computes for as long as it is let.
fn spinning() -> Host {
    let folder = PluginFolder::of_guest("spins", &["content", "log", "results"]);
    folder.edit("deadline-ms = 200", "deadline-ms = 1500");
    Host::builder().detector(folder.path()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_at_once_and_says_when_to_come_again() {
    let options = ServerOptions {
        max_judging: 1,
        max_waiting: 1,
        ..ServerOptions::default()
    };
    let running = Arc::new(Running::of(spinning(), options).await);
    let body = r#"{"id":"a","text":"please misbehave"}"#;
    let all: Vec<_> = (0..6)
        .map(|_| {
            let running = running.clone();
            tokio::spawn(async move { running.check(body).await })
        })
        .collect();
    let (mut n_judged, mut n_refused) = (0, 0);
    for answer in all {
        let answer = answer.await.unwrap();
        match answer.status {
            200 => n_judged += 1,
            503 => {
                assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
                n_refused += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(n_judged >= 1 && n_refused >= 4, "{n_judged} judged");
    let metrics = running.metrics().await;
    assert!(
        metrics.contains(&format!(
            "trommel_refused_total{{status=\"503\"}} {n_refused}"
        )),
        "{metrics}"
    );
    assert!(metrics.contains("trommel_waiting 0"), "{metrics}");
}

#[tokio::test]
async fn bodies_that_fill_the_room_are_refused_and_give_it_back() {
    let options = ServerOptions {
        max_all_body_bytes: 64 << 10,
        body_time: Duration::from_millis(300),
        ..ServerOptions::default()
    };
    let running = Running::start(options).await;
    let mut holds = TcpStream::connect(&running.public).await.unwrap();
    let head = request_head("POST", "/v1/check", &[JSON, "content-length: 70000"]);
    holds.write_all(&head).await.unwrap();
    holds.write_all(&[b' '; 60_000]).await.unwrap();
    let body = format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(40_000));
    // Until the server has read what was written.
    loop {
        let answer = running.check(&body).await;
        if answer.status == 503 {
            assert!(answer.error().contains("fill the room"), "{answer:?}");
            break;
        }
    }
    assert_eq!(answer(holds).await.unwrap().status, 408);
    assert_eq!(running.check(&body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_server_answers_what_it_has_begun_and_ends() {
    let running = Running::of(spinning(), ServerOptions::default()).await;
    let ready = async || {
        send(&running.public, "GET", "/v2/health/ready", &[], b"")
            .await
            .status
    };
    assert_eq!(ready().await, 200);
    let (begun, public) = (running.server.clone(), running.public.clone());
    let in_flight = tokio::spawn(async move {
        let body = br#"{"id":"a","text":"please misbehave"}"#;
        post(&public, "/v1/check", &[JSON], body).await
    });
    // Until it is being judged.
    while !running.metrics().await.contains("trommel_judging 1") {
        tokio::task::yield_now().await;
    }
    let bearer = format!("authorization: Bearer {TOKEN}");
    let status = send(&running.admin, "GET", "/admin/v1/status", &[&bearer], b"").await;
    assert_eq!(status.json()["pool"]["calls"], 1, "{status:?}");
    begun.drain();
    assert_eq!(in_flight.await.unwrap().status, 200);
    tokio::time::timeout(Duration::from_secs(20), running.serving)
        .await
        .expect("it ends")
        .unwrap();
    assert!(TcpStream::connect(&running.public).await.is_err());
}

#[tokio::test]
async fn a_callers_deadline_degrades_what_has_not_answered_by_then() {
    let running = Running::of(spinning(), ServerOptions::default()).await;
    let head = [JSON, "trommel-deadline-ms: 60"];
    let body = br#"{"id":"a","text":"please misbehave"}"#;
    let answer = post(&running.public, "/v1/check", &head, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let judgement = answer.json();
    assert_eq!(judgement["degraded"][0]["detector"], "spins");
    assert!(judgement["timings_us"]["total"].as_u64().unwrap() < 1_000_000);
}

#[tokio::test]
async fn the_admin_surface_wants_its_token_and_is_not_on_the_public_port() {
    let running = Running::start(ServerOptions::default()).await;
    let status =
        async |head: &[&str]| send(&running.admin, "GET", "/admin/v1/status", head, b"").await;
    let without = status(&[]).await;
    assert_eq!(without.status, 401, "{without:?}");
    assert!(without.error().contains("Bearer"), "{without:?}");
    let wrong = status(&["authorization: Bearer a-token-of-a-test-0123456780"]).await;
    assert_eq!(wrong.status, 401, "{wrong:?}");
    assert!(!wrong.text.contains("spam-text"), "{wrong:?}");
    let right = status(&[&format!("authorization: Bearer {TOKEN}")]).await;
    assert_eq!(right.status, 200, "{right:?}");
    assert_eq!(right.json()["detectors"].as_array().unwrap().len(), 3);
    assert_eq!(right.json()["pool"]["memories"], 0);
    let public = send(&running.public, "GET", "/admin/v1/status", &[], b"").await;
    assert_eq!(public.status, 404);
    AdminToken::new("short").unwrap_err();
}

#[tokio::test]
async fn a_policy_is_replaced_whole_or_not_at_all() {
    let running = Running::start(ServerOptions::default()).await;
    let bearer = format!("authorization: Bearer {TOKEN}");
    let put = async |policy: &str| {
        let path = "/admin/v1/policy";
        send(&running.admin, "PUT", path, &[&bearer], policy.as_bytes()).await
    };
    let verdict = async || {
        let answer = running
            .check(r#"{"id":"1","text":"hello","attributes":{"age":1}}"#)
            .await;
        answer.json()["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict().await, "allow");
    let policy = "[[rule]]\nname = \"new\"\nwhen = { attribute = \"age\", at_most = 3 }\naction = \"limit\"\nreason = \"new\"\n";
    assert_eq!(put(policy).await.status, 200);
    assert_eq!(verdict().await, "limit");
    let bad = put(&format!("{policy}\n[[rule]]\n")).await;
    assert_eq!(bad.status, 422, "{bad:?}");
    assert!(bad.error().contains("policy:7"), "{bad:?}");
    let unknown = put(&policy.replace(
        "attribute = \"age\", at_most = 3",
        "label = \"spma\", threshold = 0.5",
    ))
    .await;
    assert_eq!(unknown.status, 422, "{unknown:?}");
    assert!(unknown.error().contains("spma"), "{unknown:?}");
    assert_eq!(verdict().await, "limit");
}

#[tokio::test]
async fn metrics_speak_of_detectors_by_our_names_and_by_tritons() {
    let running = Running::start(ServerOptions::default()).await;
    running.check(r#"{"id":"a","text":"hello"}"#).await;
    let metrics = running.metrics().await;
    for expected in [
        "trommel_check_seconds_count 1",
        "trommel_verdicts_total{verdict=\"allow\"} 1",
        "trommel_detector_seconds_count{detector=\"spam-text\"",
        "outcome=\"answered\"} 1",
        "nv_inference_request_success{model=\"spam-text\"",
        "nv_inference_request_duration_us{model=\"spam-text\"",
        "nv_inference_exec_count{model=\"spam-text\"",
        "nv_inference_count{model=\"spam-text\"",
        "nv_inference_queue_duration_us{model=\"spam-text\"",
        "rows=\"64\"",
    ] {
        assert!(metrics.contains(expected), "no {expected} in\n{metrics}");
    }
}
