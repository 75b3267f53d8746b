//! The rollout as operators see and steer it.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::pipeline::{RolloutStatus, StepError};
use crate::rollout::{self, Lineup, Verb};
use crate::server::Server;
use crate::server::answer::{self, Problem};
use crate::server::lineup_file::Followed;

/// Bytes of a policy file at most.
const MAX_POLICY_BYTES: usize = crate::policy::MAX_BYTES;

/// Bytes of a verb at most.
const MAX_VERB_BYTES: usize = 16 << 10;

impl From<StepError> for Problem {
    fn from(error: StepError) -> Self {
        let status = match &error {
            StepError::Package(_)
            | StepError::Golden(_)
            | StepError::Policy(_)
            | StepError::NotLoaded { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            StepError::Refused(_) | StepError::OtherPolicy { .. } => StatusCode::CONFLICT,
            StepError::State(error) if error.is_refusal() => StatusCode::CONFLICT,
            StepError::State(_) | StepError::GivenUp(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

/// Where the rollout stands.
pub(super) async fn status(State(server): State<Server>) -> Response {
    let status = RolloutStatus {
        lineup_file: server.0.lineup_file.as_ref().map(Followed::status),
        ..server.0.host.status()
    };
    answer::json(StatusCode::OK, &status)
}

/// Takes the step in the body, a [`Verb`].
pub(super) async fn step(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Problem> {
    let text = text(&server, request, "a step", MAX_VERB_BYTES).await?;
    let verb: Verb = serde_json::from_str(&text).map_err(|error| {
        refused(format!(
            "the body is no step: {error}; write one such as {{\"verb\":\"rollback\",\"detector\":\"spam-text\"}}"
        ))
    })?;
    if let Verb::Load { .. } = verb {
        return Err(refused(
            "a revision is loaded from its package; send that to `POST /admin/v1/revisions`",
        ));
    }
    is_steered_here(&server)?;
    let transition = server.0.host.step(verb).await?;
    Ok(answer::json(StatusCode::OK, &transition))
}

/// The lineup in effect, as its file has it.
pub(super) async fn lineup(State(server): State<Server>) -> Response {
    let kind = HeaderValue::from_static("application/toml");
    let text = server.0.host.lineup().text();
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Brings the lineup in the body into effect.
pub(super) async fn give_lineup(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Problem> {
    is_steered_here(&server)?;
    let text = text(&server, request, "a lineup", rollout::MAX_BYTES).await?;
    let lineup = Lineup::parse("lineup", &text).map_err(|error| refused(error.to_string()))?;
    let generation = lineup.generation();
    let host = &server.0.host;
    host.give_lineup(lineup, "the admin API").await?;
    let answer = json!({ "generation": generation });
    Ok(answer::json(StatusCode::OK, &answer))
}

/// Decides by the policy in the body from the next item on. One that cannot be used
/// changes nothing.
pub(super) async fn policy(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Problem> {
    let text = text(&server, request, "a policy", MAX_POLICY_BYTES).await?;
    let host = &server.0.host;
    host.give_policy("policy", &text).await?;
    let answer = json!({ "replaced": true, "policy": host.lineup().policy() });
    Ok(answer::json(StatusCode::OK, &answer))
}

/// Compares with the policy in the body from the next item on.
pub(super) async fn policy_shadow(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Problem> {
    let text = text(&server, request, "a policy", MAX_POLICY_BYTES).await?;
    let host = &server.0.host;
    host.shadow_policy("policy", Some(&text)).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "shadowed": true })))
}

/// Compares with no policy any more.
pub(super) async fn end_policy_shadow(State(server): State<Server>) -> Result<Response, Problem> {
    server.0.host.shadow_policy("policy", None).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "shadowed": false })))
}

/// Refuses what writes a lineup while a file says which one there is: it would stand until
/// the file is written again, and no other host that follows the file would know of it.
fn is_steered_here(server: &Server) -> Result<(), Problem> {
    let Some(followed) = &server.0.lineup_file else {
        return Ok(());
    };
    Err(Problem::new(
        StatusCode::CONFLICT,
        format!(
            "the lineup comes from {}, which this host watches; write one of a newer generation there",
            followed.path().display()
        ),
    ))
}

fn refused(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)
}

/// A body that is a text of at most `most` bytes.
async fn text(
    server: &Server,
    request: Request,
    what: &str,
    most: usize,
) -> Result<String, Problem> {
    let (head, body) = request.into_parts();
    let shared = &server.0;
    let body_time = shared.options.body_time;
    let body = shared.room.read(&head.headers, body, body_time).await?;
    if body.bytes.len() > most {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{what} has {most} bytes at most"),
        ));
    }
    String::from_utf8(body.bytes).map_err(|error| refused(format!("{what} is UTF-8: {error}")))
}
