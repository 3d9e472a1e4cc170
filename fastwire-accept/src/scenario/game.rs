//! Small messages at a steady rate, as a game sends them: how long each takes, and what that costs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fastwire::Event;
use fastwire::reliability::DeliveryMode;
use fastwire::sim::Ledger;

use super::{Duo, Makings};

/// Before what is measured begins, so that the path is known.
const WARM_UP: usize = 120;

/// What is sent from the client to the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Game {
    pub(crate) messages: usize,
    pub(crate) size: usize,
    pub(crate) every: Duration,
    pub(crate) channel: u8,
}

impl Game {
    /// 200 bytes reliable and ordered, 60 times a second.
    pub(crate) const INPUT: Self =
        Self { messages: 1200, size: 200, every: Duration::from_micros(16_667), channel: 0 };
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    /// From the call that sent a message to the event that delivers it.
    pub(crate) delays: Vec<Duration>,
    /// Bytes of datagrams' payloads, both ways.
    pub(crate) bytes: u64,
    /// Bytes of messages.
    pub(crate) delivered: u64,
    /// Datagrams the line lost.
    pub(crate) lost: u64,
}

impl Game {
    /// Plays until everything has arrived.
    pub(crate) fn play(&self, seed: u64, makings: &Makings) -> Result<Played, String> {
        let mut duo = Duo::connect(seed, makings, false)?;
        let mode = DeliveryMode::ALL[usize::from(self.channel)];
        let (mut ledger, mut sent_at) = (Ledger::new(mode, seed), HashMap::new());
        let (mut played, mut before) = (Played::default(), 0);
        let start = duo.world.now();
        for number in 0..WARM_UP + self.messages {
            if number == WARM_UP {
                before = bytes(&mut duo)?;
            }
            let message = ledger.message(self.size);
            duo.world.send(duo.client, duo.at_client, &message, self.channel).map_err(|e| e.to_string())?;
            ledger.on_sent(self.size);
            sent_at.insert(message, (number, duo.world.now()));
            duo.world.poke(duo.client);
            let next = start + self.every * (number as u32 + 1);
            take(&mut duo, next, &mut ledger, &sent_at, &mut played)?;
        }
        played.bytes = bytes(&mut duo)? - before;
        let deadline = duo.world.now() + Duration::from_secs(30);
        while !ledger.is_complete() && duo.world.now() < deadline {
            let next = duo.world.now() + Duration::from_millis(50);
            take(&mut duo, next, &mut ledger, &sent_at, &mut played)?;
        }
        if !ledger.is_complete() {
            return Err(format!("{} of {} arrived", ledger.delivered(), ledger.sent()));
        }
        played.lost = duo.world.network().stats().lost;
        Ok(played)
    }
}

fn bytes(duo: &mut Duo) -> Result<u64, String> {
    Ok(duo.stats()?.iter().map(|stats| stats.bytes_sent).sum())
}

fn take(
    duo: &mut Duo,
    until: Instant,
    ledger: &mut Ledger,
    sent_at: &HashMap<Vec<u8>, (usize, Instant)>,
    played: &mut Played,
) -> Result<(), String> {
    while let Some((_, event)) = duo.next_event(until) {
        let Event::Message { data, .. } = event else { return Err(format!("{event:?}")) };
        ledger.on_delivered(&data).map_err(|law| law.to_string())?;
        let Some(&(number, at)) = sent_at.get(&data[..]) else { continue };
        if number >= WARM_UP {
            played.delays.push(duo.world.now() - at);
            played.delivered += data.len() as u64;
        }
    }
    Ok(())
}

/// The value at `share` of `delays`, in milliseconds. Sorts them.
pub(crate) fn percentile(delays: &mut [Duration], share: f64) -> f64 {
    delays.sort_unstable();
    let index = ((delays.len() as f64 * share) as usize).min(delays.len().saturating_sub(1));
    delays.get(index).map_or(0.0, |delay| delay.as_secs_f64() * 1e3)
}

/// The mean of what single runs gave, and how far off it may be: half of its 95 % confidence interval.
pub(crate) fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, 1.96 * (variance / n).sqrt())
}
