//! Packed packages: the same bytes for the same files, and no byte that can be changed.

mod archives;
mod layouts;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trommel::Host;
use trommel::engine::{Blame, EngineOptions, Limits};
use trommel::registry::{
    Layout, LayoutError, Package, PackageError, Packed, PrivateKey, PublicKey, Shape, Trust,
};
use trommel_tests::plugin::PluginFolder;
use trommel_tests::workspace;

use crate::hostile::tests_in;

const IMPORTS: [&str; 3] = ["content", "log", "results"];

/// A plugin folder with every kind of file that a manifest may name.
fn folder() -> PluginFolder {
    let folder = PluginFolder::of_guest("noop", &IMPORTS);
    folder.edit("[labels.spam]", "model-card = \"CARD.md\"\n\n[labels.spam]");
    folder.edit(
        "[calibrator]",
        "[[golden]]\nname = \"g\"\nimage = \"golden.bin\"\ntext = \"t\"\nlabel = \"spam\"\nat-most = 9.0\n\n[calibrator]",
    );
    let words =
        br#"{"version":"1.0","model":{"type":"WordLevel","unk_token":"a","vocab":{"a":0}}}"#;
    let digest = trommel_tensor::Digest::of(words).to_string();
    let digest = digest.trim_start_matches("sha256:");
    folder.edit(
        "[limits]",
        &format!("[tokenizers.words]\nfile = \"words.json\"\nsha256 = \"{digest}\"\n\n[limits]"),
    );
    folder.write("words.json", words);
    folder.write("CARD.md", b"# What it is good for\n");
    folder.write("golden.bin", b"an image, for all that packing knows");
    folder.write("notes.txt", b"named by nothing, so it stays at home");
    folder
}

/// Packages of one plugin, gone with this.
struct Shop {
    here: TempDir,
    key: PrivateKey,
}

impl Shop {
    fn new() -> Self {
        Self {
            here: tempfile::tempdir().unwrap(),
            key: PrivateKey::generate().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    /// A package of `folder`, signed by the shop's key.
    fn signed(&self, folder: &PluginFolder, name: &str, shape: Shape) -> PathBuf {
        let path = self.unsigned(folder, name, shape);
        self.sign(&path, &self.key);
        path
    }

    fn unsigned(&self, folder: &PluginFolder, name: &str, shape: Shape) -> PathBuf {
        let path = self.path(name);
        packed(folder).write(&path, shape).unwrap();
        path
    }

    fn sign(&self, package: &Path, key: &PrivateKey) {
        assert!(open(package, &[]).unwrap().sign(key).unwrap());
    }

    fn trust(&self) -> Trust {
        Trust::Keys(vec![self.key.public()])
    }
}

fn packed(folder: &PluginFolder) -> Packed {
    let options = EngineOptions::default();
    Packed::of(
        folder.path(),
        &options.max_limits,
        options.max_component_bytes,
    )
    .unwrap()
}

fn open(package: &Path, keys: &[PublicKey]) -> Result<Layout, LayoutError> {
    let options = EngineOptions::default();
    let most = options.max_component_bytes;
    Layout::open(package, keys, &options.max_limits, most)
}

/// What `trommel plugin verify` does.
fn verify(package: &Path, trust: &Trust) -> Result<(), LayoutError> {
    let layout = open(package, trust.keys())?;
    layout.accept(trust)?;
    layout.verify()
}

/// What a host does before it compiles anything.
fn load(package: &Path, trust: &Trust) -> Result<Package, PackageError> {
    let options = EngineOptions::default();
    let most = options.max_component_bytes;
    Package::open(package, &options.max_limits, most, trust)
}

/// Both refuse it and say the same; the words, without where the test happened to lie.
fn refused(package: &Path, trust: &Trust) -> String {
    let error = verify(package, trust).expect_err("must be refused");
    assert_ne!(error.blame(), Blame::Host, "{error}");
    let loaded = load(package, trust).expect_err("must not load");
    assert_eq!(loaded.to_string(), error.to_string());
    error
        .to_string()
        .replace(&package.display().to_string(), "PKG")
}

/// The files of a layout folder by name.
fn files(layout: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["", "blobs/sha256/"] {
        for entry in fs::read_dir(layout.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let name = format!("{folder}{}", entry.file_name().to_string_lossy());
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_packed_plugin_is_the_plugin_in_its_folder() {
    let (shop, folder) = (Shop::new(), folder());
    // Its golden image is none, so that only the package itself is looked at.
    let whole = Package::read(folder.path(), &Limits::MAX, 32 << 20).unwrap();
    for shape in [Shape::Folder, Shape::Tar] {
        let path = shop.signed(&folder, &format!("{shape:?}"), shape);
        let package = load(&path, &shop.trust()).unwrap();
        let none = BTreeMap::new();
        assert_eq!(package.manifest, whole.manifest);
        assert_eq!(package.component(), whole.component());
        assert!(package.models().eq(whole.models()));
        assert!(package.tokenizers().eq(whole.tokenizers()));
        assert_eq!(package.revision(&none), whole.revision(&none));
        let layout = open(&path, &[]).unwrap();
        let names: Vec<&str> = layout.layers().map(|layer| layer.file).collect();
        assert_eq!(
            names,
            [
                "plugin.toml",
                "noop.wasm",
                "model.onnx",
                "words.json",
                "CARD.md",
                "calibrator.toml",
                "golden.bin"
            ]
        );
    }
}

#[test]
fn a_host_is_built_from_packages() {
    let (shop, folder) = (Shop::new(), PluginFolder::of_guest("noop", &IMPORTS));
    let path = shop.signed(&folder, "package.tar", Shape::Tar);
    let host = Host::builder().trust(shop.trust()).detector(&path);
    let host = host.build().unwrap();
    assert_eq!(host.detectors()[0].id().to_string(), "noop");
    let unsigned = Host::builder().trust(shop.trust()).detector(folder.path());
    let error = unsigned.build().unwrap_err().to_string();
    assert!(error.contains("is not signed"), "{error}");
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let (shop, first) = (Shop::new(), folder());
    // The same files written in another order, at another time and place.
    let second = tempfile::tempdir().unwrap();
    let names = [
        "golden.bin",
        "words.json",
        "model.onnx",
        "CARD.md",
        "noop.wasm",
        "calibrator.toml",
        "plugin.toml",
    ];
    for name in names {
        fs::copy(first.path().join(name), second.path().join(name)).unwrap();
    }
    let (a, b) = (shop.path("a.tar"), shop.path("b.tar"));
    packed(&first).write(&a, Shape::Tar).unwrap();
    let again = Packed::of(second.path(), &Limits::MAX, 32 << 20).unwrap();
    again.write(&b, Shape::Tar).unwrap();
    assert_eq!(again.digest, packed(&first).digest);
    assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
    // Ed25519 draws no random numbers, so a signature is the same too.
    shop.sign(&a, &shop.key);
    shop.sign(&b, &shop.key);
    assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
    let folder = shop.signed(&first, "folder", Shape::Folder);
    let unpacked = shop.path("unpacked");
    fs::create_dir(&unpacked).unwrap();
    tar::Archive::new(fs::File::open(&a).unwrap())
        .unpack(&unpacked)
        .unwrap();
    assert_eq!(files(&unpacked), files(&folder));
}

#[test]
fn weights_that_two_plugins_share_are_one_blob() {
    let (one, other) = (folder(), folder());
    other.edit("version = \"0.1.0\"", "version = \"0.2.0\"");
    let shop = Shop::new();
    let one = files(&shop.unsigned(&one, "one", Shape::Folder));
    let other = files(&shop.unsigned(&other, "other", Shape::Folder));
    let model = trommel_tensor::Digest::of(&trommel_tests::spam_model()).to_string();
    let blob = format!("blobs/sha256/{}", model.trim_start_matches("sha256:"));
    assert!(one.contains_key(&blob) && other.contains_key(&blob));
    assert_ne!(one["index.json"], other["index.json"]);
}

#[test]
fn a_file_with_two_names_is_one_blob_and_two_layers() {
    let (shop, folder) = (Shop::new(), folder());
    folder.write("twin.onnx", &trommel_tests::spam_model());
    let digest = trommel_tensor::Digest::of(&trommel_tests::spam_model()).to_string();
    let digest = digest.trim_start_matches("sha256:");
    let twin = |name: &str, file: &str| {
        format!("[models.{name}]\nfile = \"{file}\"\nsha256 = \"{digest}\"\n\n[limits]")
    };
    folder.edit("[limits]", &twin("twin", "twin.onnx"));
    // A model under two names is one layer.
    folder.edit("[limits]", &twin("again", "twin.onnx"));
    let path = shop.signed(&folder, "package", Shape::Folder);
    let package = load(&path, &shop.trust()).unwrap();
    assert_eq!(package.models().count(), 3);
    assert_eq!(open(&path, &[]).unwrap().layers().count(), 8);
    // As without the twin: only the plugin manifest and what names it are others.
    assert_eq!(files(&path).len(), 14);
}

#[test]
fn nothing_is_written_over_what_is_there() {
    let (shop, folder) = (Shop::new(), folder());
    let path = shop.unsigned(&folder, "package", Shape::Tar);
    let before = fs::read(&path).unwrap();
    for shape in [Shape::Tar, Shape::Folder] {
        let error = packed(&folder).write(&path, shape).unwrap_err();
        assert!(error.to_string().contains("is there already"), "{error}");
    }
    assert!(fs::read(&path).unwrap() == before);
    let names: Vec<_> = fs::read_dir(shop.here.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing half-written is left behind");
}

#[test]
fn the_security_page_lists_what_packages_try() {
    let page = fs::read_to_string(workspace().join("docs/security.md")).unwrap();
    let (_, table) = page
        .split_once("| a package | what happens | blame | test |\n|---|---|---|---|\n")
        .expect("the page has the table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let listed = rows.map(|row| row.rsplit('|').nth(1).unwrap().trim().replace('`', ""));
    let listed: BTreeSet<String> = listed.collect();
    let files = ["archives", "layouts", "trust"];
    let tests = files.map(|file| tests_in(&format!("tests/suite/packages/{file}.rs")));
    let tests: BTreeSet<String> = tests.into_iter().flatten().collect();
    let missing: Vec<_> = tests.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&tests).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/security.md lacks {missing:?}, and lists {gone:?}, which are no tests"
    );
}
