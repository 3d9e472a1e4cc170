//! The relay on a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastwire::sim::LinkConfig;

use crate::relay::{Relay, Summary};

/// A line that is up until it is [closed](Self::close).
pub(super) struct Line {
    pub(super) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Summary>>,
}

impl Line {
    pub(super) fn open(server: SocketAddr, link: LinkConfig, seed: u64) -> io::Result<Self> {
        let mut relay = Relay::bind(SocketAddr::from(([127, 0, 0, 1], 0)), server, link, seed)?;
        let address = relay.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                relay.run(Instant::now() + Duration::from_millis(20))?;
            }
            Ok(relay.summary())
        });
        Ok(Self { address, stop, thread })
    }

    /// What happened on it.
    pub(super) fn close(self) -> io::Result<Summary> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the relay panicked"))?
    }
}
