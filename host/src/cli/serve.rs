//! `trommel serve`: the host behind HTTP, until a signal ends it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{Write as _, stderr};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use tokio::net::TcpListener;
use trommel::Host;
use trommel::lists::Kind;
use trommel::record::{Origin, Recorder};
use trommel::server::{AdminToken, Beside, LineupFile, Server, ServerOptions, SpanCounts};
use trommel::signal::Label;

use super::Exit;
use super::host::{DeviceArguments, HostArguments};
use super::lists::ListFile;
use super::log::LogFormat;
use super::recording::RecordConfiguration;
use super::traces::{TraceArguments, Traces};

/// The admin token, when the configuration names no file of it.
pub(super) const TOKEN_VARIABLE: &str = "TROMMEL_ADMIN_TOKEN";

const EXAMPLES: &str = "\
Examples:
  trommel serve                                  the bundled detectors on 127.0.0.1:8080
  trommel serve --listen 0.0.0.0:80 --config trommel.toml
  curl --data '{\"id\":\"1\",\"text\":\"You have won! Call now\"}' \\
       --header 'content-type: application/json' http://127.0.0.1:8080/v1/check

TERM and INT drain: /v2/health/ready turns 503, what is in flight is answered, then it ends.";

/// Arguments of `trommel serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeArguments {
    /// Where items are judged.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where operators speak to it, with the token of the configuration or of
    /// TROMMEL_ADMIN_TOKEN; without this, nowhere.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Detectors, policy and bounds; without it, the bundled detectors.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A public key; where there are any, here or in the configuration, each package must be
    /// signed by one of them.
    #[arg(long, value_name = "FILE")]
    trusted_key: Vec<PathBuf>,
    /// Keep lineup, journal, packages and the policy in this folder; without it they are
    /// forgotten when the server ends.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Take the lineup from this file, whenever it says a newer one; operators steer by it
    /// alone then.
    #[arg(long, value_name = "FILE")]
    lineup: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
    /// How to write the log on standard error, of which TROMMEL_LOG says how much.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    #[command(flatten)]
    pub(super) traces: TraceArguments,
}

/// The configuration file. Paths in it are relative to its folder.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Configuration {
    /// Packages; none means the bundled detectors.
    #[serde(default)]
    detectors: Vec<PathBuf>,
    /// Public keys, one of which must have signed every package; none takes any package.
    #[serde(default)]
    trusted_keys: Vec<PathBuf>,
    policy: Option<PathBuf>,
    /// Hot lists, by name.
    #[serde(default)]
    lists: BTreeMap<String, ConfiguredList>,
    /// Labels that are switched off: no rule sees their signals.
    #[serde(default)]
    killed_labels: Vec<String>,
    admin_token_file: Option<PathBuf>,
    /// Milliseconds that an item has at most.
    deadline_ms: Option<u64>,
    max_connections: Option<usize>,
    max_waiting: Option<usize>,
    max_body_mib: Option<usize>,
    max_all_body_mib: Option<usize>,
    drain_ms: Option<u64>,
    /// Milliseconds that a connection may be silent between requests.
    idle_ms: Option<u64>,
    /// Where verdicts are recorded, and how; without it they are not.
    record: Option<RecordConfiguration>,
}

/// A hot list that the server begins with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ConfiguredList {
    file: PathBuf,
    kind: Kind,
}

/// What the journal is given to be written to its end.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// The longest deadline that a configuration may give.
const MAX_DEADLINE_MS: u64 = 60_000;

pub(super) fn run(arguments: &ServeArguments, traces: Option<Traces>) -> anyhow::Result<Exit> {
    let mut configuration = match &arguments.config {
        Some(file) => Configuration::read(file)?,
        None => Configuration::default(),
    };
    let keys = arguments.trusted_key.iter().cloned();
    configuration.trusted_keys.extend(keys);
    let token = match arguments.admin {
        Some(_) => Some(configuration.token()?),
        None => None,
    };
    let mut builder = configuration.host(&arguments.device)?;
    if let Some(state) = &arguments.state {
        builder = builder.state(state);
    }
    let host = Arc::new(builder.build()?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // As for `check`: a model's answer is not kept waiting behind guests that compute.
        .global_queue_interval(8)
        .event_interval(8)
        .build()
        .context("cannot start the worker threads")?;
    let serving = runtime.block_on(async {
        if let Err(failed) = host.verify().await {
            bail!(
                "a detector does not answer as its manifest says:\n  {}",
                failed.join("\n  ")
            );
        }
        let spans = traces.as_ref().map(Traces::counts);
        let lineup = arguments.lineup.as_ref().map(LineupFile::new);
        let server = configuration.server(host, spans, lineup)?;
        let listener = bind(arguments.listen, "--listen").await?;
        let admin = match (arguments.admin, token) {
            (Some(address), Some(token)) => Some((bind(address, "--admin").await?, token)),
            _ => None,
        };
        let (ended, drained) = (stopped()?, server.clone());
        tokio::spawn(async move {
            let signal = ended.await;
            tracing::info!(signal, "draining");
            drained.drain();
        });
        let follows = server.clone();
        tokio::spawn(async move { follows.follow_lineup().await });
        let administering = async {
            match admin {
                Some((listener, token)) => server.serve_admin(listener, token).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(server.serve(listener), administering)?;
        Ok(Exit::Done)
    });
    // Not before what was in flight has ended its spans; a file system that hangs must not
    // hold up the end.
    runtime.shutdown_timeout(LAST_WRITES);
    if let Some(traces) = traces {
        traces.end();
    }
    serving
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {flag} {address}"))?;
    // Port 0 asks for a free one, and whoever did must learn which.
    let address = listener.local_addr()?;
    writeln!(stderr(), "listening on http://{address} ({})", &flag[2..])?;
    Ok(listener)
}

/// Waits for the signal that ends the server, and names it.
#[cfg(unix)]
fn stopped() -> anyhow::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot await TERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot await INT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "TERM",
            _ = interrupt.recv() => "INT",
        }
    })
}

#[cfg(not(unix))]
fn stopped() -> anyhow::Result<impl Future<Output = &'static str>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "INT"
    })
}

impl Configuration {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("configuration {shown} cannot be read"))?;
        let mut configuration: Self = toml::from_str(&text)
            .with_context(|| format!("configuration {shown} cannot be used"))?;
        if let Some(ms) = configuration.deadline_ms
            && !(1..=MAX_DEADLINE_MS).contains(&ms)
        {
            bail!("configuration {shown}: `deadline-ms` is from 1 to {MAX_DEADLINE_MS}, not {ms}");
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        if let Some(record) = &mut configuration.record {
            record
                .check()
                .with_context(|| format!("configuration {shown}"))?;
            record.folder = folder.join(&record.folder);
        }
        let packages = configuration.detectors.iter_mut();
        let paths = packages.chain(&mut configuration.trusted_keys);
        let lists = configuration.lists.values_mut();
        let paths = paths.chain(lists.map(|list| &mut list.file));
        let files = [
            &mut configuration.policy,
            &mut configuration.admin_token_file,
        ];
        for path in paths.chain(files.into_iter().flatten()) {
            *path = folder.join(&*path);
        }
        Ok(configuration)
    }

    fn host(&self, device: &DeviceArguments) -> anyhow::Result<trommel::HostBuilder> {
        let lists = self.lists.iter().map(|(name, list)| ListFile {
            name: name.clone(),
            kind: list.kind,
            file: list.file.clone(),
        });
        let lists: Vec<ListFile> = lists.collect();
        let arguments = HostArguments {
            detectors: &self.detectors,
            trusted_keys: &self.trusted_keys,
            policy: self.policy.as_deref(),
            lists: &lists,
            device,
            deadline: self.deadline_ms.map(Duration::from_millis),
        };
        let killed = self.killed_labels.iter();
        let killed = killed.map(|label| Label::from(label.as_str()));
        Ok(arguments.builder()?.killed(killed))
    }

    fn options(&self) -> ServerOptions {
        let default = ServerOptions::default();
        let mib = |mib: Option<usize>, or| mib.map_or(or, |mib| mib.saturating_mul(1 << 20));
        ServerOptions {
            max_connections: self
                .max_connections
                .unwrap_or(default.max_connections)
                .max(1),
            max_waiting: self.max_waiting.unwrap_or(default.max_waiting),
            max_body_bytes: mib(self.max_body_mib, default.max_body_bytes),
            max_all_body_bytes: mib(self.max_all_body_mib, default.max_all_body_bytes),
            drain_time: self
                .drain_ms
                .map_or(default.drain_time, Duration::from_millis),
            idle_time: self
                .idle_ms
                .map_or(default.idle_time, Duration::from_millis),
            ..default
        }
    }

    fn server(
        &self,
        host: Arc<Host>,
        spans: Option<Arc<SpanCounts>>,
        lineup: Option<LineupFile>,
    ) -> anyhow::Result<Server> {
        let recorder = self.record.as_ref().map(|record| {
            let origin = Origin::of(&host);
            Recorder::start(&record.folder, origin, record.settings())
        });
        let beside = Beside {
            recorder: recorder.transpose()?,
            spans,
            lineup,
        };
        Ok(Server::with(host, self.options(), beside))
    }

    fn token(&self) -> anyhow::Result<AdminToken> {
        let token = match &self.admin_token_file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("admin token {} cannot be read", file.display()))?,
            None => std::env::var(TOKEN_VARIABLE).with_context(|| {
                format!("--admin wants a token: set {TOKEN_VARIABLE}, or `admin-token-file` in the configuration")
            })?,
        };
        Ok(AdminToken::new(&token)?)
    }
}
