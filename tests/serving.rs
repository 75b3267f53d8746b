//! `trommel serve` as a user drives it: what it cannot be set up with, and its end.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps in vain has failed, as it should"
)]

mod collector;
mod lineup;
mod traces;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::trommel;

/// A server on a free port. It is ended when a failed test leaves it.
pub(super) struct Served {
    child: std::process::Child,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Served {
    /// `trommel serve` with these arguments, once it listens.
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same, with these variables.
    fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trommel"))
            .args(["serve", "--listen", "127.0.0.1:0", "--device", "cpu"])
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.split_once(' '))
            .unwrap_or_else(|| panic!("{line}"));
        let address = address.0.to_owned();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let written = log.clone();
        // Read to its end: a server that cannot write its log would not be itself.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            address,
            log,
        }
    }

    /// The whole answer to one item.
    pub(super) fn check(&self, body: &str) -> String {
        self.check_with("", body)
    }

    /// The same, with these lines in the request's head.
    fn check_with(&self, head: &str, body: &str) -> String {
        let head = format!("content-type: application/json\r\n{head}");
        self.send("POST", "/v1/check", &head, body)
    }

    fn metrics(&self) -> String {
        self.send("GET", "/metrics", "", "")
    }

    /// How many lines of the log hold these words.
    fn n_logged(&self, words: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line.contains(words)).count()
    }

    fn send(&self, method: &str, path: &str, head: &str, body: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
             {head}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Tells it to end, and whether it ended well.
    #[cfg(unix)]
    pub(super) fn end(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended where all is well.
        let _ = self.child.kill();
    }
}

#[cfg(unix)]
#[test]
fn a_server_judges_over_http_and_ends_when_it_is_told_to() {
    let served = Served::start(&[]);
    let answer = served.check(r#"{"id":"7","text":"see you at seven"}"#);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""verdict":"allow""#), "{answer}");
    assert!(served.end());
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
    let keys = write("keys.toml", "[record]\nfolder = \"r\"\nfile-mib = 0\n");
    let unmade = write("unmade.toml", "[record]\nfolder = \"token/below\"\n");
    write("bad.txt", "a.example\nhttps://b.example\n");
    let list = write(
        "list.toml",
        "[lists.bad]\nfile = \"bad.txt\"\nkind = \"domains\"\n",
    );
    let killed = write("killed.toml", "killed-labels = [\"spma\"]\n");
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
            &["serve", "--config", &list],
            "bad.txt:2: `https://b.example` is no domain",
        ),
        (
            &["serve", "--config", &killed],
            "no loaded detector declares the label `spma`",
        ),
        (
            &["serve", "--config", &short, "--admin", "127.0.0.1:0"],
            "shorter than 16 characters",
        ),
        (&["serve", "--listen", "nowhere"], "invalid"),
        (
            &["serve", "--otlp-endpoint", "https://collector:4318"],
            "run a collector beside the host",
        ),
        (
            &["serve", "--otlp-endpoint", "collector:4318"],
            "is no URL of a collector; write one such as",
        ),
        (
            &[
                "serve",
                "--otlp-endpoint",
                "http://a",
                "--otlp-sample",
                "1.5",
            ],
            "`1.5` is no share of traces",
        ),
        (
            &["serve", "--config", &keys],
            "`record.file-mib` is from 1 to 1048576, not 0",
        ),
        (
            &["serve", "--config", &unmade],
            "token/below: cannot make the folder",
        ),
    ] {
        let refused = trommel(arguments, "");
        assert_eq!(refused.code, 2, "{}", refused.err);
        assert!(refused.err.contains(why), "{why}: {}", refused.err);
    }
}
