//! From a component's bytes to code that may be linked, or a clear refusal.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use semver::{Version, VersionReq};
use trommel_tensor::TensorError;
use wasmparser::{Parser, Payload};

use super::bindings::DetectorPre;
use super::call::CallState;
use super::findings::on_one_line;
use super::{Blame, CONTRACT_VERSION, Engine, Fault};
use crate::excerpt::{NAME_CHARS, printable};
use crate::tokenizer::TokenizerError;

pub(super) const PACKAGE: &str = "trommel:detector/";
const DETECTION: &str = "detection";

/// The interfaces that a plugin may import. `failures` holds only types, so it
/// grants nothing.
const INTERFACES: [&str; 8] = [
    "content",
    "failures",
    "images",
    "log",
    "results",
    "settings",
    "tensors",
    "tokenizers",
];

/// Bytes of the largest section of component types taken. The contract fills a
/// twentieth of it.
const MAX_TYPE_SECTION_BYTES: usize = 64 << 10;

/// Why a component cannot become a detector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The engine itself cannot be made.
    #[error("the sandbox cannot start: {0}")]
    Engine(String),
    /// Too large.
    #[error(
        "the component has {given} bytes, at most {most} are taken; leave weights and tables to models"
    )]
    TooLarge {
        /// Its size.
        given: usize,
        /// The bound.
        most: usize,
    },
    /// A core module.
    #[error(
        "this is a core module, not a component; link it with wasm-component-ld or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Its types fill more than they may.
    #[error(
        "the component declares {given} bytes of types in one section, at most {MAX_TYPE_SECTION_BYTES} are taken; import what the contract offers and nothing else"
    )]
    TypesTooLarge {
        /// Bytes of the section.
        given: usize,
    },
    /// Compiling it takes more time or memory than it may.
    #[error(
        "the component costs too much to compile: {reason}; make its functions smaller, or load it on a host that gives its compiler more"
    )]
    TooCostly {
        /// Which bound it passed.
        reason: String,
    },
    /// The compiler itself cannot be used.
    #[error("the compiler cannot be used: {0}")]
    Compiler(String),
    /// Broken or truncated.
    #[error(
        "the component does not compile: {reason}; is the file whole, and within this host's limits? build it again"
    )]
    Malformed {
        /// What the compiler says.
        reason: String,
    },
    /// Imports WASI.
    #[error(
        "the component imports `{import}`: a detector gets no WASI; build it for wasm32-unknown-unknown, not wasm32-wasip1 or -wasip2"
    )]
    Wasi {
        /// The import.
        import: String,
    },
    /// Imports something that is not in the contract.
    #[error(
        "the component imports `{import}`, which the contract {CONTRACT_VERSION} does not offer; it offers {offered}"
    )]
    UnknownImport {
        /// The import.
        import: String,
        /// What there is.
        offered: String,
    },
    /// Built for another contract version.
    #[error(
        "the component speaks contract {wanted} (`{name}`), this host speaks {CONTRACT_VERSION}; rebuild it with sdk {CONTRACT_VERSION}"
    )]
    ContractMismatch {
        /// The version it speaks.
        wanted: String,
        /// The import or export that says so.
        name: String,
    },
    /// Exports no detector.
    #[error(
        "the component does not export `{PACKAGE}{DETECTION}@{CONTRACT_VERSION}`; implement `Detector` and name it in `trommel_sdk::export!`"
    )]
    NoDetection,
    /// Types that do not match.
    #[error(
        "the component does not fit contract {CONTRACT_VERSION}: {reason}; rebuild it against this host's wit/"
    )]
    Mismatch {
        /// What the linker says.
        reason: String,
    },
    /// It fails before it is called.
    #[error("the component cannot start: {0}")]
    Start(Fault),
    /// It fails while it is made ready.
    #[error("the component's `prepare` failed: {0}")]
    Prepare(Fault),
    /// It cannot be frozen once it is ready.
    #[error(
        "the component cannot be frozen after `prepare`: {reason}; build it without what is named here, or without `prepare`"
    )]
    Unpreparable {
        /// What the freezer says.
        reason: String,
    },
    /// What it made is too large.
    #[error(
        "the component's `prepare` leaves {given} bytes, at most {most} are taken; build less, keep it together, or leave it to a model"
    )]
    Snapshot {
        /// Bytes of the pages of 4 KiB that are not all zero, in all memories together; or
        /// those of the frozen component, where they alone are too many.
        given: usize,
        /// The bound.
        most: usize,
    },
    /// A model cannot be used.
    #[error("model `{model}`: {error}")]
    Model {
        /// The model as the manifest names it.
        model: String,
        /// Why.
        error: TensorError,
    },
    /// A tokenizer cannot be used.
    #[error("tokenizer `{tokenizer}`: {error}")]
    Tokenizer {
        /// The tokenizer as the manifest names it.
        tokenizer: String,
        /// Why.
        error: TokenizerError,
    },
}

impl LoadError {
    /// Who is to blame.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Engine(_) | Self::Compiler(_) => Blame::Host,
            Self::Start(fault) | Self::Prepare(fault) => fault.blame(),
            _ => Blame::Guest,
        }
    }
}

/// Compiled code of a component that keeps to the contract.
#[derive(Clone)]
pub struct Component {
    wasmtime: wasmtime::component::Component,
    imports: BTreeSet<&'static str>,
}

impl Component {
    /// The contract's interfaces that it imports, types-only ones left out.
    pub fn imports(&self) -> &BTreeSet<&'static str> {
        &self.imports
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("imports", &self.imports)
            .finish()
    }
}

impl Engine {
    /// Compiles a component and checks its imports and exports against the
    /// contract. Blocking and slow: not on a caller's executor.
    ///
    /// Fails as [`Engine::precompile`] does for its bytes; `Wasi`, `UnknownImport`,
    /// `ContractMismatch` or `NoDetection` for what it asks for and offers.
    #[expect(unsafe_code, reason = "wasmtime cannot check native code")]
    pub fn compile(&self, wasm: &[u8]) -> Result<Component, LoadError> {
        let code = self.precompile(wasm)?;
        // SAFETY: compiled here, or by the program that the embedder trusts as
        // this process.
        let loaded = unsafe { wasmtime::component::Component::deserialize(&self.wasmtime, code) };
        self.checked(loaded.map_err(|error| malformed(&error))?)
    }

    /// Compiles a component into bytes for [`Engine::load_precompiled`], with
    /// [`EngineOptions::compiler`](super::EngineOptions::compiler). Its imports are
    /// checked when it is loaded.
    ///
    /// `TooLarge`, `CoreModule`, `TypesTooLarge` or `Malformed` for its bytes,
    /// `TooCostly` when it passes a bound of the compiler, `Compiler` when that
    /// cannot be used.
    pub fn precompile(&self, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
        self.check_bytes(wasm)?;
        self.options.compiler.compiled(&self.wasmtime, wasm)
    }

    /// Loads what [`Engine::precompile`] wrote.
    ///
    /// # Safety
    ///
    /// The file is native code that will run outside any sandbox: only this
    /// host, or one as trusted, may ever have written it or be able to.
    #[expect(unsafe_code, reason = "wasmtime cannot check native code")]
    pub(crate) unsafe fn load_precompiled(&self, file: &Path) -> Result<Component, LoadError> {
        // SAFETY: passed on to the caller.
        let loaded =
            unsafe { wasmtime::component::Component::deserialize_file(&self.wasmtime, file) };
        self.checked(loaded.map_err(|error| malformed(&error))?)
    }

    pub(super) fn check_bytes(&self, wasm: &[u8]) -> Result<(), LoadError> {
        let most = self.options.max_component_bytes;
        if wasm.len() > most {
            let given = wasm.len();
            return Err(LoadError::TooLarge { given, most });
        }
        check_kind(wasm)
    }

    fn checked(&self, wasmtime: wasmtime::component::Component) -> Result<Component, LoadError> {
        let ty = wasmtime.component_type();
        let mut imports = BTreeSet::new();
        for (import, _) in ty.imports(&self.wasmtime) {
            let interface = interface_of(import)?;
            if interface != "failures" {
                imports.insert(interface);
            }
        }
        let exports: Vec<String> = ty
            .exports(&self.wasmtime)
            .map(|(name, _)| name.to_owned())
            .collect();
        check_exports(&exports)?;
        Ok(Component { wasmtime, imports })
    }

    pub(super) fn link(&self, component: &Component) -> Result<DetectorPre<CallState>, LoadError> {
        let mismatch = |error: wasmtime::Error| LoadError::Mismatch {
            reason: on_one_line(&format!("{error:#}")),
        };
        let pre = self
            .linker
            .instantiate_pre(&component.wasmtime)
            .map_err(mismatch)?;
        DetectorPre::new(pre).map_err(mismatch)
    }
}

/// Refuses what is no component, or could not be read safely as one.
pub(super) fn check_kind(wasm: &[u8]) -> Result<(), LoadError> {
    // Layer 0 is a core module, layer 1 a component (component-model/Binary.md).
    if wasm.starts_with(b"\0asm\x01\0\0\0") {
        return Err(LoadError::CoreModule);
    }
    check_types(wasm)
}

/// Refuses types that nest so deep that reading them would overflow the stack: 60
/// KB of them ended the process, since wasmparser recurses and bounds no depth. A
/// level takes three bytes, so a section's size bounds it.
fn check_types(wasm: &[u8]) -> Result<(), LoadError> {
    for payload in Parser::new(0).parse_all(wasm) {
        let section = match payload {
            Ok(Payload::ComponentTypeSection(section)) => section.range(),
            Ok(Payload::CoreTypeSection(section)) => section.range(),
            Ok(_) => continue,
            // The compiler stops at the same place, and says more about it.
            Err(_) => break,
        };
        if section.len() > MAX_TYPE_SECTION_BYTES {
            return Err(LoadError::TypesTooLarge {
                given: section.len(),
            });
        }
    }
    Ok(())
}

pub(super) fn malformed(error: &wasmtime::Error) -> LoadError {
    LoadError::Malformed {
        reason: on_one_line(&format!("{error:#}")),
    }
}

/// The contract interface that an import names, when this host offers it.
pub(super) fn interface_of(import: &str) -> Result<&'static str, LoadError> {
    if import.starts_with("wasi:") {
        return Err(LoadError::Wasi {
            import: printable(import, NAME_CHARS),
        });
    }
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    let Some(interface) = name.strip_prefix(PACKAGE) else {
        return Err(unknown_import(import));
    };
    if !speaks(version) {
        return Err(LoadError::ContractMismatch {
            wanted: printable(version, NAME_CHARS),
            name: printable(import, NAME_CHARS),
        });
    }
    let known = INTERFACES.iter().find(|known| **known == interface);
    known.copied().ok_or_else(|| unknown_import(import))
}

fn unknown_import(import: &str) -> LoadError {
    LoadError::UnknownImport {
        import: printable(import, NAME_CHARS),
        offered: INTERFACES.map(|name| format!("{PACKAGE}{name}")).join(", "),
    }
}

fn check_exports(exports: &[String]) -> Result<(), LoadError> {
    let wanted = format!("{PACKAGE}{DETECTION}");
    let version = exports.iter().find_map(|export| {
        let (name, version) = export.split_once('@')?;
        (name == wanted).then_some((export, version))
    });
    match version {
        None => Err(LoadError::NoDetection),
        Some((_, version)) if speaks(version) => Ok(()),
        Some((export, version)) => Err(LoadError::ContractMismatch {
            wanted: printable(version, NAME_CHARS),
            name: printable(export, NAME_CHARS),
        }),
    }
}

/// Whether this host runs plugins of contract `version`, as wasmtime's linker
/// sees it: `0.1.x` all match each other, pre-releases never do.
pub(crate) fn speaks(version: &str) -> bool {
    let host = VersionReq::parse(&format!("^{CONTRACT_VERSION}"));
    let host = host.expect("the contract's version is a version");
    Version::parse(version).is_ok_and(|version| host.matches(&version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_of_the_contract_is_spoken_and_nothing_else() {
        for (version, spoken) in [
            ("0.1.0", true),
            ("0.1.9", true),
            ("0.2.0", false),
            ("1.0.0", false),
            ("0.1.0-rc.1", false),
            ("", false),
        ] {
            assert_eq!(speaks(version), spoken, "{version}");
        }
    }
}
