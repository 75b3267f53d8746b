//! `trommel serve` as a user drives it: what it cannot be set up with, and its end.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::trommel;

/// Ends a server that a failed test left.
struct Served(std::process::Child);

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended where all is well.
        let _ = self.0.kill();
    }
}

#[cfg(unix)]
#[test]
fn a_server_judges_over_http_and_ends_when_it_is_told_to() {
    let mut served = Command::new(env!("CARGO_BIN_EXE_trommel"))
        .args(["serve", "--listen", "127.0.0.1:0", "--device", "cpu"])
        .stderr(Stdio::piped())
        .spawn()
        .map(Served)
        .unwrap();
    let mut lines = BufReader::new(served.0.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address = line
        .strip_prefix("listening on http://")
        .and_then(|rest| rest.split_once(' '))
        .unwrap_or_else(|| panic!("{line}"))
        .0;
    let body = r#"{"id":"7","text":"see you at seven"}"#;
    let request = format!(
        "POST /v1/check HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""verdict":"allow""#), "{answer}");
    let pid = served.0.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert!(served.0.wait().unwrap().success());
}

#[test]
fn a_server_that_cannot_be_set_up_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let misspelt = write("misspelt.toml", "deadline-ms = 100\nmax-wating = 3\n");
    let late = write("late.toml", "deadline-ms = 0\n");
    let policy = write("no-policy.toml", "policy = \"nowhere.toml\"\n");
    let short = write("short.toml", "admin-token-file = \"token\"\n");
    write("token", "abc\n");
    for (arguments, why) in [
        (&["serve", "--config", &misspelt][..], "max-wating"),
        (
            &["serve", "--config", &late],
            "`deadline-ms` is from 1 to 60000, not 0",
        ),
        (
            &["serve", "--config", &policy],
            "nowhere.toml cannot be read",
        ),
        (
            &["serve", "--config", &short, "--admin", "127.0.0.1:0"],
            "shorter than 16 characters",
        ),
        (&["serve", "--listen", "nowhere"], "invalid"),
    ] {
        let refused = trommel(arguments, "");
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains(why), "{why}: {}", refused.err);
    }
}
