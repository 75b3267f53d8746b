//! The compile cache: used when it can be trusted, a warning when it cannot.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trommel::Host;
use trommel::engine::{Engine, EngineOptions};
use trommel::registry::CompileCache;
use trommel_tensor::{CpuDevice, CpuOptions};
use trommel_tests::guests::component;

fn engine() -> Engine {
    let device = CpuDevice::new(&CpuOptions::default()).unwrap();
    Engine::new(Arc::new(device), EngineOptions::default()).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_component_is_compiled_once_and_then_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, engine) = (CompileCache::at(folder.path()), engine());
    cache.component(&engine, component("noop")).unwrap();
    let [file] = &files(folder.path())[..] else {
        panic!("one file, and nothing half-written beside it")
    };
    let written = fs::metadata(file).unwrap().modified().unwrap();
    let imports = cache.component(&engine, component("noop")).unwrap();
    assert_eq!(
        imports.imports(),
        engine.compile(component("noop")).unwrap().imports()
    );
    assert_eq!(
        fs::metadata(file).unwrap().modified().unwrap(),
        written,
        "it was compiled again"
    );
    cache.component(&engine, component("spins")).unwrap();
    assert_eq!(files(folder.path()).len(), 2);
}

#[test]
fn a_broken_file_in_the_cache_is_compiled_over() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, engine) = (CompileCache::at(folder.path()), engine());
    cache.component(&engine, component("noop")).unwrap();
    let file = files(folder.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    for broken in [&b""[..], b"not native code", &whole[..whole.len() / 2]] {
        fs::write(&file, broken).unwrap();
        cache.component(&engine, component("noop")).unwrap();
        assert_eq!(fs::read(&file).unwrap().len(), whole.len());
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_may_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let cache = CompileCache::at(folder.path());
    cache.component(&engine(), component("noop")).unwrap();
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_refused_component_leaves_nothing_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, engine) = (CompileCache::at(folder.path()), engine());
    let whole = component("noop");
    cache
        .component(&engine, &whole[..whole.len() / 2])
        .unwrap_err();
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let cache = CompileCache::at(&file.path().join("below-a-file"));
    Host::builder()
        .compile_cache(cache)
        .bundled_detectors()
        .build()
        .unwrap();
}
