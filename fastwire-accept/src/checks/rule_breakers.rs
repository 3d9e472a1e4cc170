//! S10: an authenticated peer that acknowledges what it cannot have seen, or sends beyond its credit.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::proto::{Endpoint, TransmitBuf};
use fastwire::sim::Rng;
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::wire::extended::{Ack, Data, Frame, MIN_PIECE, Piece};
use fastwire::{ConnectionError, ConnectionId, DisconnectReason, Event, SendError};

use crate::check::{Check, Outcome, Profile, Run};
use crate::scenario::{Core, configs, parts, run_seeds};
use crate::scripted::{Scripted, encoded};

const SEEDS: u64 = 200;
const QUICK_SEEDS: u64 = 8;
const STEP: Duration = Duration::from_millis(5);
const WITHIN: Duration = Duration::from_secs(5);
/// What both reliable channels of ours hold together; a channel's credit is half of it.
const BUDGET: usize = 256 << 10;
const CREDIT: u64 = BUDGET as u64 / 2;
/// Of a message's credit beside its bytes.
const MESSAGE_CREDIT: u64 = 32;
const LEN: usize = 1000;
/// The protocol's reason for the end of a connection whose peer broke a rule.
const PROTOCOL_ERROR: u8 = 5;
/// Oldest unfinished to newest message of a reliable channel.
const SPAN: u32 = 65_536;

/// S10.
pub(super) struct RuleBreakers;

/// What a peer does.
type Deed = fn(&mut Court) -> Result<(), String>;

/// Name, deed, and whether the connection must end for it.
type Case = (&'static str, Deed, bool);

const DEEDS: [Case; 15] = [
    ("acknowledged the number after the newest", |court| court.acknowledge_ahead(1), true),
    ("acknowledged far ahead", |court| court.acknowledge_ahead(100_000), true),
    ("acknowledged half the number space ahead", |court| court.acknowledge_ahead(1 << 31), true),
    ("acknowledged a skipped number in the bitmap", |court| court.acknowledge_skipped(false), true),
    ("acknowledged a skipped number as the largest", |court| court.acknowledge_skipped(true), true),
    ("overran credit behind a missing message", |court| court.fill(0, 2, CREDIT), true),
    ("overran credit of an unordered channel", |court| court.fill_untaken(1, CREDIT), true),
    ("overran credit of an application that takes nothing", |court| court.fill_untaken(0, CREDIT), true),
    ("overran the span of message numbers", |court| court.send_message(0, SPAN + 1, b"x"), true),
    ("announced a message beyond the maximum", Court::announce_too_much, true),
    ("changed a message's length", Court::change_total, true),
    ("sent a piece too small", Court::send_crumb, true),
    ("sent an unknown frame", |court| court.send_plain(&[0x7f]), true),
    ("used its credit up and no more", |court| court.fill(0, 2, CREDIT - 3 * LEN as u64), false),
    ("acknowledged everything it saw", Court::stay_honest, false),
];

impl Check for RuleBreakers {
    fn id(&self) -> &'static str {
        "S10"
    }

    fn profiles(&self) -> &'static [Profile] {
        &[Profile::Extended]
    }

    fn run(&self, run: &Run) -> Outcome {
        let count = if run.quick { QUICK_SEEDS } else { SEEDS };
        let seeds = run_seeds::<u64>(run, 1..=count, |seed, verbose| {
            for (index, (name, deed, fatal)) in DEEDS.iter().enumerate() {
                for we_serve in [true, false] {
                    let role = if we_serve { "a client" } else { "a server" };
                    let mut court = Court::open(seed << 8 | index as u64, we_serve)
                        .map_err(|reason| format!("{role}: {reason}"))?;
                    let verdict = deed(&mut court).and_then(|()| court.verdict());
                    if verbose {
                        println!("    {role} that {name}: {verdict:?}");
                    }
                    match verdict {
                        Err(reason) => return Err(format!("{role} that {name}: {reason}")),
                        Ok(ended) if ended != *fatal => {
                            let what = if ended { "was thrown out" } else { "was tolerated" };
                            return Err(format!("{role} that {name} {what}"));
                        }
                        Ok(_) => {}
                    }
                }
            }
            Ok(1)
        });
        let (broken, kept): (Vec<&Case>, Vec<&Case>) = DEEDS.iter().partition(|case| case.2);
        let figure = format!(
            "{}, each {} ways to break a rule ended with a protocol error and {} ways to keep it tolerated, by clients \
             and by servers",
            seeds.figure(),
            broken.len(),
            kept.len(),
        );
        let done: u64 = seeds.total;
        let outcome = Outcome::new(seeds.failures.is_empty(), figure);
        let outcome = broken.iter().fold(outcome, |outcome, (name, ..)| outcome.fault(name, 2 * done));
        seeds.explain(self.id(), outcome)
    }
}

/// Our endpoint, and a scripted peer beside it on a line that loses nothing.
struct Court {
    now: Instant,
    ours: Core,
    theirs: Scripted,
    we_serve: bool,
    connection: Option<ConnectionId>,
    /// Our application takes no events.
    asleep: bool,
    /// The peer acknowledges at every step.
    acknowledges: bool,
    broken: Option<ConnectionError>,
    ended: Option<DisconnectReason>,
    rng: Rng,
    buf: TransmitBuf,
}

impl Court {
    fn open(seed: u64, we_serve: bool) -> Result<Self, String> {
        let now = Instant::now();
        let mut rng = Rng::new(seed);
        let (mut server, mut client) = configs(Profile::Extended);
        server.limits.extended_receive_budget = Some(BUDGET);
        client.limits.extended_receive_budget = Some(BUDGET);
        client.reconnect = false;
        let entropy = std::array::from_fn(|_| rng.next_u64() as u8);
        let told = |error: fastwire::ConfigError| error.to_string();
        let (ours, theirs) = if we_serve {
            (
                Endpoint::server(&server, parts()?, entropy, now).map_err(told)?,
                Scripted::client(&mut rng, None),
            )
        } else {
            let mut ours = Endpoint::client(&client, parts()?, entropy, now).map_err(told)?;
            ours.connect(now, &[address(0)]).map_err(|error| error.to_string())?;
            (ours, Scripted::server(&mut rng))
        };
        let mut court = Self {
            now,
            ours,
            theirs,
            we_serve,
            connection: None,
            asleep: false,
            acknowledges: true,
            broken: None,
            ended: None,
            rng,
            buf: TransmitBuf::new(4),
        };
        let settled = now + Duration::from_millis(500);
        while court.now < settled {
            court.step()?;
            if court.theirs.is_connected() && court.connection.is_none() {
                court.theirs.send_frame(&Frame::Ping);
            }
        }
        if court.connection.is_none() || !court.theirs.is_connected() {
            return Err("the scripted peer did not connect".into());
        }
        Ok(court)
    }

    /// A little time passes.
    fn step(&mut self) -> Result<(), String> {
        if self.acknowledges && self.theirs.is_connected() && !self.theirs.plaintexts.is_empty() {
            self.theirs.plaintexts.clear();
            self.theirs.acknowledge();
        }
        let remote = address(u8::from(self.we_serve));
        for datagram in std::mem::take(&mut self.theirs.outgoing) {
            let meta = RecvMeta { socket: SocketId::PRIMARY, remote, local: None, ecn: None };
            self.ours.handle_datagram(self.now, &meta, BytesMut::from(&datagram[..]));
        }
        self.ours.handle_timeout(self.now);
        while !self.asleep
            && let Some(event) = self.ours.poll_event()
        {
            match event {
                Event::Connected { connection } => self.connection = Some(connection),
                Event::Message { .. } => {}
                Event::Error { error, .. } => self.broken = Some(error),
                Event::Disconnected { reason, .. } => self.ended = Some(reason),
                other => return Err(format!("{other:?}")),
            }
        }
        while self.ours.poll_socket().is_some() {}
        while let Some(transmit) = self.ours.poll_transmit(self.now, &mut self.buf) {
            if transmit.socket == SocketId::PRIMARY {
                transmit.segments().for_each(|datagram| self.theirs.receive(datagram));
            }
        }
        self.now += STEP;
        Ok(())
    }

    /// Waits for the end that may come; whether it did, and as a protocol error on both sides.
    fn verdict(&mut self) -> Result<bool, String> {
        // The end itself is an event.
        let until = self.now + WITHIN;
        while self.now < until && self.ended.is_none() {
            self.step()?;
            if self.asleep && self.theirs.dismissed.is_some() {
                self.asleep = false;
            }
        }
        match (&self.broken, self.ended, self.theirs.dismissed) {
            (None, None, None) => Ok(false),
            (Some(ConnectionError::Protocol(_)), Some(DisconnectReason::Error), Some(PROTOCOL_ERROR)) => {
                Ok(true)
            }
            other => Err(format!("ended otherwise: {other:?}")),
        }
    }

    fn send_message(&mut self, channel: u8, message: u32, payload: &[u8]) -> Result<(), String> {
        self.theirs.send_frame(&Frame::Data(Data { channel, message, piece: None, content: 0, payload }));
        Ok(())
    }

    fn send_plain(&mut self, plaintext: &[u8]) -> Result<(), String> {
        self.theirs.send(plaintext);
        Ok(())
    }

    fn acknowledge_ahead(&mut self, by: u32) -> Result<(), String> {
        self.acknowledges = false;
        // Whatever we have sent is acknowledged honestly first, and we say nothing new meanwhile.
        self.theirs.acknowledge();
        self.step()?;
        let newest = *self.theirs.received.last().ok_or("nothing was received")? as u32;
        let lead = if by < 1 << 31 { by + self.rng.below(3) as u32 } else { by };
        // Our one skipped number may lie just ahead: that is no number we sent either.
        let (largest, bitmap) = (newest.wrapping_add(lead), [0; 4]);
        self.theirs.send_frame(&Frame::Ack(Ack { largest, delay: 0, recovered: 0, bitmap: &bitmap }));
        Ok(())
    }

    fn acknowledge_skipped(&mut self, as_largest: bool) -> Result<(), String> {
        let id = self.connection.ok_or("not connected")?;
        let until = self.now + Duration::from_secs(600);
        let skipped = loop {
            match self.ours.send(self.now, id, [7; LEN], 0) {
                Ok(()) | Err(SendError::QueueFull(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
            if let Some(skipped) = self.theirs.skipped() {
                break skipped;
            }
            if self.now > until {
                return Err("no number was skipped in ten minutes".into());
            }
            self.step()?;
        };
        self.acknowledges = false;
        let mut bitmap = [0; 128];
        let mut largest = skipped;
        if !as_largest {
            largest = *self.theirs.received.last().ok_or("nothing was received")?;
            let bit = (largest - 1 - skipped) as usize;
            *bitmap.get_mut(bit / 8).ok_or("the skipped number is out of reach")? |= 1 << (bit % 8);
        }
        let largest = largest as u32;
        self.theirs.send_frame(&Frame::Ack(Ack { largest, delay: 0, recovered: 0, bitmap: &bitmap }));
        Ok(())
    }

    /// Sends messages from number `first` on until they used more than `credit`.
    fn fill(&mut self, channel: u8, first: u32, credit: u64) -> Result<(), String> {
        let mut used = 0;
        for number in first.. {
            if used > credit || self.ended.is_some() {
                break;
            }
            self.send_message(channel, number, &[3; LEN])?;
            used += LEN as u64 + MESSAGE_CREDIT;
            self.step()?;
        }
        Ok(())
    }

    fn fill_untaken(&mut self, channel: u8, credit: u64) -> Result<(), String> {
        self.asleep = true;
        self.fill(channel, 1, credit)
    }

    fn announce_too_much(&mut self) -> Result<(), String> {
        let piece = Some(Piece { offset: 0, total: CREDIT as u32 + 1 });
        let payload = &[1; LEN];
        self.theirs.send_frame(&Frame::Data(Data { channel: 0, message: 1, piece, content: 0, payload }));
        Ok(())
    }

    fn change_total(&mut self) -> Result<(), String> {
        for (offset, total) in [(0, 9000), (LEN as u32, 9001)] {
            let piece = Some(Piece { offset, total });
            let payload = &[1; LEN];
            self.theirs.send_frame(&Frame::Data(Data { channel: 0, message: 1, piece, content: 0, payload }));
        }
        Ok(())
    }

    fn send_crumb(&mut self) -> Result<(), String> {
        // DATA, last frame, a piece; channel 0, message 1; offset 0, total 100; too few bytes.
        self.send_plain(&[&[0x23, 0, 1, 0, 100], &[9; MIN_PIECE - 1][..]].concat())
    }

    fn stay_honest(&mut self) -> Result<(), String> {
        let id = self.connection.ok_or("not connected")?;
        for number in 1..400 {
            self.ours.send(self.now, id, [7; LEN], 0).map_err(|error| error.to_string())?;
            self.send_message(0, number, &encoded(&Frame::Ping))?;
            for _ in 0..4 {
                self.step()?;
            }
        }
        Ok(())
    }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + host], 7777))
}
