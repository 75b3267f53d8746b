//! The command line: arguments in, exit code out.

mod cli;

use std::process::ExitCode;

/// An embedder chooses an allocator of its own; the library has none.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
