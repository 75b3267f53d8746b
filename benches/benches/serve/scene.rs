//! What the parts of the bench stand on: a folder of their own, servers, items, and how
//! much a server answers at most.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use trommel_benches::messages;
use trommel_tests::plugin::{PluginFolder, Work};

use crate::admin::Admin;
use crate::http::check;
use crate::load::{Load, Nobody, Pace, drive};
use crate::process::{Running, SERVER_CORE, pause, pinned, trommel};

/// Rounds that a figure is the median of.
const ROUNDS: usize = 5;

/// The detector whose revisions are swapped.
pub(crate) const DETECTOR: &str = "tried";

/// What its first revision does: about a tenth of a millisecond of work.
pub(crate) const WORK: Work = Work {
    rounds: 60_000,
    trap_percent: 0,
    lift: 0.0,
    description: "the first",
};

/// Cuts that make every verdict of the scores that [`WORK`] gives.
const POLICY: &str = "\
[[rule]]
name = \"tag\"
when = { label = \"spam\", threshold = 0.6 }
action = \"tag\"
reason = \"spam-suspected\"

[[rule]]
name = \"block\"
when = { label = \"spam\", threshold = 0.9 }
action = \"block\"
reason = \"spam\"
";

/// Where everything happens.
#[derive(Debug)]
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    /// The server's program.
    pub(crate) program: PathBuf,
    /// Only to see that it runs.
    pub(crate) is_quick: bool,
}

/// A server with an admin surface and a state folder of its own.
#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) server: Running,
    pub(crate) admin: Admin,
    pub(crate) state: PathBuf,
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

    /// `n`, or a few when it is only to be seen that it runs.
    pub(crate) fn n(&self, n: usize) -> usize {
        if self.is_quick { (n / 50).max(2) } else { n }
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

impl Scene {
    /// A server that keeps its state in the folder `name`, where `package` is live.
    pub(crate) fn rollout_of(&self, name: &str, package: &Path) -> io::Result<Rollout> {
        let policy = self.path("policy.toml");
        fs::write(&policy, POLICY)?;
        let more = format!("policy = {:?}\n", policy.display().to_string());
        let config = self.config(&format!("{name}.toml"), &[package], &more)?;
        let state = self.path(name);
        self.restarted(&config, state)
    }

    /// The same of `work`.
    pub(crate) fn rollout(&self, name: &str, work: &Work) -> io::Result<Rollout> {
        let folder = PluginFolder::working(DETECTOR, work);
        self.rollout_of(name, folder.path())
    }

    /// A server on a state folder that may hold something.
    pub(crate) fn restarted(&self, config: &Path, state: PathBuf) -> io::Result<Rollout> {
        let shown = state.display().to_string();
        let more = ["--admin", "127.0.0.1:0", "--state", &shown];
        let server = self.serve(config, &more)?;
        let admin = server.admin.map(Admin);
        let admin = admin.ok_or_else(|| io::Error::other("no admin surface"))?;
        Ok(Rollout {
            server,
            admin,
            state,
        })
    }

    /// Starts such a server and kills it after `time`, wherever it is by then.
    pub(crate) fn killed_at_start(
        &self,
        config: &Path,
        state: &Path,
        time: Duration,
    ) -> io::Result<()> {
        let mut child = pinned(&self.program, SERVER_CORE)
            .args(["serve", "--listen", "127.0.0.1:0", "--device", "cpu"])
            .arg("--config")
            .arg(config)
            .arg("--state")
            .arg(state)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        pause(time);
        child.kill()?;
        child.wait().map(drop)
    }

    /// The bytes of a revision's package.
    pub(crate) fn packed(&self, work: &Work) -> io::Result<Vec<u8>> {
        self.packed_of(PluginFolder::working(DETECTOR, work).path())
    }

    /// The bytes of a plugin folder, packed.
    pub(crate) fn packed_of(&self, folder: &Path) -> io::Result<Vec<u8>> {
        let to = self.path("packed.tar");
        if to.exists() {
            fs::remove_file(&to)?;
        }
        let packing = Command::new(&self.program)
            .args(["plugin", "pack"])
            .arg(folder)
            .arg("--output")
            .arg(&to)
            .output()?;
        match packing.status.success() {
            true => fs::read(&to),
            false => Err(io::Error::other(format!(
                "the package cannot be packed: {}",
                String::from_utf8_lossy(&packing.stderr)
            ))),
        }
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
        is_awake: false,
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
