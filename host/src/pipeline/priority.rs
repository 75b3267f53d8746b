//! Threads that give way to those that answer.

use thread_priority::{Error, ThreadPriority};

/// The calling thread runs when no other wants the processor.
//
// The lowest niceness still takes a share of the core from who answers, and need not give
// way at once when one wakes; Linux has a policy below it that does.
#[cfg(target_os = "linux")]
pub(super) fn spare_time_only() -> Result<(), Error> {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id, thread_schedule_policy,
    };
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    match thread_schedule_policy() {
        // Niceness means nothing then, and whoever was made nicer may not set it back.
        Ok(policy) if policy == idle => Ok(()),
        _ => set,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn spare_time_only() -> Result<(), Error> {
    thread_priority::set_current_thread_priority(ThreadPriority::Min)
}

/// The calling thread gives way to others, and comes to its end all the same where they
/// leave no time to spare.
#[cfg(target_os = "linux")]
pub(super) fn give_way() -> Result<(), Error> {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, batch)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_way() -> Result<(), Error> {
    thread_priority::set_current_thread_priority(ThreadPriority::Min)
}
