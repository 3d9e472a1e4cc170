//! A small game: every player says something on each of the four modes, and the server tells it to everybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastwire::{ClientHandle, Handler, Peer, SendError};

/// What travels on one channel of the default layout, and why on that one.
pub(crate) struct Lane {
    pub(crate) mode: &'static str,
    pub(crate) carries: &'static str,
    /// A player says something every so many frames.
    every: u64,
}

/// Channels 0 to 3: one a delivery mode.
pub(crate) const LANES: [Lane; 4] = [
    Lane { mode: "reliable ordered", carries: "chat and the world map", every: 20 },
    Lane { mode: "reliable unordered", carries: "items picked up", every: 6 },
    Lane { mode: "unreliable", carries: "sparks", every: 3 },
    Lane { mode: "unreliable sequenced", carries: "positions", every: 2 },
];

const CHAT: u8 = 0;
const LOOT: u8 = 1;
const SPARKS: u8 = 2;
const POSITIONS: u8 = 3;

/// Frames a second.
pub(crate) const FRAME_RATE: u32 = 60;
/// The world map that every newcomer gets: one message, which FastWire cuts into pieces and puts together again.
pub(crate) const MAP: usize = 200_000;

/// Messages so far, by channel.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; LANES.len()]);

impl Counts {
    fn add(&self, channel: u8, messages: u64) {
        if let Some(count) = self.0.get(usize::from(channel)) {
            count.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> [u64; LANES.len()] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// What everybody in this process has seen.
#[derive(Debug, Default)]
pub(crate) struct Score {
    /// Clients to server: queued, and arrived.
    pub(crate) said: Counts,
    pub(crate) heard: Counts,
    /// Server to clients: queued, and arrived.
    pub(crate) told: Counts,
    pub(crate) learned: Counts,
    pub(crate) maps: AtomicU64,
    last_chat: Mutex<String>,
}

impl Score {
    pub(crate) fn last_chat(&self) -> String {
        self.last_chat.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether all that was promised has arrived: everything reliable.
    pub(crate) fn is_complete(&self) -> bool {
        let reliable = |counts: &Counts| {
            let [ordered, unordered, ..] = counts.get();
            [ordered, unordered]
        };
        reliable(&self.said) == reliable(&self.heard) && reliable(&self.told) == reliable(&self.learned)
    }
}

/// The server's side: tells everybody what one player says.
pub(crate) struct Room(pub(crate) Arc<Score>);

impl Handler for Room {
    fn on_connect(&mut self, peer: &mut Peer<'_>) {
        if peer.send(vec![b'#'; MAP], CHAT).is_ok() {
            self.0.told.add(CHAT, 1);
        }
    }

    fn on_message(&mut self, peer: &mut Peer<'_>, data: &[u8], channel: u8) {
        self.0.heard.add(channel, 1);
        let took_it = peer.peers().broadcast(data, channel);
        self.0.told.add(channel, took_it as u64);
    }
}

/// A client's side: takes note of what the server tells.
pub(crate) struct Ears(pub(crate) Arc<Score>);

impl Handler for Ears {
    fn on_message(&mut self, _: &mut Peer<'_>, data: &[u8], channel: u8) {
        self.0.learned.add(channel, 1);
        if channel == CHAT && data.len() == MAP {
            self.0.maps.fetch_add(1, Ordering::Relaxed);
        } else if channel == CHAT {
            let text = String::from_utf8_lossy(data).into_owned();
            *self.0.last_chat.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    }
}

/// One player, who talks through a client that runs in a thread of its own.
pub(crate) struct Player {
    pub(crate) name: &'static str,
    pub(crate) client: ClientHandle,
}

impl Player {
    /// Says all that is to be said in this frame.
    pub(crate) fn play(&self, frame: u64, score: &Score) -> Result<(), SendError> {
        let name = self.name;
        let angle = frame as f32 / 60.0;
        for (channel, lane) in (0u8..).zip(&LANES) {
            if !frame.is_multiple_of(lane.every) {
                continue;
            }
            let sent = match channel {
                CHAT => self
                    .client
                    .send(format!("{name}: this is my line number {}", frame / lane.every), channel),
                LOOT => self.client.send(format!("{name} has found coin {frame}"), channel),
                SPARKS => self.client.send([frame as u8; 32], channel),
                POSITIONS => {
                    let (x, y) = (angle.sin(), angle.cos());
                    self.client.send([x.to_le_bytes(), y.to_le_bytes()].concat(), channel)
                }
                _ => Ok(()),
            };
            match sent {
                Ok(()) => score.said.add(channel, 1),
                // The line is slower than the player; a real game would say less.
                Err(SendError::QueueFull(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
