//! Hot lists and the switches of labels, as operators change them: from the next item on,
//! and until the server ends.

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Server;
use super::super::answer::{self, Problem};
use crate::excerpt::{NAME_CHARS, printable};
use crate::lists::{Kind, List, ListsError, MAX_BYTES};
use crate::pipeline::HotError;
use crate::signal::Label;

/// Bytes of what switches a label at most.
const MAX_SWITCH_BYTES: usize = 1024;

/// What is said of a label.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    killed: bool,
}

pub(super) fn routes() -> Router<Server> {
    Router::new()
        .route("/admin/v1/lists", get(all))
        .route("/admin/v1/lists/{name}", put(replace).delete(remove))
        // Labels may have slashes in them.
        .route("/admin/v1/labels/{*label}", put(switch))
}

/// Every list and every label that is switched off.
async fn all(State(server): State<Server>) -> Response {
    let host = &server.0.host;
    let lists = host.lists();
    let lists: Vec<Value> = lists.iter().map(|(name, list)| shown(name, list)).collect();
    let all = json!({ "lists": lists, "killed": host.killed() });
    answer::json(StatusCode::OK, &all)
}

fn shown(name: &str, list: &List) -> Value {
    json!({
        "list": name,
        "kind": list.kind(),
        "version": list.version(),
        "entries": list.n_entries(),
    })
}

/// Puts the list in the body under a name. One that cannot be used changes nothing.
async fn replace(
    State(server): State<Server>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let host = &server.0.host;
    let kind = kind(query.as_deref(), host.lists().get(&name).map(List::kind))?;
    let bytes = body(&server, request, MAX_BYTES, "a list").await?;
    let read = move || List::parse("list", kind, &bytes);
    // A hundred thousand entries take some hundred milliseconds.
    let list = tokio::task::spawn_blocking(read).await;
    let list = list.map_err(|error| {
        tracing::error!(%error, "a list could not be read");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the list could not be read",
        )
    })?;
    let list = list.map_err(|error| unusable(error.to_string()))?;
    let answer = shown(&name, &list);
    let (version, n_entries) = (list.version(), list.n_entries());
    host.replace_list(&name, list)
        .await
        .map_err(|error| refused(&error))?;
    tracing::info!(list = name, %kind, %version, n_entries, "a list was replaced");
    Ok(answer::json(StatusCode::OK, &answer))
}

async fn remove(
    State(server): State<Server>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    server
        .0
        .host
        .remove_list(&name)
        .await
        .map_err(|error| refused(&error))?;
    tracing::info!(list = name, "a list was removed");
    Ok(answer::json(StatusCode::OK, &json!({ "removed": name })))
}

/// Switches a label off, or on again.
async fn switch(
    State(server): State<Server>,
    Path(label): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = body(&server, request, MAX_SWITCH_BYTES, "a switch").await?;
    let switch: Switch = serde_json::from_slice(&bytes).map_err(|error| {
        let what = printable(&error.to_string(), 4 * NAME_CHARS);
        unusable(format!(
            "{what}; write {{\"killed\": true}} or {{\"killed\": false}}"
        ))
    })?;
    let killed = switch.killed;
    let label = Label::from(label.as_str());
    let changed = server
        .0
        .host
        .kill(&label, killed)
        .await
        .map_err(|error| refused(&error))?;
    tracing::warn!(%label, killed, changed, "a label was switched");
    let answer = json!({ "label": label, "killed": killed, "changed": changed });
    Ok(answer::json(StatusCode::OK, &answer))
}

/// What `?kind=` says, or what the list is that is there.
fn kind(query: Option<&str>, there: Option<Kind>) -> Result<Kind, Problem> {
    let bad = |what: String| Problem::new(StatusCode::BAD_REQUEST, what);
    let given = query.unwrap_or_default().split('&');
    let mut given = given.filter(|pair| !pair.is_empty()).peekable();
    let Some(pair) = given.next() else {
        return there.ok_or_else(|| {
            bad("a new list needs a kind; add `?kind=` and keywords, domains or hashes".to_owned())
        });
    };
    let kind = pair
        .strip_prefix("kind=")
        .filter(|_| given.peek().is_none());
    let kind = kind.ok_or_else(|| {
        let query = printable(query.unwrap_or_default(), NAME_CHARS);
        bad(format!("unknown query `{query}`; write `?kind=` alone"))
    })?;
    kind.parse::<Kind>().map_err(|error| bad(error.to_string()))
}

/// A request's body of `most` bytes.
async fn body(
    server: &Server,
    request: Request,
    most: usize,
    what: &str,
) -> Result<Vec<u8>, Problem> {
    let (head, body) = request.into_parts();
    let shared = &server.0;
    let body_time = shared.options.body_time;
    let body = shared.room.read(&head.headers, body, body_time).await?;
    if body.bytes.len() > most {
        let error = format!("{what} is {most} bytes at most");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error));
    }
    Ok(body.bytes)
}

fn unusable(error: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error)
}

fn refused(error: &HotError) -> Problem {
    let status = match error {
        HotError::UnknownList { .. } | HotError::UnknownLabel { .. } => StatusCode::NOT_FOUND,
        HotError::Lists(ListsError::Name { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::CONFLICT,
    };
    Problem::new(status, error.to_string())
}
