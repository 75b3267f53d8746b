//! A packed package: a tar file, its index, manifest and signatures, and what they name.
//!
//! An input whose first byte is 0 is a tar file after it. Any other is text in entries,
//! each behind a line `=== NAME`: a file of that name, or, when the name begins with `@`, a
//! blob, whose digest and length other entries write as `{@NAME}` and `{#NAME}`. So digests
//! fit whatever is changed, and what stands behind them is reached.

#![no_main]

use std::io::Write as _;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trommel::engine::Limits;
use trommel::registry::{Layout, Package, PrivateKey, Trust};

/// Bytes of a component at most.
const MAX_COMPONENT_BYTES: usize = 1 << 20;

/// Digests that one input may ask for.
const MAX_BLOBS: usize = 32;

/// A key that signs nothing.
static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let key = PrivateKey::generate().expect("the system gives randomness");
    Trust::Keys(vec![key.public()])
});

fuzz_target!(|data: &[u8]| {
    let tar = match data.split_first() {
        Some((0, tar)) => tar.to_vec(),
        _ => packed(&entries(data)),
    };
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&tar).expect("it is written");
    if let Ok(layout) = Layout::open(file.path(), &[], &Limits::MAX, MAX_COMPONENT_BYTES) {
        let named: Vec<&str> = layout.layers().map(|layer| layer.file).collect();
        // Whoever verifies finds what whoever loads finds.
        let verified = layout.verify();
        match layout.package() {
            Ok(package) => {
                verified.expect("a package that loads is what it says");
                assert!(named.contains(&package.manifest.component.as_str()));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let trusted = Package::open(file.path(), &Limits::MAX, MAX_COMPONENT_BYTES, &TRUST);
    let error = trusted.expect_err("nobody has signed it");
    assert!(!error.to_string().is_empty());
});

/// The entries of a text, each with its name.
fn entries(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    const SEPARATOR: &[u8] = b"=== ";
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(SEPARATOR) {
            Some(name) => {
                let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
                entries.push((name, Vec::new()));
            }
            None => {
                if let Some((_, content)) = entries.last_mut() {
                    content.extend_from_slice(line);
                }
            }
        }
    }
    for (_, content) in &mut entries {
        // The one before the next line that names an entry is not part of it.
        if content.last() == Some(&b'\n') {
            content.pop();
        }
    }
    entries
}

/// A tar file of the entries. One may name blobs that come after it.
fn packed(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut blobs: Vec<(String, String)> = Vec::new();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries.iter().rev() {
        let mut content = content.clone();
        for (written, meant) in &blobs {
            content = replaced(&content, written.as_bytes(), meant.as_bytes());
        }
        let file = match name.strip_prefix('@') {
            Some(blob) if blobs.len() < 2 * MAX_BLOBS && !blob.is_empty() => {
                let digest = trommel::registry::Digest::of(&content);
                blobs.push((format!("{{@{blob}}}"), digest.hex().to_owned()));
                blobs.push((format!("{{#{blob}}}"), content.len().to_string()));
                format!("blobs/sha256/{}", digest.hex())
            }
            _ => name.clone(),
        };
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // A name that no tar file holds leaves the entry out.
        let _ = tar.append_data(&mut header, file, content.as_slice());
    }
    tar.into_inner().expect("memory takes it")
}

fn replaced(text: &[u8], written: &[u8], meant: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(written.len()).position(|part| part == written) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(meant);
        rest = &rest[at + written.len()..];
    }
    out.extend_from_slice(rest);
    out
}
