//! Guests that no compiler would make; see `trommel_tests::by_hand`.

use trommel::Host;
use trommel::item::Item;
use trommel_tests::by_hand::{IMPORTS, component};
use trommel_tests::plugin::PluginFolder;

use super::{assert_degraded, assert_judged_normally, check, check_item, host_of};

fn folder(guest: &str) -> PluginFolder {
    PluginFolder::of(guest, &component(guest), &IMPORTS)
}

/// As for the others, with an item that provokes by its time of receipt.
async fn assert_guest_fault(guest: &str, reason: &str) {
    let host = host_of(&folder(guest));
    let provoking = Item {
        received_at_ms: Some(1),
        ..Item::from_text("item", "be good")
    };
    assert_degraded(&check_item(&host, provoking).await, reason);
    assert_judged_normally(&check(&host, "be good").await);
}

/// Asserts that the guest is refused at load, and that the host then goes on
/// without it.
fn assert_refused_at_load(guest: &str, reason: &str) {
    let folder = folder(guest);
    let refused = || Host::builder().detector(folder.path()).build().unwrap_err();
    let mut said = refused().to_string();
    // A busy machine may starve the guest, who is then not to blame.
    for _ in 0..10 {
        if said.contains("of a core within") {
            said = refused().to_string();
        }
    }
    assert!(
        said.starts_with(&folder.path().display().to_string()),
        "{said}"
    );
    assert!(said.contains(reason), "{said}");
    Host::builder()
        .bundled_detectors()
        .build()
        .expect("others load");
}

#[test]
fn a_start_function_that_spins_is_refused_and_others_load() {
    assert_refused_at_load(
        "spins-at-start",
        "the component cannot start: was still computing when its 200ms were up",
    );
}

#[test]
fn a_start_function_that_traps_is_refused_and_others_load() {
    assert_refused_at_load("traps-at-start", "the component cannot start: trapped: ");
}

#[tokio::test]
async fn a_guest_that_allocates_tables_is_stopped_at_its_limit() {
    assert_guest_fault(
        "allocates-tables",
        "wants 11000 table elements, its limit is 10000",
    )
    .await;
}

#[tokio::test]
async fn a_guest_that_recurses_without_a_frame_overflows_only_its_own_stack() {
    assert_guest_fault("recurses-without-a-frame", "call stack exhausted").await;
}

#[tokio::test]
async fn a_handle_of_the_wrong_kind_is_a_trap() {
    assert_guest_fault(
        "uses-a-handle-of-the-wrong-kind",
        "used with the wrong type",
    )
    .await;
}

#[tokio::test]
async fn a_handle_that_was_dropped_is_a_trap() {
    assert_guest_fault("uses-a-dropped-handle", "trapped: unknown handle index").await;
}

#[tokio::test]
async fn a_handle_dropped_twice_is_a_trap() {
    assert_guest_fault("drops-a-handle-twice", "trapped: unknown handle index").await;
}

#[tokio::test]
async fn a_handle_that_was_never_given_is_a_trap() {
    assert_guest_fault("invents-a-handle", "trapped: unknown handle index 12345").await;
}

#[tokio::test]
async fn a_text_past_the_end_of_memory_is_a_trap() {
    assert_guest_fault(
        "points-past-its-memory",
        "trapped: string pointer/length out of bounds",
    )
    .await;
}

#[tokio::test]
async fn a_text_that_is_not_utf_8_is_a_trap() {
    assert_guest_fault("writes-broken-text", "trapped: invalid utf-8 sequence").await;
}

#[tokio::test]
async fn a_borrowed_item_that_is_not_given_back_is_a_trap() {
    assert_guest_fault("keeps-its-item", "trapped: borrow handles still remain").await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_trap() {
    assert_guest_fault(
        "answers-with-rubbish",
        "trapped: invalid expected discriminant",
    )
    .await;
}
