//! Makes a component ready once: runs its `prepare`, and freezes what came of it.
//!
//! What is frozen is a component like any other, whose memory and globals begin as
//! `prepare` left them, so every call starts from there and none runs `prepare` again. It
//! sees the settings of its revision and nothing else, so the same component with the
//! same settings gives the same bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use wasmparser::{Parser, Payload};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Lift, Linker, Val, WasmList};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wizer::{ComponentContext, ComponentInstanceState, Wizer};

use super::bindings::trommel::detector::failures::Failure as RawFailure;
use super::call::{block_on, fault_of, grown, out_of_time};
use super::compiler::STACK_BYTES;
use super::findings::{broken, on_one_line};
use super::load::{PACKAGE, check_kind, malformed, speaks};
use super::{Engine, Fault, Limits, LoadError, imports, now};
use crate::excerpt::{NAME_CHARS, printable};

/// The version of what freezes: another may write other bytes.
pub(crate) const FREEZER: &str = "wasmtime-wizer 48.0.8";

const PREPARE: &str = "prepare";

/// Characters of the last line that it logged as an error.
const WORDS_CHARS: usize = 256;

/// What is left in memory is counted in pages of so many bytes: bytes that lie apart from
/// each other cost the freezer many times what they are.
const PAGE_BYTES: usize = 4096;

/// Memory that reading a memory takes beyond it, twice: the instrumented component grows
/// it by a page to answer where it lies.
const READING_BYTES: usize = 4 << 16;

/// The export that a component is made ready by, when it has one.
///
/// `CoreModule`, `TypesTooLarge` or `Malformed` when the bytes are no component;
/// `ContractMismatch` when the export is of another version of the contract.
pub(crate) fn preparation(wasm: &[u8]) -> Result<Option<String>, LoadError> {
    check_kind(wasm)?;
    let wrong = |error: wasmparser::BinaryReaderError| LoadError::Malformed {
        reason: on_one_line(&error.to_string()),
    };
    // Modules and components inside it have exports of their own.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(wrong)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let name = export.map_err(wrong)?.name.name;
                    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
                    if interface.strip_prefix(PACKAGE) != Some(PREPARE) {
                        continue;
                    }
                    if !speaks(version) {
                        return Err(LoadError::ContractMismatch {
                            wanted: printable(version, NAME_CHARS),
                            name: printable(name, NAME_CHARS),
                        });
                    }
                    return Ok(Some(name.to_owned()));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

impl Engine {
    /// Bytes that a `prepare` may leave.
    pub(crate) fn max_snapshot_bytes(&self) -> usize {
        self.options.max_snapshot_bytes
    }

    /// The component as its `prepare` leaves it, to be compiled instead; as it is when it
    /// exports none. `settings` are all of the revision's, each in its contract spelling;
    /// of `limits` it gets the memory that a call gets. Blocking and slow: not on a
    /// caller's executor.
    ///
    /// Fails as [`Engine::precompile`] does for its bytes; `Prepare` when it traps, fails,
    /// hoards, spins beyond [`EngineOptions::prepare_time`](super::EngineOptions::prepare_time)
    /// or calls what it may not; `Unpreparable` when it cannot be frozen, `Snapshot` when
    /// what it made is too large.
    pub fn prepared<'a>(
        &self,
        wasm: &'a [u8],
        settings: &BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Cow<'a, [u8]>, LoadError> {
        self.check_bytes(wasm)?;
        let Some(export) = preparation(wasm)? else {
            return Ok(Cow::Borrowed(wasm));
        };
        if let Some(refused) = imports(wasm)?.into_iter().find_map(|import| import.refused) {
            return Err(refused);
        }
        // On a thread of its own, whose stack is large enough for what `check_bytes` lets
        // through, as for the compiler.
        let frozen = thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("trommel-prepare".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || self.frozen(wasm, &export, settings, limits));
            thread.map(|thread| thread.join())
        });
        let frozen = frozen.map_err(|error| {
            LoadError::Compiler(format!("the thread that prepares cannot start: {error}"))
        })?;
        let frozen = frozen.unwrap_or_else(|_| Err(unpreparable("the freezer panicked")))?;
        let most = wasm.len().saturating_add(self.options.max_snapshot_bytes);
        let most = most.min(self.options.max_component_bytes);
        if frozen.len() > most {
            return Err(LoadError::Snapshot {
                given: frozen.len(),
                most,
            });
        }
        Ok(Cow::Owned(frozen))
    }

    fn frozen(
        &self,
        wasm: &[u8],
        export: &str,
        settings: &BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Vec<u8>, LoadError> {
        let wizer = Wizer::new();
        // It looks at instructions, and has its own idea of what it can freeze.
        let (context, instrumented) = wizer
            .instrument_component(wasm)
            .map_err(|error| unpreparable(&format!("{error:#}")))?;
        let component = self.instrumented(&instrumented)?;
        let mut store = self.preparing(settings, limits);
        let instance = start(&self.wasmtime, &mut store, &component, export)?;
        let data = store.data_mut();
        data.is_done = true;
        data.deadline = now() + data.budget;
        // Its memories are looked at where they lie: nothing is copied.
        store.set_hostcall_fuel(usize::MAX);
        let mut reader = Reader {
            store: &mut store,
            instance,
            most: self.options.max_snapshot_bytes,
            left: BTreeMap::new(),
            failed: None,
        };
        let frozen = read(&wizer, &context, &mut reader);
        match reader.failed {
            None => frozen,
            Some(error) => Err(error),
        }
    }

    #[expect(unsafe_code, reason = "wasmtime cannot check native code")]
    fn instrumented(&self, wasm: &[u8]) -> Result<Component, LoadError> {
        let code = self.options.compiler.compiled(&self.wasmtime, wasm)?;
        // SAFETY: compiled here, or by the program that the embedder trusts as this
        // process.
        let loaded = unsafe { Component::deserialize(&self.wasmtime, code) };
        loaded.map_err(|error| malformed(&error))
    }

    fn preparing(&self, settings: &BTreeMap<String, String>, limits: &Limits) -> Store<Preparing> {
        let budget = self.options.prepare_time;
        let data = Preparing {
            settings: settings.clone(),
            limits: limits.clone(),
            deadline: now() + budget,
            budget,
            n_ticks: 0,
            is_done: false,
            last_words: None,
        };
        let mut store = Store::new(&self.wasmtime, data);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.limiter(|data| data);
        // Before instantiation, which runs guest code.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            context.data_mut().tick().map_err(wasmtime::Error::new)?;
            Ok(UpdateDeadline::Continue(1))
        });
        store
    }
}

/// Starts it and runs its `prepare`.
fn start(
    engine: &wasmtime::Engine,
    store: &mut Store<Preparing>,
    component: &Component,
    export: &str,
) -> Result<Instance, LoadError> {
    let mismatch = |error: wasmtime::Error| LoadError::Mismatch {
        reason: on_one_line(&format!("{error:#}")),
    };
    let linker = settings_alone(engine, component).map_err(mismatch)?;
    let started = block_on(linker.instantiate_async(&mut *store, component));
    let instance = started.map_err(|error| failed(error, store))?;
    let index = component
        .get_export_index(None, export)
        .and_then(|interface| component.get_export_index(Some(&interface), PREPARE));
    let index = index.ok_or_else(|| LoadError::Mismatch {
        reason: format!("`{export}` holds no `{PREPARE}`"),
    })?;
    let prepare = instance
        .get_typed_func::<(), (Result<(), RawFailure>,)>(&mut *store, index)
        .map_err(mismatch)?;
    let answered = block_on(prepare.call_async(&mut *store, ()));
    let (answer,) = answered.map_err(|error| failed(error, store))?;
    answer.map_err(|failure| LoadError::Prepare(Fault::Declined(failure.into())))?;
    Ok(instance)
}

/// Reads what it left, and writes the component anew.
fn read(
    wizer: &Wizer,
    context: &ComponentContext<'_>,
    reader: &mut Reader<'_>,
) -> Result<Vec<u8>, LoadError> {
    // Its author expects that reading never fails; where it does, `Reader` says why.
    let frozen = catch_unwind(AssertUnwindSafe(|| {
        block_on(wizer.snapshot_component(context, reader))
    }));
    match frozen {
        Ok(frozen) => frozen.map_err(|error| unpreparable(&format!("{error:#}"))),
        Err(_) => Err(unpreparable("the freezer panicked")),
    }
}

/// What a component may call while it is made ready.
fn settings_alone(
    engine: &wasmtime::Engine,
    component: &Component,
) -> wasmtime::Result<Linker<Preparing>> {
    let mut linker = Linker::new(engine);
    for (import, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else {
            // Refused where imports are looked at.
            continue;
        };
        let short = import.split_once('/').map_or(import, |(_, name)| name);
        let short = short.split_once('@').map_or(short, |(name, _)| name);
        let mut offered = linker.instance(import)?;
        for (name, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => match (short, name) {
                    ("settings", "get") => {
                        offered.func_wrap("get", |context, (key,): (String,)| {
                            let data: &Preparing = context.data();
                            Ok((data.settings.get(&key).cloned(),))
                        })?;
                    }
                    ("log", "write") => {
                        offered.func_new("write", |mut context, _, values, _| {
                            context.data_mut().log(values);
                            Ok(())
                        })?;
                    }
                    _ => {
                        let what = format!(
                            "calls `{short}.{name}` in `{PREPARE}`, which sees settings and nothing else; call it in `detect`"
                        );
                        offered
                            .func_new(name, move |_, _, _, _| Err(broken(what.clone()).into()))?;
                    }
                },
                ComponentItem::Resource(_) => {
                    let none = wasmtime::component::ResourceType::host::<()>();
                    offered.resource(name, none, |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(linker)
}

/// What the host keeps while a component is made ready.
struct Preparing {
    settings: BTreeMap<String, String>,
    limits: Limits,
    deadline: Instant,
    budget: Duration,
    n_ticks: u32,
    /// Whether it is ready, and only being read.
    is_done: bool,
    last_words: Option<String>,
}

impl Preparing {
    fn tick(&mut self) -> Result<(), Fault> {
        self.n_ticks += 1;
        if now() < self.deadline {
            return Ok(());
        }
        Err(out_of_time(self.n_ticks, self.budget))
    }

    /// Keeps the last line that was logged as an error: a panic's message.
    fn log(&mut self, values: &[Val]) {
        if let [Val::Enum(level), Val::String(message), ..] = values
            && level == "error"
        {
            self.last_words = Some(printable(message, WORDS_CHARS));
        }
    }
}

impl ResourceLimiter for Preparing {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let reading = if self.is_done { READING_BYTES } else { 0 };
        let limit = self.limits.memory_bytes.saturating_add(reading);
        grown(desired, limit, "bytes of memory")
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        grown(desired, self.limits.table_elements, "table elements")
    }

    fn instances(&self) -> usize {
        // The one that reads is added to the component's own.
        self.limits.instances as usize + 1
    }

    fn memories(&self) -> usize {
        self.limits.memories as usize
    }

    fn tables(&self) -> usize {
        self.limits.tables as usize
    }
}

/// Reads globals and memories through what the instrumented component exports for it.
struct Reader<'a> {
    store: &'a mut Store<Preparing>,
    instance: Instance,
    /// Bytes of pages that are not all zero, in all memories together.
    most: usize,
    /// The same as each memory has, by the function that tells: each is read twice.
    left: BTreeMap<String, usize>,
    failed: Option<LoadError>,
}

impl Reader<'_> {
    /// What `function` answers; none when it fails, which is remembered.
    async fn value<R: Lift + Send + Sync + 'static>(
        &mut self,
        interface: &str,
        function: &str,
    ) -> Option<R> {
        let called = self.called(interface, function).await;
        called
            .map_err(|error| self.failed = Some(failed(error, self.store)))
            .ok()
    }

    async fn called<R: Lift + Send + Sync + 'static>(
        &mut self,
        interface: &str,
        function: &str,
    ) -> wasmtime::Result<R> {
        let missing = || wasmtime::Error::msg("the instrumented component lacks an export");
        let store = &mut *self.store;
        let index = self.instance.get_export_index(&mut *store, None, interface);
        let index = index.ok_or_else(missing)?;
        let index = self
            .instance
            .get_export_index(&mut *store, Some(&index), function);
        let index = index.ok_or_else(missing)?;
        let function = self
            .instance
            .get_typed_func::<(), (R,)>(&mut *store, index)?;
        let (value,) = function.call_async(&mut *store, ()).await?;
        Ok(value)
    }
}

impl ComponentInstanceState for Reader<'_> {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        func: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let Some(list) = self.value::<WasmList<u8>>(instance, func).await else {
            return contents(&[]);
        };
        let memory = list.as_le_slice(&self.store);
        self.left.entry(func.to_owned()).or_insert_with(|| {
            let pages = memory.chunks(PAGE_BYTES);
            let is_touched = |page: &&[u8]| page.iter().any(|byte| *byte != 0);
            pages.filter(is_touched).count() * PAGE_BYTES
        });
        let given = self.left.values().sum();
        if given > self.most {
            let most = self.most;
            self.failed = Some(LoadError::Snapshot { given, most });
            return contents(&[]);
        }
        contents(memory);
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.value(instance, func).await.unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.value(instance, func).await.unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        let value = self.value::<f32>(instance, func).await;
        value.unwrap_or_default().to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        let value = self.value::<f64>(instance, func).await;
        value.unwrap_or_default().to_bits()
    }
}

fn failed(error: wasmtime::Error, store: &Store<Preparing>) -> LoadError {
    LoadError::Prepare(fault_of(error, || store.data().last_words.clone()))
}

fn unpreparable(reason: &str) -> LoadError {
    LoadError::Unpreparable {
        reason: on_one_line(reason),
    }
}
