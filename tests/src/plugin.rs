//! Plugin folders, made for a test and gone with it.

use std::fs;
use std::path::Path;

use trommel::engine::Limits;
use trommel::registry::{Package, bundled as all_bundled};

use crate::{guests, spam_model};

/// The bundled detector of that name, by itself.
pub fn bundled(name: &str) -> Package {
    let packages = all_bundled::packages(&Limits::MAX).expect("the bundled packages load");
    let mut packages = packages.into_iter();
    packages
        .find(|package| package.manifest.id.as_str() == name)
        .expect("it is bundled")
}

/// A plugin folder that is removed when this is dropped.
#[derive(Debug)]
pub struct PluginFolder(tempfile::TempDir);

/// A manifest for any of the guests: label `spam`, the bundled model as `spam`,
/// and a short deadline so that a test of it is short.
pub const MANIFEST: &str = r#"[plugin]
name = "NAME"
version = "0.1.0"
contract = "0.1.0"
component = "NAME.wasm"
reads = ["text"]
imports = [IMPORTS]

[labels.spam]
description = "for tests"

[models.spam]
file = "model.onnx"
sha256 = "DIGEST"

[limits]
memory-mib = 8
deadline-ms = 200

[settings.greeting]
type = "text"
default = "hello"
description = "for tests"

[calibrator]
file = "calibrator.toml"
"#;

/// `probability = 1 / (1 + exp(-score))`.
pub const CALIBRATOR: &str = "\
[[calibrator]]
label = \"spam\"
kind = \"logistic\"
slope = 1.0
intercept = 0.0
";

/// What the guest `works` does in one of its revisions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Rounds of work per text, of a nanosecond or two each.
    pub rounds: u32,
    /// In how many of a hundred texts it traps; which depends on the text alone.
    pub trap_percent: u32,
    /// What is added to its scores, which are even from -4 to 4.
    pub lift: f32,
    /// The manifest's description: revisions may differ in this alone.
    pub description: &'static str,
}

impl PluginFolder {
    /// The folder of detector `name`, whose component is the guest `works`.
    pub fn working(name: &str, work: &Work) -> Self {
        let imports = ["content", "log", "results", "settings"];
        let folder = Self::of(name, guests::component("works"), &imports);
        let Work {
            rounds,
            trap_percent,
            lift,
            description,
        } = work;
        let setting = |key: &str, kind: &str, value: String| {
            format!(
                "[settings.{key}]\ntype = \"{kind}\"\ndefault = {value}\ndescription = \"for tests\"\n\n"
            )
        };
        let settings = setting("rounds", "integer", rounds.to_string())
            + &setting("trap-percent", "integer", trap_percent.to_string())
            + &setting("lift", "number", format!("{lift:?}"));
        folder.edit(
            "[settings.greeting]",
            &format!("{settings}[settings.greeting]"),
        );
        folder.edit(
            "version = \"0.1.0\"\n",
            &format!("version = \"0.1.0\"\ndescription = {description:?}\n"),
        );
        folder
    }

    /// The folder of guest `name`, with what its component really imports.
    pub fn of_guest(name: &str, imports: &[&str]) -> Self {
        Self::of(name, guests::component(name), imports)
    }

    /// The folder of any component.
    ///
    /// # Panics
    ///
    /// When the temporary folder cannot be written.
    pub fn of(name: &str, component: &[u8], imports: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary folder"));
        let model = spam_model();
        let digest = trommel_tensor::Digest::of(&model).to_string();
        let imports: Vec<String> = imports.iter().map(|import| format!("{import:?}")).collect();
        let manifest = MANIFEST
            .replace("NAME", name)
            .replace("IMPORTS", &imports.join(", "))
            .replace("DIGEST", digest.trim_start_matches("sha256:"));
        folder.write("plugin.toml", manifest.as_bytes());
        folder.write("calibrator.toml", CALIBRATOR.as_bytes());
        folder.write("model.onnx", &model);
        folder.write(&format!("{name}.wasm"), component);
        folder
    }

    /// The same, and the manifest says that it reads `kinds`, a TOML list.
    #[must_use]
    pub fn reading(self, kinds: &str) -> Self {
        self.edit("reads = [\"text\"]", &format!("reads = {kinds}"));
        self
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of the folder anew.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).expect("the folder is ours");
    }

    /// Replaces `from` by `to` in the manifest.
    ///
    /// # Panics
    ///
    /// When the manifest does not hold `from`: the test would test nothing.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.path().join("plugin.toml");
        let text = fs::read_to_string(file).expect("written above");
        assert!(text.contains(from), "the manifest does not hold `{from}`");
        self.write("plugin.toml", text.replace(from, to).as_bytes());
    }
}
