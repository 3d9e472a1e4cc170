//! The clients of a soak: they come, talk on all four channels, move, and leave; whatever a mode promises is checked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::reliability::DeliveryMode;
use fastwire::sim::{Ledger, Rng};
use fastwire::{Client, ClientConfig, ClientProfile, ConnectionState, Event};

/// The default layout.
const MODES: [DeliveryMode; 4] = [
    DeliveryMode::ReliableOrdered,
    DeliveryMode::ReliableUnordered,
    DeliveryMode::Unreliable,
    DeliveryMode::UnreliableSequenced,
];
/// Who has heard nothing for so long, though a server is there, is stuck.
pub(super) const STUCK: Duration = Duration::from_secs(20);

/// What happened to all clients so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) joined: u64,
    /// Left properly, after everything had come back.
    pub(super) left: u64,
    /// Left without a word.
    pub(super) crashed: u64,
    /// Found the server again after it was restarted.
    pub(super) rejoined: u64,
    /// Took another local port.
    pub(super) moved: u64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    /// The longest time from a server's return until a client that had been there heard it.
    pub(super) slowest_return: Duration,
    /// Broken promises, told in words; the first few.
    pub(super) broken: Vec<String>,
    pub(super) faults: u64,
}

impl Tally {
    pub(super) fn fault(&mut self, what: String) {
        self.faults += 1;
        if self.broken.len() < 20 {
            self.broken.push(what);
        }
    }
}

/// The server's lives, as far as they are known here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lives {
    /// How often it was told to end one.
    pub(super) number: u64,
    /// When it was seen again after that; `None`: not yet.
    pub(super) back: Option<Instant>,
}

impl Lives {
    /// The life that a connection belongs to which was established now. Before the server was seen again it may still be
    /// the former one.
    fn current(self) -> u64 {
        if self.back.is_some() { self.number } else { self.number.saturating_sub(1) }
    }

    /// A client may have reason to complain: the server has been there for long enough.
    fn is_settled(self, now: Instant) -> bool {
        self.back.is_some_and(|back| now.saturating_duration_since(back) > STUCK)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Talks,
    /// Asks nothing more and waits for what is under way.
    Settles,
    /// Says goodbye.
    Closes,
    Gone,
}

pub(super) struct Guest {
    number: u64,
    profile: ClientProfile,
    client: Client,
    at: SocketAddr,
    stage: Stage,
    /// The life of the server in which this connection began; `None`: not connected.
    life: Option<u64>,
    since: Option<Instant>,
    ledgers: [Ledger; 4],
    next: Instant,
    every: Duration,
    count: u64,
    heard: Instant,
    /// It waits to hear a restarted server.
    misses: bool,
}

impl Guest {
    pub(super) fn come(
        number: u64,
        at: SocketAddr,
        every: Duration,
        tally: &mut Tally,
    ) -> Result<Self, String> {
        let profile = if number.is_multiple_of(2) { ClientProfile::BaseOnly } else { ClientProfile::Require };
        let mut config = ClientConfig::default();
        config.profile = profile;
        config.connection_migration = profile == ClientProfile::BaseOnly;
        let client = Client::builder().config(config).connect(at).map_err(|error| error.to_string())?;
        let now = Instant::now();
        tally.joined += 1;
        Ok(Self {
            number,
            profile,
            client,
            at,
            stage: Stage::Talks,
            life: None,
            since: None,
            ledgers: ledgers(number, 0),
            next: now + every * (number % 16) as u32 / 16,
            every,
            count: 0,
            heard: now,
            misses: false,
        })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    pub(super) fn talks(&self) -> bool {
        self.stage == Stage::Talks
    }

    /// Leaves once everything has come back.
    pub(super) fn leave(&mut self) {
        if self.stage == Stage::Talks {
            self.stage = Stage::Settles;
        }
    }

    /// Is away at once, and tells nobody.
    pub(super) fn crash(&mut self, tally: &mut Tally) {
        if let Some(id) = self.client.connection() {
            self.client.endpoint_mut().abort(Instant::now(), id);
        }
        self.stage = Stage::Gone;
        tally.crashed += 1;
    }

    pub(super) fn rebind(&mut self, tally: &mut Tally) {
        // Who is not connected stays where it is.
        if self.client.rebind().is_ok() {
            tally.moved += 1;
        }
    }

    /// One look at the socket.
    pub(super) fn turn(&mut self, lives: Lives, rng: &mut Rng, tally: &mut Tally) {
        // What still happens to who has crashed is nobody's concern.
        if self.stage == Stage::Gone {
            return;
        }
        let now = Instant::now();
        self.client.receive(now);
        while let Some(event) = self.client.poll_event() {
            self.on_event(event, now, lives, tally);
        }
        match self.stage {
            Stage::Talks if self.life.is_some() && now >= self.next => self.talk(now, rng, tally),
            Stage::Settles if self.life.is_some() && self.ledgers.iter().all(Ledger::is_complete) => {
                self.client.close();
                self.stage = Stage::Closes;
            }
            _ => {}
        }
        let silent = now.saturating_duration_since(self.heard) > STUCK;
        if self.stage != Stage::Gone && silent && lives.is_settled(now) {
            let (state, missing) = (self.client.state(), self.missing(lives, now));
            tally.fault(format!(
                "{self}: {:?}, {state:?}, nothing heard for {STUCK:?}, {missing}",
                self.stage
            ));
            self.stage = Stage::Gone;
        }
        self.client.flush(now);
    }

    fn talk(&mut self, now: Instant, rng: &mut Rng, tally: &mut Tally) {
        self.next = (self.next + self.every).max(now);
        let channel = (self.count % 4) as usize;
        self.count += 1;
        let length = match rng.below(50) {
            0 => 1200 + rng.below(20_000),
            1..10 => rng.below(8),
            10..30 => 8 + rng.below(200),
            _ => 200 + rng.below(1000),
        } as usize;
        let ledger = &mut self.ledgers[channel];
        match self.client.send(ledger.message(length), channel as u8) {
            Ok(()) => {
                ledger.on_sent(length);
                tally.sent += 1;
            }
            Err(fastwire::SendError::ConnectionClosed) => {}
            Err(error) => tally.fault(format!("{self}: {error}")),
        }
    }

    fn on_event(&mut self, event: Event, now: Instant, lives: Lives, tally: &mut Tally) {
        match event {
            Event::Connected { .. } => {
                (self.heard, self.since) = (now, Some(now));
                self.life = Some(lives.current());
                self.ledgers = ledgers(self.number, lives.number);
                if std::mem::take(&mut self.misses) {
                    tally.rejoined += 1;
                    let late = lives.back.map(|back| now.saturating_duration_since(back));
                    tally.slowest_return = tally.slowest_return.max(late.unwrap_or_default());
                }
            }
            Event::Message { channel, data, .. } => {
                self.heard = now;
                tally.delivered += 1;
                let broken = match self.ledgers.get_mut(usize::from(channel)) {
                    Some(ledger) => ledger.on_delivered(&data).err().map(|broken| broken.to_string()),
                    None => Some(format!("channel {channel} is none of ours")),
                };
                if let Some(broken) = broken {
                    tally.fault(format!("{self}: {broken}"));
                }
            }
            Event::Disconnected { reason, .. } => {
                let life = self.life.take();
                match self.stage {
                    Stage::Closes => {
                        self.stage = Stage::Gone;
                        tally.left += 1;
                    }
                    // Only a restart may end what nobody closed.
                    _ if life.is_some_and(|life| life < lives.number) => self.come_again(now),
                    _ => {
                        tally.fault(format!("{self}: lost, {reason:?}, {}", self.missing(lives, now)));
                        self.come_again(now);
                    }
                }
            }
            // A server that is leaving turns newcomers away.
            Event::ConnectFailed { .. } if !lives.is_settled(now) => self.come_again(now),
            Event::ConnectFailed { error, .. } => {
                tally.fault(format!("{self}: {error}"));
                self.stage = Stage::Gone;
            }
            Event::Error { error, .. } => tally.fault(format!("{self}: {error}")),
            _ => {}
        }
    }

    /// A client finds its server again by itself; one that was told goodbye has to ask.
    fn come_again(&mut self, now: Instant) {
        self.misses = true;
        if self.stage == Stage::Settles {
            // What was under way went with the server.
            self.stage = Stage::Gone;
        } else if self.client.state() == ConnectionState::Disconnected {
            // Refused only while there is a connection; then that one is followed.
            let _ = self.client.connect_to(self.at);
            self.heard = now;
        }
    }

    /// How long it is connected, how old the server's life is, and what has arrived of what was sent.
    fn missing(&self, lives: Lives, now: Instant) -> String {
        let since = |then: Option<Instant>| then.map_or("never".into(), |then| format!("{:.1?}", now - then));
        let (own, servers) = (since(self.since), since(lives.back));
        let of = |ledger: &Ledger| format!("{}/{}", ledger.delivered(), ledger.sent());
        let delivered = self.ledgers.iter().map(of).collect::<Vec<_>>().join(" ");
        format!("connected for {own}, the server there for {servers}, delivered {delivered}")
    }
}

impl std::fmt::Display for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "client {} ({:?})", self.number, self.profile)
    }
}

fn ledgers(number: u64, life: u64) -> [Ledger; 4] {
    MODES.map(|mode| Ledger::new(mode, (number << 16 ^ life) << 8 | mode as u64))
}
