//! The drivers: a few tasks for each runtime, made with its first socket, whatever the number of sessions.

use super::door::DriverShared;
use super::driver::Driver;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Handle, Id};

/// Most drivers of a runtime. Each socket belongs to one of them.
pub const MAX_DRIVERS: usize = 4;

struct Drivers {
    all: Vec<Arc<DriverShared>>,
    /// Which of them gets the next socket.
    next: usize,
}

static RUNTIMES: Mutex<Option<HashMap<Id, Drivers>>> = Mutex::new(None);

/// A driver of the current runtime.
///
/// # Errors
/// Outside a tokio runtime, or without randomness from the operating system.
pub(super) fn driver() -> io::Result<Arc<DriverShared>> {
    let handle = Handle::try_current().map_err(io::Error::other)?;
    let mut runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
    let runtimes = runtimes.get_or_insert_default();
    // Those of runtimes that are gone.
    runtimes.retain(|_, drivers| !drivers.all.iter().any(|driver| driver.is_gone()));
    let drivers = match runtimes.entry(handle.id()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let count = handle.metrics().num_workers().clamp(1, MAX_DRIVERS);
            let all = (0..count).map(|_| spawn(&handle)).collect::<io::Result<_>>()?;
            entry.insert(Drivers { all, next: 0 })
        }
    };
    drivers.next = (drivers.next + 1) % drivers.all.len();
    Ok(drivers.all[drivers.next].clone())
}

fn spawn(handle: &Handle) -> io::Result<Arc<DriverShared>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let shared = DriverShared::new();
    let driver = Driver::new(shared.clone(), seed);
    // It counts its rounds itself; tokio's budget would only send it round its sockets without reading any.
    handle.spawn(tokio::task::coop::unconstrained(driver));
    Ok(shared)
}
