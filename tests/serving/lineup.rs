//! A lineup file as whoever runs a server meets it.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::Served;
use super::collector::wait_until;

#[test]
fn a_lineup_file_is_watched_and_what_is_wrong_with_it_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lineup.toml");
    let served = Served::start(&["--lineup", file.to_str().unwrap()]);
    let n_refused = || served.n_logged("the lineup file cannot be followed");
    let is_followed = |is: u8| {
        let line = format!("trommel_lineup_file_followed {is}");
        served.metrics().contains(&line)
    };
    wait_until("it is told that it is not there", || n_refused() == 1);
    #[expect(
        clippy::disallowed_methods,
        reason = "only time shows what is not told again at the next looks"
    )]
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(n_refused(), 1);
    assert_eq!(served.n_logged("is not there; put a lineup there"), 1);
    fs::write(&file, "generation = 0\nsalt = \"s\"\n").unwrap();
    wait_until("it is told that it is bad", || n_refused() == 2);
    assert_eq!(served.n_logged("lineup.toml:1: `generation` is 0"), 1);
    let answer = served.check(r#"{"id":"1","text":"hello"}"#);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["generation"], 1);
    assert!(is_followed(0));
    let mut lineup = "generation = 20\nsalt = \"s\"\n".to_owned();
    for (detector, revision) in body["lineup"].as_object().unwrap() {
        lineup.push_str(&format!(
            "[[detector]]\nid = \"{detector}\"\n[[detector.revision]]\nrevision = {revision}\nstage = \"live\"\n"
        ));
    }
    fs::write(&file, lineup).unwrap();
    wait_until("it is followed", || is_followed(1));
    let answer = served.check(r#"{"id":"1","text":"hello"}"#);
    assert!(answer.contains("\"generation\":20"), "{answer}");
    assert_eq!(n_refused(), 2);
}
