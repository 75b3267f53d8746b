//! Typed failures over the contract's `failure` record.

use std::fmt;

use crate::bindings::trommel::detector::failures::Failure as Raw;

/// What kind of failure it is: the contract's codes, typed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// A dtype, rank or size is not what the model's input asks for.
    ShapeMismatch,
    /// The manifest names no such model.
    UnknownModel,
    /// No input, output, part or embedding is so called.
    UnknownName,
    /// The model holds an operator that no device runs.
    UnsupportedOperator,
    /// The model cannot compute on these values.
    RunFailed,
    /// A limit of the call would be passed.
    QuotaExceeded,
    /// The item's deadline passed.
    Deadline,
    /// The device went away; the next call works.
    DeviceLost,
    /// The item's content is not what its kind promises.
    InvalidContent,
    /// The host failed.
    Internal,
    /// A detector's own code, or one newer than this SDK.
    Other(String),
}

impl Code {
    /// The code as the contract spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::ShapeMismatch => "shape-mismatch",
            Self::UnknownModel => "unknown-model",
            Self::UnknownName => "unknown-name",
            Self::UnsupportedOperator => "unsupported-operator",
            Self::RunFailed => "run-failed",
            Self::QuotaExceeded => "quota-exceeded",
            Self::Deadline => "deadline",
            Self::DeviceLost => "device-lost",
            Self::InvalidContent => "invalid-content",
            Self::Internal => "internal",
            Self::Other(code) => code,
        }
    }
}

impl From<String> for Code {
    fn from(code: String) -> Self {
        match code.as_str() {
            "shape-mismatch" => Self::ShapeMismatch,
            "unknown-model" => Self::UnknownModel,
            "unknown-name" => Self::UnknownName,
            "unsupported-operator" => Self::UnsupportedOperator,
            "run-failed" => Self::RunFailed,
            "quota-exceeded" => Self::QuotaExceeded,
            "deadline" => Self::Deadline,
            "device-lost" => Self::DeviceLost,
            "invalid-content" => Self::InvalidContent,
            "internal" => Self::Internal,
            _ => Self::Other(code),
        }
    }
}

/// Why something was not done: what the host answers when it declines, and what
/// a detector answers when it cannot judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub code: Code,
    /// What went wrong, one sentence without a full stop.
    pub what: String,
    /// The model, input, part or label concerned; may be empty.
    pub place: String,
    /// How to mend it; may be empty.
    pub hint: String,
}

impl Failure {
    /// A failure with nothing said of where and how to mend it.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            place: String::new(),
            hint: String::new(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.what)?;
        if !self.place.is_empty() {
            write!(f, " ({})", self.place)?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<Raw> for Failure {
    fn from(raw: Raw) -> Self {
        Self {
            code: raw.code.into(),
            what: raw.what,
            place: raw.where_,
            hint: raw.hint,
        }
    }
}

impl From<Failure> for Raw {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code.as_str().to_owned(),
            what: failure.what,
            where_: failure.place,
            hint: failure.hint,
        }
    }
}
