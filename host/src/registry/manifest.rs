//! `plugin.toml`: what a package says of itself, read without running it.

mod limits;
mod models;
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use limits::BOUNDLESS;
use raw::{Raw, RawLabel, RawSetting, SettingType};

use crate::engine::{CONTRACT_VERSION, Limits};
use crate::excerpt::printable;
use crate::item::PartKind;
use crate::signal::{DetectorId, Label};
use crate::toml_text::{Lines, long_key};

/// Bytes of the largest manifest taken.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// Characters of a message that repeats what a manifest says.
const MESSAGE_CHARS: usize = 1000;

/// Golden cases at most: each is run before the detector takes traffic.
const MAX_GOLDEN: usize = 64;

/// Levels of the taxonomy above a label.
const MAX_PARENTS: usize = 3;

/// A manifest, checked against the contract and the host's bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The detector's name.
    pub id: DetectorId,
    /// The author's version of it.
    pub version: String,
    /// The contract version that it was built for.
    pub contract: String,
    /// One sentence for people.
    pub description: String,
    /// File of the component.
    pub component: String,
    /// The part kinds that it reads.
    pub reads: Vec<PartKind>,
    /// The contract's interfaces that it says it imports.
    pub imports: BTreeSet<String>,
    /// Where the manifest says so.
    pub(super) imports_line: usize,
    /// Labels with their descriptions.
    pub labels: BTreeMap<Label, String>,
    /// Models by name.
    pub models: BTreeMap<String, ModelFile>,
    /// Tokenizers by name.
    pub tokenizers: BTreeMap<String, TokenizerFile>,
    /// Settings by key.
    pub settings: BTreeMap<String, SettingValue>,
    /// What one call may take.
    pub limits: Limits,
    /// File of the calibrator.
    pub calibrator: String,
    /// Items with the scores they must get.
    pub golden: Vec<Golden>,
    /// File of the model card.
    pub model_card: Option<String>,
}

/// A model as the manifest names it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// Its file.
    pub file: String,
    /// sha256 of the file, 64 hex digits.
    pub sha256: String,
    /// Whether a row must score the same bit for bit in any batch.
    pub batch_exact: bool,
    /// How far a score of a golden case may be from the one in f32, where a device is to
    /// store the model's values as f16; none where they are f32.
    pub halved_within: Option<f32>,
    /// Where the manifest names it.
    pub(super) line: usize,
}

/// A tokenizer as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerFile {
    /// Its file.
    pub file: String,
    /// sha256 of the file, 64 hex digits.
    pub sha256: String,
    /// Where the manifest names it.
    pub(super) line: usize,
}

/// The value of a setting; its type is the setting's type.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a setting is true or false, a number or a text")]
pub enum SettingValue {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
    /// Words.
    Text(String),
}

impl fmt::Display for SettingValue {
    /// As the contract spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// An item with the score that a label must get.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Golden {
    /// Its name in messages.
    pub name: String,
    /// The item's text.
    pub text: Option<String>,
    /// The package's file that is the item's image.
    pub image: Option<String>,
    /// The label.
    pub label: String,
    /// The least score that passes.
    pub at_least: Option<f32>,
    /// The greatest score that passes.
    pub at_most: Option<f32>,
}

/// A manifest that was refused: `FILE:LINE: what; how to mend it`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct ManifestError {
    /// The name that the manifest was read under.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there and how to mend it.
    pub what: String,
}

impl Manifest {
    /// The files that it names, itself among them.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let models = self.models.values().map(|model| &model.file);
        let tokenizers = self.tokenizers.values().map(|tokenizer| &tokenizer.file);
        let models = models.chain(tokenizers);
        let images = self
            .golden
            .iter()
            .filter_map(|golden| golden.image.as_ref());
        let others = [&self.component, &self.calibrator].into_iter();
        let others = others.chain(&self.model_card).chain(models).chain(images);
        others.map(String::as_str).chain([super::package::MANIFEST])
    }

    /// Reads a manifest; `file` is only the name that messages use. Limits that
    /// it asks for are granted up to `max`, and refused above.
    pub fn parse(file: &str, text: &str, max: &Limits) -> Result<Self, ManifestError> {
        Self::read(file, text, Some(max))
    }

    /// Reads a manifest that may be of another host's contract and ask for more than
    /// this one grants: to be shown, never to be loaded.
    pub(super) fn parse_of_any_host(file: &str, text: &str) -> Result<Self, ManifestError> {
        Self::read(file, text, None)
    }

    fn read(file: &str, text: &str, max: Option<&Limits>) -> Result<Self, ManifestError> {
        let lines = Lines::new(text);
        let is_foreign = max.is_none();
        let reader = Reader {
            file,
            lines,
            is_foreign,
        };
        let max = max.unwrap_or(&BOUNDLESS);
        if text.len() > MAX_BYTES {
            return reader.refuse(
                0,
                format!(
                    "the manifest has {} bytes, more than {MAX_BYTES}; shorten it",
                    text.len()
                ),
            );
        }
        if let Some(at) = long_key(text) {
            return reader.refuse(at, "this key is too long; write an inline table".to_owned());
        }
        match toml::from_str::<Raw>(text) {
            Ok(raw) => reader.manifest(raw, max),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                reader.refuse(at, error.message().replace('\n', " "))
            }
        }
    }
}

/// Turns what was written into what is meant, naming lines.
struct Reader<'a> {
    file: &'a str,
    lines: Lines,
    /// Whether any contract is let pass.
    is_foreign: bool,
}

impl Reader<'_> {
    fn refuse<T>(&self, at: usize, what: impl Into<String>) -> Result<T, ManifestError> {
        Err(ManifestError {
            file: self.file.to_owned(),
            line: self.lines.line(at),
            // Its author chose some of the words.
            what: printable(&what.into(), MESSAGE_CHARS),
        })
    }

    fn manifest(&self, raw: Raw, max: &Limits) -> Result<Manifest, ManifestError> {
        let plugin = raw.plugin;
        self.name(&plugin.name)?;
        self.semver(&plugin.version)?;
        self.contract(&plugin.contract)?;
        self.file_name(&plugin.component)?;
        self.file_name(&raw.calibrator.file)?;
        plugin
            .model_card
            .as_ref()
            .map_or(Ok(()), |card| self.file_name(card))?;
        if plugin.reads.get_ref().is_empty() {
            return self.refuse(
                plugin.reads.span().start,
                "the plugin reads nothing; write `reads = [\"text\"]`",
            );
        }
        let labels = self.labels(raw.labels)?;
        let has_golden = !raw.golden.is_empty();
        Ok(Manifest {
            golden: self.golden(raw.golden, &labels)?,
            limits: self.limits(&raw.limits, max)?,
            models: self.models(raw.models, has_golden)?,
            tokenizers: self.tokenizers(raw.tokenizers)?,
            settings: self.settings(raw.settings)?,
            id: DetectorId::new(plugin.name.into_inner()),
            version: plugin.version.into_inner(),
            contract: plugin.contract.into_inner(),
            description: plugin.description,
            component: plugin.component.into_inner(),
            imports_line: self.lines.line(plugin.imports.span().start),
            imports: plugin.imports.into_inner(),
            reads: plugin.reads.into_inner(),
            model_card: plugin.model_card.map(Spanned::into_inner),
            calibrator: raw.calibrator.file.into_inner(),
            labels,
        })
    }

    fn name(&self, name: &Spanned<String>) -> Result<(), ManifestError> {
        if is_name(name.get_ref()) {
            return Ok(());
        }
        self.refuse(
            name.span().start,
            "a plugin's name is 1 to 64 of `a-z`, `0-9` and `-`, such as `spam-text`",
        )
    }

    fn semver(&self, version: &Spanned<String>) -> Result<(), ManifestError> {
        match semver::Version::parse(version.get_ref()) {
            Ok(_) => Ok(()),
            Err(error) => self.refuse(
                version.span().start,
                format!("not a version ({error}); write it like `0.1.0`"),
            ),
        }
    }

    fn contract(&self, version: &Spanned<String>) -> Result<(), ManifestError> {
        self.semver(version)?;
        if self.is_foreign || crate::engine::speaks(version.get_ref()) {
            return Ok(());
        }
        let what = format!(
            "the plugin speaks contract {}, this host speaks {CONTRACT_VERSION}; rebuild it with sdk {CONTRACT_VERSION}",
            version.get_ref()
        );
        self.refuse(version.span().start, what)
    }

    fn file_name(&self, name: &Spanned<String>) -> Result<(), ManifestError> {
        self.file_name_at(name.get_ref(), name.span())
    }

    /// Only a plain name: a package never reaches outside its folder.
    fn file_name_at(&self, name: &str, span: Range<usize>) -> Result<(), ManifestError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
            return Ok(());
        }
        self.refuse(span.start, "a file is named plainly, of letters, digits, `.`, `-`, `_`, and lies beside the manifest")
    }

    fn labels(
        &self,
        raw: Spanned<BTreeMap<Spanned<String>, RawLabel>>,
    ) -> Result<BTreeMap<Label, String>, ManifestError> {
        let at = raw.span().start;
        let mut labels = BTreeMap::new();
        for (name, label) in raw.into_inner() {
            if !name.get_ref().split('/').all(is_name) {
                return self.refuse(
                    name.span().start,
                    "a label is words of `a-z`, `0-9` and `-`, joined by `/`",
                );
            }
            if label.parents.len() > MAX_PARENTS {
                return self.refuse(
                    name.span().start,
                    format!("a label has at most {MAX_PARENTS} parents"),
                );
            }
            labels.insert(Label::from(name.get_ref().as_str()), label.description);
        }
        if labels.is_empty() {
            return self.refuse(at, "no label; write `[labels.spam]` with a description");
        }
        Ok(labels)
    }

    fn settings(
        &self,
        raw: BTreeMap<String, Spanned<RawSetting>>,
    ) -> Result<BTreeMap<String, SettingValue>, ManifestError> {
        let mut settings = BTreeMap::new();
        for (key, setting) in raw {
            let at = setting.span().start;
            let RawSetting { kind, default, .. } = setting.into_inner();
            let value = match (kind, default) {
                // A number may be written whole; it stays a number.
                #[expect(clippy::cast_precision_loss, reason = "what a TOML reader does too")]
                (SettingType::Number, SettingValue::Integer(integer)) => {
                    SettingValue::Number(integer as f64)
                }
                (SettingType::Flag, value @ SettingValue::Flag(_))
                | (SettingType::Integer, value @ SettingValue::Integer(_))
                | (SettingType::Number, value @ SettingValue::Number(_))
                | (SettingType::Text, value @ SettingValue::Text(_)) => value,
                _ => {
                    return self.refuse(
                        at,
                        format!("the default of setting `{key}` is not of its type"),
                    );
                }
            };
            settings.insert(key, value);
        }
        Ok(settings)
    }

    fn golden(
        &self,
        raw: Vec<Spanned<Golden>>,
        labels: &BTreeMap<Label, String>,
    ) -> Result<Vec<Golden>, ManifestError> {
        if let Some(first_above) = raw.get(MAX_GOLDEN) {
            return self.refuse(
                first_above.span().start,
                format!("more than {MAX_GOLDEN} golden cases; keep the telling ones"),
            );
        }
        let mut golden = Vec::with_capacity(raw.len());
        for case in raw {
            let span = case.span();
            let at = span.start;
            let case = case.into_inner();
            if !labels.contains_key(case.label.as_str()) {
                return self.refuse(
                    at,
                    format!(
                        "golden case `{}` is about label `{}`, which is not declared",
                        case.name, case.label
                    ),
                );
            }
            if case.text.is_none() && case.image.is_none() {
                return self.refuse(
                    at,
                    format!(
                        "golden case `{}` holds no item; add `text` or `image`",
                        case.name
                    ),
                );
            }
            if let Some(image) = &case.image {
                self.file_name_at(image, span)?;
            }
            if case.at_least.is_none() && case.at_most.is_none() {
                return self.refuse(
                    at,
                    format!(
                        "golden case `{}` asks for nothing; add `at-least` or `at-most`",
                        case.name
                    ),
                );
            }
            let (least, most) = (
                case.at_least.unwrap_or(f32::MIN),
                case.at_most.unwrap_or(f32::MAX),
            );
            // Written so that NaN fails too.
            if !(least.is_finite() && most.is_finite() && least <= most) {
                return self.refuse(at, format!("golden case `{}` can never pass or fail; `at-least` and `at-most` are finite and in this order", case.name));
            }
            golden.push(case);
        }
        Ok(golden)
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
