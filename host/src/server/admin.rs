//! What operators do, on a listener of its own and with a token: nothing of it is on the
//! public port.

mod lists;
mod rollout;
mod upload;

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
use super::lineup_file::Followed;

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
        .route(
            "/admin/v1/rollout",
            get(rollout::status).post(rollout::step),
        )
        .route("/admin/v1/revisions", post(upload::revision))
        .route(
            "/admin/v1/lineup",
            get(rollout::lineup).put(rollout::give_lineup),
        )
        .route("/admin/v1/policy", put(rollout::policy))
        .route(
            "/admin/v1/policy/shadow",
            put(rollout::policy_shadow).delete(rollout::end_policy_shadow),
        )
        .route("/admin/v1/drain", post(drain))
        .route("/metrics", get(super::metrics::metrics))
        .merge(lists::routes())
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
    let detectors = server.0.host.detectors();
    let detectors: Vec<Value> = detectors
        .iter()
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
        "pool": server.0.host.pool_use(),
        "lineup_file": server.0.lineup_file.as_ref().map(Followed::status),
    });
    answer::json(StatusCode::OK, &status)
}

async fn drain(State(server): State<Server>) -> Response {
    tracing::info!("asked to drain");
    server.drain();
    answer::json(StatusCode::ACCEPTED, &json!({ "draining": true }))
}
