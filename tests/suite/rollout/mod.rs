//! The rollout beyond its modules' own tests: what takes many calls, files, or processes.

mod docs;
mod guard;
mod host;
mod kept;
mod state;
mod traffic;
