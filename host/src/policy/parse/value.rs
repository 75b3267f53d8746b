//! Reading typed values out of the TOML tree.
//!
//! Nothing here knows what a rule is; everything knows where it stands.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Problem;
use crate::{
    item::Attribute,
    policy::error::{printable, quoted},
    signal::Probability,
};

pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// A problem and the byte that it stands at.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

/// A table of which we know what it describes.
#[derive(Clone, Copy)]
pub(super) struct Section<'v, 'i> {
    table: &'v DeTable<'i>,
    at: usize,
    /// What it describes, with its article: `a rule`.
    what: &'static str,
}

/// A value and the key that it stands under.
#[derive(Clone, Copy)]
pub(super) struct Entry<'v, 'i> {
    key: &'static str,
    /// Whether it is one of a list under the key.
    listed: bool,
    value: &'v Value<'i>,
}

impl<'v, 'i> Section<'v, 'i> {
    pub(super) fn new(table: &'v DeTable<'i>, at: usize, what: &'static str) -> Self {
        Self { table, at, what }
    }

    /// The same table, after more is known about what it describes.
    pub(super) fn describing(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Entry<'v, 'i>> {
        self.table.get(key).map(|value| Entry {
            key,
            listed: false,
            value,
        })
    }

    pub(super) fn need(
        &self,
        key: &'static str,
        example: &'static str,
    ) -> Result<Entry<'v, 'i>, Fault> {
        let place = self.what;
        self.get(key).ok_or_else(|| {
            self.fault(Problem::MissingKey {
                place,
                key,
                example,
            })
        })
    }

    /// Those of the given keys that the table has.
    pub(super) fn among(&self, keys: &[&'static str]) -> Vec<Entry<'v, 'i>> {
        keys.iter().filter_map(|key| self.get(key)).collect()
    }

    /// Refuses the first key that is not one of the known.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        let strangers = self
            .table
            .keys()
            .filter(|key| !known.contains(&&**key.get_ref()));
        match strangers.min_by_key(|key| key.span().start) {
            None => Ok(()),
            Some(key) => {
                let at = key.span().start;
                let (key, known) = (printable(key.get_ref()), quoted(known));
                Err(Fault {
                    at,
                    problem: Problem::UnknownKey {
                        key,
                        place: self.what,
                        known,
                    },
                })
            }
        }
    }

    pub(super) fn fault(&self, problem: Problem) -> Fault {
        Fault {
            at: self.at,
            problem,
        }
    }
}

impl<'v, 'i> Entry<'v, 'i> {
    pub(super) fn listed(key: &'static str, value: &'v Value<'i>) -> Self {
        Self {
            key,
            listed: true,
            value,
        }
    }

    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    pub(super) fn at(&self) -> usize {
        self.value.span().start
    }

    pub(super) fn fault(&self, problem: Problem) -> Fault {
        Fault {
            at: self.at(),
            problem,
        }
    }

    pub(super) fn section(
        &self,
        what: &'static str,
        wanted: &'static str,
    ) -> Result<Section<'v, 'i>, Fault> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Section::new(table, self.at(), what)),
            _ => Err(self.wrong(wanted)),
        }
    }

    pub(super) fn list(&self, wanted: &'static str) -> Result<&'v [Value<'i>], Fault> {
        match self.value.get_ref() {
            DeValue::Array(list) => Ok(list),
            _ => Err(self.wrong(wanted)),
        }
    }

    /// Reads every entry of a list, which must have one.
    pub(super) fn each<T>(
        &self,
        wanted: &'static str,
        read: impl FnMut(Entry<'v, 'i>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let (key, list) = (self.key, self.list(wanted)?);
        if list.is_empty() {
            return Err(self.fault(Problem::Empty { key, wanted }));
        }
        list.iter()
            .map(|value| Entry::listed(key, value))
            .map(read)
            .collect()
    }

    pub(super) fn text(&self, wanted: &'static str) -> Result<&'v str, Fault> {
        self.value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.wrong(wanted))
    }

    /// A text that can serve as a name: not blank, no control characters.
    pub(super) fn words(&self, wanted: &'static str) -> Result<&'v str, Fault> {
        let (key, text) = (self.key, self.text(wanted)?);
        if text.trim().is_empty() {
            Err(self.fault(Problem::Empty { key, wanted }))
        } else if text.chars().any(char::is_control) {
            Err(self.fault(Problem::ControlCharacter { key, wanted }))
        } else {
            Ok(text)
        }
    }

    pub(super) fn flag(&self, wanted: &'static str) -> Result<bool, Fault> {
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.wrong(wanted))
    }

    /// A finite number, whole or not.
    pub(super) fn number(&self, wanted: &'static str) -> Result<Attribute, Fault> {
        match self.value.get_ref() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map(Attribute::Integer)
                .map_err(|_| self.out_of_range(&integer.to_string(), wanted)),
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Attribute::Number(value)),
                _ => Err(self.out_of_range(number.as_str(), wanted)),
            },
            _ => Err(self.wrong(wanted)),
        }
    }

    /// A text, a number or a flag.
    pub(super) fn scalar(&self, wanted: &'static str) -> Result<Attribute, Fault> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(Attribute::Text(text.to_string())),
            DeValue::Boolean(flag) => Ok(Attribute::Flag(*flag)),
            _ => self.number(wanted),
        }
    }

    /// A finite number from 0 to 1.
    pub(super) fn probability(&self) -> Result<Probability, Fault> {
        let wanted = "a probability from 0 to 1";
        let written = match self.value.get_ref() {
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(number) => number.to_string(),
            _ => return Err(self.wrong(wanted)),
        };
        let probability = written
            .parse()
            .ok()
            .and_then(|value| Probability::new(value).ok());
        probability.ok_or_else(|| self.out_of_range(&written, wanted))
    }

    /// A number between 0 and 1, neither of them.
    pub(super) fn rate(&self) -> Result<f64, Fault> {
        let rate = self.probability()?.get();
        if rate > 0.0 && rate < 1.0 {
            Ok(rate)
        } else {
            Err(self.out_of_range(
                &rate.to_string(),
                "a number between 0 and 1, neither of them",
            ))
        }
    }

    fn out_of_range(&self, written: &str, wanted: &'static str) -> Fault {
        let (name, written) = (self.name(), printable(written));
        self.fault(Problem::OutOfRange {
            name,
            written,
            wanted,
        })
    }

    fn wrong(&self, wanted: &'static str) -> Fault {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(Problem::WrongType {
            name: self.name(),
            found,
            wanted,
        })
    }

    fn name(&self) -> String {
        let place = if self.listed { "an entry of " } else { "" };
        format!("{place}`{}`", self.key)
    }
}
