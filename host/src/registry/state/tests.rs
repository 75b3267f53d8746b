//! Hosts that end at every step and every byte, and folders that others have changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::revision::RevisionId;
use crate::rollout::Verb;

/// A disk that ends the host: each byte written and each other step costs one, and when
/// nothing is left everything fails. Half a write may have reached the disk.
#[derive(Debug)]
struct MortalDisk {
    left: Arc<AtomicU64>,
}

impl MortalDisk {
    /// How many of `wanted` may still be done.
    fn spend(&self, wanted: u64) -> u64 {
        let left = self.left.load(Ordering::SeqCst);
        let granted = wanted.min(left);
        // What has begun to fail goes on failing.
        let after = if granted < wanted { 0 } else { left - granted };
        self.left.store(after, Ordering::SeqCst);
        granted
    }

    fn step(&self) -> io::Result<()> {
        match self.spend(1) {
            1 => Ok(()),
            _ => Err(io::Error::other("the host has ended")),
        }
    }
}

impl Disk for MortalDisk {
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let granted = usize::try_from(self.spend(bytes.len() as u64)).unwrap();
        RealDisk.write(file, &bytes[..granted])?;
        if granted < bytes.len() {
            Err(io::Error::other("the host has ended"))
        } else {
            Ok(())
        }
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        RealDisk.truncate(file, length)
    }

    fn sync(&self, _file: &File) -> io::Result<()> {
        self.step()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.remove(path)
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.step()
    }
}

fn first() -> Lineup {
    Lineup::new("salt").unwrap()
}

/// The lineup after `generation`, with its cause.
fn following(lineup: &Lineup) -> (Lineup, Cause) {
    let byte = u8::try_from(lineup.generation() % 10).unwrap();
    let detector = format!("d{byte}").as_str().into();
    let step = Verb::Load {
        detector,
        revision: RevisionId::new([byte; 32]),
    };
    let (next, transition) = step.apply(lineup).unwrap();
    (next, Cause::Verb { step, transition })
}

fn given() -> Cause {
    Cause::Given {
        origin: "a test".to_owned(),
    }
}

fn at() -> Moment {
    Moment::from_micros(1)
}

/// A folder in which generations 1 to `n` were committed.
fn with_generations(n: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    let (mut state, _) = StateFolder::open(folder.path()).unwrap();
    let mut lineup = first();
    state.commit(&lineup, given(), at()).unwrap();
    while lineup.generation() < n {
        let (next, cause) = following(&lineup);
        state.commit(&next, cause, at()).unwrap();
        lineup = next;
    }
    folder
}

fn copy(folder: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

fn generation(folder: &Path) -> u64 {
    // One that does not die, and spares the test the syncs.
    let disk = Box::new(MortalDisk {
        left: Arc::new(AtomicU64::new(u64::MAX)),
    });
    let (state, recovered) = StateFolder::open_on(disk, folder, u64::MAX).unwrap();
    let lineup = state.lineup().expect("there is one");
    let decoded = Decoded {
        entries: recovered.entries,
        n_good_bytes: 0,
    };
    assert_eq!(
        decoded.confirmed(),
        Some((lineup.generation(), lineup.digest()))
    );
    lineup.generation()
}

/// Names that belong in a folder at rest.
fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names
        .filter(|name| ![LINEUP, JOURNAL, LOCK, OLD_JOURNAL].contains(&name.as_str()))
        .collect()
}

#[test]
fn what_was_committed_is_there_again_with_what_led_to_it() {
    let folder = with_generations(4);
    let (state, recovered) = StateFolder::open(folder.path()).unwrap();
    assert_eq!(state.lineup().unwrap().generation(), 4);
    assert_eq!(
        (
            recovered.entries.len(),
            recovered.n_cut_bytes,
            recovered.finished
        ),
        (4, 0, false)
    );
    assert_eq!(leftovers(folder.path()), [""; 0]);
}

#[test]
fn a_host_that_ends_at_any_step_or_byte_of_a_commit_comes_back_confirmed() {
    let before = with_generations(3);
    let mut seen = [0_u32; 2];
    for budget in 0.. {
        let folder = copy(before.path());
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let disk = Box::new(MortalDisk { left: left.clone() });
        let (mut state, _) = StateFolder::open_on(disk, folder.path(), u64::MAX).unwrap();
        let (next, cause) = following(state.lineup().unwrap());
        left.store(budget, Ordering::SeqCst);
        let committed = state.commit(&next, cause.clone(), at());
        if committed.is_err() {
            let again = state.commit(&next, cause, at()).unwrap_err();
            assert!(matches!(again, StateError::Failed { .. }), "{again}");
        }
        drop(state);
        let found = generation(folder.path());
        assert!(
            found == 4 || (found == 3 && committed.is_err()),
            "{found} after {budget} steps"
        );
        seen[usize::try_from(found - 3).unwrap()] += 1;
        assert_eq!(leftovers(folder.path()), [""; 0]);
        if committed.is_ok() {
            break;
        }
    }
    // Most bytes lie before the moment; behind it are the sync and the rename.
    assert!(seen[0] > 500 && seen[1] >= 4, "{seen:?}");
}

#[test]
fn a_host_that_ends_while_it_recovers_comes_back_all_the_same() {
    // Each of these was left behind by a host that ended in the middle of a commit.
    let before = with_generations(2);
    for n_steps in 0..1_000 {
        let folder = copy(before.path());
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let disk = Box::new(MortalDisk { left: left.clone() });
        let (mut state, _) = StateFolder::open_on(disk, folder.path(), u64::MAX).unwrap();
        let (next, cause) = following(state.lineup().unwrap());
        left.store(n_steps * 97, Ordering::SeqCst);
        let committed = state.commit(&next, cause, at());
        drop(state);
        for budget in 0..12 {
            let folder = copy(folder.path());
            let disk = Box::new(MortalDisk {
                left: Arc::new(AtomicU64::new(budget)),
            });
            drop(StateFolder::open_on(disk, folder.path(), u64::MAX));
            assert!([2, 3].contains(&generation(folder.path())));
        }
        if committed.is_ok() {
            return;
        }
    }
    panic!("a commit ends");
}

#[test]
fn a_long_journal_is_put_aside_and_a_host_may_end_meanwhile() {
    let before = with_generations(9);
    for budget in 0.. {
        let folder = copy(before.path());
        let left = Arc::new(AtomicU64::new(budget));
        let disk = Box::new(MortalDisk { left: left.clone() });
        let opened = StateFolder::open_on(disk, folder.path(), 1_000);
        let done = opened.is_ok();
        drop(opened);
        assert_eq!(generation(folder.path()), 9, "after {budget} steps");
        if done {
            assert_eq!(leftovers(folder.path()), [""; 0]);
            let length = |name| fs::metadata(folder.path().join(name)).unwrap().len();
            assert!(length(OLD_JOURNAL) > 1_000 && length(JOURNAL) < 1_000);
            let (mut state, _) = StateFolder::open(folder.path()).unwrap();
            let (next, cause) = following(state.lineup().unwrap());
            state.commit(&next, cause, at()).unwrap();
            drop(state);
            assert_eq!(generation(folder.path()), 10);
            return;
        }
    }
}

/// The order that recovery relies on: each thing is synced before the next one speaks of
/// it.
#[test]
fn a_commit_syncs_every_step_before_the_next() {
    #[derive(Debug)]
    struct Noted(Arc<std::sync::Mutex<Vec<String>>>);
    impl Noted {
        fn note(&self, step: String) -> io::Result<()> {
            self.0.lock().unwrap().push(step);
            Ok(())
        }
    }
    impl Disk for Noted {
        fn write(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
            let what = if bytes.starts_with(b"{") {
                "journal"
            } else {
                "next"
            };
            self.note(format!("write {what}"))?;
            RealDisk.write(file, bytes)
        }
        fn truncate(&self, _: &File, _: u64) -> io::Result<()> {
            self.note("truncate".into())
        }
        fn sync(&self, _: &File) -> io::Result<()> {
            self.note("sync".into())
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note("rename".into())?;
            RealDisk.rename(from, to)
        }
        fn remove(&self, _: &Path) -> io::Result<()> {
            self.note("remove".into())
        }
        fn sync_folder(&self, _: &Path) -> io::Result<()> {
            self.note("sync folder".into())
        }
    }
    let steps = Arc::new(std::sync::Mutex::new(Vec::new()));
    let folder = TempDir::new().unwrap();
    let disk = Box::new(Noted(steps.clone()));
    let (mut state, _) = StateFolder::open_on(disk, folder.path(), u64::MAX).unwrap();
    steps.lock().unwrap().clear();
    state.commit(&first(), given(), at()).unwrap();
    let expected = [
        "write next",
        "sync",
        "sync folder",
        "write journal",
        "sync",
        "rename",
        "sync folder",
    ];
    assert_eq!(*steps.lock().unwrap(), expected);
}

#[test]
fn one_host_holds_the_folder() {
    let folder = with_generations(1);
    let (state, _) = StateFolder::open(folder.path()).unwrap();
    let error = StateFolder::open(folder.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("another host uses this state folder; speak to it")
    );
    drop(state);
    assert_eq!(generation(folder.path()), 1);
}

#[test]
fn an_older_or_equal_generation_changes_nothing() {
    let folder = with_generations(3);
    let (mut state, _) = StateFolder::open(folder.path()).unwrap();
    let same = state.lineup().unwrap().clone();
    for old in [first(), same] {
        let error = state.commit(&old, given(), at()).unwrap_err().to_string();
        assert!(error.contains("is not newer than 3, which is in effect; give one from 4 on"));
    }
    let (next, cause) = following(state.lineup().unwrap());
    state.commit(&next, cause, at()).unwrap();
    drop(state);
    assert_eq!(generation(folder.path()), 4);
}

#[test]
fn a_folder_that_others_have_changed_is_refused_and_left_as_it_is() {
    let change = |change: &dyn Fn(&Path)| {
        let folder = with_generations(2);
        change(folder.path());
        let before = fs::read(folder.path().join(JOURNAL)).unwrap_or_default();
        let error = StateFolder::open(folder.path()).unwrap_err().to_string();
        assert_eq!(
            fs::read(folder.path().join(JOURNAL)).unwrap_or_default(),
            before
        );
        error
    };
    let edited = change(&|folder| {
        let text = fs::read_to_string(folder.join(LINEUP)).unwrap();
        fs::write(folder.join(LINEUP), text.replace("salt", "SALT")).unwrap();
    });
    assert!(
        edited.contains("the journal confirms generation 2 as sha256:"),
        "{edited}"
    );
    let gone = change(&|folder| fs::remove_file(folder.join(LINEUP)).unwrap());
    assert!(
        gone.contains("the journal confirms generation 2 as sha256:"),
        "{gone}"
    );
    let no_journal = change(&|folder| fs::remove_file(folder.join(JOURNAL)).unwrap());
    assert!(
        no_journal.contains("no journal confirms this lineup; move it away"),
        "{no_journal}"
    );
    let damaged = change(&|folder| {
        let mut bytes = fs::read(folder.join(JOURNAL)).unwrap();
        bytes[40] ^= 1;
        fs::write(folder.join(JOURNAL), bytes).unwrap();
    });
    assert!(
        damaged.contains("line 1 is damaged, and whole entries follow it"),
        "{damaged}"
    );
    let long = change(&|folder| {
        fs::write(folder.join(LINEUP), vec![b'#'; rollout::MAX_BYTES + 1]).unwrap();
    });
    assert!(
        long.contains("has more than 2097152 bytes; move it away"),
        "{long}"
    );
}

#[test]
fn a_half_written_lineup_of_an_older_host_leaves_nothing_behind() {
    let folder = with_generations(1);
    fs::write(folder.path().join(NEXT_LINEUP), "generation = 2\nsal").unwrap();
    assert_eq!(generation(folder.path()), 1);
    assert_eq!(leftovers(folder.path()), [""; 0]);
}
