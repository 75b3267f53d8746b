//! `POST /v1/check`: one item in, the judgement that `trommel check --format jsonl` prints
//! out.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tracing::{Instrument as _, Span};

use super::Server;
use super::answer::{Problem, json};
use super::body::HeldBody;
use super::form::Form;
use super::traces;
use crate::Judgement;
use crate::engine::now;
use crate::item::{Item, PartKind};
use crate::pipeline::CheckOptions;
use crate::revision::RevisionId;
use crate::signal::DetectorId;
use crate::spans;

/// A caller's own deadline for its item, in whole milliseconds.
const DEADLINE: &str = "trommel-deadline-ms";

/// What revisions are drawn by in the stead of the item's id.
const KEY: &str = "trommel-key";

/// Characters of a key at most.
const MAX_KEY_CHARS: usize = 200;

/// Revisions that answer whatever the lineup says: `DETECTOR=REVISION`, commas between.
const PIN: &str = "trommel-pin";

/// Bodies from here on are read on a thread where nobody waits: images are megabytes of
/// base64.
const LARGE_BODY: usize = 128 << 10;

/// What the span of a request is called.
const NAME: &str = "POST /v1/check";

pub(super) async fn check(State(server): State<Server>, request: Request) -> Response {
    let span = traces::begin(NAME, request.headers());
    let answering = answer(&server, request, &span);
    let mut response = answering.instrument(span.clone()).await;
    traces::end(&span, &mut response);
    response
}

async fn answer(server: &Server, request: Request, span: &Span) -> Response {
    let start = now();
    let judged = judge(server, request, span).await;
    let metrics = &server.0.metrics;
    match judged {
        Ok(judgement) => {
            metrics.judged(&judgement, start.elapsed());
            json(StatusCode::OK, &judgement)
        }
        Err(problem) => {
            metrics.refused(problem.status);
            problem.into_response()
        }
    }
}

async fn judge(server: &Server, request: Request, span: &Span) -> Result<Judgement, Problem> {
    let shared = &server.0;
    let (head, body) = request.into_parts();
    let form = Form::of(&head.headers)?;
    let time = time(&head.headers, shared.host.deadline())?;
    let (key, pins) = (key(&head.headers)?, pins(&head.headers)?);
    if server.is_draining() {
        return Err(Problem::overloaded("the server is going down"));
    }
    shared.admission.look()?;
    let body_time = shared.options.body_time;
    let body = shared.room.read(&head.headers, body, body_time).await?;
    let by = now() + time;
    // An item is as large as its body: the room is its own until it is judged.
    let HeldBody { bytes, _pieces } = body;
    spans::sized(span, bytes.len());
    let item = Arc::new(item(form, bytes).await?);
    let weight = match item.part_ids(PartKind::Image).next() {
        Some(_) => shared.options.image_weight,
        None => 1,
    };
    let entering = shared.admission.enter(weight, by);
    let _place = entering.instrument(spans::admission()).await?;
    let options = CheckOptions {
        by: Some(by),
        key,
        pins,
    };
    let judgement = shared.host.check_with(&item, &options).await;
    let judgement = judgement.map_err(|error| Problem::check(&error, Some(item.id.clone())))?;
    match judgement.unseen() {
        Some(error) => Err(Problem {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            id: Some(judgement.id),
            error,
        }),
        None => {
            if let Some(recorder) = &shared.recorder {
                recorder.offer(&item, &judgement);
            }
            Ok(judgement)
        }
    }
}

async fn item(form: Form, body: Vec<u8>) -> Result<Item, Problem> {
    if body.len() < LARGE_BODY {
        return form.item(body).await;
    }
    let runtime = tokio::runtime::Handle::current();
    let reading = move || runtime.block_on(form.item(body));
    let read = tokio::task::spawn_blocking(reading).await;
    read.unwrap_or_else(|error| {
        Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the item could not be read: {error}"),
        ))
    })
}

fn key(head: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(given) = head.get(KEY) else {
        return Ok(None);
    };
    let given = given.to_str().ok();
    let is_short = |given: &&str| (1..=MAX_KEY_CHARS).contains(&given.chars().count());
    match given.filter(is_short) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("`{KEY}` is 1 to {MAX_KEY_CHARS} visible ASCII characters"),
        )),
    }
}

fn pins(head: &HeaderMap) -> Result<Vec<(DetectorId, RevisionId)>, Problem> {
    let Some(given) = head.get(PIN) else {
        return Ok(Vec::new());
    };
    let wrong = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "`{PIN}` is DETECTOR=REVISION, such as spam-text=sha256:…, with commas between several"
            ),
        )
    };
    let pin = |pin: &str| {
        let (detector, revision) = pin.trim().rsplit_once('=')?;
        Some((DetectorId::from(detector), revision.parse().ok()?))
    };
    let pins = given.to_str().ok().map(|given| given.split(',').map(pin));
    pins.and_then(Iterator::collect).ok_or_else(wrong)
}

/// The time that the caller gives its item, or the host's own.
fn time(head: &HeaderMap, most: Duration) -> Result<Duration, Problem> {
    let Some(given) = head.get(DEADLINE) else {
        return Ok(most);
    };
    let bounds: RangeInclusive<u64> = 1..=u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let asked = given.to_str().ok().and_then(|given| given.parse().ok());
    match asked {
        Some(millis) if bounds.contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "`{DEADLINE}` is a whole number of milliseconds from {} to {}",
                bounds.start(),
                bounds.end()
            ),
        )),
    }
}
