//! The relay on a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastwire::sim::LinkConfig;

use super::tap::Tap;
use crate::relay::{Relay, Summary};

/// A line that is up until it is [closed](Self::close).
pub(super) struct Line {
    pub(super) address: SocketAddr,
    /// What passed on it, where that was asked for.
    tap: Option<Arc<Mutex<Tap>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Summary>>,
}

impl Line {
    pub(super) fn open(server: SocketAddr, link: LinkConfig, seed: u64) -> io::Result<Self> {
        Self::start(Relay::bind(SocketAddr::from(([127, 0, 0, 1], 0)), server, link, seed)?, None)
    }

    /// A line that remembers enough to [explain](Self::tapped) why nothing arrives.
    pub(super) fn open_tapped(server: SocketAddr, link: LinkConfig, seed: u64) -> io::Result<Self> {
        let tap = Arc::new(Mutex::new(Tap::default()));
        let relay = Relay::bind(SocketAddr::from(([127, 0, 0, 1], 0)), server, link, seed)?;
        let told = tap.clone();
        let relay = relay.watch(Box::new(move |passing| {
            told.lock().unwrap_or_else(PoisonError::into_inner).take(passing);
        }));
        Self::start(relay, Some(tap))
    }

    fn start(mut relay: Relay, tap: Option<Arc<Mutex<Tap>>>) -> io::Result<Self> {
        let address = relay.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                relay.run(Instant::now() + Duration::from_millis(20))?;
            }
            Ok(relay.summary())
        });
        Ok(Self { address, tap, stop, thread })
    }

    /// What passed, if it was tapped.
    pub(super) fn tapped<T>(&self, look: impl FnOnce(&Tap) -> T) -> Option<T> {
        self.tap.as_ref().map(|tap| look(&tap.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// What happened on it.
    pub(super) fn close(self) -> io::Result<Summary> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the relay panicked"))?
    }
}
