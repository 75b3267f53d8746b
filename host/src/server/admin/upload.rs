//! Packages that come over HTTP: written to disk as they come, never held in memory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::excerpt::{NAME_CHARS, printable};
use crate::registry::Settings;
use crate::server::Server;
use crate::server::answer::{self, Problem};

/// What a revision is rolled out with in the place of its manifest's defaults: a JSON object.
const SETTINGS: &str = "trommel-settings";

/// Pieces of a body that wait to be written.
const MAX_PIECES: usize = 16;

/// Loads the package in the body, a layout in one tar file.
pub(super) async fn revision(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Problem> {
    let _one = server
        .0
        .uploads
        .try_acquire()
        .map_err(|_| Problem::overloaded("another package is being loaded"))?;
    let options = &server.0.options;
    let (head, body) = request.into_parts();
    // Before the package comes: it may be large.
    let settings = settings(&head.headers)?;
    let declared = head.headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > options.max_package_bytes) {
        return Err(too_large(options.max_package_bytes));
    }
    let file = server.0.host.incoming().map_err(|error| unkept(&error))?;
    let file = Incoming(file);
    let writing = write(body, file.0.clone(), options.max_package_bytes);
    let written = timeout(options.package_time, writing).await;
    written.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "the package did not come whole within {:?}; send it faster",
                options.package_time
            ),
        ))
    })?;
    let loading = server.0.host.load_with(file.0.clone(), settings);
    let loaded = loading.await?;
    Ok(answer::json(StatusCode::CREATED, &loaded))
}

fn settings(head: &HeaderMap) -> Result<Settings, Problem> {
    let mut all = head.get_all(SETTINGS).iter();
    let Some(given) = all.next() else {
        return Ok(Settings::new());
    };
    if all.next().is_some() {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("`{SETTINGS}` is given twice; put all settings into one JSON object"),
        ));
    }
    serde_json::from_slice(given.as_bytes()).map_err(|error| {
        let what = printable(&error.to_string(), 4 * NAME_CHARS);
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(
                "`{SETTINGS}` is no JSON object of settings: {what}; write one such as {{\"threshold\":0.5}}"
            ),
        )
    })
}

/// A file that is removed when it is not needed any more.
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = fs::remove_file(&self.0);
    }
}

async fn write(mut body: Body, to: PathBuf, most: u64) -> Result<(), Problem> {
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    let writing = tokio::task::spawn_blocking(move || write_all(&to, receiver));
    let mut n_bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                format!("the package breaks off: {error}"),
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        n_bytes += data.len() as u64;
        if n_bytes > most {
            return Err(too_large(most));
        }
        if sender.send(data).await.is_err() {
            break;
        }
    }
    drop(sender);
    let written = writing.await.map_err(io::Error::other);
    written
        .and_then(|written| written)
        .map_err(|error| unkept(&error))
}

fn write_all(to: &Path, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut file = File::create_new(to)?;
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece)?;
    }
    Ok(())
}

fn too_large(most: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("a package has {most} bytes at most"),
    )
}

fn unkept(error: &io::Error) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the package cannot be kept here: {error}; make room and grant access"),
    )
}
