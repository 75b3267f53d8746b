//! Every byte of every file of a signed layout, changed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use trommel::engine::Blame;
use trommel::registry::{Shape, Trust};

use super::{Shop, files, folder, open, packed, refused, verify};

/// A signed layout that is changed and put right again.
struct Victim {
    shop: Shop,
    path: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
}

impl Victim {
    fn new() -> Self {
        let shop = Shop::new();
        let path = shop.signed(&folder(), "layout", Shape::Folder);
        let victim = Self {
            files: files(&path),
            shop,
            path,
        };
        verify(&victim.path, &victim.shop.trust()).expect("it verifies before it is changed");
        victim
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What is said when `change` was done to the file `name`, with keys and, where
    /// nobody's signature counts, without.
    fn refused(&self, name: &str, change: impl FnOnce(&Path)) -> String {
        let file = self.file(name);
        change(&file);
        let error = refused(&self.path, &self.shop.trust());
        refused(&self.path, &Trust::Anyone);
        let _ = fs::remove_file(&file);
        match self.files.get(name) {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => assert!(!file.exists()),
        }
        error
    }

    fn with_byte(&self, name: &str, at: usize, change: impl Fn(u8) -> u8) -> String {
        let mut bytes = self.files[name].clone();
        bytes[at] = change(bytes[at]);
        self.refused(name, |file| fs::write(file, bytes).unwrap())
    }

    /// The file whose content holds `needle`.
    fn holding(&self, needle: &str) -> String {
        let holds = |bytes: &[u8]| {
            let mut windows = bytes.windows(needle.len());
            windows.any(|window| window == needle.as_bytes())
        };
        let mut blobs = self
            .files
            .iter()
            .filter(|(name, bytes)| name.starts_with("blobs") && holds(bytes));
        let (name, _) = blobs.next().unwrap();
        name.clone()
    }
}

/// The file that was changed is named, or it is one that names others, and then what it
/// says now is.
fn names_the_place(error: &str, file: &str) -> bool {
    error.contains(&format!("PKG/{file}"))
        || file == "index.json"
            && (error.contains("PKG/blobs/sha256/") || error.contains("sha256:"))
}

#[test]
fn a_changed_byte_of_any_file_is_refused_and_named() {
    let victim = Victim::new();
    // Layers, config, manifest, signature, envelope, index of referrers, and two more.
    assert_eq!(victim.files.len(), 7 + 1 + 1 + 3 + 2);
    for (name, bytes) in &victim.files {
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let error = victim.with_byte(name, at, |byte| byte ^ 1);
            assert!(names_the_place(&error, name), "{name} at {at}: {error}");
            if name.starts_with("blobs") {
                assert!(error.contains(" has digest sha256:"), "{error}");
                let said = name.replace("blobs/sha256/", "its descriptor says sha256:");
                assert!(error.contains(&said), "{error}");
            }
        }
    }
}

#[test]
fn every_byte_of_the_files_that_nothing_hashes_counts() {
    let victim = Victim::new();
    for name in ["index.json", "oci-layout"] {
        for at in 0..victim.files[name].len() {
            for bit in [0, at % 8] {
                let error = victim.with_byte(name, at, |byte| byte ^ (1 << bit));
                assert!(
                    names_the_place(&error, name),
                    "{name} at {at}, bit {bit}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_bit_changed_anywhere_is_refused() {
    let victim = RefCell::new(Victim::new());
    let changes = (any::<Index>(), any::<Index>(), 0..8_u32);
    let mut runner = TestRunner::new(Config {
        cases: 256,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&changes, |(file, at, bit)| {
        let victim = victim.borrow();
        let names: Vec<&String> = victim.files.keys().collect();
        let name = names[file.index(names.len())];
        let at = at.index(victim.files[name].len());
        let error = victim.with_byte(name, at, |byte| byte ^ (1_u8 << bit));
        prop_assert!(names_the_place(&error, name), "{name} at {at}: {error}");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_file_that_is_missing_cut_off_longer_or_too_many_is_refused_and_named() {
    let victim = Victim::new();
    for (name, bytes) in &victim.files {
        let error = victim.refused(name, |file| fs::remove_file(file).unwrap());
        assert!(
            names_the_place(&error, name) && error.contains("is not there"),
            "{name}: {error}"
        );
        let longer = [bytes, &b"\0"[..]].concat();
        for changed in [&bytes[..bytes.len() - 1], &[], &longer] {
            let error = victim.refused(name, |file| fs::write(file, changed).unwrap());
            assert!(names_the_place(&error, name), "{name}: {error}");
        }
    }
    let stray = format!("blobs/sha256/{}", "0".repeat(64));
    for name in ["plugin.toml", "blobs/more", "blobs/sha256/.hidden", &stray] {
        let error = victim.refused(name, |file| fs::write(file, b"more").unwrap());
        assert_eq!(
            error,
            format!("PKG/{name} is no part of the package; remove it, or get the package again")
        );
    }
}

#[test]
fn layers_that_are_swapped_are_refused() {
    let victim = Victim::new();
    let (card, calibrator) = (victim.holding("# What"), victim.holding("slope"));
    let error = victim.refused(&card, |file| {
        fs::write(file, &victim.files[&calibrator]).unwrap();
    });
    assert!(error.starts_with("layer `CARD.md` (PKG/blobs/"), "{error}");
    // The digests agree when the manifest is written anew, but it is another manifest.
    let manifest = victim.holding("application/wasm");
    let text = String::from_utf8(victim.files[&manifest].clone()).unwrap();
    let swapped = text
        .replace("CARD.md", "SWAPPED")
        .replace("calibrator.toml", "CARD.md")
        .replace("SWAPPED", "calibrator.toml");
    assert_ne!(text, swapped);
    let error = victim.refused(&manifest, |file| fs::write(file, &swapped).unwrap());
    assert!(
        error.starts_with("the manifest (PKG/blobs/") && error.contains(" has digest "),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_link_in_a_layout_is_refused_wherever_it_leads() {
    let victim = Victim::new();
    let blob = victim.holding("# What");
    let outside = victim.shop.path("outside");
    fs::write(&outside, &victim.files[&blob]).unwrap();
    let error = victim.refused(&blob, |file| {
        fs::remove_file(file).unwrap();
        std::os::unix::fs::symlink(&outside, file).unwrap();
    });
    assert_eq!(
        error,
        format!("PKG/{blob}: is not a plain file; put the file itself there")
    );
    let blobs = victim.path.join("blobs");
    fs::rename(&blobs, victim.shop.path("blobs")).unwrap();
    std::os::unix::fs::symlink(victim.shop.path("blobs"), &blobs).unwrap();
    let error = refused(&victim.path, &Trust::Anyone);
    assert!(error.starts_with("PKG/blobs is no part"), "{error}");
}

/// What is said of an unsigned layout whose `index.json` was rewritten.
fn with_index(change: impl FnOnce(&str) -> String) -> String {
    let shop = Shop::new();
    let path = shop.unsigned(&folder(), "layout", Shape::Folder);
    let file = path.join("index.json");
    let index = fs::read_to_string(&file).unwrap();
    fs::write(&file, change(&index)).unwrap();
    refused(&path, &Trust::Anyone)
}

#[test]
fn a_size_that_a_descriptor_lies_about_takes_no_memory() {
    let huge = with_index(|index| {
        let (head, tail) = index.split_once("\"size\":").unwrap();
        let tail = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{head}\"size\":10737418240{tail}")
    });
    assert!(
        huge.ends_with("has 10737418240 bytes, at most 262144 are taken"),
        "{huge}"
    );
}

#[test]
fn json_that_nests_or_is_long_is_refused() {
    let nested = "[".repeat(10_000);
    for json in [
        nested.clone(),
        format!("{{\"schemaVersion\":2,\"manifests\":{nested}"),
        format!("{{\"manifests\":[{{\"annotations\":{nested}"),
        format!("{{\"manifests\":[{{\"annotations\":{{\"a\":{nested}"),
        format!("{{\"x\":{nested}"),
    ] {
        let error = with_index(|_| json);
        assert!(error.starts_with("PKG/index.json: "), "{error}");
    }
    let error = with_index(|index| format!("{index}{}", " ".repeat(1 << 20)));
    assert!(error.contains("at most 262144 are taken"), "{error}");
}

#[test]
fn an_index_of_nothing_of_two_packages_or_of_others_is_refused() {
    let error = with_index(|_| "{\"schemaVersion\":2,\"manifests\":[]}".to_owned());
    assert_eq!(
        error,
        "PKG/index.json: lists 0 packages, where a layout holds one"
    );
    let error = with_index(|index| {
        let (head, one) = index.split_once("\"manifests\":[").unwrap();
        let one = one.trim_end_matches("]}");
        let another = one.replace("\"artifactType\":", "\"annotations\":{},\"artifactType\":");
        let larger = another.replace("\"size\":", "\"size\":1");
        format!("{head}\"manifests\":[{one},{larger}]}}")
    });
    assert!(
        error.contains("otherwise than it stands elsewhere"),
        "{error}"
    );
    let error = with_index(|index| index.replace("detector.v1", "detector.v2"));
    assert!(error.contains("says another `artifactType`"), "{error}");
}

#[test]
fn each_refusal_knows_who_is_to_blame() {
    let shop = Shop::new();
    let path = shop.unsigned(&folder(), "layout", Shape::Folder);
    fs::write(path.join("oci-layout"), b"{}").unwrap();
    assert_eq!(open(&path, &[]).unwrap_err().blame(), Blame::Guest);
    let error = open(Path::new("/no/such/package"), &[]).unwrap_err();
    assert_eq!(error.blame(), Blame::Caller);
    let below_a_file = path.join("oci-layout/package");
    let error = packed(&folder())
        .write(&below_a_file, Shape::Tar)
        .unwrap_err();
    assert_eq!(error.blame(), Blame::Host, "{error}");
}
