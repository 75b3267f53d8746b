//! Traces: the spans along the street, sent to a collector by OTLP over HTTP.
//!
//! Nobody who is answered waits for it: a span that ends is put into a bounded queue, or
//! dropped and counted, and a thread of its own sends what is there.

mod client;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanExporter as _};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::{Layer, Registry};
use trommel::server::SpanCounts;
use trommel::spans::TARGET;

use self::client::Client;
use self::queue::Queue;
use super::output::shown;

/// Where every signal goes; traces go below it.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Where traces go, whole.
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// The share of traces without a caller's word on it.
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
/// How the collector is spoken to; here in one way.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
/// Milliseconds that a collector has to take what it is sent.
const TIMEOUTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
/// What this process is called.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// Its other attributes.
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Where below an endpoint traces go.
const TRACES_PATH: &str = "/v1/traces";

/// The time that a collector has, where nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the last spans are given to arrive when the server ends.
const FLUSH: Duration = Duration::from_secs(5);

/// Where traces go, and how many.
#[derive(Debug, Args)]
pub(super) struct TraceArguments {
    /// Send traces to this OpenTelemetry collector, such as http://localhost:4318; else to
    /// that of OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, or nowhere.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// The share of traces that are sent, from 0 to 1, where the caller's `traceparent` does
    /// not say; else that of OTEL_TRACES_SAMPLER_ARG, or all.
    #[arg(long, value_name = "SHARE")]
    otlp_sample: Option<String>,
}

/// What listens to spans.
pub(super) type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The way of spans to the collector. Spans end up in it only once its layer is installed.
pub(super) struct Traces {
    queue: Queue,
    counts: Arc<SpanCounts>,
    /// Ends with the process: it is shut down when it is dropped.
    _provider: SdkTracerProvider,
}

impl TraceArguments {
    /// Begins to listen, where a collector is named.
    pub(super) fn start(&self) -> anyhow::Result<Option<(Traces, SpanLayer)>> {
        let Some(endpoint) = self.endpoint()? else {
            return Ok(None);
        };
        let sample = self.sample()?;
        check_protocol()?;
        let timeout = timeout()?;
        let resource = resource();
        let client = Client::new(timeout);
        let failure = client.failure();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(&endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(timeout)
            // What waits behind a batch is worth as much as the batch.
            .with_retry_policy(RetryPolicy::default().with_max_retries(0));
        let mut exporter = exporter
            .build()
            .with_context(|| format!("cannot send traces to {}", shown(&endpoint)))?;
        exporter.set_resource(&resource);
        let counts = Arc::new(SpanCounts::default());
        let queue = Queue::start(exporter, endpoint, failure, counts.clone())?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample)));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_span_processor(queue.clone())
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("trommel"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_level(false)
            .with_target(false);
        // No event: what is logged may repeat what a plugin said of an item.
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET);
        let layer = layer.with_filter(ours.with_max_level_hint(LevelFilter::INFO));
        let traces = Traces {
            queue,
            counts,
            _provider: provider,
        };
        Ok(Some((traces, layer.boxed())))
    }

    /// The whole URL; none where nobody names a collector.
    fn endpoint(&self) -> anyhow::Result<Option<String>> {
        let below = |base: String| format!("{}{TRACES_PATH}", base.trim_end_matches('/'));
        let (from, url) = if let Some(base) = &self.otlp_endpoint {
            ("--otlp-endpoint", below(base.clone()))
        } else if let Some(url) = variable(TRACES_ENDPOINT)? {
            (TRACES_ENDPOINT, url)
        } else if let Some(base) = variable(ENDPOINT)? {
            (ENDPOINT, below(base))
        } else {
            return Ok(None);
        };
        let place = shown(&url);
        let lower = url.to_ascii_lowercase();
        if lower.starts_with("https://") {
            bail!(
                "{from}: {place} wants TLS, which is not spoken here; run a collector beside the host, give its address such as http://localhost:4318, and let it send on by TLS"
            );
        }
        let host = lower.strip_prefix("http://").unwrap_or_default();
        if host.is_empty() || host.starts_with('/') {
            bail!(
                "{from}: {place} is no URL of a collector; write one such as http://localhost:4318"
            );
        }
        Ok(Some(url))
    }

    fn sample(&self) -> anyhow::Result<f64> {
        let (from, share) = match &self.otlp_sample {
            Some(share) => ("--otlp-sample", share.clone()),
            None => match variable(SAMPLER_ARGUMENT)? {
                Some(share) => (SAMPLER_ARGUMENT, share),
                None => return Ok(1.0),
            },
        };
        let read = share.trim().parse().ok();
        let read = read.filter(|share| (0.0..=1.0).contains(share));
        read.with_context(|| {
            let share = shown(&share);
            format!("{from}: `{share}` is no share of traces; write a number from 0 to 1")
        })
    }
}

impl Traces {
    /// What became of the spans.
    pub(super) fn counts(&self) -> Arc<SpanCounts> {
        self.counts.clone()
    }

    /// Sends what is left, in a bounded time. Blocking.
    pub(super) fn end(self) {
        if !self.queue.end(FLUSH) {
            tracing::warn!(time = ?FLUSH, "the collector did not take the last spans in time; they are dropped");
        }
    }
}

/// A variable that says something: the standard has an empty one mean nothing.
fn variable(name: &str) -> anyhow::Result<Option<String>> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => bail!("{name} is no UTF-8; write it anew"),
    }
}

fn check_protocol() -> anyhow::Result<()> {
    for name in PROTOCOLS {
        let Some(protocol) = variable(name)? else {
            continue;
        };
        if protocol != "http/protobuf" {
            let protocol = shown(&protocol);
            bail!(
                "{name}: `{protocol}` is not spoken here; write http/protobuf, and the collector's HTTP port, which is 4318 unless it was changed"
            );
        }
        // The one for traces goes before the one for all.
        break;
    }
    Ok(())
}

fn timeout() -> anyhow::Result<Duration> {
    for name in TIMEOUTS {
        let Some(given) = variable(name)? else {
            continue;
        };
        let millis = given.trim().parse().ok().filter(|millis| *millis > 0);
        let millis = millis.with_context(|| {
            format!(
                "{name}: `{}` is no number of milliseconds from 1",
                shown(&given)
            )
        })?;
        return Ok(Duration::from_millis(millis));
    }
    Ok(TIMEOUT)
}

/// Who sends the spans. The SDK reads the variables; only the name is ours where none is
/// given.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    let is_given = |name| std::env::var(name).is_ok_and(|value: String| !value.is_empty());
    let names_itself = std::env::var(RESOURCE).is_ok_and(|text| text.contains("service.name="));
    match is_given(SERVICE_NAME) || names_itself {
        true => resource.build(),
        false => resource.with_service_name("trommel").build(),
    }
}
