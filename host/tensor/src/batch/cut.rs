//! Who runs next, and with whom: a pure function of who waits, a budget and a moment.
//!
//! Callers wait in lanes; those of one lane may run together. Holders take turns, each in
//! the lane where it has waited longest without a turn, and a batch that begins with one
//! holder's caller is filled up with others of the lane, a holder at a time. So whoever
//! floods a device costs another holder a batch, not a queue.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

/// Whoever is charged in the end, told from others while any of its callers waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Holder(pub(crate) usize);

/// Somebody whose answer may no longer be wanted.
pub(crate) trait Wanted {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;
}

/// One who waits, with all that a cut looks at.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    pub(crate) holder: Holder,
    pub(crate) n_rows: usize,
    /// What its run holds at its peak.
    pub(crate) n_bytes: u64,
    pub(crate) n_operations: u64,
    /// It does not begin after this.
    pub(crate) deadline: Option<Instant>,
    pub(crate) since: Instant,
    pub(crate) caller: T,
}

/// The most that one batch takes. Its first caller is taken whatever it takes, since it
/// would never run otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) n_callers: usize,
    pub(crate) n_rows: usize,
    pub(crate) n_bytes: u64,
    pub(crate) n_operations: u64,
}

/// What was cut off a lane.
#[derive(Debug)]
pub(crate) struct Cut<T> {
    /// To be run together; empty when nobody was left.
    pub(crate) batch: Vec<Waiting<T>>,
    /// Their deadline has passed.
    pub(crate) expired: Vec<Waiting<T>>,
    /// Nobody waits for them any more.
    pub(crate) given_up: Vec<Waiting<T>>,
}

/// Whose turn it is, and in which lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn<L> {
    pub(crate) holder: Holder,
    pub(crate) lane: L,
}

/// All who wait for a device.
#[derive(Debug)]
pub(crate) struct Queue<L, T> {
    /// Every holder that waits, once, in the order of turns.
    turns: VecDeque<Holder>,
    /// The lanes in which a holder waits, each once, in the order of its turns.
    lanes_of: HashMap<Holder, VecDeque<L>>,
    lanes: HashMap<L, Lane<T>>,
    n_waiting: usize,
}

#[derive(Debug)]
struct Lane<T> {
    /// Every holder that waits here, once, with its callers in the order they came.
    turns: VecDeque<(Holder, VecDeque<Waiting<T>>)>,
    n_waiting: usize,
    n_rows: usize,
}

impl<L, T> Default for Queue<L, T> {
    fn default() -> Self {
        Self {
            turns: VecDeque::new(),
            lanes_of: HashMap::new(),
            lanes: HashMap::new(),
            n_waiting: 0,
        }
    }
}

impl<L: Copy + Eq + Hash, T: Wanted> Queue<L, T> {
    /// Those who wait, in all lanes.
    pub(crate) fn len(&self) -> usize {
        self.n_waiting
    }

    /// Those who wait in `lane`.
    pub(crate) fn len_of(&self, lane: L) -> usize {
        self.lanes.get(&lane).map_or(0, |lane| lane.n_waiting)
    }

    /// Rows that wait in `lane`.
    pub(crate) fn rows_of(&self, lane: L) -> usize {
        self.lanes.get(&lane).map_or(0, |lane| lane.n_rows)
    }

    /// Since when the first of those who wait in `lane` has done so.
    pub(crate) fn oldest_of(&self, lane: L) -> Option<Instant> {
        let firsts = self.lanes.get(&lane)?.turns.iter();
        firsts
            .filter_map(|(_, callers)| Some(callers.front()?.since))
            .min()
    }

    /// Who may be served now, whose turn it is first.
    pub(crate) fn turns(&self) -> impl Iterator<Item = Turn<L>> {
        self.turns.iter().map(|&holder| Turn {
            holder,
            lane: *self.lanes_of[&holder]
                .front()
                .expect("whoever waits has a lane"),
        })
    }

    /// Lets one more wait in `lane`.
    pub(crate) fn push(&mut self, lane: L, waiting: Waiting<T>) {
        let holder = waiting.holder;
        self.n_waiting += 1;
        let entry = self.lanes.entry(lane).or_insert_with(|| Lane {
            turns: VecDeque::new(),
            n_waiting: 0,
            n_rows: 0,
        });
        entry.n_waiting += 1;
        entry.n_rows += waiting.n_rows;
        let place = entry.turns.iter_mut().find(|(known, _)| *known == holder);
        if let Some((_, callers)) = place {
            callers.push_back(waiting);
            return;
        }
        entry.turns.push_back((holder, VecDeque::from([waiting])));
        let lanes = self.lanes_of.entry(holder).or_default();
        if lanes.is_empty() {
            self.turns.push_back(holder);
        }
        lanes.push_back(lane);
    }

    /// Takes out all who no longer wait or whose deadline has passed: they hold no place.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<Waiting<T>> {
        let mut swept = Vec::new();
        let mut gone = Vec::new();
        for (&id, lane) in &mut self.lanes {
            for (holder, callers) in &mut lane.turns {
                let stays = |one: &Waiting<T>| one.caller.is_wanted() && !is_late(one, now);
                if callers.iter().all(stays) {
                    continue;
                }
                for one in std::mem::take(callers) {
                    match stays(&one) {
                        true => callers.push_back(one),
                        false => {
                            lane.n_waiting -= 1;
                            lane.n_rows -= one.n_rows;
                            swept.push(one);
                        }
                    }
                }
                if callers.is_empty() {
                    gone.push((*holder, id));
                }
            }
            lane.turns.retain(|(_, callers)| !callers.is_empty());
        }
        self.n_waiting -= swept.len();
        for (holder, lane) in gone {
            self.leave(holder, lane);
        }
        swept
    }

    /// Notes that a turn is over: whose it was comes last, in the device's turns and in its
    /// own lanes'.
    pub(crate) fn pass(&mut self, turn: Turn<L>) {
        if let Some(lanes) = self.lanes_of.get_mut(&turn.holder) {
            let at = lanes.iter().position(|lane| *lane == turn.lane);
            if let Some(lane) = at.and_then(|at| lanes.remove(at)) {
                lanes.push_back(lane);
            }
        }
        let at = self.turns.iter().position(|known| *known == turn.holder);
        if let Some(holder) = at.and_then(|at| self.turns.remove(at)) {
            self.turns.push_back(holder);
        }
    }

    /// Notes that `holder` has nobody left in `lane`.
    fn leave(&mut self, holder: Holder, lane: L) {
        if let Some(lanes) = self.lanes_of.get_mut(&holder) {
            lanes.retain(|known| *known != lane);
            if lanes.is_empty() {
                self.lanes_of.remove(&holder);
                self.turns.retain(|known| *known != holder);
            }
        }
        if self
            .lanes
            .get(&lane)
            .is_some_and(|lane| lane.n_waiting == 0)
        {
            self.lanes.remove(&lane);
        }
    }
}

/// Cuts a batch off the lane of `turn`, beginning with whoever has waited longest of the
/// holder whose turn it is, and then a caller of each holder in turn, until the next would
/// pass the budget. Whoever has expired or given up on the way is taken out.
pub(crate) fn cut<L: Copy + Eq + Hash, T: Wanted>(
    queue: &mut Queue<L, T>,
    turn: Turn<L>,
    budget: &Budget,
    now: Instant,
) -> Cut<T> {
    let mut cut = Cut {
        batch: Vec::new(),
        expired: Vec::new(),
        given_up: Vec::new(),
    };
    let Some(lane) = queue.lanes.get_mut(&turn.lane) else {
        return cut;
    };
    let first = lane.turns.iter();
    let first = first.clone().position(|(holder, _)| *holder == turn.holder);
    lane.turns.rotate_left(first.unwrap_or(0));
    let mut left = *budget;
    let mut gone = Vec::new();
    while left.n_callers > 0 || cut.batch.is_empty() {
        let Some((holder, mut callers)) = lane.turns.pop_front() else {
            break;
        };
        let mut is_full = false;
        while let Some(one) = callers.pop_front() {
            let into = if !one.caller.is_wanted() {
                &mut cut.given_up
            } else if is_late(&one, now) {
                &mut cut.expired
            } else if cut.batch.is_empty() || left.fits(&one) {
                left.take(&one);
                &mut cut.batch
            } else {
                is_full = true;
                callers.push_front(one);
                break;
            };
            lane.n_waiting -= 1;
            lane.n_rows -= one.n_rows;
            queue.n_waiting -= 1;
            let is_taken = one.caller.is_wanted() && !is_late(&one, now);
            into.push(one);
            if is_taken {
                break;
            }
        }
        match (callers.is_empty(), is_full) {
            (true, _) => gone.push(holder),
            // It is first when the lane is cut next.
            (false, true) => lane.turns.push_front((holder, callers)),
            (false, false) => lane.turns.push_back((holder, callers)),
        }
        if is_full {
            break;
        }
    }
    queue.pass(turn);
    for holder in gone {
        queue.leave(holder, turn.lane);
    }
    cut
}

impl Budget {
    fn fits<T>(&self, one: &Waiting<T>) -> bool {
        self.n_callers > 0
            && one.n_rows <= self.n_rows
            && one.n_bytes <= self.n_bytes
            && one.n_operations <= self.n_operations
    }

    fn take<T>(&mut self, one: &Waiting<T>) {
        self.n_callers = self.n_callers.saturating_sub(1);
        self.n_rows = self.n_rows.saturating_sub(one.n_rows);
        self.n_bytes = self.n_bytes.saturating_sub(one.n_bytes);
        self.n_operations = self.n_operations.saturating_sub(one.n_operations);
    }
}

fn is_late<T>(one: &Waiting<T>, now: Instant) -> bool {
    one.deadline.is_some_and(|deadline| now >= deadline)
}

#[cfg(test)]
mod tests;
