//! The state folder under hosts that are killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use trommel::registry::StateFolder;
use trommel::revision::RevisionId;
use trommel::rollout::journal::{Cause, Event};
use trommel::rollout::{Lineup, Moment, Share, Verb};
use trommel_tests::random::Random;

const FOLDER: &str = "TROMMEL_TEST_STATE_FOLDER";

/// The other side of the test below: walks revisions through one detector's lineup, for
/// ever, and tells each generation once it is committed.
#[test]
#[ignore = "is started, and killed, by the test below"]
fn a_host_that_commits_until_it_is_killed() {
    let folder = std::env::var_os(FOLDER).expect("its parent says where");
    let (mut state, _) = StateFolder::open(Path::new(&folder)).unwrap();
    if state.lineup().is_none() {
        let cause = Cause::Given {
            origin: "a test".to_owned(),
        };
        state
            .commit(&Lineup::new("salt").unwrap(), cause, Moment::default())
            .unwrap();
    }
    loop {
        let lineup = state.lineup().expect("committed");
        let byte = (lineup.generation() / 2 % 200) as u8;
        let (detector, revision) = ("d".into(), RevisionId::new([byte; 32]));
        let load = Verb::Load { detector, revision };
        let promote = Verb::Promote {
            detector: "d".into(),
            revision,
            control: Share::NONE,
        };
        let (step, (next, transition)) = match load.apply(lineup) {
            Ok(next) => (load, next),
            Err(_) => {
                let next = promote.apply(lineup).expect("it is loaded");
                (promote, next)
            }
        };
        state
            .commit(&next, Cause::Verb { step, transition }, Moment::default())
            .unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "generation {}", next.generation()).unwrap();
        out.flush().unwrap();
    }
}

fn host(folder: &Path) -> Child {
    let this = std::env::current_exe().unwrap();
    let name = "rollout::state::a_host_that_commits_until_it_is_killed";
    Command::new(this)
        .args([
            "--exact",
            name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_host_that_is_killed_comes_back_with_what_it_last_said_or_the_one_after() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(20);
    let mut before = 0;
    for _ in 0..20 {
        let mut child = host(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines.by_ref().map_while(Result::ok).filter_map(|line| {
            // The harness speaks too, and may have begun the line.
            line.rsplit_once("generation ")?.1.parse::<u64>().ok()
        });
        let last = said.nth(random.below(12)).expect("it commits");
        // Some of a millisecond later, in the middle of whatever it does.
        std::hint::black_box((0..random.below(2_000_000)).fold(0, |sum: usize, n| sum ^ n));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was on its way before the kill arrived.
        let last = said.last().unwrap_or(last);

        let (state, recovered) = StateFolder::open(folder.path()).unwrap();
        let lineup = state.lineup().unwrap();
        let generations = recovered.entries.iter().map(|entry| match &entry.event {
            Event::Lineup { generation, .. } => *generation,
            other => panic!("{other:?}"),
        });
        let generations: Vec<u64> = generations.collect();
        assert!(
            generations.iter().copied().eq(1..=lineup.generation()),
            "{generations:?}"
        );
        let found = lineup.generation();
        assert!(
            found == last || found == last + 1,
            "said {last}, found {found}"
        );
        assert!(found > before);
        before = found;
    }
}
