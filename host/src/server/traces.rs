//! The trace that a request belongs to: its caller's, by the W3C's header `traceparent`, or
//! one of its own. What is traced, and where it goes, is the embedder's matter.

use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use opentelemetry::Context;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::spans;

/// Names the caller's trace and span, and in an answer ours.
const TRACEPARENT: &str = "traceparent";

/// What the caller's systems say beside it, which is handed on with the spans.
const TRACESTATE: &str = "tracestate";

/// The version of `traceparent` that is written.
const VERSION: &str = "00";

/// Characters of a `traceparent` of that version.
const LENGTH: usize = 55;

/// What became of the spans of whoever sends them to a collector, for the metrics.
#[derive(Debug, Default)]
pub struct SpanCounts {
    exported: AtomicU64,
    untaken: AtomicU64,
    unqueued: AtomicU64,
}

impl SpanCounts {
    /// A collector took so many.
    pub fn add_exported(&self, n_spans: u64) {
        self.exported.fetch_add(n_spans, Ordering::Relaxed);
    }

    /// So many were sent or to be sent, and no collector took them.
    pub fn add_untaken(&self, n_spans: u64) {
        self.untaken.fetch_add(n_spans, Ordering::Relaxed);
    }

    /// So many found no room to wait in.
    pub fn add_unqueued(&self, n_spans: u64) {
        self.unqueued.fetch_add(n_spans, Ordering::Relaxed);
    }

    /// Spans that a collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that were dropped since no collector took them.
    pub fn untaken(&self) -> u64 {
        self.untaken.load(Ordering::Relaxed)
    }

    /// Spans that were dropped since too many waited.
    pub fn unqueued(&self) -> u64 {
        self.unqueued.load(Ordering::Relaxed)
    }
}

/// The span of a request, below its caller's where the head names that; `name` is method
/// and route.
pub(super) fn begin(name: &'static str, head: &HeaderMap) -> Span {
    let span = spans::request(name);
    if !span.is_disabled()
        && let Some(parent) = parent(head)
    {
        // A subscriber that knows nothing of OpenTelemetry's traces cannot keep it.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// Tells how the request was answered, and the client where its trace is found.
pub(super) fn end(span: &Span, response: &mut Response) {
    if span.is_disabled() {
        return;
    }
    spans::answered(span, response.status().as_u16());
    let context = span.context();
    let ours = context.span().span_context().clone();
    if !ours.is_valid() {
        return;
    }
    let flags = ours.trace_flags() & TraceFlags::SAMPLED;
    let (trace, span) = (ours.trace_id(), ours.span_id());
    let header = format!("{VERSION}-{trace}-{span}-{:02x}", flags.to_u8());
    if let Ok(header) = HeaderValue::from_str(&header) {
        response.headers_mut().insert(TRACEPARENT, header);
    }
}

/// The caller's span. One that is not as the W3C has it counts as none, and `tracestate`
/// never without it (Trace Context, 3.2 and 3.3).
fn parent(head: &HeaderMap) -> Option<SpanContext> {
    let mut given = head.get_all(TRACEPARENT).iter();
    let (Some(given), None) = (given.next(), given.next()) else {
        return None;
    };
    let (trace, span, flags) = read(given.to_str().ok()?)?;
    let states = head.get_all(TRACESTATE).iter();
    let states: Result<Vec<&str>, _> = states.map(HeaderValue::to_str).collect();
    let state = states
        .ok()
        .and_then(|states| TraceState::from_str(&states.join(",")).ok());
    let state = state.unwrap_or_default();
    Some(SpanContext::new(trace, span, flags, true, state))
}

/// `VERSION-TRACE-SPAN-FLAGS` in lower-case hex; a later version may go on behind a hyphen.
fn read(given: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let given = given.trim_matches([' ', '\t']);
    let (known, rest) = given.split_at_checked(LENGTH)?;
    let mut fields = known.split('-');
    let version = hex(fields.next()?, 2)?;
    let is_whole = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let trace = TraceId::from(hex(fields.next()?, 32)?);
    let span = SpanId::from(u64::try_from(hex(fields.next()?, 16)?).ok()?);
    let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
    let is_named = trace != TraceId::INVALID && span != SpanId::INVALID;
    let is_known = is_whole && is_named && fields.next().is_none();
    is_known.then_some((trace, span, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

fn hex(field: &str, n_digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_hex = field.len() == n_digits && field.bytes().all(is_digit);
    is_hex.then(|| u128::from_str_radix(field, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn head(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines.iter();
        let lines = lines.map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (axum::http::HeaderName::from_static(name), value)
        });
        // Appends what comes twice.
        lines.fold(HeaderMap::new(), |mut head, (name, value)| {
            head.append(name, value);
            head
        })
    }

    #[test]
    fn a_callers_trace_is_read_as_the_w3c_has_it() {
        for (given, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-03"), true),
            (format!(" 00-{TRACE}-{SPAN}-01\t"), true),
            (format!("cc-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-will-be"), true),
        ] {
            let parent = parent(&head(&[(TRACEPARENT, &given)])).expect(&given);
            assert_eq!(parent.trace_id().to_string(), TRACE);
            assert_eq!(parent.span_id().to_string(), SPAN);
            assert_eq!(parent.is_sampled(), sampled, "{given}");
            assert!(parent.is_remote());
        }
    }

    #[test]
    fn what_is_malformed_is_none_and_never_an_error() {
        let zeros = |n: usize| "0".repeat(n);
        for given in [
            String::new(),
            "00".to_owned(),
            "é".repeat(40),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", zeros(32)),
            format!("00-{TRACE}-{}-01", zeros(16)),
            format!("00-{TRACE}x-{SPAN}-01"),
            format!("+0-{TRACE}-{SPAN}-01"),
            format!("00_{TRACE}_{SPAN}_01"),
        ] {
            assert_eq!(parent(&head(&[(TRACEPARENT, &given)])), None, "{given}");
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        let twice = head(&[(TRACEPARENT, &good), (TRACEPARENT, &good)]);
        assert_eq!(parent(&twice), None);
        assert_eq!(parent(&head(&[(TRACESTATE, "a=1")])), None);
    }

    #[test]
    fn what_systems_say_beside_it_is_kept_unless_it_is_malformed() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let state = |states: &[&str]| {
            let states = states.iter().map(|state| (TRACESTATE, *state));
            let lines: Vec<_> = states.chain([(TRACEPARENT, good.as_str())]).collect();
            parent(&head(&lines)).unwrap().trace_state().header()
        };
        assert_eq!(state(&["a=1", "b=2"]), "a=1,b=2");
        assert_eq!(state(&["no state"]), "");
    }
}
