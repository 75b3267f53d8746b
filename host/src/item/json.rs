//! An item from JSON, as a gateway or a labelled set writes it.
//!
//! Lists and nesting are bounded while they are read: whoever wrote the JSON chose
//! them.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Attributes, Content, ImageSource, IntakeError, Item};
use crate::excerpt::{NAME_CHARS, printable};

/// Base64 with or without the `=` at its end: both are met in the wild.
const STANDARD_INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Item {
    /// An item from a JSON object: `id` (text or whole number), and any of
    /// `title`, `text`, `links`, `images`, `language`, `attributes`,
    /// `embeddings`, `received_at_ms`. Other fields are ignored, so that rows of
    /// a labelled set are items too. Parts are counted in the order title,
    /// text, links, images. An image is a `data:` URI, or else a path, which stays
    /// unopened.
    pub fn from_json(json: &[u8]) -> Result<Self, IntakeError> {
        let item = Self::from_json_beside(json)?;
        match item.parts.is_empty() {
            true => Err(IntakeError::Empty),
            false => Ok(item),
        }
    }

    /// The same, where other parts come from elsewhere and this may have none.
    pub(crate) fn from_json_beside(json: &[u8]) -> Result<Self, IntakeError> {
        let raw: RawItem =
            serde_json::from_slice(json).map_err(|error| IntakeError::Json(error.to_string()))?;
        let mut item = Self {
            id: match raw.id {
                RawId::Text(id) => id,
                RawId::Number(id) => id.to_string(),
                RawId::Large(id) => id.to_string(),
            },
            received_at_ms: raw.received_at_ms,
            attributes: raw.attributes,
            embeddings: raw.embeddings,
            ..Self::default()
        };
        for (name, text) in [("title", raw.title), ("text", raw.text)] {
            if let Some(text) = text {
                item.push_text(name, text, raw.language.clone());
            }
        }
        for target in raw.links.into_iter().flat_map(|few| few.0) {
            item.push_link(target);
        }
        let images = raw.images.into_iter().flat_map(|few| few.0);
        for (index, given) in images.enumerate() {
            let source =
                ImageSource::parse(given).map_err(|what| IntakeError::DataUri { index, what })?;
            item.push("image", Content::Image { source });
        }
        Ok(item)
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an item is a JSON object with an `id`")]
struct RawItem {
    id: RawId,
    title: Option<String>,
    text: Option<String>,
    language: Option<String>,
    links: Option<Few<String>>,
    images: Option<Few<String>>,
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    embeddings: BTreeMap<String, Vec<f32>>,
    received_at_ms: Option<u64>,
}

impl ImageSource {
    /// A `data:` URI as its bytes, anything else as a path; or what is wrong with
    /// the URI.
    fn parse(given: String) -> Result<Self, String> {
        // Schemes are of any case (RFC 3986, section 3.1).
        let is_data = given
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
        if !is_data {
            return Ok(Self::Path(given));
        }
        let (head, data) = given[5..]
            .split_once(',')
            .ok_or("it has no comma before its data")?;
        let mut properties = head.split(';');
        let media_type = properties.next().unwrap_or("").trim().to_ascii_lowercase();
        if !media_type.starts_with("image/") {
            return Err(format!(
                "its type is `{}`; give `image/…`",
                printable(&media_type, NAME_CHARS)
            ));
        }
        if !properties.any(|property| property.trim().eq_ignore_ascii_case("base64")) {
            return Err("it is not base64; write `data:image/…;base64,…`".to_owned());
        }
        let bytes = STANDARD_INDIFFERENT
            .decode(data.trim())
            .map_err(|error| format!("its base64 does not decode: {error}"))?;
        Ok(Self::Bytes(bytes.into()))
    }
}

/// Elements of a list in an item at most; bounds proper are checked later.
const MAX_LISTED: usize = 4096;

/// A list that stops being read when it is too long, before it fills memory.
struct Few<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
                let mut few = Vec::new();
                while let Some(element) = list.next_element()? {
                    if few.len() == MAX_LISTED {
                        return Err(de::Error::custom(format!(
                            "a list of more than {MAX_LISTED}; split the item"
                        )));
                    }
                    few.push(element);
                }
                Ok(Few(few))
            }
        }

        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`id` is a text or a whole number")]
enum RawId {
    Text(String),
    Number(i64),
    Large(u64),
}

#[cfg(test)]
mod tests {
    use super::super::PartKind;
    use super::*;

    #[test]
    fn parts_are_counted_title_text_links_images() {
        let json =
            br#"{"id":7,"images":["a.png"],"text":"t","links":["l"],"title":"T","label":"x"}"#;
        let item = Item::from_json(json).unwrap();
        let names: Vec<_> = item.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["title", "text", "link", "image"]);
        assert_eq!(item.id, "7");
        assert_eq!(item.part_ids(PartKind::Text).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn an_item_with_nothing_to_judge_is_refused() {
        let error = Item::from_json(br#"{"id":"a","txet":"hi"}"#).unwrap_err();
        assert_eq!(error, IntakeError::Empty);
    }

    #[test]
    fn what_is_wrong_with_json_is_said_with_its_place() {
        for (json, expected) in [
            (&br#"{"id":"a","text":3}"#[..], "expected a string"),
            (br#"{"text":"hi"}"#, "missing field `id`"),
            (br#"{"id":"a""#, "EOF"),
            (br#"[1]"#, "an item is a JSON object"),
            (
                br#"{"id":[],"text":""}"#,
                "`id` is a text or a whole number",
            ),
        ] {
            let error = Item::from_json(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_data_uri_becomes_bytes_and_anything_else_stays_a_path() {
        for (given, expected) in [
            (
                "data:image/png;base64,AQID",
                ImageSource::Bytes([1, 2, 3].into()),
            ),
            (
                "DATA:Image/JPEG;BASE64,AQI=",
                ImageSource::Bytes([1, 2].into()),
            ),
            (
                "data:image/x;name=a;base64, AQI ",
                ImageSource::Bytes([1, 2].into()),
            ),
            ("cat.png", ImageSource::Path("cat.png".to_owned())),
            ("dätä", ImageSource::Path("dätä".to_owned())),
        ] {
            assert_eq!(
                ImageSource::parse(given.to_owned()),
                Ok(expected),
                "{given}"
            );
        }
    }

    #[test]
    fn a_data_uri_that_holds_no_image_is_named_with_its_place() {
        for (given, expected) in [
            ("data:text/html;base64,AQID", "its type is `text/html`"),
            ("data:,hello", "its type is ``"),
            ("data:image/png,raw", "it is not base64"),
            ("data:image/png;base64", "it has no comma"),
            ("data:image/png;base64,A!==", "does not decode"),
        ] {
            let json = serde_json::json!({ "id": "a", "images": ["ok.png", given] });
            let error = Item::from_json(json.to_string().as_bytes()).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("image 1 of `images`"), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let json = format!(r#"{{"id":"a","text":"t","x":{}}}"#, "[".repeat(100_000));
        Item::from_json(json.as_bytes()).unwrap_err();
    }
}
