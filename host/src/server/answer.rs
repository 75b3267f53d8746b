//! What a client is told: JSON always, and of what went wrong what it is and how to mend
//! it.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::excerpt::{NAME_CHARS, printable};
use crate::item::IntakeError;
use crate::pipeline::CheckError;

/// Seconds after which a client that was refused may come again.
const RETRY_AFTER: u32 = 1;

/// A request that gets no judgement.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    pub(super) status: StatusCode,
    /// The item's, where it was read so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) error: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            id: None,
            error: error.into(),
        }
    }

    /// The server has as much as it takes.
    pub(super) fn overloaded(what: &str) -> Self {
        let error = format!("{what}; try again after {RETRY_AFTER} s, or send less at once");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    /// Why something is no item, about the item called `id`.
    pub(super) fn intake(error: &IntakeError, id: Option<String>) -> Self {
        let status = match error {
            IntakeError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            IntakeError::Image { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = error.to_string();
        Self { status, id, error }
    }
}

impl Problem {
    /// Why the item called `id` was not judged.
    pub(super) fn check(error: &CheckError, id: Option<String>) -> Self {
        match error {
            CheckError::Item(error) => Self::intake(error, id),
            CheckError::Pin { .. } => Self {
                status: StatusCode::BAD_REQUEST,
                id,
                error: error.to_string(),
            },
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, RETRY_AFTER.into());
        }
        response
    }
}

/// An answer of one JSON object.
pub(super) fn json(status: StatusCode, object: &impl Serialize) -> Response {
    match serde_json::to_vec(object) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            let kind = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Where nothing is.
pub(super) async fn not_found(uri: Uri) -> Problem {
    let path = printable(uri.path(), NAME_CHARS);
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("nothing is at `{path}`; items are judged at `POST /v1/check`"),
    )
}

/// Where something is that takes another method, which axum names in `Allow`.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path = printable(uri.path(), NAME_CHARS);
    let method = printable(method.as_str(), NAME_CHARS);
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("`{path}` takes no {method}; the header `allow` says what it takes"),
    )
}
