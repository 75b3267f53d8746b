//! Traces as a collector gets them.

use super::Served;
use super::collector::{Collector, Manner, Span, wait_until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// An item whose words no span may hold.
const ITEM: &str = r#"{"id":"secret-id","text":"You have won! Call 09061701461 now"}"#;

/// Of one item: request, admission, check, intake, policy, and of each of two detectors that
/// read text detect and model run.
const N_SPANS: usize = 9;

fn caller(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n")
}

/// The trace and the flags that an answer names.
fn told(answer: &str) -> (String, String) {
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("traceparent: "));
    let line = line.unwrap_or_else(|| panic!("{answer}"));
    let fields: Vec<&str> = line.trim().split('-').collect();
    assert_eq!((fields.len(), fields[0]), (4, "00"), "{line}");
    (fields[1].to_owned(), fields[3].to_owned())
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    match (named.next(), named.next()) {
        (Some(span), None) => span,
        _ => panic!("not one `{name}` in {spans:#?}"),
    }
}

#[cfg(unix)]
#[test]
fn a_trace_goes_on_from_its_caller_and_the_last_one_is_sent_at_the_end() {
    let collector = Collector::start(Manner::Takes);
    let served = Served::start(&["--otlp-endpoint", &collector.url]);
    let answer = served.check_with(&caller("01"), ITEM);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(told(&answer), (TRACE.to_owned(), "01".to_owned()));
    assert!(served.end());
    // All of it was sent before the process ended.
    let spans = collector.spans(|_| true);
    let request = named(&spans, "POST /v1/check");
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert!(spans.iter().all(|span| span.n_events == 0), "{spans:#?}");
    assert!(spans.iter().all(|span| !span.is_error), "{spans:#?}");
    assert_eq!((request.parent.as_str(), request.kind), (CALLER, 2));
    let size = ITEM.len().to_string();
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/check"),
        ("http.response.status_code", "200"),
        ("http.request.body.size", size.as_str()),
    ] {
        assert_eq!(request.attributes[key], value, "{key}");
    }
    assert_eq!(request.resource["service.name"], "trommel");
    let check = named(&spans, "check");
    assert_eq!(check.attributes["trommel.verdict"], "block");
    assert_eq!(check.attributes["trommel.generation"], "1");
    assert_eq!(check.attributes["trommel.parts"], "1");
    for (below, above) in [
        ("admission", request),
        ("check", request),
        ("intake", check),
        ("policy", check),
    ] {
        assert_eq!(named(&spans, below).parent, above.id, "{below}");
    }
    let all = |name: &str| -> Vec<Span> {
        let named = spans.iter().filter(|span| span.name == name);
        named.cloned().collect()
    };
    let (detects, runs) = (all("detect"), all("model run"));
    assert_eq!((detects.len(), runs.len()), (2, 2), "{spans:#?}");
    for detector in ["spam-text", "toxicity-text"] {
        let mut of_detector = detects.iter();
        let detect = of_detector.find(|span| span.attributes["trommel.detector"] == detector);
        let detect = detect.expect(detector);
        assert_eq!(detect.parent, check.id);
        assert_eq!(detect.attributes["trommel.arm"], "live");
        assert_eq!(detect.attributes["trommel.outcome"], "answered");
        let revision = &detect.attributes["trommel.revision"];
        assert!(answer.contains(revision.as_str()), "{revision}");
        let run = runs.iter().find(|span| span.parent == detect.id);
        let run = run.expect("its model ran below it");
        assert_eq!(run.attributes["trommel.device"], "cpu");
        assert_eq!(run.attributes["trommel.rows"], "1");
    }
    let sent = collector.bytes();
    for word in ["won", "09061701461", "secret-id"] {
        let holds = sent
            .windows(word.len())
            .any(|bytes| bytes == word.as_bytes());
        assert!(!holds, "a span holds `{word}`");
    }
}

#[test]
fn a_caller_that_does_not_sample_is_not_sampled_and_a_malformed_one_is_none() {
    let collector = Collector::start(Manner::Takes);
    // Nobody is sampled who does not say so.
    let served = Served::start_with(
        &["--otlp-sample", "0"],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
            ("OTEL_SERVICE_NAME", "gate"),
        ],
    );
    let unsampled = served.check_with(&caller("00"), ITEM);
    assert_eq!(told(&unsampled), (TRACE.to_owned(), "00".to_owned()));
    let malformed = served.check_with(&format!("traceparent: 00-{TRACE}-{CALLER}\r\n"), ITEM);
    assert!(malformed.starts_with("HTTP/1.1 200"), "{malformed}");
    let (trace, flags) = told(&malformed);
    assert!(trace != TRACE && flags == "00", "{malformed}");
    let refused = served.check_with(&caller("01"), "no item");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert_eq!(told(&refused).0, TRACE);
    let spans = collector.spans(|spans| !spans.is_empty());
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let request = named(&spans, "POST /v1/check");
    assert_eq!(request.attributes["http.response.status_code"], "400");
    assert_eq!(request.resource["service.name"], "gate");
    assert!(!request.is_error);
}

#[test]
fn without_a_collector_nothing_is_traced() {
    let served = Served::start(&[]);
    let answer = served.check_with(&caller("01"), ITEM);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("traceparent"), "{answer}");
    assert!(!served.metrics().contains("trommel_spans"));
}

#[cfg(unix)]
#[test]
fn a_collector_that_is_away_holds_nobody_up_and_is_told_once() {
    let collector = Collector::start(Manner::Hangs);
    let served = Served::start_with(
        &["--otlp-endpoint", &collector.url],
        &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")],
    );
    let check = || {
        let answer = served.check(ITEM);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_ne!(told(&answer).0, TRACE);
    };
    for n_requests in [1, 2] {
        check();
        collector.requests(n_requests);
        wait_until("what was sent counts as untaken", || {
            let n_untaken = N_SPANS * n_requests;
            let line = format!("trommel_spans_untaken_total {n_untaken}");
            served.metrics().contains(&line)
        });
    }
    collector.behave(Manner::Refuses);
    check();
    collector.requests(3);
    collector.behave(Manner::Takes);
    check();
    let spans = collector.spans(|spans| spans.iter().any(|span| span.name == "POST /v1/check"));
    assert_eq!(spans.len(), N_SPANS, "{spans:#?}");
    wait_until("it is told that it is back", || {
        served.n_logged("takes spans again") == 1
    });
    assert_eq!(served.n_logged("the collector takes no spans"), 1);
    let metrics = served.metrics();
    assert!(
        metrics.contains(&format!("trommel_spans_exported_total {N_SPANS}")),
        "{metrics}"
    );
    assert!(
        metrics.contains("trommel_spans_unqueued_total 0"),
        "{metrics}"
    );
    // One that hangs holds up the end no longer than it may.
    collector.behave(Manner::Hangs);
    check();
    assert!(served.end());
}
