//! How much a server takes on.

use std::time::Duration;

/// Bounds of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Connections at once; the next waits to be accepted.
    pub max_connections: usize,
    /// Shares of judging at once; an item of text takes one. One with images takes
    /// [`Self::image_weight`].
    pub max_judging: u32,
    /// Shares of an item with images, which takes far longer: many at once would all come
    /// late.
    pub image_weight: u32,
    /// Items that wait to be judged; the next is refused with 503.
    pub max_waiting: usize,
    /// Bytes of one request's body.
    pub max_body_bytes: usize,
    /// Bytes of all bodies that are held at once.
    pub max_all_body_bytes: usize,
    /// From a connection's start, or from the first byte of a later head, to the end of the
    /// head.
    pub head_time: Duration,
    /// From an answer to the first byte of the next head.
    pub idle_time: Duration,
    /// From a request's head to the end of its body.
    pub body_time: Duration,
    /// Bytes of a package that comes over the admin surface.
    pub max_package_bytes: u64,
    /// From its request's head to its end.
    pub package_time: Duration,
    /// From [`Server::drain`](super::Server::drain) to the end, whatever is in flight.
    pub drain_time: Duration,
}

/// Shares of judging per core. More would only take the core from each other, and while
/// they do, detectors' deadlines pass and whoever is to be refused waits.
const SHARES_PER_CORE: u32 = 8;

/// Shares of an item with images: two per core are judged at once.
const IMAGE_WEIGHT: u32 = SHARES_PER_CORE / 2;

impl Default for ServerOptions {
    /// 1,024 connections, 8 shares of judging per core of which an image takes half, 256
    /// waiting items, 96 MiB a body and 512 MiB all, 10 s for a head, 75 s between
    /// requests, 30 s for a body, 2 GiB and 10 min for a package, 30 s to drain.
    fn default() -> Self {
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let n_cores = u32::try_from(n_cores).unwrap_or(u32::MAX);
        Self {
            max_connections: 1024,
            max_judging: n_cores.saturating_mul(SHARES_PER_CORE),
            image_weight: IMAGE_WEIGHT,
            max_waiting: 256,
            max_body_bytes: 96 << 20,
            max_all_body_bytes: 512 << 20,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            body_time: Duration::from_secs(30),
            max_package_bytes: 2 << 30,
            package_time: Duration::from_secs(600),
            drain_time: Duration::from_secs(30),
        }
    }
}
