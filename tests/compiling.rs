//! Compiling in a child process: what it costs is bounded, and a component that
//! costs more is refused with the blame on its author.

use std::sync::Arc;
use std::time::Duration;

use trommel::engine::{Blame, Compiler, Engine, EngineOptions, LoadError};
use trommel::registry::CompileCache;
use trommel::tensor::{CpuDevice, CpuOptions};
use trommel_tests::guests::component;
use trommel_tests::hostile_components::{
    nested_blocks, nested_components, nested_types, slow_to_compile,
};

const GIB: u64 = 1 << 30;

fn engine(compiler: Compiler) -> Engine {
    let device = CpuDevice::new(&CpuOptions::default()).expect("threads");
    let options = EngineOptions {
        compiler,
        ..EngineOptions::default()
    };
    Engine::new(Arc::new(device), options).expect("an engine")
}

fn child() -> Compiler {
    Compiler::program(env!("CARGO_BIN_EXE_trommel"))
}

/// What compiling says, and that its author is to blame.
fn refused(engine: &Engine, wasm: &[u8]) -> String {
    let error = engine.compile(wasm).expect_err("must be refused");
    assert_eq!(error.blame(), Blame::Guest, "{error}");
    error.to_string()
}

#[test]
fn a_component_compiled_by_a_child_fits_the_host_and_is_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = CompileCache::at(folder.path());
    let (here, by_child) = (engine(Compiler::in_process()), engine(child()));
    let compiled = cache.component(&by_child, component("noop"));
    let compiled = compiled.expect("the child compiles it");
    let compiled_here = here
        .compile(component("noop"))
        .expect("so does this process");
    assert_eq!(compiled.imports(), compiled_here.imports());
    let n_files = || std::fs::read_dir(folder.path()).expect("the cache").count();
    assert_eq!(n_files(), 1);
    // The child's code fits an engine that compiles here: it is found, not made anew.
    cache
        .component(&here, component("noop"))
        .expect("it is kept");
    assert_eq!(n_files(), 1);
    by_child
        .compile(component("noop"))
        .expect("also without a cache");
}

#[test]
fn a_component_that_takes_minutes_to_compile_is_refused_in_time_and_others_go_on() {
    let engine = engine(child().within(Duration::from_secs(2), 2 * GIB));
    let wasm = slow_to_compile();
    assert!(wasm.len() < 20_000, "it is small: {}", wasm.len());
    #[expect(clippy::disallowed_methods, reason = "the time is what is tested")]
    let start = std::time::Instant::now();
    let error = refused(&engine, &wasm);
    let took = start.elapsed();
    assert_eq!(
        error,
        "the component costs too much to compile: it was not compiled after 2s; make its functions smaller, or load it on a host that gives its compiler more"
    );
    // A loaded machine may take long to end it; the compiler would take minutes.
    assert!(took < Duration::from_secs(20), "{took:?}");
    engine
        .compile(component("noop"))
        .expect("the next one is compiled");
}

#[cfg(target_os = "linux")]
#[test]
fn a_component_whose_compiler_wants_too_much_memory_is_refused() {
    let engine = engine(child().within(Duration::from_secs(60), GIB));
    let error = refused(&engine, &nested_blocks(1_000_000));
    // Most allocations that fail end the child; one that wasmtime unwraps panics.
    let ended = "with 1024 MiB of memory the compiler ended with signal";
    assert!(
        error.contains(ended) || error.contains("the compiler panicked"),
        "{error}"
    );
    engine
        .compile(component("noop"))
        .expect("the next one is compiled");
}

#[test]
fn what_a_child_refuses_is_told_as_this_process_tells_it() {
    let whole = component("noop");
    let broken = &whole[..whole.len() / 2];
    assert_eq!(
        refused(&engine(child()), broken),
        refused(&engine(Compiler::in_process()), broken)
    );
}

#[test]
fn nesting_overflows_no_stack() {
    for compiler in [Compiler::in_process(), child()] {
        let engine = engine(compiler);
        for (depth, wasm) in [
            (20_000, nested_types(20_000)),
            (1_000_000, nested_types(1_000_000)),
            (1_000, nested_components(1_000)),
            (5_000, nested_components(5_000)),
            (100_000, nested_blocks(100_000)),
        ] {
            let error = engine.compile(&wasm).expect_err("it is no detector");
            assert_eq!(error.blame(), Blame::Guest, "{depth}: {error}");
        }
        let error = refused(&engine, &nested_types(1_000_000));
        assert!(
            error.starts_with("the component declares 3000003 bytes of types in one section"),
            "{error}"
        );
    }
}

#[test]
fn a_compiler_that_is_none_is_the_hosts_fault_and_compiles_nothing() {
    for program in ["/no/such/program", "/bin/true"] {
        let engine = engine(Compiler::program(program).within(Duration::from_secs(10), GIB));
        let error = engine.compile(component("noop")).expect_err("no compiler");
        assert!(matches!(error, LoadError::Compiler(_)), "{error}");
        assert_eq!(error.blame(), Blame::Host);
    }
}
