//! The admin surface as an operator's script meets it: one place for every call that the
//! parts make.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{answer, request};
use crate::process::TOKEN;

/// A load or a step that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// The admin surface of one server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admin(pub(crate) SocketAddr);

/// What it answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The JSON of an answer that grants what was asked.
    fn granted(self, what: &str) -> io::Result<Value> {
        match self.status {
            200..300 => Ok(self.json()),
            status => Err(io::Error::other(format!(
                "{what}: status {status}, {}",
                String::from_utf8_lossy(&self.body)
            ))),
        }
    }
}

/// A request to the admin surface, token and all.
pub(crate) fn authorised(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let token = format!("authorization: Bearer {TOKEN}");
    request(method, path, &[&token], body)
}

/// The request that takes a step.
pub(crate) fn step(verb: &Value) -> Vec<u8> {
    authorised("POST", "/admin/v1/rollout", verb.to_string().as_bytes())
}

/// The request that asks where the rollout stands.
pub(crate) fn status() -> Vec<u8> {
    authorised("GET", "/admin/v1/rollout", b"")
}

/// A verb on one revision.
pub(crate) fn verb(verb: &str, detector: &str, revision: &str) -> Value {
    json!({ "verb": verb, "detector": detector, "revision": revision })
}

/// The verb that makes a revision a canary.
pub(crate) fn canary(detector: &str, revision: &str, share: f64) -> Value {
    json!({ "verb": "canary", "detector": detector, "revision": revision, "share": share })
}

impl Admin {
    /// Sends one request and waits for its answer.
    pub(crate) fn send(&self, request: &[u8]) -> io::Result<Told> {
        let mut stream = TcpStream::connect(self.0)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request)?;
        let (mut bytes, mut piece) = (Vec::new(), [0; 64 << 10]);
        loop {
            let told = answer(&bytes).map_err(|_| io::Error::other("no HTTP came back"))?;
            if let Some(answer) = told {
                return Ok(Told {
                    status: answer.status,
                    body: answer.body.to_vec(),
                });
            }
            match stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => bytes.extend_from_slice(&piece[..n]),
            }
        }
    }

    /// Takes a step.
    pub(crate) fn step(&self, verb: &Value) -> io::Result<Value> {
        self.send(&step(verb))?.granted(&verb.to_string())
    }

    /// Loads a package, and tells the revision's name.
    pub(crate) fn load(&self, package: &[u8]) -> io::Result<String> {
        let request = authorised("POST", "/admin/v1/revisions", package);
        let loaded = self.send(&request)?.granted("loading a package")?;
        let revision = loaded["revision"].as_str();
        revision
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other(format!("no revision in {loaded}")))
    }

    /// Where the rollout stands.
    pub(crate) fn status(&self) -> io::Result<Value> {
        self.send(&status())?.granted("the rollout's status")
    }

    /// What runs there.
    pub(crate) fn server(&self) -> io::Result<Value> {
        let request = authorised("GET", "/admin/v1/status", b"");
        self.send(&request)?.granted("the server's status")
    }

    /// The lineup's file.
    pub(crate) fn lineup(&self) -> io::Result<String> {
        let told = self.send(&authorised("GET", "/admin/v1/lineup", b""))?;
        match told.status {
            200 => String::from_utf8(told.body).map_err(io::Error::other),
            status => Err(io::Error::other(format!("the lineup: status {status}"))),
        }
    }

    /// The revision that answers for `detector`.
    pub(crate) fn live(&self, detector: &str) -> io::Result<String> {
        let status = self.status()?;
        let live = of_detector(&status, detector)["live"].as_str();
        live.map(str::to_owned)
            .ok_or_else(|| io::Error::other(format!("nobody is live in {status}")))
    }
}

/// One detector's part of a status.
pub(crate) fn of_detector<'a>(status: &'a Value, detector: &str) -> &'a Value {
    let detectors = status["detectors"].as_array().map(Vec::as_slice);
    let found = detectors
        .unwrap_or_default()
        .iter()
        .find(|one| one["detector"] == detector);
    found.unwrap_or(&Value::Null)
}

/// One revision's part of a status.
pub(crate) fn of_revision<'a>(status: &'a Value, detector: &str, revision: &str) -> &'a Value {
    let revisions = of_detector(status, detector)["revisions"].as_array();
    let found = revisions
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .find(|one| one["revision"] == revision);
    found.unwrap_or(&Value::Null)
}
