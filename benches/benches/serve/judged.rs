//! What a judgement says, as far as the parts look: read off its text, for thousands come
//! each second.

use crate::http::{Answer, find};

/// Bytes of `sha256:` and the digits.
const REVISION_BYTES: usize = 71;

/// A judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged<'a> {
    /// Who answered for the detector.
    pub(crate) revision: &'a [u8],
    /// The generation of the lineup that said so, where the answer tells.
    pub(crate) generation: Option<u64>,
    /// Whether no detector failed.
    pub(crate) is_whole: bool,
    /// Whether each signal is of that revision.
    pub(crate) is_consistent: bool,
}

/// What an answer says of `detector`, its only one; none when it is no judgement.
pub(crate) fn judged<'a>(answer: &Answer<'a>, detector: &str) -> Option<Judged<'a>> {
    if answer.status != 200 {
        return None;
    }
    let body = answer.body;
    let lineup = after(body, format!("\"lineup\":{{\"{detector}\":\"").as_bytes())?;
    let revision = lineup.get(..REVISION_BYTES)?;
    let mut is_consistent = true;
    let mut rest = body;
    while let Some(named) = after(rest, b"\"revision\":\"") {
        is_consistent &= named.starts_with(revision);
        rest = named;
    }
    Some(Judged {
        revision,
        generation: after(body, b"\"generation\":").and_then(number),
        is_whole: find(body, b"\"degraded\":[]").is_some(),
        is_consistent,
    })
}

fn after<'a>(bytes: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    find(bytes, what).map(|at| &bytes[at + what.len()..])
}

fn number(bytes: &[u8]) -> Option<u64> {
    let n_digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(&bytes[..n_digits]).ok()?.parse().ok()
}
