//! What the parts of the bench stand on: a folder of their own, servers, items, and how
//! much a server answers at most.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use trommel_benches::messages;

use crate::http::check;
use crate::load::{Load, Nobody, Pace, drive};
use crate::process::{Running, trommel};

/// Rounds that a figure is the median of.
const ROUNDS: usize = 5;

/// Where everything happens.
#[derive(Debug)]
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    /// The server's program.
    pub(crate) program: PathBuf,
    /// Only to see that it runs.
    pub(crate) is_quick: bool,
}

impl Scene {
    pub(crate) fn new(is_quick: bool) -> io::Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            program: trommel()?,
            is_quick,
        })
    }

    pub(crate) fn n_rounds(&self) -> usize {
        if self.is_quick { 1 } else { ROUNDS }
    }

    /// So long, or a moment when it is only to be seen that it runs.
    pub(crate) fn seconds(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(if self.is_quick {
            seconds / 20.0
        } else {
            seconds
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration file of some detectors, with what else it says.
    pub(crate) fn config(
        &self,
        name: &str,
        detectors: &[&Path],
        more: &str,
    ) -> io::Result<PathBuf> {
        let detectors: Vec<String> = detectors
            .iter()
            .map(|path| format!("{:?}", path.display().to_string()))
            .collect();
        let path = self.path(name);
        fs::write(
            &path,
            format!("detectors = [{}]\n{more}", detectors.join(", ")),
        )?;
        Ok(path)
    }

    /// Starts the server.
    pub(crate) fn serve(&self, config: &Path, more: &[&str]) -> io::Result<Running> {
        let config = config.display().to_string();
        let common = ["serve", "--listen", "127.0.0.1:0", "--device", "cpu"];
        let arguments = [&common[..], &["--config", &config], more].concat();
        Running::start(&self.program, &arguments)
    }
}

/// Requests of `n` items, each with an id and a text of its own.
pub(crate) fn items(n: usize) -> Vec<Vec<u8>> {
    let texts = messages(n).into_iter().zip(0_u32..);
    texts
        .map(|(text, nth)| {
            let text = format!("{text} {nth}");
            check(&json!({ "id": format!("item-{nth}"), "text": text }).to_string())
        })
        .collect()
}

/// How many requests a second are answered at most.
pub(crate) fn capacity(
    address: SocketAddr,
    requests: &[Vec<u8>],
    n_connections: usize,
    time: Duration,
) -> io::Result<f64> {
    let load = Load {
        address,
        requests,
        pace: Pace::Closed,
        time,
        n_connections,
        seed: 0,
    };
    drive(
        &Load {
            time: time / 4,
            ..load
        },
        &mut Nobody,
    )?;
    let samples = drive(&load, &mut Nobody)?.samples;
    let last = samples.last().map_or(time, |last| last.done);
    let n_good = samples
        .iter()
        .filter(|sample| sample.status == Some(200))
        .count();
    if n_good < samples.len() || n_good == 0 {
        return Err(io::Error::other(format!(
            "{n_good} of {} requests were answered while the capacity was measured",
            samples.len()
        )));
    }
    Ok(n_good as f64 / last.as_secs_f64())
}
