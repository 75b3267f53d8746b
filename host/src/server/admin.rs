//! What operators do, on a listener of its own and with a token: nothing of it is on the
//! public port.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Server;
use super::answer::{self, Problem};
use crate::policy::Policy;

/// Bytes of a policy file at most.
const MAX_POLICY_BYTES: usize = 1 << 20;

/// The shortest token: anything shorter can be tried out.
const MIN_TOKEN_CHARS: usize = 16;

/// What whoever asks something of the admin surface must know. It is never shown.
#[derive(Clone)]
pub struct AdminToken(Arc<[u8; 32]>);

/// The token is too short to keep anybody out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the admin token is shorter than {MIN_TOKEN_CHARS} characters; make one with `openssl rand -hex 32`"
)]
pub struct WeakToken;

impl AdminToken {
    /// White space around it is not part of it.
    pub fn new(token: &str) -> Result<Self, WeakToken> {
        let token = token.trim();
        match token.chars().count() < MIN_TOKEN_CHARS {
            true => Err(WeakToken),
            false => Ok(Self(Arc::new(Sha256::digest(token).into()))),
        }
    }

    /// Compares digests, so that the time it takes tells nothing of the token.
    fn is(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        *self.0 == given
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

pub(super) fn router(server: &Server, token: AdminToken) -> Router {
    Router::new()
        .route("/admin/v1/status", get(status))
        .route("/admin/v1/policy", put(policy))
        .route("/admin/v1/drain", post(drain))
        .route("/metrics", get(super::metrics::metrics))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::wrong_method)
        .with_state(server.clone())
        .layer(from_fn(move |request, next| {
            let token = token.clone();
            async move { authorised(&token, request, next).await }
        }))
}

async fn authorised(token: &AdminToken, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|given| given.to_str().ok());
    let given = given.and_then(|given| given.strip_prefix("Bearer "));
    if given.is_some_and(|given| token.is(given.trim())) {
        return next.run(request).await;
    }
    let why = match given {
        Some(_) => "the token is not this server's",
        None => "the request has no token; send `authorization: Bearer TOKEN`",
    };
    Problem::new(StatusCode::UNAUTHORIZED, why).into_response()
}

/// What runs here now.
async fn status(State(server): State<Server>) -> Response {
    let host = &server.0.host;
    let detectors: Vec<Value> = host
        .detectors()
        .map(|detector| {
            json!({
                "detector": detector.id(),
                "revision": detector.revision(),
                "device_bytes": detector.account().bytes(),
            })
        })
        .collect();
    let admission = &server.0.admission;
    let status = json!({
        "draining": server.is_draining(),
        "detectors": detectors,
        "waiting": admission.n_waiting(),
        "judging": admission.n_judging(),
    });
    answer::json(StatusCode::OK, &status)
}

/// Decides by the policy in the body from the next item on. One that cannot be used
/// changes nothing.
async fn policy(State(server): State<Server>, request: Request) -> Result<Response, Problem> {
    let refused = |error: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    let (head, body) = request.into_parts();
    let shared = &server.0;
    let body_time = shared.options.body_time;
    let body = shared.room.read(&head.headers, body, body_time).await?;
    if body.bytes.len() > MAX_POLICY_BYTES {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a policy is {MAX_POLICY_BYTES} bytes at most"),
        ));
    }
    let text = std::str::from_utf8(&body.bytes)
        .map_err(|error| refused(format!("the policy is not UTF-8: {error}")))?;
    let policy = Policy::parse("policy", text).map_err(|error| refused(error.to_string()))?;
    let replaced = shared.host.replace_policy(policy);
    replaced.map_err(|error| refused(error.to_string()))?;
    tracing::info!("the policy was replaced");
    Ok(answer::json(StatusCode::OK, &json!({ "replaced": true })))
}

async fn drain(State(server): State<Server>) -> Response {
    tracing::info!("asked to drain");
    server.drain();
    answer::json(StatusCode::ACCEPTED, &json!({ "draining": true }))
}
