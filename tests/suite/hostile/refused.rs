//! What is refused at load. The error names what to mend, its author is to blame,
//! and other detectors still load.

use std::fs::File;

use trommel::Host;
use trommel_tests::guests::{component, from_text};
use trommel_tests::plugin::PluginFolder;

use super::IMPORTS;

/// What a host says that is given this folder; without it, the host is built.
fn refused(folder: &PluginFolder) -> String {
    let with_it = Host::builder().bundled_detectors().detector(folder.path());
    let error = with_it.build().expect_err("must be refused").to_string();
    let without_it = Host::builder().bundled_detectors().build();
    without_it.expect("the others still load");
    error.replace(&folder.path().display().to_string(), "PLUGIN")
}

#[test]
fn a_component_that_wants_sockets_is_refused() {
    let wants_sockets = from_text(
        r#"(component (import "wasi:sockets/tcp@0.2.6" (instance (export "tcp-socket" (type (sub resource))))))"#,
    );
    let error = refused(&PluginFolder::of("noop", &wants_sockets, &IMPORTS));
    assert_eq!(
        error,
        "PLUGIN: the component imports `wasi:sockets/tcp@0.2.6`: a detector gets no WASI; build it for wasm32-unknown-unknown, not wasm32-wasip1 or -wasip2"
    );
}

#[test]
fn a_manifest_that_asks_for_less_than_the_component_imports_is_refused() {
    let error = refused(&PluginFolder::of_guest("lies-about-bytes", &IMPORTS));
    assert_eq!(
        error,
        r#"PLUGIN/plugin.toml:7: the component imports ["content", "log", "results", "tensors"], the manifest says ["content", "log", "results"]; make them agree"#
    );
}

#[test]
fn a_component_of_200_megabytes_is_refused_before_it_is_read() {
    let folder = PluginFolder::of("noop", component("noop"), &IMPORTS);
    // A hole, so that the test writes nothing.
    let file = File::create(folder.path().join("noop.wasm")).expect("the folder is ours");
    file.set_len(200 << 20).expect("a file may be sparse");
    assert_eq!(
        refused(&folder),
        "PLUGIN/noop.wasm: has 209715200 bytes, at most 33554432 are taken"
    );
}

#[test]
fn a_calibrator_that_is_huge_under_another_name_is_refused_before_it_is_read() {
    let folder = PluginFolder::of("noop", component("noop"), &IMPORTS);
    folder.edit("file = \"calibrator.toml\"", "file = \"calibrator.bin\"");
    let file = File::create(folder.path().join("calibrator.bin")).expect("the folder is ours");
    file.set_len(1 << 29).expect("a file may be sparse");
    let error = refused(&folder);
    assert!(
        error.starts_with("PLUGIN/calibrator.bin: has 536870912 bytes"),
        "{error}"
    );
}
