//! A running host, through its admin API.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use trommel::engine::{EngineOptions, Limits};
use trommel::pipeline::{LoadedRevision, RolloutStatus};
use trommel::registry::{Layout, Packed, Settings, Shape, spelled};
use trommel::rollout::{Lineup, Transition, Verb};
use ureq::http::{HeaderValue, Response};
use ureq::{Agent, Body};

use crate::cli::output::shown;
use crate::cli::serve::TOKEN_VARIABLE;

/// Compiling a package may take minutes.
const LONGEST: Duration = Duration::from_secs(900);

/// Bytes of an answer that are read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

pub(super) struct Remote {
    agent: Agent,
    admin: String,
    token: String,
}

impl Remote {
    pub(super) fn new(admin: &str) -> anyhow::Result<Self> {
        let token = std::env::var(TOKEN_VARIABLE)
            .with_context(|| format!("the admin API wants a token; set {TOKEN_VARIABLE}"))?;
        let config = Agent::config_builder()
            .timeout_global(Some(LONGEST))
            // What is refused is an answer, and says why.
            .http_status_as_error(false)
            // The token goes to the host that was named and nowhere else.
            .proxy(None)
            .max_redirects(0);
        Ok(Self {
            agent: config.build().into(),
            admin: admin.trim_end_matches('/').to_owned(),
            token: format!("Bearer {}", token.trim()),
        })
    }

    pub(super) fn status(&self) -> anyhow::Result<RolloutStatus> {
        json(self.get("/admin/v1/rollout")?)
    }

    pub(super) fn lineup(&self) -> anyhow::Result<Lineup> {
        let text = text(self.get("/admin/v1/lineup")?)?;
        Ok(Lineup::parse("the host's lineup", &text)?)
    }

    pub(super) fn step(&self, verb: &Verb) -> anyhow::Result<Transition> {
        let request = self.agent.post(self.url("/admin/v1/rollout"));
        let request = request.header("authorization", &self.token);
        json(self.sent(request.send(serde_json::to_string(verb)?))?)
    }

    pub(super) fn give(&self, lineup: &Lineup) -> anyhow::Result<()> {
        let request = self.agent.put(self.url("/admin/v1/lineup"));
        let request = request.header("authorization", &self.token);
        text(self.sent(request.send(lineup.text()))?).map(drop)
    }

    /// A plugin folder is packed first, and a package in a folder is made one file.
    pub(super) fn load(
        &self,
        package: &Path,
        settings: &Settings,
    ) -> anyhow::Result<LoadedRevision> {
        let most = EngineOptions::default().max_component_bytes;
        let folder = tempfile::tempdir().context("no room for the package")?;
        let tar = folder.path().join("package.tar");
        if Layout::is_at(package) {
            Layout::open(package, &[], &Limits::MAX, most)?.write_tar(&tar)?;
        } else {
            Packed::of(package, &Limits::MAX, most)?.write(&tar, Shape::Tar)?;
        }
        let file = File::open(&tar).context("the packed package is gone")?;
        let length = file.metadata()?.len().to_string();
        let request = self.agent.post(self.url("/admin/v1/revisions"));
        let request = request
            .header("authorization", &self.token)
            .header("content-length", &length);
        let request = match settings.is_empty() {
            true => request,
            false => request.header("trommel-settings", head(settings)?),
        };
        json(self.sent(request.send(file))?)
    }

    fn get(&self, path: &str) -> anyhow::Result<Response<Body>> {
        let request = self.agent.get(self.url(path));
        self.sent(request.header("authorization", &self.token).call())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.admin)
    }

    fn sent(&self, answer: Result<Response<Body>, ureq::Error>) -> anyhow::Result<Response<Body>> {
        let answer = answer.with_context(|| {
            format!(
                "the admin API at {} does not answer; is the host running with --admin?",
                self.admin
            )
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let said = text(answer)?;
        let error = serde_json::from_str::<serde_json::Value>(&said).ok();
        let error = error.as_ref().and_then(|said| said["error"].as_str());
        bail!("{} ({status})", shown(error.unwrap_or(&said)))
    }
}

/// Settings as a header holds them.
fn head(settings: &Settings) -> anyhow::Result<HeaderValue> {
    // JSON escapes all control characters but one; other letters may be there as they are.
    HeaderValue::from_bytes(&serde_json::to_vec(&spelled(settings))?)
        .context("a setting holds the character U+007F, which a header cannot; leave it out")
}

fn text(answer: Response<Body>) -> anyhow::Result<String> {
    let mut body = answer.into_body();
    let text = body.with_config().limit(MAX_ANSWER_BYTES).read_to_string();
    text.context("the host's answer cannot be read")
}

fn json<T: DeserializeOwned>(answer: Response<Body>) -> anyhow::Result<T> {
    let text = text(answer)?;
    serde_json::from_str(&text).context("the host is of another version: its answer does not read")
}
