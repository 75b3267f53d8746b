//! What does a call cost beside the sandbox itself? A detector that does nothing
//! through the whole engine, and the same component instantiated and called on
//! bare wasmtime with the same pool and no limits. And what does a call cost that starts
//! with a table of 30,000 words, beside one that starts with nothing?

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use tokio::runtime::Runtime;
use trommel::engine::{Engine, Limits};
use trommel::item::Item;
use trommel_benches::print_ratio;
use trommel_tests::guests::component;
use trommel_tests::sandbox::{Sandbox, deadline};
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker, Resource, TypedFunc,
};

/// The component as wasmtime alone runs it.
struct Bare {
    engine: wasmtime::Engine,
    pre: InstancePre<()>,
    detect: ComponentExportIndex,
}

#[derive(ComponentType, Lift)]
#[component(record)]
#[expect(dead_code, reason = "only its shape matters")]
struct Failure {
    code: String,
    what: String,
    #[component(name = "where")]
    place: String,
    hint: String,
}

type Detect = TypedFunc<(Resource<()>, Resource<()>), (Result<(), Failure>,)>;

impl Bare {
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing is imported that a no-op calls"
    )]
    fn new(wasm: &[u8]) -> Self {
        let mut config = Engine::pool_config(&trommel::engine::EngineOptions::default());
        config.concurrency_support(false);
        let engine = wasmtime::Engine::new(&config).expect("the pool fits");
        let component = Component::from_binary(&engine, wasm).expect("a good component");
        let mut linker = Linker::new(&engine);
        linker
            .define_unknown_imports_as_traps(&component)
            .expect("resources and functions");
        let pre = linker.instantiate_pre(&component).expect("all is defined");
        let index = |instance: Option<&ComponentExportIndex>, name| {
            let (_, index) = component.get_export(instance, name).expect("exported");
            index
        };
        let detection = index(None, "trommel:detector/detection@0.1.0");
        let detect = index(Some(&detection), "detect");
        Self {
            engine,
            pre,
            detect,
        }
    }

    async fn call(&self) {
        let mut store = Store::new(&self.engine, ());
        let instance = self
            .pre
            .instantiate_async(&mut store)
            .await
            .expect("it starts");
        // Looked up before; what is left is the check of the types, as in the engine.
        let detect: Detect = instance
            .get_typed_func(&mut store, self.detect)
            .expect("the contract's type");
        let handles = (Resource::new_borrow(0), Resource::new_borrow(0));
        let (answer,) = detect
            .call_async(&mut store, handles)
            .await
            .expect("it returns");
        assert!(answer.is_ok());
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
}

async fn call(sandbox: &Sandbox, item: &Arc<Item>) {
    let exhibit = Arc::new(sandbox.engine.exhibit_unopened(item));
    let call = sandbox
        .engine
        .detect(
            &sandbox.detector,
            &exhibit,
            deadline(Duration::from_secs(1)),
        )
        .await;
    assert!(call.outcome.is_ok());
}

fn call_overhead(criterion: &mut Criterion) {
    let (runtime, bare) = (runtime(), Bare::new(component("noop")));
    let sandbox = Sandbox::new(component("noop"), Limits::DEFAULT).expect("the guest loads");
    let item = Arc::new(Item::from_text("item", "a text that nobody reads"));
    let mut group = criterion.benchmark_group("call_overhead");
    group.bench_function("bare_wasmtime", |bencher| {
        bencher.iter(|| runtime.block_on(bare.call()));
    });
    group.bench_function("engine", |bencher| {
        bencher.iter(|| runtime.block_on(call(&sandbox, &item)));
    });
    group.finish();
    print_ratio(
        ("bare wasmtime", "engine"),
        5_000,
        |n| {
            runtime.block_on(async {
                for _ in 0..n {
                    bare.call().await;
                }
            });
        },
        |n| {
            runtime.block_on(async {
                for _ in 0..n {
                    call(&sandbox, &item).await;
                }
            });
        },
    );
}

fn prepared(criterion: &mut Criterion) {
    let runtime = runtime();
    let noop = Sandbox::new(component("noop"), Limits::DEFAULT).expect("the guest loads");
    let table = Sandbox::new(component("prepares"), Limits::DEFAULT).expect("the guest loads");
    // One finds nothing to look up; the other looks a word up, which touches the table.
    let nothing = Arc::new(Item::from_text("item", "count"));
    let word = Arc::new(Item::from_text("item", "word-12345"));
    let mut group = criterion.benchmark_group("prepared");
    for (name, sandbox, item) in [
        ("noop", &noop, &nothing),
        ("table", &table, &nothing),
        ("table_looked_up", &table, &word),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(call(sandbox, item)));
        });
    }
    group.finish();
    for (name, item) in [
        ("table of 30,000", &nothing),
        ("the same, looked up", &word),
    ] {
        let calls = |sandbox: &Sandbox, n: u32| {
            runtime.block_on(async {
                for _ in 0..n {
                    call(sandbox, item).await;
                }
            });
        };
        print_ratio(
            ("no-op", name),
            5_000,
            |n| calls(&noop, n),
            |n| calls(&table, n),
        );
    }
}

criterion_group!(benches, call_overhead, prepared);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
