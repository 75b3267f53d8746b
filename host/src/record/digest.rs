//! Digests of what was judged: two items with one digest are the same to every detector
//! and every rule, whatever they are called.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::item::{Attribute, Content, ImageSource, Item, Part};
use crate::revision::{RevisionId, RevisionIdError};

/// Names an item, or one part of it, by its content; written as a revision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentDigest(RevisionId);

impl ContentDigest {
    /// The digest of a part: its name, its kind and what it holds.
    #[must_use]
    pub fn of_part(part: &Part) -> Self {
        let mut fields = Fields::new("trommel part 1");
        fields.put(part.name.as_bytes());
        match &part.content {
            Content::Text { text, language } => {
                fields.put(b"text").put(text.as_bytes());
                fields.maybe(language.as_ref().map(String::as_bytes));
            }
            Content::Image { source } => match source {
                ImageSource::Bytes(bytes) => {
                    fields.put(b"image").put(bytes);
                }
                ImageSource::Path(path) => {
                    fields.put(b"path").put(path.as_bytes());
                }
            },
            Content::Link { target } => {
                fields.put(b"link").put(target.as_bytes());
            }
        }
        fields.digest()
    }

    /// The digest of an item: all of it but its id, which two items may share and which
    /// may be hidden in a record.
    #[must_use]
    pub fn of_item(item: &Item) -> Self {
        let parts: Vec<Self> = item.parts.iter().map(Self::of_part).collect();
        Self::of_parts(item, &parts)
    }

    /// The same, where the digests of its parts are known.
    pub(super) fn of_parts(item: &Item, parts: &[Self]) -> Self {
        let mut fields = Fields::new("trommel item 1");
        let received_at = item.received_at_ms.map(u64::to_le_bytes);
        fields.maybe(received_at.as_ref().map(<[u8; 8]>::as_slice));
        fields.count(parts.len());
        for part in parts {
            fields.put(part.0.as_bytes());
        }
        fields.count(item.attributes.len());
        for (name, value) in &item.attributes {
            fields.put(name.as_bytes());
            match value {
                Attribute::Flag(flag) => fields.put(b"flag").put(&[u8::from(*flag)]),
                Attribute::Integer(integer) => fields.put(b"integer").put(&integer.to_le_bytes()),
                Attribute::Number(number) => fields.put(b"number").put(&number.to_le_bytes()),
                Attribute::Text(text) => fields.put(b"text").put(text.as_bytes()),
            };
        }
        fields.count(item.embeddings.len());
        for (name, numbers) in &item.embeddings {
            fields.put(name.as_bytes()).count(numbers.len());
            for number in numbers {
                fields.0.update(number.to_le_bytes());
            }
        }
        fields.digest()
    }
}

/// Hashes fields one after the other, each after its length, so that no two lists of
/// fields read alike.
struct Fields(Sha256);

impl Fields {
    fn new(domain: &str) -> Self {
        let mut fields = Self(Sha256::new());
        fields.put(domain.as_bytes());
        fields
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.0.update((count as u64).to_le_bytes());
        self
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).0.update(bytes);
        self
    }

    fn maybe(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.count(1).put(bytes),
            None => self.count(0),
        }
    }

    fn digest(self) -> ContentDigest {
        ContentDigest(RevisionId::new(self.0.finalize().into()))
    }
}

impl FromStr for ContentDigest {
    type Err = RevisionIdError;

    fn from_str(text: &str) -> Result<Self, RevisionIdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn digest(json: &str) -> String {
        ContentDigest::of_item(&Item::from_json(json.as_bytes()).unwrap()).to_string()
    }

    #[test]
    fn whatever_a_detector_or_a_rule_could_see_changes_the_digest() {
        let items = [
            r#"{"id":"a","text":"one"}"#,
            r#"{"id":"a","title":"one"}"#,
            r#"{"id":"a","links":["one"]}"#,
            r#"{"id":"a","images":["one"]}"#,
            r#"{"id":"a","images":["data:image/png;base64,b25l"]}"#,
            r#"{"id":"a","text":"one","language":"en"}"#,
            r#"{"id":"a","text":"one","language":""}"#,
            r#"{"id":"a","title":"o","text":"ne"}"#,
            r#"{"id":"a","text":"one","received_at_ms":0}"#,
            r#"{"id":"a","text":"one","attributes":{"n":1}}"#,
            r#"{"id":"a","text":"one","attributes":{"n":1.0}}"#,
            r#"{"id":"a","text":"one","attributes":{"n":"1"}}"#,
            r#"{"id":"a","text":"one","attributes":{"n":true}}"#,
            r#"{"id":"a","text":"one","attributes":{"n1":""}}"#,
            r#"{"id":"a","text":"one","embeddings":{"n":[1]}}"#,
            r#"{"id":"a","text":"one","embeddings":{"n":[]}}"#,
        ];
        let digests: BTreeSet<String> = items.iter().map(|json| digest(json)).collect();
        assert_eq!(digests.len(), items.len());
    }

    #[test]
    fn the_id_and_the_order_of_fields_do_not() {
        assert_eq!(
            digest(r#"{"id":"a","text":"t","attributes":{"x":1,"y":2}}"#),
            digest(r#"{"attributes":{"y":2,"x":1},"text":"t","id":"b"}"#)
        );
    }
}
