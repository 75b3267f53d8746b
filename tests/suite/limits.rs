//! Every limit, obeyed and violated, with who is to blame.

use std::time::Duration;

use serde::Deserialize;
use trommel::engine::{Blame, Call, Fault, Limits};
use trommel_tests::guests::{by_hand, by_hand_text, component, from_text};
use trommel_tests::sandbox::Sandbox;
use trommel_tests::workspace;

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    limits: Overrides,
    script: String,
    signals: Option<usize>,
    fault: Option<String>,
    blame: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overrides {
    memory_bytes: Option<usize>,
    tensor_bytes: Option<u64>,
    tensors: Option<u64>,
    handles: Option<usize>,
    hostcall_bytes: Option<usize>,
    carried_bytes: Option<usize>,
    findings: Option<usize>,
    findings_bytes: Option<usize>,
    host_bytes: Option<u64>,
    deadline_ms: Option<u64>,
}

impl Overrides {
    fn limits(&self) -> Limits {
        let default = Limits::DEFAULT;
        Limits {
            memory_bytes: self.memory_bytes.unwrap_or(default.memory_bytes),
            tensor_bytes: self.tensor_bytes.unwrap_or(default.tensor_bytes),
            tensors: self.tensors.unwrap_or(default.tensors),
            handles: self.handles.unwrap_or(default.handles),
            hostcall_bytes: self.hostcall_bytes.unwrap_or(default.hostcall_bytes),
            carried_bytes: self.carried_bytes.unwrap_or(default.carried_bytes),
            findings: self.findings.unwrap_or(default.findings),
            findings_bytes: self.findings_bytes.unwrap_or(default.findings_bytes),
            host_bytes: self.host_bytes.unwrap_or(default.host_bytes),
            // Long, so that a loaded machine does not end a call that a limit should.
            deadline: Duration::from_millis(self.deadline_ms.unwrap_or(5000)),
            ..default
        }
    }
}

#[tokio::test]
async fn every_limit_lets_through_what_it_allows_and_stops_what_it_does_not() {
    let file = workspace().join("tests/cases/limits.toml");
    let text = std::fs::read_to_string(file).expect("the cases are there");
    let cases: Cases = toml::from_str(&text).expect("the cases are cases");
    for case in cases.case {
        let sandbox =
            Sandbox::new(component("scripted"), case.limits.limits()).expect("the guest loads");
        let mut call = sandbox.script(&case.script).await;
        // A machine that gives the guest hardly any core: tried again.
        for _ in 0..20 {
            if !matches!(call.outcome, Err(Fault::Starved { .. })) {
                break;
            }
            call = sandbox.script(&case.script).await;
        }
        case.check(&call);
        assert_eq!(
            sandbox.detector.account().tensors(),
            0,
            "{}: the call's tensors are freed",
            case.name
        );
    }
}

impl Case {
    fn check(&self, call: &Call) {
        match (&call.outcome, self.signals, &self.fault) {
            (Ok(findings), Some(n_signals), None) => {
                assert_eq!(findings.signals.len(), n_signals, "{}", self.name);
            }
            (Err(fault), None, Some(expected)) => {
                let said = fault.to_string();
                assert!(said.contains(expected.as_str()), "{}: {said}", self.name);
                assert_eq!(
                    Some(fault.blame().to_string()),
                    self.blame,
                    "{}: {said}",
                    self.name
                );
            }
            (outcome, ..) => panic!("{}: {outcome:?}", self.name),
        }
    }
}

#[tokio::test]
async fn a_table_grows_to_its_limit_and_no_further() {
    let limits = Limits {
        table_elements: 100,
        ..Limits::DEFAULT
    };
    for (size, grows) in [(100, true), (101, false)] {
        let module = "(table $t 0 200 funcref)";
        let body = format!("(drop (table.grow $t (ref.null func) (i32.const {size})))");
        let sandbox = Sandbox::new(&by_hand(module, &body), limits.clone()).expect("it loads");
        let outcome = sandbox.script("").await.outcome;
        match outcome {
            Ok(_) => assert!(grows, "{size}"),
            Err(fault) => {
                assert!(!grows, "{fault}");
                assert_eq!(
                    fault.to_string(),
                    "wants 101 table elements, its limit is 100; hold less"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_start_function_that_spins_is_refused_at_load() {
    let limits = Limits {
        deadline: Duration::from_millis(200),
        ..Limits::DEFAULT
    };
    let module = "(func $spin (loop $again (br $again))) (start $spin)";
    let error = Sandbox::new(&by_hand(module, ""), limits)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the component cannot start: was still computing when its 200ms were up"),
        "{error}"
    );
}

#[tokio::test]
async fn memory_that_a_component_starts_with_counts_too() {
    let limits = Limits {
        memory_bytes: 1 << 20,
        ..Limits::DEFAULT
    };
    let text = by_hand_text("", "").replace("(export \"memory\") 1)", "(export \"memory\") 32)");
    let error = Sandbox::new(&from_text(&text), limits)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("2097152 bytes of memory, its limit is 1048576"),
        "{error}"
    );
}

#[tokio::test]
async fn log_lines_past_the_bound_are_dropped_and_counted() {
    let limits = Limits {
        log_bytes: 1000,
        ..Limits::DEFAULT
    };
    let sandbox = Sandbox::new(component("scripted"), limits).expect("the guest loads");
    let call = sandbox.script("log 20 100").await;
    call.outcome.expect("a flood of lines is no fault");
    assert!((1..10).contains(&call.log.len()), "{}", call.log.len());
    assert_eq!(call.log.len() + call.n_log_lines_dropped, 20);
    assert_eq!(call.log[0].fields, [("key".to_owned(), "value".to_owned())]);
}

#[tokio::test]
async fn the_items_deadline_ends_a_call_before_its_own_does() {
    let sandbox = Sandbox::new(component("scripted"), Limits::DEFAULT).expect("the guest loads");
    let item = trommel::item::Item::from_text("a", "spin");
    let mut fault = Fault::Host("not asked yet".to_owned());
    // A busy machine may starve the guest, who is then not to blame.
    for _ in 0..10 {
        let call = sandbox.detect_by(item.clone(), Duration::from_millis(150));
        fault = call.await.outcome.unwrap_err();
        if !matches!(fault, Fault::Starved { .. }) {
            break;
        }
    }
    assert!(
        matches!(fault, Fault::Spun { budget } if budget <= Duration::from_millis(150)),
        "{fault}"
    );
    assert_eq!(fault.blame(), Blame::Guest);
}

#[tokio::test]
async fn a_guest_that_was_hardly_let_run_is_not_to_blame_for_the_time() {
    let sandbox = Sandbox::new(component("scripted"), Limits::DEFAULT).expect("the guest loads");
    let item = trommel::item::Item::from_text("a", "spin");
    let call = sandbox.detect_by(item, Duration::from_millis(4)).await;
    let fault = call.outcome.unwrap_err();
    assert!(matches!(fault, Fault::Starved { .. }), "{fault}");
    assert_eq!(fault.blame(), Blame::Host);
}

#[tokio::test]
async fn when_every_place_is_taken_a_call_waits_until_its_deadline_and_is_the_hosts() {
    let options = trommel::engine::EngineOptions {
        max_calls: 1,
        ..Default::default()
    };
    let limits = Limits {
        deadline: Duration::from_millis(400),
        ..Limits::DEFAULT
    };
    let sandbox =
        Sandbox::with_options(component("scripted"), limits, options).expect("the guest loads");
    let item = |text: &str| trommel::item::Item::from_text("a", text);
    let (spinning, waiting) = tokio::join!(
        sandbox.detect_by(item("spin"), Duration::from_secs(5)),
        sandbox.detect_by(item("signal spam 1"), Duration::from_millis(50)),
    );
    assert_eq!(spinning.outcome.unwrap_err().blame(), Blame::Guest);
    let fault = waiting.outcome.unwrap_err();
    assert_eq!(fault.blame(), Blame::Host);
    assert!(
        fault
            .to_string()
            .contains("no place for the call was free in time"),
        "{fault}"
    );
    sandbox
        .script("signal spam 1")
        .await
        .outcome
        .expect("the place is free again");
}

#[tokio::test]
async fn a_dropped_call_frees_its_place_and_its_tensors() {
    let options = trommel::engine::EngineOptions {
        max_calls: 1,
        ..Default::default()
    };
    let sandbox = Sandbox::with_options(component("scripted"), Limits::DEFAULT, options)
        .expect("the guest loads");
    let weights = sandbox.detector.account().bytes();
    let call = sandbox.script("tensor 100000\nspin");
    let given_up = tokio::time::timeout(Duration::from_millis(30), call).await;
    assert!(given_up.is_err(), "the call was still spinning");
    assert_eq!(sandbox.detector.account().bytes(), weights);
    sandbox
        .script("signal spam 1")
        .await
        .outcome
        .expect("the place is free again");
}

/// What loading says of a hand-written component whose text was changed.
fn refused_by_hand(limits: Limits, change: impl Fn(String) -> String) -> String {
    let text = change(by_hand_text("", ""));
    let error = Sandbox::new(&from_text(&text), limits).unwrap_err();
    error.to_string()
}

#[test]
fn memories_tables_and_core_instances_are_counted() {
    let default = || Limits::DEFAULT;
    let unchanged = |text: String| text;
    let more = |what: &'static str| {
        move |text: String| {
            text.replace(
                "(core instance $drop ",
                &format!("{what} (core instance $drop "),
            )
        }
    };
    Sandbox::new(&by_hand("", ""), default()).expect("the unchanged one loads");

    let limits = Limits {
        memories: 0,
        ..default()
    };
    assert!(
        refused_by_hand(limits, unchanged)
            .contains("resource limit exceeded: memory count too high")
    );

    let limits = Limits {
        tables: 0,
        ..default()
    };
    let with_table =
        |text: String| text.replace("(memory (export", "(table 1 funcref) (memory (export");
    assert!(
        refused_by_hand(limits, with_table)
            .contains("resource limit exceeded: table count too high")
    );

    let limits = Limits {
        instances: 2,
        ..default()
    };
    let crowded = more(
        "(core module $empty) (core instance (instantiate $empty)) (core instance (instantiate $empty))",
    );
    assert!(
        refused_by_hand(limits, crowded)
            .contains("resource limit exceeded: instance count too high")
    );
}
