//! Whoever is honest: clients that want their messages back, and newcomers who want in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::{Client, Event};

use crate::check::Profile;
use crate::scenario::configs;

/// Between two messages of a client: 60 a second.
const EVERY: Duration = Duration::from_micros(16_667);
/// One look at all sockets.
const NAP: Duration = Duration::from_millis(1);
/// An echo later than this is not in time.
pub(super) const IN_TIME: Duration = Duration::from_millis(250);
/// How long a newcomer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

struct Live {
    client: Client,
    /// What is not back yet: its number and when it left.
    waiting: VecDeque<(u64, Instant)>,
    next: Instant,
    number: u64,
    /// Its connection was lost, which no flood may achieve.
    lost: bool,
}

struct Newcomer {
    client: Client,
    asked: Instant,
}

/// What happened since it was asked last.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Sorted.
    pub(super) echoes: Vec<Duration>,
    /// When the last echo came back.
    pub(super) last: Option<Instant>,
    /// Not back, connections lost.
    pub(super) missing: usize,
    pub(super) disconnected: usize,
    pub(super) joined: usize,
    pub(super) kept_out: usize,
    /// Asked too late to be judged.
    pub(super) undecided: usize,
}

impl Tally {
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let place = (self.echoes.len() as f64 * share) as usize;
        self.echoes.get(place.min(self.echoes.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// The share of echoes that were back in time.
    pub(super) fn in_time(&self) -> f64 {
        let good = self.echoes.iter().filter(|echo| **echo <= IN_TIME).count();
        good as f64 / (self.echoes.len() + self.missing).max(1) as f64
    }
}

/// All of them, in one thread.
pub(super) struct Crowd {
    profile: Profile,
    at: SocketAddr,
    clients: Vec<Live>,
    newcomers: Vec<Newcomer>,
    tally: Tally,
}

impl Crowd {
    /// `count` connected clients.
    pub(super) fn connect(profile: Profile, at: SocketAddr, count: usize) -> Result<Self, String> {
        let mut crowd =
            Self { profile, at, clients: Vec::new(), newcomers: Vec::new(), tally: Tally::default() };
        let start = Instant::now();
        for index in 0..count {
            let next = start + EVERY * index as u32 / count as u32;
            let client = crowd.client()?;
            crowd.clients.push(Live { client, waiting: VecDeque::new(), next, number: 0, lost: false });
        }
        let mut connected = 0;
        while connected < count {
            for live in &mut crowd.clients {
                live.client.receive(Instant::now());
                while let Some(event) = live.client.poll_event() {
                    connected += usize::from(matches!(event, Event::Connected { .. }));
                }
                live.client.flush(Instant::now());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("only {connected} of {count} clients connected in peace"));
            }
            std::thread::sleep(NAP);
        }
        Ok(crowd)
    }

    fn client(&self) -> Result<Client, String> {
        let (_, config) = configs(self.profile);
        Client::builder().config(config).connect(self.at).map_err(|error| error.to_string())
    }

    /// Lives on for `time`; `newcomers` a second ask to be let in meanwhile. `look` is called about 20 times a second.
    pub(super) fn live(
        &mut self,
        time: Duration,
        newcomers: f64,
        mut look: impl FnMut(),
    ) -> Result<(), String> {
        let start = Instant::now();
        let (mut asked, mut looked) = (0u64, start);
        loop {
            let now = Instant::now();
            let elapsed = now.saturating_duration_since(start);
            if elapsed >= time {
                return Ok(());
            }
            if (asked as f64) < elapsed.as_secs_f64() * newcomers {
                asked += 1;
                let client = self.client()?;
                self.newcomers.push(Newcomer { client, asked: now });
            }
            if now.saturating_duration_since(looked) >= Duration::from_millis(50) {
                looked = now;
                look();
            }
            self.clients.iter_mut().for_each(|live| live.turn(true, &mut self.tally));
            self.turn_newcomers();
            std::thread::sleep(NAP);
        }
    }

    /// Asks nothing more and waits for what is still under way, at most for `time`.
    pub(super) fn settle(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && self.clients.iter().any(|live| !live.waiting.is_empty()) {
            self.clients.iter_mut().for_each(|live| live.turn(false, &mut self.tally));
            std::thread::sleep(NAP);
        }
    }

    /// What happened since the last time. What is not back by now counts as missing; newcomers who wait are undecided.
    pub(super) fn take(&mut self) -> Tally {
        for live in &mut self.clients {
            self.tally.missing += live.waiting.len();
            live.waiting.clear();
        }
        self.tally.undecided += self.newcomers.len();
        self.newcomers.clear();
        self.tally.echoes.sort_unstable();
        std::mem::take(&mut self.tally)
    }

    fn turn_newcomers(&mut self) {
        let tally = &mut self.tally;
        self.newcomers.retain_mut(|newcomer| {
            let now = Instant::now();
            newcomer.client.receive(now);
            let mut verdict = None;
            while let Some(event) = newcomer.client.poll_event() {
                match event {
                    Event::Connected { .. } => verdict = Some(true),
                    Event::ConnectFailed { .. } => verdict = Some(false),
                    _ => {}
                }
            }
            newcomer.client.flush(now);
            if now.saturating_duration_since(newcomer.asked) > PATIENCE {
                verdict = verdict.or(Some(false));
            }
            match verdict {
                Some(true) => tally.joined += 1,
                Some(false) => tally.kept_out += 1,
                None => {}
            }
            verdict.is_none()
        });
    }
}

impl Live {
    fn turn(&mut self, asks: bool, tally: &mut Tally) {
        let now = Instant::now();
        self.client.receive(now);
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Message { data, .. } => self.on_echo(&data, now, tally),
                Event::Disconnected { .. } if !self.lost => {
                    self.lost = true;
                    tally.disconnected += 1;
                }
                _ => {}
            }
        }
        if asks && now >= self.next {
            // A client that was kept from its turn does not make up for it.
            self.next = (self.next + EVERY).max(now);
            self.number += 1;
            let mut message = [0; 32];
            message[..8].copy_from_slice(&self.number.to_le_bytes());
            // A full queue is the flood's doing: the message is missing, like one that does not come back.
            let _ = self.client.send(&message[..], 0);
            self.waiting.push_back((self.number, now));
        }
        self.client.flush(now);
    }

    /// Of messages in order: whatever is older than the echo will not come.
    fn on_echo(&mut self, data: &[u8], now: Instant, tally: &mut Tally) {
        let Some(number) = data.first_chunk().map(|number| u64::from_le_bytes(*number)) else { return };
        while let Some((waiting, left)) =
            self.waiting.front().copied().filter(|(waiting, _)| *waiting <= number)
        {
            self.waiting.pop_front();
            if waiting == number {
                tally.echoes.push(now.saturating_duration_since(left));
                tally.last = Some(now);
            } else {
                tally.missing += 1;
            }
        }
    }
}
