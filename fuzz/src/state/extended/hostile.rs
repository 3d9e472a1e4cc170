//! A peer of the extended profile that has its keys and no manners.

use std::time::{Duration, Instant};

use fastwire::transport::SocketId;
use fastwire::wire::extended::{Ack, Data, Disconnect, Fec, Frame, Params, Piece};
use fastwire::{ConnectionId, ConnectionState, Event, Profile};

use super::peer::{Peer, Victim, encoded};
use crate::Script;
use crate::state::endpoint::{Metered, client_address, configs, server_address};
use crate::state::glass::{Glass, GlassSuites};

/// Plaintext of a full packet.
const ROOM: usize = 1170;
/// How far a script moves packet numbers: beyond the epochs that are tried.
const LEAP: u64 = 1 << 20;

/// An endpoint to which datagrams come from one address.
struct Door<'a> {
    victim: &'a mut Metered<Glass>,
    from: std::net::SocketAddr,
}

impl Victim for Door<'_> {
    fn exchange(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.victim.feed(SocketId::PRIMARY, self.from, datagram);
        self.victim.transmit();
        self.victim.sent.drain(..).map(|sent| sent.bytes).collect()
    }
}

/// The stage: our endpoint, its peer, and where that writes from.
struct Stage {
    victim: Metered<Glass>,
    id: ConnectionId,
    peer: Peer,
    from: std::net::SocketAddr,
    /// The newest message number written on each channel.
    messages: [u32; 8],
}

/// The peer of a server, or of a client, writes packets as it likes: any frame with any content, in packets of any
/// number, from any address, under any of its ids. Memory stays within `Limits`, datagrams within the MTU, no nonce is
/// used twice, an address that proved nothing gets no more than three times what it sent. What our endpoint sends is
/// sound whatever the peer does: packets open once, frames are whole, acknowledgements name only what was sent. After
/// the end there is silence.
pub fn extended_hostile_peer(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let mut stage = if choice & 0x80 == 0 { at_server(choice) } else { at_client(choice) };
    let mut paused = false;
    let mut last = Vec::new();
    while !script.is_over() {
        let action = script.byte();
        match action & 15 {
            0..=6 => {
                let mut plain = Vec::new();
                for _ in 0..=(action >> 4 & 3) {
                    let frame = frame(&mut script, &mut stage);
                    if plain.len() + frame.len() <= ROOM {
                        plain.extend_from_slice(&frame);
                    }
                }
                last = stage.peer.seal(&plain);
                stage.feed(&last);
            }
            7 => stage.acknowledge(),
            8 => {
                let plain = script.block().to_vec();
                last = stage.peer.seal(&plain[..plain.len().min(ROOM)]);
                stage.feed(&last);
            }
            9 => stage.feed(&last),
            10 => stage.victim.sleep(Duration::from_millis(u64::from(script.byte()) * 8)),
            11 => {
                let len = usize::from(script.byte()) << (action >> 5);
                let now = stage.victim.now;
                let _ = stage.victim.core.send(now, stage.id, &vec![7; len][..], action >> 4 & 3);
            }
            12 => {
                paused = !paused;
                stage.victim.core.pause(stage.id, paused);
            }
            13 => stage.move_on(action >> 4),
            14 => {
                let (now, id) = (stage.victim.now, stage.id);
                let _ = match action >> 4 {
                    0 => stage.victim.core.close(now, id),
                    1 => stage.victim.core.close_now(now, id),
                    2 => stage.victim.core.kick(now, id, "away"),
                    _ => Ok(()),
                };
            }
            _ => flood(&mut script, &mut stage),
        }
        if action & 0x80 == 0 {
            stage.victim.transmit();
        }
        if !paused {
            stage.victim.listen();
        }
        stage.victim.check();
        stage.take_sent();
    }
    let Stage { victim, id, .. } = &mut stage;
    victim.transmit();
    victim.core.pause(*id, false);
    victim.listen();
    order(&victim.events, *id);
    stage.take_sent();
    let victim = &mut stage.victim;
    if victim.core.state(stage.id) == ConnectionState::Disconnected {
        victim.sleep(Duration::from_secs(5));
        victim.transmit();
        let spoken = victim.sent.len();
        assert!(spoken <= 6, "the dead speak: {spoken}");
    }
    stage.take_sent();
}

/// Messages and errors, then one end, then nothing.
fn order(events: &[Event], id: ConnectionId) {
    let ours = events.iter().filter(|event| event.connection() == id);
    let end = ours.clone().position(|event| matches!(event, Event::Disconnected { .. }));
    if let Some(end) = end {
        assert_eq!(end + 1, ours.clone().count(), "something after the end: {events:?}");
    }
    assert!(ours.clone().all(|event| !matches!(event, Event::Connected { .. })), "connected twice");
}

impl Stage {
    fn feed(&mut self, datagram: &[u8]) {
        self.victim.feed(SocketId::PRIMARY, self.from, datagram);
    }

    /// The peer reads what our endpoint sent.
    fn take_sent(&mut self) {
        for sent in std::mem::take(&mut self.victim.sent) {
            self.peer.receive(&sent.bytes);
        }
    }

    /// Everything that opened, as far as one ACK reaches.
    fn acknowledge(&mut self) {
        let Some(&largest) = self.peer.received.last() else { return };
        let mut bitmap = [0; 4 * Ack::MAX_WORDS];
        for number in self.peer.received.iter().rev().skip(1) {
            let bit = (largest - 1 - number) as usize;
            let Some(byte) = bitmap.get_mut(bit / 8) else { break };
            *byte |= 1 << (bit % 8);
        }
        let ack = Ack { largest: largest as u32, delay: 0, recovered: 0, bitmap: &bitmap };
        let datagram = self.peer.seal(&encoded(&Frame::Ack(ack)));
        self.feed(&datagram);
    }

    /// Another address, another id, or another packet number.
    fn move_on(&mut self, how: u8) {
        match how & 3 {
            0 | 1 if self.from != server_address() => self.from = client_address(u32::from(how)),
            2 => {
                let ids = &self.peer.ids;
                self.peer.cid =
                    ids.get(usize::from(how >> 2) % ids.len().max(1)).copied().unwrap_or([how; 8]);
            }
            3 => {
                let next = self.peer.next_number();
                let far = [1, 900, 9000, 1 << 17][usize::from(how >> 2)];
                self.peer.jump_to((next + far) % LEAP);
            }
            _ => {}
        }
    }
}

/// A frame as the script says: near what is plausible, or anything.
fn frame(script: &mut Script<'_>, stage: &mut Stage) -> Vec<u8> {
    let shape = script.byte();
    let channel = if shape & 0x80 != 0 && script.byte() == 0 { script.byte() } else { script.byte() & 7 };
    let newest = &mut stage.messages[usize::from(channel & 7)];
    let mut message = || {
        let message = match shape >> 4 & 7 {
            0..=3 => newest.wrapping_add(1),
            4 => newest.wrapping_add(script.byte().into()),
            5 => newest.wrapping_sub(script.byte().into()),
            6 => *newest,
            _ => script.u32(),
        };
        *newest = message;
        message
    };
    match shape & 15 {
        0..=2 => {
            let message = message();
            let content = if shape & 2 == 0 { 0 } else { script.byte() };
            let payload = payload(script);
            encoded(&Frame::Data(Data { channel, message, piece: None, content, payload: &payload }))
        }
        3 | 4 => {
            let message = message();
            let scale = script.byte();
            let offset = u32::from(script.u16()) << (scale & 15);
            let total = u32::from(script.u16()) << (scale >> 4);
            let payload = payload(script);
            let piece = Some(Piece { offset, total });
            // What no writer of ours would write is written by `raw`.
            let data = Data { channel, message, piece, content: 0, payload: &payload };
            sound(&Frame::Data(data))
        }
        5 | 6 => {
            let highest = stage.peer.received.last().copied().unwrap_or(0) as u32;
            let largest = match script.byte() {
                near @ 0..=127 => highest.wrapping_sub(near.into()),
                ahead @ 128..=191 => highest.wrapping_add(u32::from(ahead - 127)),
                _ => script.u32(),
            };
            let words = 4 * (1 + usize::from(script.byte()) % Ack::MAX_WORDS);
            let mut bitmap = script.take(words).to_vec();
            bitmap.resize(words, 0);
            let (delay, recovered) = (script.byte(), script.byte());
            encoded(&Frame::Ack(Ack { largest, delay, recovered, bitmap: &bitmap }))
        }
        7 => encoded(&Frame::Credit { channel, limit: script.u64() >> (script.byte() & 63) }),
        8 => encoded(&Frame::Fin { channel, message: message() }),
        9 => {
            let message = message();
            let consumed = script.u64() >> (script.byte() & 63);
            encoded(&Frame::Reset { channel, message, consumed, code: script.u16() })
        }
        10 => encoded(&Frame::PathChallenge(script.array())),
        11 => {
            let token = if script.byte() & 1 == 0 { stage.peer.challenged } else { script.array() };
            encoded(&Frame::PathResponse(token))
        }
        12 => encoded(&Frame::NewCid { sequence: script.byte().into(), cid: script.array() }),
        13 => {
            let end = Disconnect { reason: script.byte(), code: script.u16(), message: "away" };
            encoded(&Frame::Disconnect(end))
        }
        14 => {
            let base = (stage.peer.next_number() as u32).wrapping_sub(script.byte().into());
            let (data, index, parity) = (script.byte(), script.byte(), script.byte());
            let payload = payload(script);
            sound(&Frame::Fec(Fec { base, data, index, parity, bytes: &payload }))
        }
        _ => match script.byte() % 4 {
            0 => encoded(&Frame::Ping),
            1 => encoded(&Frame::Pad),
            2 => encoded(&Frame::Connected { params: params(script.byte()), cid: script.array() }),
            _ => {
                let raw = script.block();
                raw[..raw.len().min(ROOM)].to_vec()
            }
        },
    }
}

/// A frame if it can be written, else a PING.
fn sound(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; frame.encoded_len(false)];
    match frame.encode(&mut bytes, false) {
        Ok(len) => {
            bytes.truncate(len);
            bytes
        }
        Err(_) => encoded(&Frame::Ping),
    }
}

/// Some bytes, from the script or all the same.
fn payload(script: &mut Script<'_>) -> Vec<u8> {
    let len = usize::from(script.u16());
    if len & 1 == 0 { script.take((len / 2) % 600).to_vec() } else { vec![0x55; (len / 2) % 1150] }
}

/// A run of pieces of one message or of many, the cheapest way to fill memory.
fn flood(script: &mut Script<'_>, stage: &mut Stage) {
    let (channel, count, gap) = (script.byte() & 7, script.byte(), script.byte());
    let (total, content) = (u32::from(script.u16()) << (gap & 7), script.byte() & 3);
    let newest = &mut stage.messages[usize::from(channel)];
    let mut message = newest.wrapping_add(1 + u32::from(gap >> 4 & 3));
    *newest = message;
    for index in 0..count {
        let payload = [index; 1100];
        let offset = if gap & 0x80 == 0 { u32::from(index) * 1100 } else { u32::from(index) * 2200 };
        let offset = offset.min(total.saturating_sub(1));
        let len = payload.len().min((total - offset) as usize);
        let piece = Some(Piece { offset, total });
        let data = Data { channel, message, piece, content, payload: &payload[..len] };
        let datagram = stage.peer.seal(&sound(&Frame::Data(data)));
        stage.feed(&datagram);
        if gap & 0x40 != 0 {
            message = message.wrapping_add(1);
            stage.messages[usize::from(channel)] = message;
        }
    }
}

/// What the peer accepts: plenty, or as little as is allowed.
fn params(choice: u8) -> Params {
    let small = choice & 0x10 != 0;
    Params {
        max_datagram: if choice & 0x20 == 0 { 1200 } else { 1472 },
        receive_budget_kib: if small { 8 } else { 8192 },
        max_message_kib: if small { 1 } else { 1024 },
        max_ack_delay_ms: if small { 120 } else { 10 },
        idle_timeout_s: if small { 3 } else { 60 },
        fec_max_data: if choice & 0x40 == 0 { 0 } else { 32 },
        fec_max_parity: if choice & 0x40 == 0 { 0 } else { 8 },
        flags: u16::MAX,
    }
}

fn suites() -> GlassSuites {
    GlassSuites::new()
}

/// A server that has just accepted us.
fn at_server(choice: u8) -> Stage {
    let (config, client) = configs(Profile::Extended, choice);
    let mut victim = Metered::server(&config, suites(), 1, Instant::now());
    let from = client_address(0);
    let compression = client.compression.algorithm.id();
    let mut door = Door { victim: &mut victim, from };
    let mut peer = Peer::to_server(&mut door, &config.channel_layout, compression, params(choice));
    let ping = peer.seal(&encoded(&Frame::Ping));
    door.exchange(&ping).iter().for_each(|datagram| peer.receive(datagram));
    begun(victim, peer, from)
}

/// A client that believes in us.
fn at_client(choice: u8) -> Stage {
    let (_, config) = configs(Profile::Extended, choice);
    let mut victim = Metered::client(&config, suites(), 2, Instant::now());
    let from = server_address();
    let now = victim.now;
    victim.core.connect(now, &[from]).expect("connects");
    victim.transmit();
    let connect = victim.sent.pop().expect("CONNECT").bytes;
    let mut door = Door { victim: &mut victim, from };
    let (mut peer, connected) = Peer::to_client(&mut door, &connect, params(choice));
    door.exchange(&connected).iter().for_each(|datagram| peer.receive(datagram));
    begun(victim, peer, from)
}

fn begun(mut victim: Metered<Glass>, peer: Peer, from: std::net::SocketAddr) -> Stage {
    victim.listen();
    let id = match victim.events[..] {
        [Event::Connected { connection }] => connection,
        ref other => panic!("not connected: {other:?}"),
    };
    victim.events.clear();
    assert_eq!(victim.core.profile(id), Some(Profile::Extended));
    Stage { victim, id, peer, from, messages: [0; 8] }
}
