//! Packages in one tar file: what an archive may try, and that what it adds around a
//! package's bytes changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tar::{Builder, EntryType, Header};
use trommel::registry::{Shape, Trust};

use super::{Shop, files, folder, load, open, packed, refused, verify};

fn entry(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    // As bytes, since `set_path` refuses what is tried here.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// An archive of the layout's own files, and before them one more entry.
fn with_entry(header: &Header, bytes: &[u8]) -> (Shop, std::path::PathBuf) {
    let shop = Shop::new();
    let layout = shop.signed(&folder(), "layout", Shape::Folder);
    let path = shop.path("package.tar");
    let mut archive = Builder::new(fs::File::create(&path).unwrap());
    archive.append(header, bytes).unwrap();
    for (name, bytes) in files(&layout) {
        let header = entry(EntryType::Regular, &name, bytes.len() as u64);
        archive.append(&header, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap().flush().unwrap();
    (shop, path)
}

#[test]
fn an_archive_that_leads_elsewhere_is_refused() {
    for (kind, name, says) in [
        (EntryType::Regular, "../escaped", "is no file of an OCI"),
        (EntryType::Regular, "/etc/escaped", "is no file of an OCI"),
        (EntryType::Regular, "blobs/sha256/../../../x", "is no file"),
        (EntryType::Regular, "blobs/sha256/abc", "is no file"),
        (EntryType::Regular, "././oci-layout", "is no file"),
        (EntryType::Directory, "../up", "is no folder of an OCI"),
        (EntryType::Symlink, "index.json", "is a link"),
        (EntryType::Link, "index.json", "is a link"),
        (EntryType::Char, "index.json", "is no plain file"),
        (EntryType::Fifo, "index.json", "is no plain file"),
        (EntryType::GNUSparse, "index.json", "is no plain file"),
        (EntryType::GNULongName, "././@LongLink", "is no plain file"),
        (EntryType::XHeader, "PaxHeaders/x", "is no plain file"),
        (EntryType::Regular, "oci-layout", "is there twice"),
    ] {
        let (shop, path) = with_entry(&entry(kind, name, 0), b"");
        let error = refused(&path, &shop.trust());
        assert!(error.contains(says), "{name} {kind:?}: {error}");
        assert!(error.contains(name), "{name} {kind:?}: {error}");
    }
}

#[test]
fn a_size_that_an_archive_lies_about_takes_no_memory() {
    let header = entry(EntryType::Regular, "index.json", 10 << 30);
    let (shop, path) = with_entry(&header, b"");
    assert_eq!(
        refused(&path, &shop.trust()),
        "PKG, entry `index.json`: says that it has 10737418240 bytes, more than the archive holds; get it again"
    );
    // Though it held them, as a hole may.
    let shop = Shop::new();
    let path = shop.path("sparse.tar");
    let file = fs::File::create(&path).unwrap();
    let layout = shop.unsigned(&folder(), "layout", Shape::Folder);
    let version = &files(&layout)["oci-layout"];
    let mut archive = Builder::new(&file);
    let first = entry(EntryType::Regular, "oci-layout", version.len() as u64);
    archive.append(&first, &version[..]).unwrap();
    archive.append(&header, &b""[..]).unwrap();
    // Its end, which dropping an archive writes, is what becomes the hole.
    drop(archive);
    file.set_len((10 << 30) + 4096).unwrap();
    assert_eq!(
        refused(&path, &Trust::Anyone),
        "PKG/index.json has 10737418240 bytes, at most 262144 are taken"
    );
}

#[test]
fn an_archive_as_other_tools_write_it_is_read() {
    let shop = Shop::new();
    let layout = shop.signed(&folder(), "layout", Shape::Folder);
    let path = shop.path("package.tar");
    let mut archive = Builder::new(fs::File::create(&path).unwrap());
    archive.mode(tar::HeaderMode::Complete);
    archive.append_dir(".", &layout).unwrap();
    for name in ["blobs", "blobs/sha256"] {
        archive
            .append_dir(format!("./{name}"), layout.join(name))
            .unwrap();
    }
    for name in files(&layout).keys().rev() {
        archive
            .append_path_with_name(layout.join(name), format!("./{name}"))
            .unwrap();
    }
    archive.into_inner().unwrap().flush().unwrap();
    verify(&path, &shop.trust()).unwrap();
    load(&path, &shop.trust()).unwrap();
}

#[test]
fn no_archive_stands_behind_another() {
    let shop = Shop::new();
    let path = shop.signed(&folder(), "package.tar", Shape::Tar);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, [&bytes[..], &bytes[..]].concat()).unwrap();
    let error = refused(&path, &shop.trust());
    assert_eq!(
        error,
        "PKG: more follows after the last file; pack it again"
    );
    fs::write(&path, [&bytes[..], &vec![0; 8 << 10]].concat()).unwrap();
    verify(&path, &shop.trust()).expect("zeros fill up a record");
}

#[test]
fn what_is_no_archive_is_refused() {
    let shop = Shop::new();
    let path = shop.path("package.tar");
    for bytes in [
        &b""[..],
        b"not a tar file",
        &[0; 1024],
        &[0xff; 4096],
        b"\x1f\x8b\x08 gzip",
    ] {
        fs::write(&path, bytes).unwrap();
        let error = refused(&path, &Trust::Anyone);
        assert!(error.starts_with("PKG: "), "{error}");
    }
}

/// All that a host takes from a package, or nothing.
fn taken(path: &Path, trust: &Trust) -> Option<(String, Vec<u8>, Vec<Vec<u8>>)> {
    let package = load(path, trust).ok()?;
    verify(path, trust).expect("what loads verifies");
    let models = package.models().map(|(_, bytes)| bytes.to_vec());
    Some((
        format!(
            "{} {}",
            open(path, &[]).unwrap().digest(),
            package.revision(&BTreeMap::new())
        ),
        package.component().to_vec(),
        models.collect(),
    ))
}

#[test]
fn an_archive_with_a_bit_changed_or_cut_off_is_refused_or_the_same_package() {
    let shop = Shop::new();
    let path = shop.path("package.tar");
    packed(&folder()).write(&path, Shape::Tar).unwrap();
    shop.sign(&path, &shop.key);
    let trust = shop.trust();
    let whole = taken(&path, &trust);
    assert!(whole.is_some());
    let bytes = fs::read(&path).unwrap();
    // A header holds what a package does not: who owned a file, and when.
    let n_harmless = std::cell::Cell::new(0);
    let changes = (any::<Index>(), 0..8_u32, any::<bool>());
    let mut runner = TestRunner::new(Config {
        cases: 256,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&changes, |(at, bit, is_cut)| {
        let mut changed = bytes.clone();
        let at = at.index(changed.len());
        match is_cut {
            true => changed.truncate(at),
            false => changed[at] ^= 1_u8 << bit,
        }
        fs::write(&path, &changed).unwrap();
        let now = taken(&path, &trust);
        n_harmless.set(n_harmless.get() + usize::from(now.is_some()));
        prop_assert!(now.is_none() || now == whole, "at {at}");
        Ok(())
    });
    outcome.unwrap();
    assert!(n_harmless.get() < 64, "{} of 256", n_harmless.get());
}
