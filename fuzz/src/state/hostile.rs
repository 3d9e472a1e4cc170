//! A peer that has its keys and no manners.

use std::time::{Duration, Instant};

use fastwire::transport::SocketId;
use fastwire::wire::{
    CONTROL_PREFIX, Challenge, Connect, Control, Features, FragmentFlags, FragmentHeader,
    MIGRATION_TOKEN_SIZE, PacketFlags, PacketHeader,
};
use fastwire::{ConnectionId, ConnectionState, Event, Profile};

use super::endpoint::{Metered, client_address, configs, server_address};
use super::glass::{Glass, GlassSuites, seal_openly};
use crate::Script;

/// What the peer knows of the connection it made.
struct Peer {
    nonce: u64,
    batched: bool,
    token: Option<[u8; MIGRATION_TOKEN_SIZE]>,
    from: std::net::SocketAddr,
    /// The newest sequence written on each channel.
    sequences: [u32; 4],
}

/// The peer of a server, or of a client, writes sealed packets as it likes: any header, any fragment, any
/// acknowledgement, any compressed bytes, batches, other addresses. Memory stays within `Limits`, datagrams within the
/// MTU, an address that proved nothing gets no more than three times what it sent; after the end there is silence.
pub fn hostile_peer(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let (mut victim, id, mut peer) = if choice & 0x80 == 0 { at_server(choice) } else { at_client(choice) };
    victim.events.clear();
    let mut bytes = Vec::new();
    let mut paused = false;
    while !script.is_over() {
        let action = script.byte();
        match action & 15 {
            0..=7 => {
                bytes.clear();
                if let Some(token) = peer.token {
                    bytes.extend_from_slice(&token);
                }
                let packets = if peer.batched { 1 + script.byte() % 4 } else { 1 };
                if peer.batched {
                    bytes.push(packets);
                }
                for _ in 0..packets {
                    let packet = packet(&mut script, &mut peer);
                    if peer.batched {
                        bytes.extend_from_slice(&(packet.len() as u16).to_le_bytes());
                    }
                    bytes.extend_from_slice(&packet);
                }
                victim.feed(SocketId::PRIMARY, peer.from, &bytes);
            }
            8 => victim.feed(SocketId::PRIMARY, peer.from, script.block()),
            9 => victim.feed(SocketId::PRIMARY, peer.from, &bytes.clone()),
            10 => victim.sleep(Duration::from_millis(u64::from(script.byte()) * 8)),
            11 => {
                let len = usize::from(script.byte()) << (action >> 5);
                let _ = victim.core.send(victim.now, id, &vec![7; len][..], action >> 4 & 3);
            }
            12 => {
                paused = !paused;
                victim.core.pause(id, paused);
            }
            13 => {
                if choice & 0x80 == 0 {
                    peer.from = client_address(u32::from(action >> 4));
                }
            }
            14 => {
                let _ = match action >> 4 {
                    0 => victim.core.close(victim.now, id),
                    1 => victim.core.close_now(victim.now, id),
                    2 => victim.core.kick(victim.now, id, "away"),
                    _ => Ok(()),
                };
            }
            // A run of fragments of one message, the cheapest way to fill memory.
            _ => flood(&mut script, &mut peer, &mut victim),
        }
        if action & 0x80 == 0 {
            victim.transmit();
        }
        if !paused {
            victim.listen();
        }
        victim.check();
    }
    victim.transmit();
    victim.core.pause(id, false);
    victim.listen();
    order(&victim.events, id);
    if victim.core.state(id) == ConnectionState::Disconnected {
        assert!(
            victim.core.connection_stats(id).is_none()
                || victim.core.connection_count() > 0
                || choice & 0x80 != 0
        );
        victim.sent.clear();
        victim.sleep(Duration::from_secs(5));
        victim.transmit();
        assert!(victim.sent.len() <= 4, "the dead speak: {}", victim.sent.len());
    }
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

fn seal(peer: &mut Peer, plain: &[u8]) -> Vec<u8> {
    peer.nonce += 1;
    let mut packet = Vec::with_capacity(plain.len() + 24);
    seal_openly(peer.nonce, plain, &mut packet);
    packet
}

/// A packet as the script says: headers near what is plausible, or anything.
fn packet(script: &mut Script<'_>, peer: &mut Peer) -> Vec<u8> {
    let shape = script.byte();
    if shape & 0x0f == 0x0f {
        return seal(peer, script.block());
    }
    let channel = shape & 3;
    let newest = &mut peer.sequences[usize::from(channel)];
    let sequence = match shape >> 4 & 7 {
        0..=3 => newest.wrapping_add(1),
        4 => newest.wrapping_add(script.byte().into()),
        5 => newest.saturating_sub(script.byte().into()),
        6 => newest.wrapping_add(script.u16().into()),
        _ => script.u32(),
    };
    *newest = sequence;
    let control = shape & 0x0c == 0x0c;
    let fragment = shape & 4 != 0 && !control;
    let (ack, ack_field) = match script.byte() {
        0..=127 => (0, 0),
        small @ 128..=191 => (u32::from(small - 128), u32::MAX),
        _ => (script.u32(), script.u32()),
    };
    let mut flags = PacketFlags::EMPTY;
    if fragment {
        flags = flags | PacketFlags::FRAGMENT;
    }
    if control {
        flags = flags | PacketFlags::CONTROL;
    }
    let channel = if shape & 0x80 != 0 && script.byte() == 0 { script.byte() } else { channel };
    let header =
        PacketHeader { flags, channel, sequence: if control { 0 } else { sequence }, ack, ack_field };
    let mut plain = [0; PacketHeader::MAX_LEN].to_vec();
    let len = header.encode(&mut plain).expect("room");
    plain.truncate(len);
    if fragment {
        plain.extend_from_slice(&script.array::<5>());
    }
    if control {
        plain.push(script.byte() % 10);
        plain.extend_from_slice(script.take((script.clone().byte() % 8).into()));
    } else if shape & 8 == 0 {
        let len = usize::from(script.u16() % 1200);
        plain.resize(plain.len() + len, 0x55);
    } else {
        plain.extend_from_slice(script.block());
    }
    seal(peer, &plain)
}

fn flood(script: &mut Script<'_>, peer: &mut Peer, victim: &mut Metered<Glass>) {
    let (channel, count, gap) = (script.byte() & 3, 2 + script.byte() % 254, script.byte());
    let (first, flags) = (script.byte() % count, script.byte());
    let id = script.u16();
    for index in first..count {
        let newest = &mut peer.sequences[usize::from(channel)];
        *newest = newest.wrapping_add(1 + u32::from(gap & 15));
        let header =
            PacketHeader { flags: PacketFlags::FRAGMENT, channel, sequence: *newest, ack: 0, ack_field: 0 };
        let id = if gap & 0x80 != 0 { id.wrapping_add(index.into()) } else { id };
        let fragment = FragmentHeader { id, index, count, flags: FragmentFlags::from_bits(flags) };
        let mut plain = vec![0; PacketHeader::MAX_LEN + FragmentHeader::LEN];
        let at = header.encode(&mut plain).expect("room");
        let len = at + fragment.encode(&mut plain[at..]).expect("room");
        plain.truncate(len);
        plain.resize(len + 1100, 0);
        let sealed = seal(peer, &plain);
        let mut bytes = peer.token.map(Vec::from).unwrap_or_default();
        if peer.batched {
            bytes.push(1);
            bytes.extend_from_slice(&(sealed.len() as u16).to_le_bytes());
        }
        bytes.extend_from_slice(&sealed);
        victim.feed(SocketId::PRIMARY, peer.from, &bytes);
    }
}

fn open_suites() -> GlassSuites {
    GlassSuites { keyed: false, ..GlassSuites::new() }
}

/// A server that has just accepted us.
fn at_server(choice: u8) -> (Metered<Glass>, ConnectionId, Peer) {
    let (config, client) = configs(Profile::Base, choice);
    let mut server = Metered::server(&config, open_suites(), 1, Instant::now());
    let from = client_address(0);
    let connect = Control::Connect(Connect {
        version: 1,
        application_version: 0,
        public_key: [9; 32],
        cipher: 1,
        compression: client.compression.algorithm.id(),
        dictionary_hash: None,
        features: Features::from_bits(choice & 3),
    });
    let mut bytes = [0; 128];
    let len = connect.encode_bare(&mut bytes).expect("room");
    server.feed(SocketId::PRIMARY, from, &bytes[..len]);
    server.transmit();
    let answer = server.sent.pop().expect("an answer").bytes;
    let Ok((Control::Challenge(challenge), _)) = Control::decode(&answer[CONTROL_PREFIX.len()..]) else {
        panic!("no CHALLENGE: {answer:?}");
    };
    let mut peer = Peer { nonce: 0, batched: false, token: None, from, sequences: [0; 4] };
    let mut plain = CONTROL_PREFIX.to_vec();
    plain.push(3);
    plain.extend_from_slice(&challenge.token);
    let response = seal(&mut peer, &plain);
    server.feed(SocketId::PRIMARY, from, &response);
    server.transmit();
    server.listen();
    let Some(Event::Connected { connection }) = server.events.pop() else { panic!("not connected") };
    peer.batched = challenge.features.contains(Features::SEND_BATCHING);
    peer.token = challenge.migration_token;
    (server, connection, peer)
}

/// A client that believes in us.
fn at_client(choice: u8) -> (Metered<Glass>, ConnectionId, Peer) {
    let (_, config) = configs(Profile::Base, choice);
    let mut client = Metered::client(&config, open_suites(), 2, Instant::now());
    let id = client.core.connect(client.now, &[server_address()]).expect("connects");
    client.transmit();
    let migration = choice & 2 != 0;
    let challenge = Control::Challenge(Challenge {
        version: 1,
        application_version: 0,
        public_key: [9; 32],
        token: [3; 32],
        cipher: 1,
        compression_ack: 0,
        features: Features::from_bits(choice & 3),
        migration_token: migration.then_some([4; 8]),
    });
    let mut bytes = [0; 128];
    let len = challenge.encode_bare(&mut bytes).expect("room");
    client.feed(SocketId::PRIMARY, server_address(), &bytes[..len]);
    client.transmit();
    let batched = choice & 1 != 0;
    let mut peer = Peer { nonce: 0, batched, token: None, from: server_address(), sequences: [0; 4] };
    let mut plain = CONTROL_PREFIX.to_vec();
    plain.push(4);
    let connected = seal(&mut peer, &plain);
    let mut datagram = Vec::new();
    if batched {
        datagram.push(1);
        datagram.extend_from_slice(&(connected.len() as u16).to_le_bytes());
    }
    datagram.extend_from_slice(&connected);
    client.feed(SocketId::PRIMARY, server_address(), &datagram);
    client.transmit();
    client.listen();
    assert_eq!(client.events, [Event::Connected { connection: id }]);
    (client, id, peer)
}
