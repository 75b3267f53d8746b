//! The settings that a revision is rolled out with: what differs from the defaults of its
//! manifest, of the types that those have.

use std::collections::BTreeMap;

use super::{Manifest, SettingValue};
use crate::excerpt::{NAME_CHARS, printable};

/// Bytes of the longest text that a setting may be.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// Declared settings that a message names.
const SHOWN: usize = 12;

/// Settings by key.
pub type Settings = BTreeMap<String, SettingValue>;

/// A setting that a revision cannot be rolled out with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{key}` {what}")]
pub struct SettingError {
    /// Its key, fit to be shown.
    pub key: String,
    /// What is wrong and how to mend it.
    pub what: String,
}

impl Manifest {
    /// What of `given` differs from the defaults. A text stands for what it spells where a
    /// flag or a number is declared, and a whole number for any number.
    ///
    /// # Errors
    ///
    /// The first setting that is not declared, that is no value of its declared type, or
    /// that is too long.
    pub fn settle(&self, given: &Settings) -> Result<Settings, SettingError> {
        let mut settled = Settings::new();
        for (key, value) in given {
            let wrong = |what: String| SettingError {
                key: printable(key, NAME_CHARS),
                what,
            };
            let default = self.settings.get(key);
            let default = default.ok_or_else(|| wrong(self.undeclared()))?;
            let value = fit(default, value).ok_or_else(|| {
                wrong(format!(
                    "is {}; give {}, as its default `{}` is",
                    shown(value),
                    kind(default),
                    printable(&default.to_string(), NAME_CHARS)
                ))
            })?;
            if let SettingValue::Text(text) = &value
                && text.len() > MAX_TEXT_BYTES
            {
                let n_bytes = text.len();
                return Err(wrong(format!(
                    "has {n_bytes} bytes, more than {MAX_TEXT_BYTES}; shorten it"
                )));
            }
            if value != *default {
                settled.insert(key.clone(), value);
            }
        }
        Ok(settled)
    }

    fn undeclared(&self) -> String {
        let shown = |key: &String| format!("`{}`", printable(key, NAME_CHARS));
        let keys: Vec<String> = self.settings.keys().take(SHOWN).map(shown).collect();
        let declared = match (keys.len(), self.settings.len().saturating_sub(SHOWN)) {
            (0, _) => "the manifest declares none; leave it out".to_owned(),
            (_, 0) => format!("write one of {}", keys.join(", ")),
            (_, more) => format!("write one of {} or {more} others", keys.join(", ")),
        };
        format!("is not declared; {declared}")
    }
}

/// The value of a declared setting that somebody means by `given`.
fn fit(default: &SettingValue, given: &SettingValue) -> Option<SettingValue> {
    use SettingValue::{Flag, Integer, Number, Text};
    let finite = |number: f64| number.is_finite().then_some(Number(number));
    match (default, given) {
        (Flag(_), Flag(flag)) => Some(Flag(*flag)),
        (Flag(_), Text(text)) => text.parse().ok().map(Flag),
        (Integer(_), Integer(integer)) => Some(Integer(*integer)),
        (Integer(_), Text(text)) => text.parse().ok().map(Integer),
        (Number(_), Number(number)) => finite(*number),
        #[expect(clippy::cast_precision_loss, reason = "what a TOML reader does too")]
        (Number(_), Integer(integer)) => Some(Number(*integer as f64)),
        (Number(_), Text(text)) => text.parse().ok().and_then(finite),
        (Text(_), Text(text)) => Some(Text(text.clone())),
        _ => None,
    }
}

fn kind(value: &SettingValue) -> &'static str {
    match value {
        SettingValue::Flag(_) => "true or false",
        SettingValue::Integer(_) => "a whole number",
        SettingValue::Number(_) => "a number",
        SettingValue::Text(_) => "a text",
    }
}

fn shown(value: &SettingValue) -> String {
    format!("`{}`", printable(&value.to_string(), NAME_CHARS))
}

/// Each value as the contract spells it; [`Manifest::settle`] reads it back.
#[must_use]
pub fn spelled(settings: &Settings) -> BTreeMap<String, String> {
    let settings = settings.iter();
    settings
        .map(|(key, value)| (key.clone(), value.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Limits;

    const MANIFEST: &str = r#"
[plugin]
name = "tested"
version = "0.1.0"
contract = "0.1.0"
component = "tested.wasm"
reads = ["text"]
imports = ["settings"]

[labels.spam]
description = "for tests"

[settings.loud]
type = "flag"
default = false
description = "for tests"

[settings.rounds]
type = "integer"
default = 3
description = "for tests"

[settings.lift]
type = "number"
default = 0.5
description = "for tests"

[settings.greeting]
type = "text"
default = "hello"
description = "for tests"

[calibrator]
file = "calibrator.toml"
"#;

    fn manifest() -> Manifest {
        let manifest = MANIFEST.replace(
            "contract = \"0.1.0\"",
            &format!("contract = {:?}", crate::engine::CONTRACT_VERSION),
        );
        Manifest::parse("plugin.toml", &manifest, &Limits::MAX).unwrap()
    }

    fn settle(given: &[(&str, SettingValue)]) -> Result<Settings, SettingError> {
        let given = given.iter();
        let given = given.map(|(key, value)| ((*key).to_owned(), value.clone()));
        manifest().settle(&given.collect())
    }

    fn text(text: &str) -> SettingValue {
        SettingValue::Text(text.to_owned())
    }

    #[test]
    fn a_setting_is_what_its_declaration_makes_of_it() {
        use SettingValue::{Flag, Integer, Number};
        for (key, given, meant) in [
            ("loud", text("true"), Flag(true)),
            ("loud", Flag(true), Flag(true)),
            ("rounds", text("-7"), Integer(-7)),
            ("rounds", Integer(8), Integer(8)),
            ("lift", text("2"), Number(2.0)),
            ("lift", Integer(2), Number(2.0)),
            ("lift", text("1e-3"), Number(0.001)),
            ("greeting", text("7"), text("7")),
        ] {
            let settled = settle(&[(key, given.clone())]).unwrap();
            assert_eq!(
                settled,
                Settings::from([(key.to_owned(), meant)]),
                "{given:?}"
            );
        }
        // The default is not given, however it is spelled: the revision is the same.
        let defaults = [
            ("loud", Flag(false)),
            ("rounds", text("3")),
            ("lift", text("0.50")),
            ("greeting", text("hello")),
        ];
        assert_eq!(settle(&defaults).unwrap(), Settings::new());
    }

    #[test]
    fn what_is_no_setting_is_refused_with_the_way_out() {
        use SettingValue::{Integer, Number};
        for (key, given, why) in [
            (
                "lowd",
                text("true"),
                "setting `lowd` is not declared; write one of `greeting`, `lift`, `loud`, `rounds`",
            ),
            (
                "rounds",
                text("2.5"),
                "setting `rounds` is `2.5`; give a whole number, as its default `3` is",
            ),
            (
                "rounds",
                Number(2.0),
                "give a whole number, as its default `3` is",
            ),
            ("loud", text("yes"), "give true or false"),
            ("lift", text("NaN"), "give a number"),
            ("lift", Number(f64::INFINITY), "give a number"),
            ("greeting", Integer(7), "give a text"),
            (
                "greeting",
                text(&"x".repeat(20_000)),
                "has 20000 bytes, more than 16384; shorten it",
            ),
        ] {
            let refused = settle(&[(key, given)]).unwrap_err().to_string();
            assert!(refused.contains(why), "{why}: {refused}");
        }
    }
}
