//! Properties of a cut, over random histories of arrivals, cuts and moments.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use super::*;

/// Steele et al.'s SplitMix64: the same histories every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A caller that can be told from others and may give up.
#[derive(Debug, Clone)]
struct Named {
    id: usize,
    is_wanted: Rc<Cell<bool>>,
}

impl Wanted for Named {
    fn is_wanted(&self) -> bool {
        self.is_wanted.get()
    }
}

#[expect(clippy::disallowed_methods, reason = "a moment to count from")]
fn start() -> Instant {
    Instant::now()
}

fn waiting(holder: usize, id: usize, n_rows: usize, since: Instant) -> Waiting<Named> {
    Waiting {
        holder: Holder(holder),
        n_rows,
        n_bytes: 10 * n_rows as u64,
        n_operations: 100 * n_rows as u64,
        deadline: None,
        since,
        caller: Named {
            id,
            is_wanted: Rc::new(Cell::new(true)),
        },
    }
}

const AMPLE: Budget = Budget {
    n_callers: usize::MAX,
    n_rows: usize::MAX,
    n_bytes: u64::MAX,
    n_operations: u64::MAX,
};

fn rows(n_rows: usize) -> Budget {
    Budget { n_rows, ..AMPLE }
}

fn next(queue: &mut Queue<usize, Named>, budget: &Budget, now: Instant) -> Vec<usize> {
    let turn = queue.turns().next().expect("somebody waits");
    let cut = cut(queue, turn, budget, now);
    cut.batch.iter().map(|one| one.caller.id).collect()
}

/// What is true of every history: who came in is taken out once, in its lane, in its
/// holder's order, within the budget, and for the reason that is its own.
#[test]
fn nobody_is_lost_or_served_twice_and_every_budget_is_kept() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let mut now = start();
        let mut queue: Queue<usize, Named> = Queue::default();
        // By id: lane, holder, rows, deadline, whether it is wanted.
        let mut came = HashMap::new();
        let mut left = HashSet::new();
        let mut order: HashMap<(usize, Holder), VecDeque<usize>> = HashMap::new();
        let (n_lanes, n_holders) = (1 + random.below(4), 1 + random.below(5));
        for step in 0..300 {
            now += Duration::from_micros(random.below(50) as u64);
            match random.below(5) {
                0..=2 => {
                    let lane = random.below(n_lanes);
                    let mut one = waiting(random.below(n_holders), step, random.below(9), now);
                    if random.below(4) == 0 {
                        one.deadline = Some(now + Duration::from_micros(random.below(900) as u64));
                    }
                    let facts = (lane, one.holder, one.deadline, one.caller.is_wanted.clone());
                    came.insert(step, facts);
                    let line = order.entry((lane, one.holder)).or_default();
                    line.push_back(step);
                    queue.push(lane, one);
                }
                3 if random.below(3) == 0 => {
                    let ids: Vec<usize> = came.keys().copied().collect();
                    let id = ids.get(random.below(ids.len().max(1)));
                    if let Some(id) = id {
                        came[id].3.set(false);
                    }
                }
                _ => {
                    if random.below(10) == 0 {
                        for one in queue.sweep(now) {
                            let (.., deadline, wanted) = &came[&one.caller.id];
                            assert!(!wanted.get() || deadline.is_some_and(|at| now >= at));
                            assert!(left.insert(one.caller.id), "seed {seed}: out twice");
                            order.values_mut().for_each(|line| {
                                line.retain(|id| *id != one.caller.id);
                            });
                        }
                    }
                    let n_turns = queue.turns().count();
                    let Some(turn) = queue.turns().nth(random.below(n_turns.max(1))) else {
                        assert_eq!(queue.len(), 0);
                        continue;
                    };
                    let budget = Budget {
                        n_callers: 1 + random.below(8),
                        n_rows: random.below(20),
                        n_bytes: random.below(200) as u64,
                        n_operations: random.below(2000) as u64,
                    };
                    let cut = cut(&mut queue, turn, &budget, now);
                    check_budget(&cut.batch, &budget);
                    for one in cut.batch.iter().chain(&cut.expired).chain(&cut.given_up) {
                        let id = one.caller.id;
                        assert_eq!(came[&id].0, turn.lane, "seed {seed}: another lane's");
                        assert!(left.insert(id), "seed {seed}: out twice");
                    }
                    for one in &cut.batch {
                        let (.., deadline, wanted) = &came[&one.caller.id];
                        assert!(wanted.get() && deadline.is_none_or(|at| now < at));
                    }
                    for one in &cut.expired {
                        assert!(came[&one.caller.id].2.is_some_and(|at| now >= at));
                    }
                    assert!(cut.given_up.iter().all(|one| !one.caller.is_wanted()));
                    // In its holder's order, whatever became of each.
                    for list in [&cut.batch, &cut.expired, &cut.given_up] {
                        for (holder, line) in
                            order.iter_mut().filter(|((lane, _), _)| *lane == turn.lane)
                        {
                            let out: Vec<usize> = list
                                .iter()
                                .filter(|one| one.holder == holder.1)
                                .map(|one| one.caller.id)
                                .collect();
                            let in_line: Vec<usize> =
                                line.iter().copied().filter(|id| out.contains(id)).collect();
                            assert_eq!(out, in_line, "seed {seed}");
                            line.retain(|id| !out.contains(id));
                        }
                    }
                }
            }
            assert_eq!(queue.len(), came.len() - left.len(), "seed {seed}");
            let by_lane: usize = (0..n_lanes).map(|lane| queue.len_of(lane)).sum();
            assert_eq!(by_lane, queue.len(), "seed {seed}");
        }
        // And it empties, one turn after the other.
        let mut n_cuts = 0;
        loop {
            let Some(turn) = queue.turns().next() else {
                break;
            };
            let cut = cut(&mut queue, turn, &rows(1), now);
            for one in cut.batch.iter().chain(&cut.expired).chain(&cut.given_up) {
                assert!(left.insert(one.caller.id), "seed {seed}: out twice");
            }
            n_cuts += 1;
            assert!(n_cuts <= came.len(), "seed {seed}: a cut that takes nobody");
        }
        assert_eq!(left.len(), came.len(), "seed {seed}: lost");
        assert!(queue.lanes.is_empty() && queue.lanes_of.is_empty());
    }
}

fn check_budget(batch: &[Waiting<Named>], budget: &Budget) {
    if batch.len() <= 1 {
        return;
    }
    assert!(batch.len() <= budget.n_callers);
    assert!(
        batch.iter().map(|one| one.n_bytes).sum::<u64>() <= budget.n_bytes.max(batch[0].n_bytes)
    );
    // The first passes whatever it takes; the others share what it left.
    let others = &batch[1..];
    let rows: usize = others.iter().map(|one| one.n_rows).sum();
    assert!(rows <= budget.n_rows.saturating_sub(batch[0].n_rows));
    let operations: u64 = others.iter().map(|one| one.n_operations).sum();
    assert!(operations <= budget.n_operations.saturating_sub(batch[0].n_operations));
}

#[test]
fn no_holder_waits_longer_than_a_batch_of_each_other_and_its_own_lanes() {
    for seed in 0..300 {
        let mut random = Random(1_000 + seed);
        let now = start();
        let mut queue: Queue<usize, Named> = Queue::default();
        let n_holders = 2 + random.below(4);
        // One floods several lanes; the others have a few callers each.
        for id in 0..2000 {
            queue.push(random.below(6), waiting(0, id, 1, now));
        }
        let mut cuts_since = vec![0_usize; n_holders];
        let budget = rows(1 + random.below(8));
        for step in 0..200 {
            let holder = 1 + random.below(n_holders - 1);
            if random.below(3) == 0 {
                let lane = 10 + holder;
                if queue.len_of(lane) == 0 {
                    cuts_since[holder] = 0;
                }
                queue.push(lane, waiting(holder, 5000 + step, 1, now));
            }
            let turn = queue.turns().next().expect("the flood lasts");
            let cut = cut(&mut queue, turn, &budget, now);
            for (holder, since) in cuts_since.iter_mut().enumerate().skip(1) {
                let is_served = cut.batch.iter().any(|one| one.holder == Holder(holder));
                *since = if is_served || queue.len_of(10 + holder) == 0 {
                    0
                } else {
                    *since + 1
                };
                assert!(
                    *since < n_holders,
                    "seed {seed}: {holder} waits for {since} batches"
                );
            }
        }
    }
}

#[test]
fn a_flood_costs_a_newcomer_of_its_lane_nothing_but_the_batch_that_runs() {
    let now = start();
    let mut queue = Queue::default();
    for id in 0..1000 {
        queue.push(7, waiting(0, id, 1, now));
    }
    let first = next(&mut queue, &rows(4), now);
    assert_eq!(first, [0, 1, 2, 3]);
    queue.push(7, waiting(1, 5000, 1, now));
    assert!(next(&mut queue, &rows(4), now).contains(&5000));
}

#[test]
fn a_batch_takes_one_of_each_holder_in_turn() {
    let now = start();
    let mut queue = Queue::default();
    for (holder, id) in [(0, 0), (0, 1), (0, 2), (1, 10), (1, 11), (2, 20)] {
        queue.push(1, waiting(holder, id, 1, now));
    }
    assert_eq!(next(&mut queue, &rows(4), now), [0, 10, 20, 1]);
    assert_eq!(next(&mut queue, &rows(4), now), [11, 2]);
    assert_eq!(queue.turns().count(), 0);
}

#[test]
fn one_that_does_not_fit_is_first_in_the_next_batch() {
    let now = start();
    let mut queue = Queue::default();
    for (id, n_rows) in [(0, 3), (1, 6), (2, 1)] {
        queue.push(1, waiting(0, id, n_rows, now));
    }
    assert_eq!(next(&mut queue, &rows(8), now), [0]);
    assert_eq!(next(&mut queue, &rows(8), now), [1, 2]);
    queue.push(1, waiting(0, 3, 100, now));
    queue.push(1, waiting(0, 4, 1, now));
    assert_eq!(
        next(&mut queue, &rows(8), now),
        [3],
        "larger than any budget"
    );
    assert_eq!(next(&mut queue, &rows(8), now), [4]);
}

#[test]
fn who_is_late_or_has_gone_is_taken_out_and_costs_no_row() {
    let now = start();
    let mut queue = Queue::default();
    for id in 0..6 {
        let mut one = waiting(id % 2, id, 1, now);
        if id < 2 {
            one.deadline = Some(now + Duration::from_micros(1));
        }
        one.caller.is_wanted.set(id != 3);
        queue.push(1, one);
    }
    let turn = queue.turns().next().unwrap();
    let cut = cut(&mut queue, turn, &rows(3), now + Duration::from_micros(1));
    let ids = |list: &[Waiting<Named>]| list.iter().map(|one| one.caller.id).collect::<Vec<_>>();
    assert_eq!(ids(&cut.batch), [2, 5, 4]);
    assert_eq!(ids(&cut.expired), [0, 1]);
    assert_eq!(ids(&cut.given_up), [3]);
    assert_eq!(queue.len(), 0);
}
