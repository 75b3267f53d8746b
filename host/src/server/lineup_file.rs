//! A lineup's file that is watched: what it says is brought into effect whenever it says
//! something new, and what cannot be changes nothing and is told once.
//!
//! A file is taken once it was found the same twice: one that is being written in place may
//! read as a lineup without its last detectors.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::Server;
use crate::Host;
use crate::pipeline::{LineupFileStatus, StepError};
use crate::registry::StateError;
use crate::rollout::{Lineup, MAX_BYTES};

/// Between two looks, unless another time is given.
const PERIOD: Duration = Duration::from_secs(1);

/// The shortest time between two looks.
const MIN_PERIOD: Duration = Duration::from_millis(10);

/// A file that was changed within this time may be changed again without a later time of
/// change: file systems count in ticks, and some in seconds.
const TICK: Duration = Duration::from_secs(2);

/// The sha256 of what is in a file, whatever it means.
type ContentDigest = [u8; 32];

/// A lineup's file, and how often it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineupFile {
    /// Where it lies, or will.
    pub path: PathBuf,
    /// Between two looks, 10 ms at least.
    pub period: Duration,
}

impl LineupFile {
    /// Looked at each second.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            period: PERIOD,
        }
    }
}

/// A file that is watched, and what became of it.
#[derive(Debug)]
pub(super) struct Followed {
    file: LineupFile,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The content that was found last.
    found: Option<ContentDigest>,
    /// The file as it was when it was last read, where a change would show.
    settled: Option<Stamp>,
    /// The content that was tried last, and the generation that was in effect then.
    tried: Option<(ContentDigest, u64)>,
    /// The generation that the file says, where that is in effect.
    followed: Option<u64>,
    /// Why what it says is not.
    problem: Option<String>,
    /// The content and the problem that were told last.
    told: Option<(Option<ContentDigest>, String)>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    n_bytes: u64,
}

/// What one look found.
enum Found {
    /// The file as it was.
    Same,
    Content {
        bytes: Vec<u8>,
        /// None where another change might leave it as it is.
        stamp: Option<Stamp>,
    },
    /// Why there is nothing to be read.
    Nothing(String),
}

impl Followed {
    pub(super) fn new(mut file: LineupFile) -> Self {
        file.period = file.period.max(MIN_PERIOD);
        Self {
            file,
            state: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(super) fn status(&self) -> LineupFileStatus {
        let state = self.state();
        LineupFileStatus {
            file: self.file.path.display().to_string(),
            generation: state.followed,
            problem: state.problem.clone(),
        }
    }

    /// Looks at the file once, and follows it where it says something new.
    async fn look(&self, host: &Host) {
        let (path, settled) = (self.file.path.clone(), self.state().settled);
        let found = tokio::task::spawn_blocking(move || read(&path, settled)).await;
        // The runtime ends.
        let Ok(found) = found else { return };
        match found {
            Found::Same => {}
            Found::Nothing(why) => {
                let mut state = self.state();
                (state.found, state.settled, state.tried) = (None, None, None);
                self.tell(&mut state, None, why);
            }
            Found::Content { bytes, stamp } => self.content(host, &bytes, stamp).await,
        }
    }

    async fn content(&self, host: &Host, bytes: &[u8], stamp: Option<Stamp>) {
        let digest = Sha256::digest(bytes).into();
        {
            let mut state = self.state();
            if state.found.replace(digest) != Some(digest) {
                state.settled = None;
                return;
            }
            let tried = Some((digest, host.lineup().generation()));
            if state.tried == tried {
                // A refused one is read again: what it lacks may have come.
                state.settled = stamp.filter(|_| state.problem.is_none());
                return;
            }
            state.tried = tried;
        }
        let followed = self.follow(host, bytes).await;
        let mut state = self.state();
        match followed {
            Ok(generation) => {
                (state.followed, state.problem, state.told) = (Some(generation), None, None);
                state.tried = Some((digest, host.lineup().generation()));
            }
            Err(why) => self.tell(&mut state, Some(digest), why),
        }
    }

    /// The generation that the content says, once it is in effect; else why it is not.
    async fn follow(&self, host: &Host, bytes: &[u8]) -> Result<u64, String> {
        let path = &self.file.path;
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            format!(
                "{}: not UTF-8 at byte {at}; save it as UTF-8",
                path.display()
            )
        })?;
        let lineup = Lineup::parse(&path.display().to_string(), text);
        let lineup = lineup.map_err(|error| error.to_string())?;
        let generation = lineup.generation();
        if host.stands_on(&lineup) {
            return Ok(generation);
        }
        let given = host.follow_lineup(lineup, path).await;
        given.map_err(|error| {
            if is_the_hosts(&error) {
                // It may pass by itself: tried again at the next look.
                self.state().tried = None;
            }
            format!("{}: {error}", path.display())
        })?;
        tracing::info!(file = %path.display(), generation, "the lineup file is in effect");
        Ok(generation)
    }

    /// Keeps a problem for whoever asks, and logs it unless that was done.
    fn tell(&self, state: &mut State, content: Option<ContentDigest>, why: String) {
        (state.followed, state.problem) = (None, Some(why.clone()));
        let told = Some((content, why));
        if state.told != told {
            if let Some((_, why)) = &told {
                tracing::warn!(
                    "the lineup file cannot be followed, what was in effect stays: {why}"
                );
            }
            state.told = told;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Follows the lineup file that the server was given, until [`Server::drain`]; ends at
    /// once where there is none. Spawn it beside [`Server::serve`].
    pub async fn follow_lineup(&self) {
        let Some(followed) = &self.0.lineup_file else {
            return;
        };
        while !self.is_draining() {
            followed.look(&self.0.host).await;
            tokio::select! {
                () = self.draining() => {}
                () = sleep(followed.file.period) => {}
            }
        }
    }
}

/// The file's content, unless it is as it was when it `settled`. Blocking.
fn read(path: &Path, settled: Option<Stamp>) -> Found {
    let content = || -> io::Result<Found> {
        // Asked first: opening a pipe waits for its writer.
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("is no file; give one"));
        }
        let stamp = Stamp {
            modified: metadata.modified()?,
            n_bytes: metadata.len(),
        };
        if settled == Some(stamp) {
            return Ok(Found::Same);
        }
        let mut bytes = Vec::new();
        let most = MAX_BYTES as u64;
        File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
        let stamp = is_past(stamp.modified).then_some(stamp);
        Ok(Found::Content { bytes, stamp })
    };
    content().unwrap_or_else(|error| {
        let path = path.display();
        Found::Nothing(match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{path} is not there; put a lineup there, or start without `--lineup`")
            }
            _ => format!("{path} cannot be read: {error}"),
        })
    })
}

/// Whether a step failed through no fault of what was given.
fn is_the_hosts(error: &StepError) -> bool {
    match error {
        StepError::State(error) => !matches!(error, StateError::NotNewer { .. }),
        StepError::GivenUp(_) => true,
        _ => false,
    }
}

/// Whether what is changed from now on would have another time of change.
#[expect(
    clippy::disallowed_methods,
    reason = "files tell when they were changed by this clock"
)]
fn is_past(modified: SystemTime) -> bool {
    let since = SystemTime::now().duration_since(modified);
    since.is_ok_and(|since| since > TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of three detectors, and whoever follows it.
    struct Case {
        _folder: tempfile::TempDir,
        host: Host,
        followed: Followed,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let followed = Followed::new(LineupFile::new(folder.path().join("lineup.toml")));
            Self {
                _folder: folder,
                host: Host::builder().bundled_detectors().build().unwrap(),
                followed,
            }
        }

        fn write(&self, text: &str) {
            fs::write(self.followed.path(), text).unwrap();
        }

        /// The lineup in effect as one of this generation.
        fn of(&self, generation: u64) -> String {
            let lineup = self.host.lineup();
            let now = format!("generation = {}\n", lineup.generation());
            lineup
                .text()
                .replace(&now, &format!("generation = {generation}\n"))
        }

        /// Looks, and tells which generation is in effect then.
        async fn look(&self) -> u64 {
            self.followed.look(&self.host).await;
            self.host.lineup().generation()
        }

        fn modified(&self, at: SystemTime) {
            let file = File::options().write(true).open(self.followed.path());
            file.unwrap().set_modified(at).unwrap();
        }
    }

    #[tokio::test]
    async fn half_a_lineup_is_not_taken_for_a_whole_one() {
        let case = Case::new();
        let text = case.of(2);
        let (half, _) = text.rsplit_once("\n[[detector]]").unwrap();
        let parsed = Lineup::parse("half", half).unwrap();
        assert_eq!(parsed.detectors().count(), 2);
        case.write(half);
        assert_eq!(case.look().await, 1);
        case.write(&text);
        assert_eq!(case.look().await, 1);
        assert_eq!(case.followed.status().problem, None);
        assert_eq!(case.look().await, 2);
        assert_eq!(case.host.lineup().detectors().count(), 3);
        // What does not read in the middle is no problem either until it stays so.
        case.write(&case.of(3)[..20]);
        assert_eq!(case.look().await, 2);
        assert_eq!(case.followed.status().problem, None);
        assert_eq!(case.look().await, 2);
        assert!(case.followed.status().problem.is_some());
    }

    #[tokio::test]
    async fn a_change_that_shows_in_no_time_is_seen_while_the_file_is_young() {
        let case = Case::new();
        let later = moment_from_now();
        case.write(&case.of(2));
        case.modified(later);
        case.look().await;
        assert_eq!(case.look().await, 2);
        case.look().await;
        case.write(&case.of(3));
        case.modified(later);
        case.look().await;
        assert_eq!(case.look().await, 3);
    }

    #[tokio::test]
    async fn a_file_that_stays_as_it_is_is_not_read_again() {
        let case = Case::new();
        case.write(&case.of(2));
        case.modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        for _ in 0..3 {
            case.look().await;
        }
        let settled = case.followed.state().settled;
        assert!(matches!(read(case.followed.path(), settled), Found::Same));
        assert_eq!(case.followed.status().generation, Some(2));
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a file that was changed in the future stays young"
    )]
    fn moment_from_now() -> SystemTime {
        SystemTime::now() + Duration::from_secs(3600)
    }
}
