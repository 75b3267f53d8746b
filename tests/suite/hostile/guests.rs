//! Guests written in Rust as their authors would, one bad habit each.

use std::time::Duration;

use trommel::engine::{Blame, Fault, Limits};
use trommel::pipeline::Degraded;
use trommel::{Host, Judgement};
use trommel_tensor::{Account, CpuDevice, CpuOptions, Dtype, Graph, Tensor, Weights};
use trommel_tests::guests::component;
use trommel_tests::plugin::PluginFolder;
use trommel_tests::sandbox::Sandbox;
use trommel_tests::spam_model;

use super::{IMPORTS, TENSORS, assert_degraded, assert_judged_normally, check, host, host_of};

/// Provokes the guest, asserts whose fault it was, and that the next item is judged
/// normally by the same plugin.
async fn assert_guest_fault(guest: &str, imports: &[&str], reason: &str) {
    let host = host(guest, imports);
    assert_degraded(&provoked(&host).await, reason);
    assert_judged_normally(&check(&host, "be good").await);
}

/// What comes of a provocation. On a machine that gives the guest hardly any core the
/// time is the host's fault, as it should be: then it is tried again.
async fn provoked(host: &Host) -> Judgement {
    for _ in 0..20 {
        let judgement = check(host, "please misbehave").await;
        let is_starved = |degraded: &Degraded| degraded.reason.contains("of a core within its");
        if !judgement.degraded.iter().any(is_starved) {
            return judgement;
        }
    }
    panic!("the machine gives no guest a tenth of a core");
}

#[tokio::test]
async fn a_guest_that_spins_is_stopped_at_its_deadline() {
    assert_guest_fault(
        "spins",
        &IMPORTS,
        "was still computing when its 200ms were up",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_traps_loses_its_findings_and_its_last_words_are_told() {
    assert_guest_fault("traps", &IMPORTS, "a detector's own mistake").await;
}

#[tokio::test]
async fn a_guest_that_hoards_memory_is_stopped_at_its_limit() {
    assert_guest_fault("hoards", &IMPORTS, "its limit is 8388608").await;
}

#[tokio::test]
async fn a_guest_that_says_nan_is_stopped() {
    assert_guest_fault("says-nan", &IMPORTS, "wrote score NaN for label `spam`").await;
}

#[tokio::test]
async fn a_guest_that_invents_labels_is_stopped() {
    assert_guest_fault(
        "invents-labels",
        &IMPORTS,
        "wrote label `treason`, which its manifest does not declare",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_lies_about_shapes_is_told_and_its_failure_is_its_own() {
    let reason = "input `ids` takes i64 [batch, features], i64 [1, 3, 1] was given";
    assert_guest_fault("lies-about-shapes", &TENSORS, reason).await;
}

#[tokio::test]
async fn a_guest_that_recurses_without_end_is_stopped() {
    assert_guest_fault(
        "recurses",
        &IMPORTS,
        "trapped: wasm trap: out of bounds memory access",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_says_infinity_is_stopped() {
    assert_guest_fault(
        "says-infinity",
        &IMPORTS,
        "wrote score inf for label `spam`",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_floods_findings_is_stopped_at_its_limit() {
    assert_guest_fault(
        "floods-findings",
        &IMPORTS,
        "wrote 257 findings, its limit is 256",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_points_outside_a_part_is_stopped() {
    assert_guest_fault(
        "points-outside",
        &IMPORTS,
        "wrote span 0..1000000 of part 0, which has 16 bytes",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_splits_a_character_is_stopped() {
    let host = host("splits-a-character", &IMPORTS);
    let judgement = check(&host, "misbehave, café").await;
    assert_degraded(&judgement, "on character boundaries");
    assert_judged_normally(&check(&host, "be good, café").await);
}

#[tokio::test]
async fn a_guest_that_writes_a_book_is_stopped_at_its_limit() {
    let folder = PluginFolder::of_guest("writes-a-book", &IMPORTS);
    // So that its own memory holds the book.
    folder.edit("memory-mib = 8", "memory-mib = 64");
    let host = host_of(&folder);
    let judgement = check(&host, "please misbehave").await;
    assert_degraded(&judgement, "bytes of findings, its limit is 262144");
    assert_judged_normally(&check(&host, "be good").await);
}

#[tokio::test]
async fn a_guest_that_floods_the_log_is_judged_and_its_lines_are_dropped() {
    let limits = Limits {
        deadline: Duration::from_secs(8),
        ..Limits::DEFAULT
    };
    let sandbox = Sandbox::new(component("floods-the-log"), limits).expect("the guest loads");
    let call = sandbox.script("please misbehave").await;
    let findings = call.outcome.expect("a flood is no fault");
    assert_eq!(findings.signals.len(), 1);
    let n_bytes: usize = call.log.iter().map(|line| line.message.len()).sum();
    assert!(n_bytes < Limits::DEFAULT.log_bytes, "{n_bytes}");
    assert_eq!(call.log.len() + call.n_log_lines_dropped, 100_000);
    let host = host("floods-the-log", &IMPORTS);
    assert_judged_normally(&check(&host, "be good").await);
}

#[tokio::test]
async fn the_message_of_a_panic_reaches_the_log() {
    let sandbox = Sandbox::new(component("traps"), Limits::DEFAULT).expect("the guest loads");
    let call = sandbox.script("please misbehave").await;
    assert_eq!(call.outcome.unwrap_err().blame(), Blame::Guest);
    let last = call.log.last().expect("a line");
    assert!(
        last.message.contains("a detector's own mistake"),
        "{last:?}"
    );
    assert_eq!(last.level.as_str(), "ERROR");
    let next = sandbox.script("be good").await;
    assert_eq!(next.outcome.expect("it behaves").signals.len(), 1);
}

#[tokio::test]
async fn a_guest_that_forges_log_lines_is_shown_short_and_on_one_line() {
    let host = host("forges-the-log", &IMPORTS);
    let judgement = check(&host, "please misbehave").await;
    assert_degraded(&judgement, r"after it said: \u{1b}[2J ERROR trommel");
    let reason = &judgement.degraded[0].reason;
    assert!(!reason.contains(['\n', '\u{1b}']), "{reason}");
    assert_judged_normally(&check(&host, "be good").await);
}

#[tokio::test]
async fn a_guest_that_leaks_handles_is_refused_more() {
    assert_guest_fault(
        "leaks-handles",
        &TENSORS,
        "quota-exceeded: the call would hold 257 tensors, its limit is 256",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_wants_a_huge_tensor_is_told_before_anything_is_taken() {
    assert_guest_fault(
        "wants-a-huge-tensor",
        &TENSORS,
        "takes 10000000000 bytes, 1 were given",
    )
    .await;
}

#[tokio::test]
async fn a_guest_whose_bytes_do_not_fit_the_shape_is_told() {
    assert_guest_fault("lies-about-bytes", &TENSORS, "declined, shape-mismatch: ").await;
}

#[tokio::test]
async fn a_guest_that_opens_another_model_is_told_what_there_is() {
    assert_guest_fault(
        "opens-another-model",
        &TENSORS,
        "declined, unknown-model: the manifest names no such model; it names",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_runs_models_forever_is_stopped_and_to_blame() {
    assert_guest_fault("runs-models-forever", &TENSORS, "200ms were up").await;
}

#[tokio::test]
async fn a_guest_that_uses_up_its_share_of_the_device_in_a_loop_is_to_blame() {
    let limits = Limits {
        // Of some runs, and of far fewer than it begins in its time.
        operations_per_second: 100 * run_operations(),
        deadline: Duration::from_secs(8),
        ..Limits::DEFAULT
    };
    let sandbox = Sandbox::new(component("runs-models-forever"), limits).unwrap();
    let fault = sandbox
        .script("please misbehave")
        .await
        .outcome
        .unwrap_err();
    let Fault::RanOn { n_runs, .. } = fault else {
        panic!("{fault}")
    };
    // 100 at once, and as many each second of a slow machine.
    assert!((90..1000).contains(&n_runs), "{n_runs}");
    assert_eq!(fault.blame(), Blame::Guest);
    let next = sandbox.script("be good").await.outcome.unwrap();
    assert_eq!(next.signals.len(), 1);
}

/// Operations of one run of the bundled model on three features, as the guest runs it.
fn run_operations() -> u64 {
    let cpu = CpuDevice::new(&CpuOptions::default()).unwrap();
    let account = Account::new("test", u64::MAX, u64::MAX);
    let upload = |name: &str, dtype, bytes: &[u8]| {
        let tensor = Tensor::upload(&cpu, &account, dtype, &[1, 3], bytes).unwrap();
        (name.to_owned(), tensor)
    };
    let inputs = [
        upload("ids", Dtype::I64, &[0; 24]),
        upload("values", Dtype::F32, &[0; 12]),
    ];
    let graph = Graph::from_onnx(&spam_model(), &Weights::default()).unwrap();
    graph.n_operations(&inputs).unwrap()
}
