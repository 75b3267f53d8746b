//! Compiling with a bound on time and memory.
//!
//! Ten kilobytes of nested loops over many locals keep Cranelift busy for
//! minutes, and nothing can interrupt it. So a host that loads components of
//! others has each compiled by a child process, which it can end. The child runs
//! [`answer`], as `trommel compile-component` does.

use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::LoadError;
use super::findings::on_one_line;

/// The argument that makes `trommel` a compiler, before [`answer`]'s own.
pub const COMPILE_COMMAND: &str = "compile-component";

/// Bytes of the largest compiled component taken: native code is several times
/// as large as its component.
const MAX_COMPILED_BYTES: u64 = 512 << 20;

/// Stack of the thread that compiles. The reader of component types recurses; see
/// `MAX_TYPE_SECTION_BYTES` in `load.rs` for how deep it can.
pub(super) const STACK_BYTES: usize = 64 << 20;

/// First byte of an answer that is code.
const COMPILED: u8 = 0;
/// First byte of an answer that is a reason.
const REFUSED: u8 = 1;

/// Who compiles components, and what that may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    program: Option<PathBuf>,
    time: Duration,
    memory_bytes: u64,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::in_process()
    }
}

impl Compiler {
    /// Compiles in this process. The size of a component is bounded, but neither
    /// the time nor the memory that it costs: only for components that one trusts.
    pub fn in_process() -> Self {
        Self {
            program: None,
            time: Duration::from_secs(60),
            memory_bytes: 2 << 30,
        }
    }

    /// Compiles in children that run `program compile-component …`, within 60 s
    /// and 2 GiB each. The program is `trommel`, or another that calls [`answer`]
    /// with what follows that argument. It is built from this version of the crate,
    /// or nothing loads; and what it answers runs as native code, so it is trusted
    /// as this process is.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: Some(program.into()),
            ..Self::in_process()
        }
    }

    /// Bounds each child's wall-clock time, and on Unix its address space in
    /// bytes. Says nothing to [`Compiler::in_process`].
    #[must_use]
    pub fn within(self, time: Duration, memory_bytes: u64) -> Self {
        Self {
            time,
            memory_bytes,
            ..self
        }
    }

    /// Native code for `wasm`.
    pub(super) fn compiled(
        &self,
        engine: &wasmtime::Engine,
        wasm: &[u8],
    ) -> Result<Vec<u8>, LoadError> {
        match &self.program {
            Some(program) => self.compiled_by_child(program, wasm),
            None => compiled_here(engine, wasm),
        }
    }

    fn compiled_by_child(&self, program: &PathBuf, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
        let failed = |what: &str, error: &io::Error| {
            let program = program.display();
            LoadError::Compiler(format!("`{program} {COMPILE_COMMAND}` {what}: {error}"))
        };
        let child = Command::new(program)
            .arg(COMPILE_COMMAND)
            .args(self.bounds())
            // What a component makes of the child finds nothing here.
            .env_clear()
            // Else the allocator of `trommel` reserves a gigabyte of the address space
            // at once. In KiB; other programs do not know it.
            .env("MIMALLOC_ARENA_RESERVE", "16384")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| failed("cannot start", &error))?;
        let mut stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let (send, receive) = channel();
        let (answer, ended) = thread::scope(|scope| {
            // Both pipes may be full at once. A child that does not read it all is
            // one that ends, and how it ended says why.
            scope.spawn(move || stdin.write_all(wasm));
            scope.spawn(move || send.send(read_answer(stdout)));
            let answer = receive.recv_timeout(self.time);
            // One whose answer broke off is ending by itself.
            if !matches!(answer, Ok(Err(_))) {
                let _ = child.kill();
            }
            (answer, child.wait())
        });
        let reason = match (answer, ended) {
            (Ok(Ok(answer)), _) => return answer,
            (Err(RecvTimeoutError::Timeout), _) => {
                format!("it was not compiled after {:?}", self.time)
            }
            // It ended by itself: it is no compiler, or could not begin.
            (_, Ok(status)) if status.code().is_some() => {
                return Err(failed(
                    "gave no answer",
                    &io::Error::other(status.to_string()),
                ));
            }
            (_, Ok(status)) => format!(
                "with {} MiB of memory the compiler ended with {status}",
                self.memory_bytes >> 20
            ),
            (_, Err(error)) => return Err(failed("cannot be waited for", &error)),
        };
        Err(LoadError::TooCostly { reason })
    }

    /// Arguments for [`answer`].
    fn bounds(&self) -> [String; 2] {
        // All cores for all of the time. Only a child whose parent has gone, so that
        // nobody ends it, can use that up.
        let n_cores = thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let seconds = self.time.as_secs().saturating_add(1);
        [
            self.memory_bytes.to_string(),
            seconds.saturating_mul(n_cores).to_string(),
        ]
    }
}

/// The answer of a child, whole; else what broke it off.
fn read_answer(mut from: impl Read) -> io::Result<Result<Vec<u8>, LoadError>> {
    let (mut status, mut n_bytes) = ([0; 1], [0; 8]);
    from.read_exact(&mut status)?;
    from.read_exact(&mut n_bytes)?;
    let n_bytes = u64::from_le_bytes(n_bytes);
    if n_bytes > MAX_COMPILED_BYTES {
        return Ok(Err(LoadError::TooCostly {
            reason: format!("its code has {n_bytes} bytes, at most {MAX_COMPILED_BYTES} are taken"),
        }));
    }
    let mut bytes = Vec::new();
    if from.take(n_bytes).read_to_end(&mut bytes)? as u64 != n_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(match status {
        [COMPILED] => Ok(bytes),
        _ => Err(LoadError::Malformed {
            reason: on_one_line(&String::from_utf8_lossy(&bytes)),
        }),
    })
}

/// The child's side of [`Compiler::program`]: bounds this process, compiles the
/// component on standard input, and answers on standard output. `arguments` are
/// those after [`COMPILE_COMMAND`].
///
/// An error when the arguments are not the parent's or a pipe breaks. A component
/// that is refused is an answer; one that costs too much ends the process.
pub fn answer(arguments: &[String]) -> io::Result<()> {
    let numbers: Result<Vec<u64>, _> = arguments.iter().map(|number| number.parse()).collect();
    let Ok(&[memory_bytes, processor_seconds]) = numbers.as_deref() else {
        return Err(io::Error::other(
            "only a host starts a compiler: it wants bytes of memory and seconds of processor time",
        ));
    };
    bound(memory_bytes, processor_seconds)?;
    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm)?;
    let engine = wasmtime::Engine::new(&super::compiler_config());
    let engine = engine.map_err(|error| io::Error::other(format!("{error:#}")))?;
    let (status, bytes) = match compiled_here(&engine, &wasm) {
        Ok(code) => (COMPILED, code),
        Err(LoadError::Malformed { reason }) => (REFUSED, reason.into_bytes()),
        Err(error) => return Err(io::Error::other(error)),
    };
    let mut out = io::stdout().lock();
    out.write_all(&[status])?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(&bytes)?;
    out.flush()
}

/// Compiles on a thread of its own, whose stack is large enough for what
/// `check_bytes` lets through.
fn compiled_here(engine: &wasmtime::Engine, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let compiled = thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("trommel-compile".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || engine.precompile_component(wasm));
        thread.map(|thread| thread.join())
    });
    let compiled = compiled.map_err(|error| {
        LoadError::Compiler(format!("the thread that compiles cannot start: {error}"))
    })?;
    match compiled {
        Ok(compiled) => compiled.map_err(|error| super::load::malformed(&error)),
        Err(_) => Err(LoadError::Malformed {
            reason: "the compiler panicked".to_owned(),
        }),
    }
}

/// Bounds what this process may take, for good.
#[cfg(unix)]
fn bound(memory_bytes: u64, processor_seconds: u64) -> io::Result<()> {
    use rlimit::Resource;
    for (resource, most) in [
        (Resource::AS, memory_bytes),
        (Resource::CPU, processor_seconds),
        // It writes no file, and leaves none behind when it ends badly.
        (Resource::FSIZE, 0),
        (Resource::CORE, 0),
    ] {
        let (_, hard) = resource.get()?;
        let most = most.min(hard);
        resource.set(most, most)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn bound(_memory_bytes: u64, _processor_seconds: u64) -> io::Result<()> {
    Ok(())
}
