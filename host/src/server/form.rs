//! From a request's body to an item: JSON, or a form with files.

use std::convert::Infallible;

use axum::http::{HeaderMap, StatusCode, header};
use futures_util::stream;
use multer::{Constraints, Multipart, SizeLimit};

use super::answer::Problem;
use crate::excerpt::{NAME_CHARS, printable};
use crate::item::{IntakeError, Item};

/// Fields of a form at most. Bounds of an item are checked later; this one keeps a form of
/// empty fields short.
const MAX_FIELDS: usize = 300;

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// An item as JSON.
    Json,
    /// `multipart/form-data` with this boundary.
    Multipart(String),
}

impl Form {
    /// What the head says. 415 for anything else.
    pub(super) fn of(head: &HeaderMap) -> Result<Self, Problem> {
        let given = head.get(header::CONTENT_TYPE);
        let given = given.map_or("", |given| given.to_str().unwrap_or("?"));
        let essence = given.split(';').next().unwrap_or("").trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return Ok(Self::Json);
        }
        let refused = |why: String| {
            Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("{why}; send an item as application/json, or as multipart/form-data"),
            )
        };
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = multer::parse_boundary(given);
            return boundary
                .map(Self::Multipart)
                .map_err(|error| refused(format!("the form's boundary cannot be read: {error}")));
        }
        Err(refused(match essence {
            "" => "the request has no content-type".to_owned(),
            other => format!("content-type `{}`", printable(other, NAME_CHARS)),
        }))
    }

    /// The item in a body.
    pub(super) async fn item(&self, body: Vec<u8>) -> Result<Item, Problem> {
        match self {
            Self::Json => Item::from_json(&body).map_err(|error| Problem::intake(&error, None)),
            Self::Multipart(boundary) => item_of_form(boundary, body).await,
        }
    }
}

/// `item`: JSON, first when it is there. `id`, `title`, `text`, `link` and files `image`
/// then add to it.
async fn item_of_form(boundary: &str, body: Vec<u8>) -> Result<Item, Problem> {
    let broken = |error: multer::Error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the form cannot be read: {error}"),
        )
    };
    let refused = |error: &IntakeError| Problem::intake(error, None);
    // It is in memory already; the form's own bound is the body's.
    let size = SizeLimit::new().whole_stream(body.len() as u64);
    let chunk = axum::body::Bytes::from(body);
    let stream = stream::once(async { Ok::<_, Infallible>(chunk) });
    let constraints = Constraints::new().size_limit(size);
    let mut form = Multipart::with_constraints(stream, boundary, constraints);
    let (mut item, mut n_fields) = (Item::default(), 0);
    while let Some(field) = form.next_field().await.map_err(broken)? {
        n_fields += 1;
        if n_fields > MAX_FIELDS {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the form has more than {MAX_FIELDS} fields; split the item"),
            ));
        }
        let name = field.name().unwrap_or("").to_owned();
        let bytes = field.bytes().await.map_err(broken)?;
        let text = || {
            String::from_utf8(bytes.to_vec()).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                refused(&IntakeError::NotUtf8 { at })
            })
        };
        match name.as_str() {
            "item" if n_fields == 1 => {
                item = Item::from_json_beside(&bytes).map_err(|error| refused(&error))?;
            }
            "id" => item.id = text()?,
            "title" | "text" => item.push_text(&name, text()?, None),
            "link" => item.push_link(text()?),
            "image" => item.push_image(bytes.as_ref().into()),
            "item" => return Err(bad_field("`item` comes first in a form")),
            other => {
                let other = printable(other, NAME_CHARS);
                return Err(bad_field(&format!(
                    "a form has no field `{other}`; it has item, id, title, text, link, image"
                )));
            }
        }
    }
    if item.parts.is_empty() {
        return Err(refused(&IntakeError::Empty));
    }
    Ok(item)
}

fn bad_field(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, why)
}
