//! Lines of JSON that tell whether they are whole. The journal and the record are made of
//! them: a crash may leave half a line behind, and a disk may change one. No I/O.
//!
//! ```text
//! {"sum":"0123456789abcdef","NAME":{…}}
//! ```
//!
//! `sum` is the first 16 hex digits of the sha256 of the text behind `"NAME":`.

use sha2::{Digest as _, Sha256};

const SUM_DIGITS: usize = 16;
const BEFORE_SUM: &str = "{\"sum\":\"";

/// The line of `json`, its end included. `name` is a plain word, and `json` holds no line
/// break.
pub(crate) fn line(name: &str, json: &str) -> String {
    format!(
        "{BEFORE_SUM}{}{}{json}}}\n",
        sum(json),
        before_content(name)
    )
}

/// The JSON of a line, its end included, when the line is whole and its sum is right.
pub(crate) fn json<'a>(name: &str, line: &'a [u8]) -> Option<&'a str> {
    let line = str::from_utf8(line.strip_suffix(b"}\n")?).ok()?;
    let rest = line.strip_prefix(BEFORE_SUM)?;
    let (written, rest) = rest.split_at_checked(SUM_DIGITS)?;
    let json = rest.strip_prefix(before_content(name).as_str())?;
    (sum(json) == written).then_some(json)
}

fn before_content(name: &str) -> String {
    format!("\",\"{name}\":")
}

fn sum(json: &str) -> String {
    let digest = Sha256::digest(json);
    let digits = digest[..SUM_DIGITS / 2].iter();
    digits.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_is_json_itself() {
        let written = line("record", r#"{"é":1}"#);
        assert_eq!(json("record", written.as_bytes()), Some(r#"{"é":1}"#));
        assert_eq!(json("entry", written.as_bytes()), None);
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["record"]["é"], 1);
    }

    #[test]
    fn a_line_with_any_byte_changed_or_missing_is_none() {
        let written = line("record", r#"{"a":"b"}"#).into_bytes();
        for at in 0..written.len() {
            assert_eq!(json("record", &written[..at]), None, "cut at {at}");
            let mut changed = written.clone();
            changed[at] ^= 1;
            assert_eq!(json("record", &changed), None, "changed at {at}");
        }
    }
}
