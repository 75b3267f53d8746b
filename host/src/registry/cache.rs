//! Compiled components on disk, so that a start does not compile again.
//!
//! What is loaded from here runs as native code. So the folder must be the
//! user's own and closed to others, files are written whole under another name
//! and then renamed, and a cache that cannot be trusted or written is a warning
//! and a compilation, never an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, Hash as _, Hasher, RandomState};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::package::hex;
use crate::engine::{Component, Engine, FREEZER, Limits, LoadError};

/// Where compiled components are kept, or nowhere.
#[derive(Debug, Clone, Default)]
pub struct CompileCache {
    folder: Option<PathBuf>,
}

impl CompileCache {
    /// No cache: every component is compiled.
    pub fn none() -> Self {
        Self::default()
    }

    /// A cache in `folder`, made if it is missing. When it cannot be used, warns
    /// and is no cache.
    pub fn at(folder: &Path) -> Self {
        match ready(folder) {
            Ok(()) => Self {
                folder: Some(folder.to_owned()),
            },
            Err(error) => {
                warn!(folder = %folder.display(), %error, "the compile cache cannot be used, so components are compiled at every start");
                Self::none()
            }
        }
    }

    /// A cache under the user's cache folder (`$XDG_CACHE_HOME`, else
    /// `~/.cache`); none where there is no such folder.
    pub fn user() -> Self {
        match user_folder("components") {
            Some(folder) => Self::at(&folder),
            None => {
                warn!(
                    "neither XDG_CACHE_HOME nor HOME is set, so components are compiled at every start"
                );
                Self::none()
            }
        }
    }

    /// The component, from the cache where it holds it, compiled and kept
    /// otherwise. Blocking and perhaps slow: not on a caller's executor.
    pub fn component(&self, engine: &Engine, wasm: &[u8]) -> Result<Component, LoadError> {
        self.kept(engine, &Sha256::digest(wasm), || Ok(Cow::Borrowed(wasm)))
    }

    /// A component that is made ready first, from the cache where it was with the same
    /// `settings` and the same bounds on memory: then nothing of it runs. Blocking and slow,
    /// as [`Engine::prepared`].
    pub fn prepared(
        &self,
        engine: &Engine,
        wasm: &[u8],
        settings: &BTreeMap<String, String>,
        limits: &Limits,
    ) -> Result<Component, LoadError> {
        let bounds = [limits.memory_bytes, engine.max_snapshot_bytes()];
        let digest = prepared_digest(wasm, settings, bounds);
        self.kept(engine, &digest, || engine.prepared(wasm, settings, limits))
    }

    /// What is kept under `digest`, else what `source` gives, compiled and kept.
    fn kept<'a>(
        &self,
        engine: &Engine,
        digest: &[u8],
        source: impl FnOnce() -> Result<Cow<'a, [u8]>, LoadError>,
    ) -> Result<Component, LoadError> {
        let Some(folder) = &self.folder else {
            return engine.compile(&source()?);
        };
        let file = folder.join(file_name(engine, digest));
        if file.exists() {
            match load(engine, &file) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    warn!(file = %file.display(), %error, "a cached component cannot be used and is compiled again");
                }
            }
        }
        let wasm = source()?;
        let compiled = engine.precompile(&wasm)?;
        match write_whole(folder, &file, &compiled) {
            Ok(()) => load(engine, &file),
            Err(error) => {
                warn!(file = %file.display(), %error, "a compiled component cannot be kept, so it is compiled at every start");
                engine.compile(&wasm)
            }
        }
    }
}

#[expect(unsafe_code, reason = "loads native code, see SAFETY")]
fn load(engine: &Engine, file: &Path) -> Result<Component, LoadError> {
    // SAFETY: the file lies in a folder that only this user can write, checked
    // by `ready`, and was put there whole by `write_whole`.
    unsafe { engine.load_precompiled(file) }
}

/// Of all that decides what `prepare` makes of a component, and whether that is refused:
/// each part with its length, so that no two read alike.
fn prepared_digest(
    wasm: &[u8],
    settings: &BTreeMap<String, String>,
    bounds: [usize; 2],
) -> Vec<u8> {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(FREEZER.as_bytes());
    part(wasm);
    for bound in bounds {
        part(&(bound as u64).to_le_bytes());
    }
    for (key, value) in settings {
        part(key.as_bytes());
        part(value.as_bytes());
    }
    hasher.finalize().to_vec()
}

/// A digest of the component, and a hash of all that makes compiled code fit this
/// engine: wasmtime's version, its settings, the processor.
fn file_name(engine: &Engine, digest: &[u8]) -> String {
    let mut compatibility = HashToSha(Sha256::new());
    engine.compatibility().hash(&mut compatibility);
    let compatibility = hex(&compatibility.0.finalize());
    format!("{}-{}.cwasm", hex(digest), &compatibility[..16])
}

/// A hasher whose result is the same in every process and version of `std`.
struct HashToSha(Sha256);

impl Hasher for HashToSha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}

/// A folder for what drivers compile (`GpuOptions::pipeline_cache`), under the user's cache
/// folder and held to the same rules as compiled components. None, with a warning where
/// there is a reason, when there is no such folder or others can write to it.
pub fn pipeline_folder() -> Option<PathBuf> {
    let folder = user_folder("pipelines")?;
    match ready(&folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            warn!(folder = %folder.display(), %error, "compiled kernels are not kept");
            None
        }
    }
}

/// Where the user's caches of this kind are kept.
fn user_folder(kind: &str) -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
    let cache = cache.or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("trommel").join(kind))
}

/// Makes the folder if need be, and makes sure that only this user can write it.
fn ready(folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    check_owner(folder)?;
    let (probe, _) = new_file(folder)?;
    fs::remove_file(probe)
}

/// A file of our own with a name that nobody else has: an existing one, or a
/// link planted in its place, is never written through.
fn new_file(folder: &Path) -> io::Result<(PathBuf, fs::File)> {
    // Random, since a process number is not unique where containers share the
    // folder.
    let random = RandomState::new().build_hasher().finish();
    let path = folder.join(format!(".new-{random:016x}"));
    let file = fs::File::options()
        .write(true)
        .create_new(true)
        .open(&path)?;
    Ok((path, file))
}

#[cfg(unix)]
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(not(unix))]
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn check_owner(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(folder)?;
    if metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "others may write to it; close it with `chmod go-w`",
        ));
    }
    // What this process makes is its own: no need to ask the system who we are.
    let (probe, file) = new_file(folder)?;
    let own = file.metadata()?.uid();
    fs::remove_file(probe)?;
    if metadata.uid() != own {
        return Err(io::Error::other(
            "it belongs to another user; remove it or choose another",
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Writes under a name of its own, then renames: no reader ever sees half.
fn write_whole(folder: &Path, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let (new, mut written) = new_file(folder)?;
    let result = written
        .write_all(bytes)
        .and_then(|()| written.sync_all())
        .and_then(|()| fs::rename(&new, file));
    if result.is_err() {
        let _ = fs::remove_file(&new);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_freezer_is_named_by_the_version_that_is_built() {
        let manifest = include_str!("../../../Cargo.toml");
        let (name, version) = FREEZER.split_once(' ').expect("a name and a version");
        let pinned = format!("{name} = {{ version = \"={version}\"");
        assert!(manifest.contains(&pinned), "{pinned}");
    }

    #[test]
    fn settings_that_only_read_alike_are_kept_apart() {
        let of = |key: &str, value: &str| {
            prepared_digest(
                b"wasm",
                &BTreeMap::from([(key.to_owned(), value.to_owned())]),
                [1, 2],
            )
        };
        assert_ne!(of("a", "bc"), of("ab", "c"));
        assert_eq!(of("a", "bc"), of("a", "bc"));
    }
}
