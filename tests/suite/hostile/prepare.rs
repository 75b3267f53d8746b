//! What `prepare` may try. It is refused at load, with step and reason.

use std::time::Duration;

use trommel::Host;
use trommel::engine::{Blame, EngineOptions, Limits};
use trommel_tests::guests::{component, from_text, prepared_by_hand, prepared_by_hand_text};
use trommel_tests::plugin::PluginFolder;
use trommel_tests::sandbox::Sandbox;

fn options() -> EngineOptions {
    EngineOptions {
        prepare_time: Duration::from_millis(500),
        ..EngineOptions::default()
    }
}

/// Why the guest cannot be made ready with this setting.
fn refused(greeting: &str, limits: Limits, options: EngineOptions) -> String {
    let loaded = Sandbox::with_greeting(component("prepares"), limits, options, greeting);
    let error = loaded.expect_err("must be refused");
    assert_eq!(error.blame(), Blame::Guest, "{error}");
    error.to_string()
}

#[test]
fn a_prepare_that_traps_is_refused_with_its_last_words() {
    let error = refused("trap", Limits::DEFAULT, options());
    assert!(
        error.starts_with("the component's `prepare` failed: trapped: "),
        "{error}"
    );
    assert!(error.contains("a mistake in prepare"), "{error}");
}

#[test]
fn a_prepare_that_spins_is_refused_at_its_time() {
    // A machine that gives it hardly any core is the host's fault: then again.
    for _ in 0..20 {
        let loaded =
            Sandbox::with_greeting(component("prepares"), Limits::DEFAULT, options(), "spin");
        let error = loaded.expect_err("must be refused");
        if error.blame() == Blame::Guest {
            assert_eq!(
                error.to_string(),
                "the component's `prepare` failed: was still computing when its 500ms were up; do less per item or ask for a longer deadline"
            );
            return;
        }
    }
    panic!("the machine gives no guest a tenth of a core");
}

#[test]
fn a_prepare_that_hoards_is_refused_at_its_limit() {
    let limits = Limits {
        memory_bytes: 4 << 20,
        ..Limits::DEFAULT
    };
    let error = refused("hoard", limits, options());
    assert!(
        error.contains("bytes of memory, its limit is 4194304"),
        "{error}"
    );
}

#[test]
fn a_prepare_that_fails_is_refused_with_its_failure() {
    let error = refused("fail", Limits::DEFAULT, options());
    assert_eq!(
        error,
        "the component's `prepare` failed: declined, not-today: no table"
    );
}

#[test]
fn a_prepare_that_calls_more_than_settings_is_refused() {
    let error = refused("model", Limits::DEFAULT, options());
    assert_eq!(
        error,
        "the component's `prepare` failed: calls `tensors.[static]model.open` in `prepare`, which sees settings and nothing else; call it in `detect`"
    );
}

#[test]
fn a_prepare_that_leaves_too_much_is_refused() {
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..Limits::DEFAULT
    };
    let error = refused("hold 30000000", limits.clone(), EngineOptions::default());
    assert!(
        error.contains("leaves 30") && error.contains("at most 16777216"),
        "{error}"
    );
    let small = EngineOptions {
        max_snapshot_bytes: 1 << 20,
        ..EngineOptions::default()
    };
    let error = refused("hold 1048500", limits, small);
    assert!(error.contains("`prepare` leaves 1"), "{error}");
}

#[test]
fn a_prepare_that_leaves_little_in_many_places_is_refused() {
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..Limits::DEFAULT
    };
    let error = refused("scatter 30000000", limits, EngineOptions::default());
    assert!(
        error.contains("`prepare` leaves 30") && error.contains("at most 16777216"),
        "{error}"
    );
    // In two modules' memories, of which each alone would do.
    let fill = r"(local.set $at (i32.const 0))
        (loop $next
            (i32.store8 (local.get $at) (i32.const 1))
            (local.set $at (i32.add (local.get $at) (i32.const 4096)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 262144))))";
    let module = format!(
        r#"(import "more" "fill" (func $fill))
        (func (export "prepare") (result i32) (local $at i32)
            (drop (memory.grow (i32.const 4))) (call $fill) {fill} (i32.const 64))"#
    );
    let more = format!(
        r#"(core module $more (memory 4) (func (export "fill") (local $at i32) {fill}))
        (core instance $more (instantiate $more))
        (core instance $drop "#
    );
    let text = prepared_by_hand_text(&module, "")
        .replace("(core instance $drop ", &more)
        .replace(
            r#"(with "drop" (instance $drop))"#,
            r#"(with "drop" (instance $drop)) (with "more" (instance $more))"#,
        );
    let component = from_text(&text);
    let load = |max_snapshot_bytes| {
        let options = EngineOptions {
            max_snapshot_bytes,
            ..EngineOptions::default()
        };
        Sandbox::with_options(&component, Limits::DEFAULT, options)
    };
    load(2 * 262_144).expect("it is not too much");
    let error = load(2 * 262_144 - 1).expect_err("must be refused");
    assert_eq!(error.blame(), Blame::Guest, "{error}");
    let error = error.to_string();
    assert!(error.contains("`prepare` leaves 524288 bytes"), "{error}");
}

#[test]
fn a_component_that_cannot_be_frozen_is_refused() {
    let done = "(i32.store8 (i32.const 64) (i32.const 0)) (i32.const 64)";
    for (module, says) in [
        (
            format!(
                "(table $t 1 1 funcref) (func (export \"prepare\") (result i32) (table.set $t (i32.const 0) (ref.null func)) {done})"
            ),
            "unsupported `table.set` instruction",
        ),
        (
            format!(
                "(global $v (mut v128) (v128.const i64x2 0 0)) (func (export \"prepare\") (result i32) {done})"
            ),
            "does not support v128 globals",
        ),
        (
            format!(
                "(data $d \"x\") (func (export \"prepare\") (result i32) (data.drop $d) {done})"
            ),
            "unsupported `data.drop` instruction",
        ),
    ] {
        let error = Sandbox::new(&prepared_by_hand(&module, ""), Limits::DEFAULT);
        let error = error.expect_err("must be refused");
        assert_eq!(error.blame(), Blame::Guest);
        let error = error.to_string();
        assert!(
            error.starts_with("the component cannot be frozen after `prepare`: "),
            "{error}"
        );
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_prepare_of_another_shape_is_refused() {
    let text = prepared_by_hand(
        "(func (export \"prepare\") (result i32) (i32.const 64))",
        "",
    );
    // The answer's first byte is neither of its two cases.
    let broken = prepared_by_hand(
        "(func (export \"prepare\") (result i32) (i32.store8 (i32.const 64) (i32.const 9)) (i32.const 64))",
        "",
    );
    Sandbox::new(&text, Limits::DEFAULT).expect("zeros are an `ok`");
    let error = Sandbox::new(&broken, Limits::DEFAULT).expect_err("must be refused");
    assert_eq!(error.blame(), Blame::Guest);
    assert!(
        error
            .to_string()
            .starts_with("the component's `prepare` failed: trapped"),
        "{error}"
    );
}

#[test]
fn a_package_whose_prepare_fails_is_refused_and_others_load() {
    let imports = ["content", "log", "results", "settings", "tensors"];
    let folder = PluginFolder::of_guest("prepares", &imports);
    folder.edit("default = \"hello\"", "default = \"fail\"");
    let with_it = Host::builder().bundled_detectors().detector(folder.path());
    let error = with_it.build().expect_err("must be refused").to_string();
    assert!(
        error.ends_with("`prepare` failed: declined, not-today: no table"),
        "{error}"
    );
    let without_it = Host::builder().bundled_detectors().build();
    without_it.expect("the others still load");
}
