//! The item: what is judged.
//!
//! First noun of the street. It holds what the gateway sent, checked against
//! bounds, and never what a detector or a rule made of it. No I/O.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::decode::DecodeError;
use crate::excerpt::{NAME_CHARS, printable};

/// Base64 with or without the `=` at its end: both are met in the wild.
const STANDARD_INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the gateway knows about an item, by name: account age, surface,
/// language.
pub type Attributes = BTreeMap<String, Attribute>;

/// One value that came with an item.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "an attribute is a text, a number, true or false"
)]
pub enum Attribute {
    /// Yes or no, such as whether the account is verified.
    Flag(bool),
    /// A whole number, such as a count of followers.
    Integer(i64),
    /// Any other number, such as a share.
    Number(f64),
    /// Words, such as a surface or a country code.
    Text(String),
}

/// One thing to judge: a post, a Pin, an ad, a message, an image alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// The caller's name for it; not unique.
    pub id: String,
    /// When the gateway received it, in milliseconds since the Unix epoch.
    pub received_at_ms: Option<u64>,
    /// What it is made of; a part's id is its index.
    pub parts: Vec<Part>,
    /// What the gateway knows about it.
    pub attributes: Attributes,
    /// Embeddings that came with it, by name; f32 `[dim]`, all finite.
    pub embeddings: BTreeMap<String, Vec<f32>>,
}

/// One part of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What the caller calls it: `title`, `text`, …
    pub name: String,
    /// What it holds.
    pub content: Content,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// UTF-8 text, with a BCP 47 language tag where the caller knows it.
    Text {
        /// The text.
        text: String,
        /// Its language.
        language: Option<String>,
    },
    /// An image, still coded.
    Image {
        /// Its bytes, or where they are.
        source: ImageSource,
    },
    /// A link, as given.
    Link {
        /// Where it leads.
        target: String,
    },
}

/// Where an image comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The bytes of a file, whatever they are: what they hold is looked at when
    /// the item is judged.
    Bytes(Arc<[u8]>),
    /// A path, which nobody has opened. A host refuses it: whoever reads items for
    /// people who may name files opens them, with [`Item::open_images`].
    Path(String),
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Path(path) => write!(f, "Path({path:?})"),
        }
    }
}

/// Which kind a part is: what a detector's manifest says it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// Text parts.
    Text,
    /// Image parts.
    Image,
    /// Link parts.
    Link,
}

/// The most that one item may hold. Larger ones are refused, never cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemBounds {
    /// Bytes of all text, links and names together.
    pub text_bytes: usize,
    /// Parts of all kinds.
    pub n_parts: usize,
    /// Attributes.
    pub n_attributes: usize,
    /// Embeddings.
    pub n_embeddings: usize,
    /// Numbers in all embeddings together.
    pub n_embedding_numbers: usize,
    /// Images. What each of them may hold is said where images are decoded.
    pub n_images: usize,
    /// Bytes of all images together, still coded.
    pub image_bytes: usize,
}

impl Default for ItemBounds {
    /// 4 MiB of text, 256 parts, 256 attributes, 64 embeddings of 64 Ki
    /// numbers together, 16 images of 64 MiB together.
    fn default() -> Self {
        Self {
            n_images: 16,
            image_bytes: 64 << 20,
            text_bytes: 4 << 20,
            n_parts: 256,
            n_attributes: 256,
            n_embeddings: 64,
            n_embedding_numbers: 64 << 10,
        }
    }
}

/// Why something is no item. The caller is to blame.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IntakeError {
    /// Not JSON, or not of an item's form.
    #[error("not an item: {0}")]
    Json(String),
    /// Nothing in it to judge.
    #[error("the item is empty; give it at least one of `text`, `title`, `links`, `images`")]
    Empty,
    /// Not UTF-8.
    #[error("text is not UTF-8 at byte {at}; convert it to UTF-8 first")]
    NotUtf8 {
        /// First byte that is wrong.
        at: usize,
    },
    /// Larger than it may be.
    #[error("the item holds {given} {what}, at most {most} are taken; split it or raise the bound")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        given: usize,
        /// How much there may be.
        most: usize,
    },
    /// A `data:` URI that holds no image.
    #[error("image {index} of `images` is no usable data URI: {what}")]
    DataUri {
        /// Which of the item's images, counted from 0.
        index: usize,
        /// What is wrong with it and how to mend it.
        what: String,
    },
    /// An image was given as a path, and nobody has opened it.
    #[error(
        "image `{}` is a path, and no files are opened here; give the image as a data URI",
        printable(path, NAME_CHARS)
    )]
    Unopened {
        /// The path.
        path: String,
    },
    /// An image part is no image, or larger than it may be.
    #[error("part {part} is no image that can be judged: {error}")]
    Image {
        /// The part's id.
        part: u32,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// An embedding holds a number that is not finite.
    #[error(
        "embedding `{name}` holds a number that is not finite at index {at}; leave it out or mend it"
    )]
    Embedding {
        /// Which embedding.
        name: String,
        /// Index of the number.
        at: usize,
    },
}

impl Part {
    /// Which kind it is.
    pub fn kind(&self) -> PartKind {
        match self.content {
            Content::Text { .. } => PartKind::Text,
            Content::Image { .. } => PartKind::Image,
            Content::Link { .. } => PartKind::Link,
        }
    }

    fn n_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Text { text, language } => {
                text.len() + language.as_ref().map_or(0, String::len)
            }
            // Bytes of images have a bound of their own.
            Content::Image {
                source: ImageSource::Path(path),
            } => path.len(),
            Content::Image { .. } => 0,
            Content::Link { target } => target.len(),
        };
        self.name.len() + content
    }
}

impl Item {
    /// An item that is one text, named `text`.
    pub fn from_text(id: impl Into<String>, text: impl Into<String>) -> Self {
        let mut item = Self {
            id: id.into(),
            ..Self::default()
        };
        item.push_text("text", text.into(), None);
        item
    }

    /// An item that is one text, from the bytes of a file.
    pub fn from_text_bytes(id: impl Into<String>, bytes: Vec<u8>) -> Result<Self, IntakeError> {
        let text = String::from_utf8(bytes).map_err(|error| IntakeError::NotUtf8 {
            at: error.utf8_error().valid_up_to(),
        })?;
        Ok(Self::from_text(id, text))
    }

    /// An item that is one image, from the bytes of a file.
    pub fn from_image_bytes(id: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        let mut item = Self {
            id: id.into(),
            ..Self::default()
        };
        item.push_image(bytes.into());
        item
    }

    /// Puts the bytes that `open` gives in place of each image's path. The first
    /// error that it gives.
    pub fn open_images<E>(
        &mut self,
        mut open: impl FnMut(&str) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        for part in &mut self.parts {
            if let Content::Image { source } = &mut part.content
                && let ImageSource::Path(path) = source
            {
                *source = ImageSource::Bytes(open(path)?.into());
            }
        }
        Ok(())
    }

    /// Whether an image is given as a path that nobody has opened.
    pub fn has_unopened_images(&self) -> bool {
        self.parts.iter().any(|part| {
            matches!(
                part.content,
                Content::Image {
                    source: ImageSource::Path(_)
                }
            )
        })
    }

    /// An item from a JSON object: `id` (text or whole number), and any of
    /// `title`, `text`, `links`, `images`, `language`, `attributes`,
    /// `embeddings`, `received_at_ms`. Other fields are ignored, so that rows of
    /// a labelled set are items too. Parts are counted in the order title,
    /// text, links, images. An image is a `data:` URI, or else a path, which stays
    /// unopened.
    pub fn from_json(json: &[u8]) -> Result<Self, IntakeError> {
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
            item.push("link", Content::Link { target });
        }
        let images = raw.images.into_iter().flat_map(|few| few.0);
        for (index, given) in images.enumerate() {
            let source =
                ImageSource::parse(given).map_err(|what| IntakeError::DataUri { index, what })?;
            item.push("image", Content::Image { source });
        }
        if item.parts.is_empty() {
            return Err(IntakeError::Empty);
        }
        Ok(item)
    }

    /// Adds an image part, named `image`.
    pub(crate) fn push_image(&mut self, bytes: Arc<[u8]>) {
        let source = ImageSource::Bytes(bytes);
        self.push("image", Content::Image { source });
    }

    pub(crate) fn push_text(&mut self, name: &str, text: String, language: Option<String>) {
        self.push(name, Content::Text { text, language });
    }

    fn push(&mut self, name: &str, content: Content) {
        let name = name.to_owned();
        self.parts.push(Part { name, content });
    }

    /// Checks the item against `bounds`: whoever sent it chose its sizes.
    pub fn check(&self, bounds: &ItemBounds) -> Result<(), IntakeError> {
        let within = |what, given, most| match given <= most {
            true => Ok(()),
            false => Err(IntakeError::TooLarge { what, given, most }),
        };
        let attribute_bytes = |(name, value): (&String, &Attribute)| match value {
            Attribute::Text(text) => name.len() + text.len(),
            _ => name.len(),
        };
        let text_bytes = self.id.len()
            + self.parts.iter().map(Part::n_bytes).sum::<usize>()
            + self.attributes.iter().map(attribute_bytes).sum::<usize>()
            + self.embeddings.keys().map(String::len).sum::<usize>();
        let numbers = self.embeddings.values().map(Vec::len).sum();
        let image_bytes = self.parts.iter().map(|part| match &part.content {
            Content::Image {
                source: ImageSource::Bytes(bytes),
            } => bytes.len(),
            _ => 0,
        });
        let n_images = self.part_ids(PartKind::Image).count();
        within("parts", self.parts.len(), bounds.n_parts)?;
        within("images", n_images, bounds.n_images)?;
        within("bytes of images", image_bytes.sum(), bounds.image_bytes)?;
        within("attributes", self.attributes.len(), bounds.n_attributes)?;
        within("bytes of text", text_bytes, bounds.text_bytes)?;
        within("embeddings", self.embeddings.len(), bounds.n_embeddings)?;
        within("embedding numbers", numbers, bounds.n_embedding_numbers)?;
        for (name, numbers) in &self.embeddings {
            if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
                let name = name.clone();
                return Err(IntakeError::Embedding { name, at });
            }
        }
        Ok(())
    }

    /// Whether the item has a part of one of these kinds.
    pub fn has_any(&self, kinds: &[PartKind]) -> bool {
        self.parts.iter().any(|part| kinds.contains(&part.kind()))
    }

    /// The text of part `part`, when it is a text.
    pub fn text(&self, part: u32) -> Option<&str> {
        match &self.part(part)?.content {
            Content::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The part with this id.
    pub fn part(&self, part: u32) -> Option<&Part> {
        self.parts.get(usize::try_from(part).ok()?)
    }

    /// Ids of the parts of one kind, in order.
    pub fn part_ids(&self, kind: PartKind) -> impl Iterator<Item = u32> {
        let ids: RangeInclusive<u32> = 0..=u32::MAX;
        let of_kind = move |(id, part): (u32, &Part)| (part.kind() == kind).then_some(id);
        ids.zip(&self.parts).filter_map(of_kind)
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

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
    fn an_item_past_a_bound_is_refused_with_both_numbers() {
        let bounds = ItemBounds {
            text_bytes: 10,
            ..ItemBounds::default()
        };
        let error = Item::from_text("", "12345678").check(&bounds).unwrap_err();
        assert!(
            error.to_string().contains("12 bytes of text, at most 10"),
            "{error}"
        );
        Item::from_text("", "123456").check(&bounds).unwrap();
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
    fn images_have_bounds_of_their_own() {
        let bounds = ItemBounds {
            n_images: 1,
            image_bytes: 2,
            ..ItemBounds::default()
        };
        let mut item = Item::from_image_bytes("", [1, 2].as_slice());
        item.check(&bounds).unwrap();
        item.push_image([].into());
        let error = item.check(&bounds).unwrap_err().to_string();
        assert!(error.contains("2 images, at most 1"), "{error}");
        let item = Item::from_image_bytes("", [1, 2, 3].as_slice());
        let error = item.check(&bounds).unwrap_err().to_string();
        assert!(error.contains("3 bytes of images, at most 2"), "{error}");
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let json = format!(r#"{{"id":"a","text":"t","x":{}}}"#, "[".repeat(100_000));
        Item::from_json(json.as_bytes()).unwrap_err();
    }

    #[test]
    fn text_that_is_not_utf8_is_named_with_its_byte() {
        let error = Item::from_text_bytes("f", b"ab\xffcd".to_vec()).unwrap_err();
        assert_eq!(error, IntakeError::NotUtf8 { at: 2 });
    }
}
