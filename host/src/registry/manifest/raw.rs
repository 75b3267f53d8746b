//! The manifest as TOML spells it, before anything is checked.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::{Golden, SettingValue};
use crate::item::PartKind;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) plugin: RawPlugin,
    pub(super) labels: Spanned<BTreeMap<Spanned<String>, RawLabel>>,
    #[serde(default)]
    pub(super) models: BTreeMap<String, Spanned<RawModel>>,
    #[serde(default)]
    pub(super) tokenizers: BTreeMap<String, Spanned<RawTokenizer>>,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) settings: BTreeMap<String, Spanned<RawSetting>>,
    pub(super) calibrator: RawCalibrator,
    #[serde(default)]
    pub(super) golden: Vec<Spanned<Golden>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawPlugin {
    pub(super) name: Spanned<String>,
    pub(super) version: Spanned<String>,
    pub(super) contract: Spanned<String>,
    #[serde(default)]
    pub(super) description: String,
    pub(super) component: Spanned<String>,
    pub(super) reads: Spanned<Vec<PartKind>>,
    pub(super) imports: Spanned<BTreeSet<String>>,
    pub(super) model_card: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawLabel {
    pub(super) description: String,
    #[serde(default)]
    pub(super) parents: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawModel {
    pub(super) file: String,
    pub(super) sha256: String,
    #[serde(default = "yes")]
    pub(super) batch_exact: bool,
    #[serde(default)]
    pub(super) precision: RawPrecision,
    pub(super) tolerance: Option<Spanned<f32>>,
}

#[derive(Deserialize, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum RawPrecision {
    #[default]
    #[serde(rename = "f32")]
    Single,
    #[serde(rename = "f16")]
    Half,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawTokenizer {
    pub(super) file: String,
    pub(super) sha256: String,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) memory_mib: Option<Spanned<u64>>,
    pub(super) tensor_mib: Option<Spanned<u64>>,
    pub(super) weights_mib: Option<Spanned<u64>>,
    pub(super) deadline_ms: Option<Spanned<u64>>,
    pub(super) runs: Option<Spanned<u64>>,
    pub(super) gigaops_per_second: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawSetting {
    #[serde(rename = "type")]
    pub(super) kind: SettingType,
    pub(super) default: SettingValue,
    #[serde(rename = "description")]
    pub(super) _description: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SettingType {
    Flag,
    Integer,
    Number,
    Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RawCalibrator {
    pub(super) file: Spanned<String>,
}
