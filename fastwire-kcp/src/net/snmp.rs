//! The counters of the whole process.

use crate::session::Counters;
use std::sync::{Mutex, MutexGuard, PoisonError};

static TOTAL: Mutex<Option<Counters>> = Mutex::new(None);

/// The sum over all sessions of the process, those that ended included.
pub fn snmp() -> Counters {
    lock().unwrap_or_default()
}

/// Sets all counters of the process to zero, but for the sessions open now.
pub fn reset_snmp() {
    let mut total = lock();
    let open = total.unwrap_or_default().curr_estab;
    *total = Some(Counters { curr_estab: open, max_conn: open, ..Counters::default() });
}

/// Changes the counters. Called once a turn of a driver.
pub(super) fn update(change: impl FnOnce(&mut Counters)) {
    change(lock().get_or_insert_default());
}

fn lock() -> MutexGuard<'static, Option<Counters>> {
    // Plain figures are whole whatever happened.
    TOTAL.lock().unwrap_or_else(PoisonError::into_inner)
}
