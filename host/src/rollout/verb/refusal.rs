//! Why a verb may be refused, and the way out.

use thiserror::Error;

use crate::rollout::{MAX_ALL_PINS, MAX_DETECTORS, MAX_PINS, MAX_REVISIONS, Share};

/// Why a verb was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum Refusal {
    #[error("the lineup has no detector `{detector}`; load a revision of it first")]
    UnknownDetector { detector: String },
    #[error("detector `{detector}` has no revision {revision}; load it first")]
    UnknownRevision { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is retired; load it first")]
    Retired { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is {stage} already; there is nothing to do")]
    NothingChanges {
        detector: String,
        revision: String,
        stage: String,
    },
    #[error(
        "revision {revision} of `{detector}` is live; promote another one or roll back, and it leaves that place"
    )]
    IsLive { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is only loaded; retire it instead")]
    OnlyLoaded { detector: String, revision: String },
    #[error("revision {revision} of `{detector}` is a {stage}; abort it instead")]
    StillTried {
        detector: String,
        revision: String,
        stage: String,
    },
    #[error("`{detector}` has no live revision to stand beside; promote one first")]
    NobodyLive { detector: String },
    #[error(
        "`{detector}` has no previous live revision that is still loaded; load the one to go back to and promote it"
    )]
    NoPrevious { detector: String },
    #[error(
        "no previous live revision of `{detector}` answers for a share; there is nothing to settle"
    )]
    NoControl { detector: String },
    #[error("`{detector}` has two canaries, {canaries}; abort one of them first")]
    TwoCanaries { detector: String, canaries: String },
    #[error(
        "a share of {wanted} does not fit beside the other canary of `{detector}`; give at most {room}"
    )]
    NoRoom {
        detector: String,
        wanted: Share,
        room: Share,
    },
    #[error("`{detector}` has {MAX_REVISIONS} revisions and none is retired; retire one first")]
    TooManyRevisions { detector: String },
    #[error("the lineup has {MAX_DETECTORS} detectors; give this one to another host")]
    TooManyDetectors,
    #[error("{what}")]
    DetectorName { what: String },
    #[error(
        "revision {revision} of `{detector}` is pinned for {keys}; unpin first; meanwhile a canary can be made a shadow"
    )]
    Pinned {
        detector: String,
        revision: String,
        keys: String,
    },
    #[error(
        "`{key}` is pinned to revision {revision} of `{detector}` already; there is nothing to do"
    )]
    PinnedAlready {
        detector: String,
        revision: String,
        key: String,
    },
    #[error("`{key}` is not pinned to a revision of `{detector}`; there is nothing to do")]
    NotPinned { detector: String, key: String },
    #[error("{what}")]
    PinKey { what: String },
    #[error("`{detector}` has {MAX_PINS} pins; unpin one first")]
    TooManyPins { detector: String },
    #[error("the lineup has {MAX_ALL_PINS} pins; unpin one first")]
    TooManyPinsInAll,
    #[error("generation {generation} is the last there is; write a lineup that begins anew")]
    LastGeneration { generation: u64 },
}
