//! The spans along the street, for whoever traces how an item went through the host.
//!
//! They are made with `tracing` and go to whatever subscriber the embedder installed; while
//! nobody listens, each costs one atomic load. A span holds names, digests, counts and
//! outcomes, and never anything of an item's content. Attributes are called as in
//! OpenTelemetry's conventions where those have a name, and `trommel.…` where not.

use tracing::field::Empty;
use tracing::{Level, Span};

use crate::revision::RevisionId;
use crate::signal::DetectorId;

/// The target of every span, by which a subscriber tells them from what is logged.
pub const TARGET: &str = "trommel::span";

/// One request of a client; `name` is method and route.
pub(crate) fn request(name: &'static str) -> Span {
    let (method, route) = name.split_once(' ').unwrap_or((name, ""));
    tracing::info_span!(
        target: TARGET,
        "request",
        "otel.name" = name,
        "otel.kind" = "server",
        "http.request.method" = method,
        "http.route" = route,
        "http.request.body.size" = Empty,
        "http.response.status_code" = Empty,
        "otel.status_code" = Empty,
        "error.type" = Empty,
    )
}

/// Tells the size of a request's body.
pub(crate) fn sized(span: &Span, n_bytes: usize) {
    span.record("http.request.body.size", n_bytes as u64);
}

/// Tells how a request was answered: what is the client's mistake is no error of the server.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status);
    }
}

/// Waiting for a place to be judged in.
pub(crate) fn admission() -> Span {
    tracing::info_span!(target: TARGET, "admission")
}

/// Judging one item of `n_parts` parts.
pub(crate) fn check(n_parts: usize) -> Span {
    tracing::info_span!(
        target: TARGET,
        "check",
        "trommel.parts" = n_parts as u64,
        "trommel.generation" = Empty,
        "trommel.verdict" = Empty,
        "trommel.degraded" = Empty,
        "otel.status_code" = Empty,
    )
}

/// Tells what was decided, by which generation of the lineup, and how many detectors gave no
/// answer.
pub(crate) fn decided(span: &Span, verdict: &'static str, generation: u64, n_degraded: usize) {
    span.record("trommel.verdict", verdict);
    span.record("trommel.generation", generation);
    span.record("trommel.degraded", n_degraded as u64);
}

/// Holding an item to its bounds, and opening its images.
pub(crate) fn intake() -> Span {
    tracing::info_span!(target: TARGET, "intake")
}

/// Looking into `n_lists` hot lists.
pub(crate) fn lists(n_lists: usize) -> Span {
    tracing::info_span!(target: TARGET, "lists", "trommel.lists" = n_lists as u64)
}

/// Deciding.
pub(crate) fn policy() -> Span {
    tracing::info_span!(target: TARGET, "policy")
}

/// One call of a revision, which `arm` says why it is asked.
pub(crate) fn detect(
    detector: &DetectorId,
    revision: RevisionId,
    arm: &'static str,
    stepped_in: bool,
) -> Span {
    tracing::info_span!(
        target: TARGET,
        "detect",
        "trommel.detector" = detector.as_str(),
        "trommel.revision" = %revision,
        "trommel.arm" = arm,
        "trommel.stepped_in" = stepped_in,
        "trommel.outcome" = Empty,
        "otel.status_code" = Empty,
        "error.type" = Empty,
    )
}

/// Tells how a call ended: `answered`, or who or what is to blame that it did not.
pub(crate) fn detected(span: &Span, outcome: &'static str) {
    span.record("trommel.outcome", outcome);
    if outcome != "answered" {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", outcome);
    }
}

/// One run of a model on `n_rows` rows, waiting for the device included. None where no
/// item's span stands around it, as for shadows and golden cases: each of their runs would
/// begin a trace of its own.
pub(crate) fn model_run(device: &str, n_rows: Option<usize>) -> Span {
    if !tracing::span_enabled!(target: TARGET, Level::INFO) || Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET,
        "model run",
        "trommel.device" = device,
        "trommel.rows" = n_rows.map(|n_rows| n_rows as u64),
        "otel.status_code" = Empty,
    )
}

/// Tells that a run or a step failed.
pub(crate) fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
