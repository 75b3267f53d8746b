//! An item's content in a record, so that it can be judged again without its source.
//!
//! A form of its own, since what `trommel check` reads cannot say every order of parts,
//! and since what comes back must have the digest that it had, to the last bit.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::item::{Attribute, Content, ImageSource, Item, Part};

/// All of an item but its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredContent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    received_at_ms: Option<u64>,
    parts: Vec<StoredPart>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, StoredAttribute>,
    /// Base64 of little-endian f32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    embeddings: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredPart {
    name: String,
    #[serde(flatten)]
    content: StoredPartContent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum StoredPartContent {
    Text {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
    Image {
        base64: String,
    },
    ImagePath {
        path: String,
    },
    Link {
        target: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StoredAttribute {
    Flag(bool),
    Integer(i64),
    /// As text, which reads back as the same number to the last bit.
    Number(String),
    Text(String),
}

impl StoredContent {
    /// The content of `item`, when it takes at most `most` bytes.
    pub(super) fn of(item: &Item, most: usize) -> Option<Self> {
        // Told before any of it is copied. What JSON escapes takes up to six bytes.
        let least = item.parts.iter().map(Part::content_bytes).sum::<usize>();
        if least > most {
            return None;
        }
        let content = Self {
            received_at_ms: item.received_at_ms,
            parts: item.parts.iter().map(stored).collect(),
            attributes: item
                .attributes
                .iter()
                .map(|(name, value)| (name.clone(), value.into()))
                .collect(),
            embeddings: item
                .embeddings
                .iter()
                .map(|(name, numbers)| (name.clone(), coded(numbers)))
                .collect(),
        };
        let json = serde_json::to_string(&content).ok()?;
        (json.len() <= most).then_some(content)
    }

    /// The item again, under the name `id`.
    ///
    /// # Errors
    ///
    /// What of it does not decode: then it was not written by this host.
    pub fn into_item(self, id: String) -> Result<Item, String> {
        let parts = self.parts.into_iter().map(restored);
        let attributes = self.attributes.into_iter();
        let attributes = attributes.map(|(name, value)| Ok((name, value.try_into()?)));
        let embeddings = self.embeddings.into_iter();
        let embeddings = embeddings.map(|(name, text)| Ok((name, decoded(&text)?)));
        Ok(Item {
            id,
            received_at_ms: self.received_at_ms,
            parts: parts.collect::<Result<_, String>>()?,
            attributes: attributes.collect::<Result<_, String>>()?,
            embeddings: embeddings.collect::<Result<_, String>>()?,
        })
    }
}

fn stored(part: &Part) -> StoredPart {
    let content = match &part.content {
        Content::Text { text, language } => StoredPartContent::Text {
            text: text.clone(),
            language: language.clone(),
        },
        Content::Image {
            source: ImageSource::Bytes(bytes),
        } => StoredPartContent::Image {
            base64: BASE64_STANDARD.encode(bytes),
        },
        Content::Image {
            source: ImageSource::Path(path),
        } => StoredPartContent::ImagePath { path: path.clone() },
        Content::Link { target } => StoredPartContent::Link {
            target: target.clone(),
        },
    };
    let name = part.name.clone();
    StoredPart { name, content }
}

fn restored(part: StoredPart) -> Result<Part, String> {
    let content = match part.content {
        StoredPartContent::Text { text, language } => Content::Text { text, language },
        StoredPartContent::Image { base64 } => {
            let bytes = BASE64_STANDARD.decode(base64);
            let bytes = bytes.map_err(|error| format!("an image does not decode: {error}"))?;
            Content::Image {
                source: ImageSource::Bytes(bytes.into()),
            }
        }
        StoredPartContent::ImagePath { path } => Content::Image {
            source: ImageSource::Path(path),
        },
        StoredPartContent::Link { target } => Content::Link { target },
    };
    let name = part.name;
    Ok(Part { name, content })
}

fn coded(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    BASE64_STANDARD.encode(bytes)
}

fn decoded(text: &str) -> Result<Vec<f32>, String> {
    let bytes = BASE64_STANDARD.decode(text);
    let bytes = bytes.map_err(|error| format!("an embedding does not decode: {error}"))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("an embedding is cut short".to_owned());
    }
    Ok(numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect())
}

impl From<&Attribute> for StoredAttribute {
    fn from(value: &Attribute) -> Self {
        match value {
            Attribute::Flag(flag) => Self::Flag(*flag),
            Attribute::Integer(integer) => Self::Integer(*integer),
            Attribute::Number(number) => Self::Number(number.to_string()),
            Attribute::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl TryFrom<StoredAttribute> for Attribute {
    type Error = String;

    fn try_from(value: StoredAttribute) -> Result<Self, String> {
        Ok(match value {
            StoredAttribute::Flag(flag) => Self::Flag(flag),
            StoredAttribute::Integer(integer) => Self::Integer(integer),
            StoredAttribute::Number(text) => {
                let number = text.parse();
                Self::Number(number.map_err(|error| format!("an attribute: {error}"))?)
            }
            StoredAttribute::Text(text) => Self::Text(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ContentDigest;
    use super::*;

    #[test]
    fn an_item_comes_back_as_it_was_to_the_last_bit() {
        let mut item = Item::from_json(
            br#"{"id":"7","title":"T","text":"a\u0000\n\"b","language":"en","links":["l"],
            "images":["data:image/png;base64,AQID","a.png"],"received_at_ms":5,
            "attributes":{"n":0.1,"h":1e300,"i":-3,"t":"x","f":true},
            "embeddings":{"e":[0.1,-0.0,3e38]}}"#,
        )
        .unwrap();
        // An order of parts that no JSON line has.
        item.parts.reverse();
        let stored = StoredContent::of(&item, 1 << 20).unwrap();
        let json = serde_json::to_string(&stored).unwrap();
        let read: StoredContent = serde_json::from_str(&json).unwrap();
        let again = read.into_item("7".to_owned()).unwrap();
        assert_eq!(again, item);
        assert_eq!(
            ContentDigest::of_item(&again),
            ContentDigest::of_item(&item)
        );
        assert_eq!(StoredContent::of(&item, json.len()), Some(stored));
        assert_eq!(StoredContent::of(&item, json.len() - 1), None);
    }

    #[test]
    fn what_this_host_did_not_write_is_refused() {
        for json in [
            r#"{"parts":[{"name":"i","kind":"image","base64":"!"}]}"#,
            r#"{"parts":[],"embeddings":{"e":"AQI="}}"#,
            r#"{"parts":[],"attributes":{"a":{"number":"one"}}}"#,
        ] {
            let stored: StoredContent = serde_json::from_str(json).unwrap();
            assert!(stored.into_item(String::new()).is_err(), "{json}");
        }
    }
}
