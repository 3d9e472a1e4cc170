//! As many bytes as the line takes, from the client to the server: how fast they come, and how long the queue gets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastwire::sim::Sighting;
use fastwire::{Event, SendError};

use super::{Duo, Makings};

/// Of each message.
const MESSAGE: usize = 16 << 10;

/// A line of fixed rate, as seen by a datagram that comes to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrow {
    /// Bits a second, headers counted.
    pub(crate) rate: u64,
    /// Bytes that may wait.
    pub(crate) queue: usize,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// From the first call to the last delivery.
    pub(crate) took: Duration,
    pub(crate) delivered: usize,
    /// What each datagram of the client waited in the queue.
    pub(crate) waits: Vec<Duration>,
    /// Datagrams that found it full.
    pub(crate) drops: u64,
    /// Datagrams the line lost.
    pub(crate) lost: u64,
}

impl Carried {
    /// MB/s, which are bytes a microsecond.
    pub(crate) fn rate(&self) -> f64 {
        self.delivered as f64 / self.took.as_micros().max(1) as f64
    }
}

/// Carries `bytes` over the line of `makings`, which narrows to `narrow`; gives up after `within`.
pub(crate) fn carry(
    seed: u64,
    makings: &Makings,
    narrow: Narrow,
    bytes: usize,
    within: Duration,
) -> Result<Carried, String> {
    let mut duo = Duo::connect(seed, makings, false)?;
    let queue = Arc::new(Mutex::new(Queue { narrow, free_at: Duration::ZERO, waits: Vec::new() }));
    let client = duo.world.address(duo.client);
    let watched = Arc::clone(&queue);
    duo.world.watch(move |sighting: &Sighting<'_>| {
        if !sighting.arrived && sighting.from == client {
            watched.lock().unwrap_or_else(PoisonError::into_inner).pass(sighting.at, sighting.bytes.len());
        }
    });
    let before = duo.world.network().stats();
    let start = duo.world.now();
    let (mut offered, mut carried) = (0, Carried::default());
    while carried.delivered < bytes && duo.world.now() - start < within {
        while offered < bytes {
            match duo.world.send(duo.client, duo.at_client, vec![7; MESSAGE], 0) {
                Ok(()) => offered += MESSAGE,
                Err(SendError::QueueFull(_)) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        duo.world.poke(duo.client);
        let until = duo.world.now() + Duration::from_millis(20);
        while let Some((_, event)) = duo.next_event(until) {
            match event {
                Event::Message { data, .. } => carried.delivered += data.len(),
                other => return Err(format!("{other:?}")),
            }
            if carried.delivered >= bytes {
                break;
            }
        }
    }
    carried.took = duo.world.now() - start;
    let stats = duo.world.network().stats();
    carried.drops = stats.queue_drops - before.queue_drops;
    carried.lost = stats.lost - before.lost;
    carried.waits = std::mem::take(&mut queue.lock().unwrap_or_else(PoisonError::into_inner).waits);
    Ok(carried)
}

/// The queue before the narrow place, from what is sent alone.
struct Queue {
    narrow: Narrow,
    /// When the last datagram in it will have left.
    free_at: Duration,
    waits: Vec<Duration>,
}

/// Of IP and UDP, before every datagram.
const HEADERS: usize = 28;

impl Queue {
    fn pass(&mut self, at: Duration, len: usize) {
        let bytes = len + HEADERS;
        let wait = self.free_at.saturating_sub(at);
        let waiting = (wait.as_secs_f64() * self.narrow.rate as f64 / 8.0) as usize;
        if waiting + bytes > self.narrow.queue && waiting > 0 {
            return;
        }
        self.waits.push(wait);
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / self.narrow.rate as f64);
        self.free_at = self.free_at.max(at) + takes;
    }
}
