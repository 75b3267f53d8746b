//! The way to a collector: plain HTTP, by the client that the command has anyway.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;

/// Bytes of a collector's answer that are read: it says what it refused, if anything.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Sends requests and blocks until they are answered: for a thread of its own.
pub(super) struct Client {
    agent: Agent,
    failure: Failure,
}

/// Why the last request was not answered; the exporter tells only that it was not.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    /// Takes it.
    pub(super) fn take(&self) -> Option<String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.take()
    }

    fn put(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

impl Client {
    /// A client that waits no longer than `timeout` for an answer.
    pub(super) fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // What may be in its headers goes to the collector that was named and nowhere
            // else.
            .proxy(None)
            .max_redirects(0);
        Self {
            agent: config.build().into(),
            failure: Failure::default(),
        }
    }

    /// Where it says why a request failed.
    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.agent.run(request.map(|body| body.to_vec()));
        let answered = sent.and_then(|answer| {
            let (head, mut body) = answer.into_parts();
            let body = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
            Ok(Response::from_parts(head, Bytes::from(body)))
        });
        answered.map_err(|error| {
            self.failure.put(error.to_string());
            error.into()
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl HttpClient for Client {
    // As `async_trait` spells it, which would be a dependency for one method.
    fn send_bytes<'client, 'sending>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sending>>
    where
        'client: 'sending,
        Self: 'sending,
    {
        Box::pin(ready(self.send(request)))
    }
}
