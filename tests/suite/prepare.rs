//! What is made ready once: it is there in every call, and the same each time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use trommel::Host;
use trommel::engine::{Engine, EngineOptions, Limits};
use trommel::item::Item;
use trommel::registry::CompileCache;
use trommel_tensor::{CpuDevice, CpuOptions};
use trommel_tests::guests::{component, prepared_by_hand};
use trommel_tests::plugin::PluginFolder;
use trommel_tests::sandbox::Sandbox;

/// What the guest imports.
const IMPORTS: [&str; 5] = ["content", "log", "results", "settings", "tensors"];

fn engine() -> Engine {
    engine_of(EngineOptions::default())
}

fn engine_of(options: EngineOptions) -> Engine {
    let device = CpuDevice::new(&CpuOptions::default()).unwrap();
    Engine::new(Arc::new(device), options).unwrap()
}

fn settings(greeting: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("greeting".to_owned(), greeting.to_owned())])
}

async fn score(sandbox: &Sandbox, text: &str) -> Option<f32> {
    let findings = sandbox.script(text).await.outcome.unwrap();
    findings.signals.first().map(|signal| signal.score)
}

#[tokio::test]
async fn every_call_begins_as_prepare_left_it() {
    let sandbox = Sandbox::new(component("prepares"), Limits::DEFAULT).unwrap();
    for _ in 0..3 {
        assert_eq!(score(&sandbox, "count").await, Some(7.0), "a global");
        assert_eq!(
            score(&sandbox, "word-29999").await,
            Some(29_999.0),
            "a table"
        );
        assert_eq!(score(&sandbox, "word-30000").await, None);
    }
}

#[tokio::test]
async fn prepare_sees_the_settings_of_its_revision() {
    let options = EngineOptions::default;
    let component = component("prepares");
    let five = Sandbox::with_greeting(component, Limits::DEFAULT, options(), "hold 5").unwrap();
    let nine = Sandbox::with_greeting(component, Limits::DEFAULT, options(), "hold 9").unwrap();
    assert_eq!(score(&five, "held").await, Some(5.0));
    assert_eq!(score(&nine, "held").await, Some(9.0));
    assert_eq!(score(&five, "word-1").await, None, "no table was asked for");
    let logs = Sandbox::with_greeting(component, Limits::DEFAULT, options(), "log").unwrap();
    assert_eq!(score(&logs, "count").await, Some(7.0));
}

#[test]
fn the_same_component_with_the_same_settings_comes_out_the_same() {
    let (one, two) = (engine(), engine());
    let prepared = |engine: &Engine, greeting: &str| {
        let limits = Limits::DEFAULT;
        let prepared = engine.prepared(component("prepares"), &settings(greeting), &limits);
        prepared.unwrap().into_owned()
    };
    let first = prepared(&one, "hello");
    assert!(first == prepared(&one, "hello") && first == prepared(&two, "hello"));
    assert!(first != prepared(&one, "hold 5"));
    assert!(
        first.len() > component("prepares").len() + 30_000,
        "{}",
        first.len()
    );
}

#[test]
fn a_component_without_prepare_is_left_as_it_is() {
    let prepared = engine()
        .prepared(component("noop"), &BTreeMap::new(), &Limits::DEFAULT)
        .unwrap();
    assert!(std::ptr::eq(prepared.as_ptr(), component("noop").as_ptr()));
}

#[test]
fn what_was_made_ready_is_kept_for_each_settings() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, engine) = (CompileCache::at(folder.path()), engine());
    let n_files = || fs::read_dir(folder.path()).unwrap().count();
    let wasm = component("prepares");
    for (greeting, expected) in [
        ("hello", 1),
        ("hello", 1),
        ("hold 5", 2),
        ("hold 6", 3),
        ("hold 5", 3),
    ] {
        let kept = cache.prepared(&engine, wasm, &settings(greeting), &Limits::DEFAULT);
        kept.unwrap();
        assert_eq!(n_files(), expected, "{greeting}");
    }
    cache.component(&engine, wasm).unwrap();
    assert_eq!(n_files(), 4, "as it is, it is another");
    // What would fail is not asked again where it has been ready.
    let error = cache.prepared(&engine, wasm, &settings("trap"), &Limits::DEFAULT);
    error.unwrap_err();
    assert_eq!(n_files(), 4);
    // Nor what another bound would refuse, or let through.
    let limits = Limits {
        memory_bytes: 17 << 20,
        ..Limits::DEFAULT
    };
    let kept = cache.prepared(&engine, wasm, &settings("hello"), &limits);
    kept.unwrap();
    assert_eq!(n_files(), 5);
    let strict = engine_of(EngineOptions {
        max_snapshot_bytes: 1000,
        ..EngineOptions::default()
    });
    let error = cache.prepared(&strict, wasm, &settings("hello"), &Limits::DEFAULT);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("at most 1000 are taken"), "{error}");
}

#[tokio::test]
async fn a_package_is_made_ready_when_it_is_loaded() {
    let folder = PluginFolder::of_guest("prepares", &IMPORTS);
    folder.edit("deadline-ms = 200", "deadline-ms = 2000");
    let host = Host::builder().detector(folder.path()).build().unwrap();
    let judgement = host
        .check(&Arc::new(Item::from_text("a", "word-3")))
        .await
        .unwrap();
    assert_eq!(judgement.signals[0].score, 3.0);
}

#[tokio::test]
async fn a_component_by_hand_is_made_ready_too() {
    // Writes 1 to a byte and a global, and each call traps unless they are there.
    let module = r#"(global $ready (mut i32) (i32.const 0))
        (func (export "prepare") (result i32)
            (i32.store8 (i32.const 1000) (i32.const 1))
            (global.set $ready (i32.const 1))
            (i32.store8 (i32.const 64) (i32.const 0))
            (i32.const 64))"#;
    let body = "(if (i32.ne (i32.add (global.get $ready) (i32.load8_u (i32.const 1000))) (i32.const 2)) (then unreachable))";
    let sandbox = Sandbox::new(&prepared_by_hand(module, body), Limits::DEFAULT).unwrap();
    for _ in 0..2 {
        sandbox.script("").await.outcome.unwrap();
    }
}
