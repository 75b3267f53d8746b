//! A request's body, read within bounds of size, sum and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::Problem;

/// Bytes that are taken from the room at once. It is taken as bytes come, never by what a
/// head promises: else few clients that promise much and send nothing would fill it.
const PIECE: usize = 16 << 10;

/// Room for the bodies of all requests.
#[derive(Debug)]
pub(super) struct BodyRoom {
    pieces: Arc<Semaphore>,
    max_body: usize,
}

/// A body, and its place in the room.
#[derive(Debug)]
pub(super) struct HeldBody {
    pub(super) bytes: Vec<u8>,
    pub(super) _pieces: Option<OwnedSemaphorePermit>,
}

impl BodyRoom {
    pub(super) fn new(max_body: usize, max_all: usize) -> Self {
        let n_pieces = max_all.div_ceil(PIECE).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            pieces: Arc::new(Semaphore::new(n_pieces)),
            max_body,
        }
    }

    /// 413 for one that is too large, told by its head where that says so; 503 when all
    /// together are; 408 when it takes longer than `time`; 400 when it breaks off.
    pub(super) async fn read(
        &self,
        head: &HeaderMap,
        body: Body,
        time: Duration,
    ) -> Result<HeldBody, Problem> {
        let declared = head.get(header::CONTENT_LENGTH);
        let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > self.max_body as u64) {
            return Err(self.too_large());
        }
        let reading = timeout(time, self.collect(body)).await;
        reading.unwrap_or_else(|_| {
            Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come whole within {time:?}; send it faster"),
            ))
        })
    }

    async fn collect(&self, mut body: Body) -> Result<HeldBody, Problem> {
        let mut held = HeldBody {
            bytes: Vec::new(),
            _pieces: None,
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    format!("the body breaks off: {error}"),
                )
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let size = held.bytes.len() + data.len();
            if size > self.max_body {
                return Err(self.too_large());
            }
            self.make_room(&mut held, size)?;
            held.bytes.extend_from_slice(&data);
        }
        Ok(held)
    }

    fn make_room(&self, held: &mut HeldBody, size: usize) -> Result<(), Problem> {
        let pieces = held._pieces.as_ref();
        let n_held = pieces.map_or(0, OwnedSemaphorePermit::num_permits);
        let n_more = size.div_ceil(PIECE).saturating_sub(n_held);
        if n_more == 0 {
            return Ok(());
        }
        let n_more = u32::try_from(n_more).expect("a body is smaller than the bound");
        let more = self.pieces.clone().try_acquire_many_owned(n_more);
        let more =
            more.map_err(|_| Problem::overloaded("the bodies of other requests fill the room"))?;
        match &mut held._pieces {
            Some(pieces) => pieces.merge(more),
            None => held._pieces = Some(more),
        }
        Ok(())
    }

    fn too_large(&self) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is larger than {} bytes; send smaller items, one a request",
                self.max_body
            ),
        )
    }
}
