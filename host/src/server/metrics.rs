//! What the server counts, as Prometheus reads it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::lineup_file::Followed;
use super::{Server, SpanCounts};
use crate::Judgement;
use crate::pipeline::{LineupFileStatus, ModelRuns, RolloutStatus, TransitionCount};
use crate::record::Recorder;

/// Type that OpenMetrics text is sent as.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// Held by whoever reads: what is read when somebody asks is cleared and filled.
    scraping: Mutex<()>,
    check_seconds: Histogram,
    verdicts: Family<VerdictLabels, Counter>,
    refused: Family<StatusLabels, Counter>,
    detector_seconds: Family<DetectorLabels, Histogram>,
    detector_outcomes: Family<OutcomeLabels, Counter>,
    waiting: Gauge,
    judging: Gauge,
    generation: Gauge,
    /// Shown only where a file is watched.
    lineup_file_followed: Gauge,
    transitions: Arc<Mutex<Vec<TransitionCount>>>,
    taken_out: Family<RevisionLabels, Gauge>,
    shadow_judged: Gauge,
    shadow_shed: Gauge,
    // Counters by nature; as counters, their names would end in `_total`, and dashboards
    // that were made for Triton would not find them.
    requests_success: Family<ModelLabels, Gauge>,
    requests_failure: Family<ModelLabels, Gauge>,
    request_micros: Family<ModelLabels, Gauge>,
    executions: Family<ModelLabels, Gauge>,
    inferences: Family<ModelLabels, Gauge>,
    queue_micros: Family<ModelLabels, Gauge>,
    model_batches: Family<BatchLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DetectorLabels {
    detector: String,
    revision: String,
    /// `live`, `canary` or `pinned`.
    arm: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    detector: String,
    revision: String,
    arm: &'static str,
    /// `answered`, or who is to blame that it did not.
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevisionLabels {
    detector: String,
    revision: String,
}

/// As Triton calls what we call detector and revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BatchLabels {
    detector: String,
    revision: String,
    /// As the manifest calls it.
    model: String,
    /// Rows that such a batch has at most; `more` where no size of ours does.
    rows: &'static str,
}

/// As [`BatchLabels::rows`] spells the sizes of [`trommel_tensor::BatchCounts::by_size`].
const ROWS: [&str; 8] = ["1", "2", "4", "8", "16", "32", "64", "more"];

/// From 50 µs, which a small detector takes, to 26 s, by doubling.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(5e-5, 2.0, 20))
}

impl Metrics {
    /// What a server counts that has these beside it, and perhaps a lineup file.
    pub(super) fn new(
        recorder: Option<Arc<Recorder>>,
        spans: Option<Arc<SpanCounts>>,
        has_lineup_file: bool,
    ) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            scraping: Mutex::default(),
            check_seconds: seconds(),
            verdicts: Family::default(),
            refused: Family::default(),
            detector_seconds: Family::new_with_constructor(seconds),
            detector_outcomes: Family::default(),
            waiting: Gauge::default(),
            judging: Gauge::default(),
            generation: Gauge::default(),
            lineup_file_followed: Gauge::default(),
            transitions: Arc::default(),
            taken_out: Family::default(),
            shadow_judged: Gauge::default(),
            shadow_shed: Gauge::default(),
            requests_success: Family::default(),
            requests_failure: Family::default(),
            request_micros: Family::default(),
            executions: Family::default(),
            inferences: Family::default(),
            queue_micros: Family::default(),
            model_batches: Family::default(),
        };
        let mut metrics = metrics.registered();
        let transitions = Box::new(Transitions(metrics.transitions.clone()));
        metrics.registry.register_collector(transitions);
        if let Some(recorder) = recorder {
            let records = Box::new(Records(recorder));
            metrics.registry.register_collector(records);
        }
        if has_lineup_file {
            metrics.registry.register(
                "trommel_lineup_file_followed",
                "Whether what the watched lineup file says is in effect",
                metrics.lineup_file_followed.clone(),
            );
        }
        if let Some(spans) = spans {
            metrics.registry.register_collector(Box::new(Spans(spans)));
        }
        metrics
    }

    fn registered(mut self) -> Self {
        let all = &mut self.registry;
        let ours = all.sub_registry_with_prefix("trommel");
        ours.register_with_unit(
            "check",
            "From a request's head to its judgement",
            Unit::Seconds,
            self.check_seconds.clone(),
        );
        ours.register("verdicts", "Judgements by verdict", self.verdicts.clone());
        ours.register(
            "refused",
            "Requests without a judgement, by status",
            self.refused.clone(),
        );
        ours.register_with_unit(
            "detector",
            "Calls of a detector",
            Unit::Seconds,
            self.detector_seconds.clone(),
        );
        ours.register(
            "detector_outcomes",
            "Calls of a detector by outcome",
            self.detector_outcomes.clone(),
        );
        ours.register(
            "waiting",
            "Items that wait to be judged",
            self.waiting.clone(),
        );
        ours.register("judging", "Shares of judging in use", self.judging.clone());
        ours.register(
            "lineup_generation",
            "Generation of the lineup in effect",
            self.generation.clone(),
        );
        ours.register(
            "taken_out",
            "Revisions that this host took out by itself",
            self.taken_out.clone(),
        );
        ours.register(
            "shadow_judged",
            "Items that shadows judged since the start",
            self.shadow_judged.clone(),
        );
        ours.register(
            "shadow_shed",
            "Items that shadows did not get since the start",
            self.shadow_shed.clone(),
        );
        ours.register(
            "model_batches",
            "Batches that a model computed since the start, by rows",
            self.model_batches.clone(),
        );
        let theirs = all.sub_registry_with_prefix("nv_inference");
        theirs.register(
            "request_success",
            "Calls of a detector that answered",
            self.requests_success.clone(),
        );
        theirs.register(
            "request_failure",
            "Calls of a detector that did not answer",
            self.requests_failure.clone(),
        );
        theirs.register(
            "request_duration_us",
            "Time of a detector's calls, in microseconds",
            self.request_micros.clone(),
        );
        theirs.register(
            "exec_count",
            "Batches that a detector's models computed",
            self.executions.clone(),
        );
        theirs.register(
            "count",
            "Rows that a detector's models computed",
            self.inferences.clone(),
        );
        theirs.register(
            "queue_duration_us",
            "Time that runs of a detector's models waited for a device, in microseconds",
            self.queue_micros.clone(),
        );
        self
    }

    pub(super) fn refused(&self, status: StatusCode) {
        let status = status.as_u16();
        self.refused.get_or_create(&StatusLabels { status }).inc();
    }

    pub(super) fn judged(&self, judgement: &Judgement, took: Duration) {
        self.check_seconds.observe(took.as_secs_f64());
        let verdict = judgement.verdict.action.as_str();
        self.verdicts
            .get_or_create(&VerdictLabels { verdict })
            .inc();
        for called in &judgement.calls {
            let labels = DetectorLabels {
                detector: called.detector.to_string(),
                revision: called.revision.short(),
                arm: called.arm.as_str(),
            };
            let failed = called.failed.as_ref();
            let outcome = failed.map_or("answered", |(blame, _)| blame.as_str());
            self.called(labels, outcome, called.took);
        }
    }

    /// What is told of the rollout is read when somebody asks.
    fn rolled_out(&self, status: &RolloutStatus, file: Option<&LineupFileStatus>) {
        if let Some(file) = file {
            let is_followed = file.generation.is_some();
            self.lineup_file_followed.set(i64::from(is_followed));
        }
        let transitions = self.transitions.lock();
        *transitions.unwrap_or_else(PoisonError::into_inner) = status.transitions.clone();
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.generation.set(gauge(status.generation));
        self.shadow_judged.set(gauge(status.n_shadowed));
        self.shadow_shed.set(gauge(status.n_shed));
        self.taken_out.clear();
        for detector in &status.detectors {
            for revision in detector.revisions.iter().filter(|status| status.taken_out) {
                let labels = RevisionLabels {
                    detector: detector.detector.to_string(),
                    revision: revision.revision.short(),
                };
                self.taken_out.get_or_create(&labels).set(1);
            }
        }
    }

    /// What models have run is counted where they run.
    fn modelled(&self, runs: &[ModelRuns]) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        for family in [&self.executions, &self.inferences, &self.queue_micros] {
            family.clear();
        }
        self.model_batches.clear();
        for ModelRuns {
            detector,
            revision,
            model,
            counts,
        } in runs
        {
            let labels = ModelLabels {
                model: detector.to_string(),
                version: revision.short(),
            };
            let waited = u64::try_from(counts.waited.as_micros()).unwrap_or(u64::MAX);
            for (family, n) in [
                (&self.executions, counts.n_batches),
                (&self.inferences, counts.n_rows),
                (&self.queue_micros, waited),
            ] {
                family.get_or_create(&labels).inc_by(gauge(n));
            }
            for (rows, n_batches) in ROWS.into_iter().zip(counts.by_size) {
                let labels = BatchLabels {
                    detector: detector.to_string(),
                    revision: revision.short(),
                    model: model.clone(),
                    rows,
                };
                self.model_batches
                    .get_or_create(&labels)
                    .set(gauge(n_batches));
            }
        }
    }

    fn called(&self, labels: DetectorLabels, outcome: &'static str, took: Duration) {
        let seconds = self.detector_seconds.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
        drop(seconds);
        let model = ModelLabels {
            model: labels.detector.clone(),
            version: labels.revision.clone(),
        };
        let requests = match outcome {
            "answered" => &self.requests_success,
            _ => &self.requests_failure,
        };
        requests.get_or_create(&model).inc();
        let micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        self.request_micros.get_or_create(&model).inc_by(micros);
        let outcomes = OutcomeLabels {
            detector: labels.detector,
            revision: labels.revision,
            arm: labels.arm,
            outcome,
        };
        self.detector_outcomes.get_or_create(&outcomes).inc();
    }
}

/// What changed the rollout, as the host counts it.
#[derive(Debug)]
struct Transitions(Arc<Mutex<Vec<TransitionCount>>>);

impl Collector for Transitions {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.is_empty() {
            return Ok(());
        }
        let name = "trommel_transitions";
        let help = "Changes of who answers or decides, by what was done and by whom";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for count in &*counts {
            let labels = [("verb", count.verb.as_str()), ("by", count.by.as_str())];
            let counter = ConstCounter::new(count.n);
            counter.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// What became of the records, as the recorder counts it.
#[derive(Debug)]
struct Records(Arc<Recorder>);

impl Collector for Records {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts = self.0.counts();
        for (name, help, count) in [
            ("written", "Records that were written", counts.written),
            (
                "dropped",
                "Judgements that came while too many waited to be recorded",
                counts.dropped,
            ),
            ("failed", "Records that could not be written", counts.failed),
        ] {
            let name = format!("trommel_records_{name}");
            tell(&mut encoder, &name, help, count)?;
        }
        Ok(())
    }
}

/// What became of the spans, as whoever sends them away counts it.
#[derive(Debug)]
struct Spans(Arc<SpanCounts>);

impl Collector for Spans {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts = &self.0;
        for (name, help, count) in [
            (
                "trommel_spans_exported",
                "Spans that the collector took",
                counts.exported(),
            ),
            (
                "trommel_spans_untaken",
                "Spans that were dropped since the collector took none",
                counts.untaken(),
            ),
            (
                "trommel_spans_unqueued",
                "Spans that were dropped since too many waited for the collector",
                counts.unqueued(),
            ),
        ] {
            tell(&mut encoder, name, help, count)?;
        }
        Ok(())
    }
}

/// A counter that is read when somebody asks.
fn tell(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    count: u64,
) -> Result<(), fmt::Error> {
    let counter = ConstCounter::new(count);
    let kind = counter.metric_type();
    let metric = encoder.encode_descriptor(name, help, None, kind)?;
    counter.encode(metric)
}

pub(super) async fn metrics(State(server): State<Server>) -> Response {
    let (metrics, admission) = (&server.0.metrics, &server.0.admission);
    let scraping = metrics.scraping.lock();
    let _one = scraping.unwrap_or_else(PoisonError::into_inner);
    let gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    metrics.waiting.set(gauge(admission.n_waiting()));
    metrics.judging.set(gauge(admission.n_judging()));
    let file = server.0.lineup_file.as_ref().map(Followed::status);
    metrics.rolled_out(&server.0.host.status(), file.as_ref());
    metrics.modelled(&server.0.host.model_runs());
    let mut text = String::new();
    match encode(&mut text, &metrics.registry) {
        Ok(()) => {
            let kind = HeaderValue::from_static(OPEN_METRICS);
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
