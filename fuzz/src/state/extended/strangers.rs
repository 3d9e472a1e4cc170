//! Endpoints of the extended profile among strangers: nobody here has a key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastwire::reliability::ChannelLayout;
use fastwire::transport::SocketId;
use fastwire::wire::extended::{
    ChallengeTrailer, ConnectTrailer, MIN_CONNECT_DATAGRAM, RefusalTrailer, Response,
};
use fastwire::wire::{
    CONTROL_PREFIX, Challenge, Connect, Control, Features, Reject, RejectReason, VersionMismatch,
};
use fastwire::{ConnectionState, DisconnectReason, Event, Profile};

use super::peer::{CONNECTED_PREFIX, bare, connect_payload, layout_hash, with_trailer};
use crate::Script;
use crate::state::endpoint::{Metered, client_address, configs, server_address};
use crate::state::glass::GlassSuites;

/// The least and the most that is sealed in a RESPONSE.
const SEALED: (usize, usize) = (28, 28 + 512);

/// A few bytes that come up more often than chance would have it.
fn key(script: &mut Script<'_>) -> [u8; 32] {
    match script.byte() {
        0 => [0; 32],
        255 => script.array(),
        byte => [byte; 32],
    }
}

/// CONNECT's payload as the script says; mostly one that is answered.
fn connect(script: &mut Script<'_>, layout: &ChannelLayout) -> Vec<u8> {
    let bend = script.byte();
    let connect = Connect {
        version: 1 + u8::from(bend & 1 != 0) * script.byte() / 255,
        application_version: 0,
        public_key: key(script),
        cipher: script.byte() % 4,
        compression: script.byte() % 4,
        dictionary_hash: (bend & 2 != 0).then(|| script.array()),
        features: Features::from_bits(4 | if bend & 4 != 0 { script.byte() } else { 0 }),
    };
    let trailer = ConnectTrailer {
        version: if bend & 8 != 0 { script.byte() } else { 1 },
        suites: if bend & 16 != 0 { script.byte() } else { 6 },
        client_nonce: script.array(),
        server_key_id: if bend & 32 != 0 { script.array() } else { [0; 8] },
        layout_hash: if bend & 64 != 0 { script.array() } else { layout_hash(layout) },
    };
    with_trailer(&Control::Connect(connect), |out| trailer.encode(out).expect("room"))
}

/// A server that gets CONNECTs and, with cookies it made, RESPONSEs whose seal nobody could make, from eight addresses,
/// cookies of one address used from another, and anything at all. Nobody gets connected and nothing is kept, no address
/// gets more than three times what it sent, key agreements keep their limits, and at the end a CONNECT from a ninth
/// address is still answered.
pub fn extended_server_before_auth(data: &[u8]) {
    let mut script = Script::new(data);
    let (config, _) = configs(Profile::Extended, script.byte());
    let start = Instant::now();
    let mut server = Metered::server(&config, GlassSuites::new(), 1, start);
    let mut last = Vec::new();
    let mut asked: BTreeMap<SocketAddr, Vec<u8>> = BTreeMap::new();
    let mut cookies: Vec<(SocketAddr, [u8; 32])> = Vec::new();
    while !script.is_over() {
        let action = script.byte();
        let from = client_address(u32::from(action >> 5));
        match action & 7 {
            0 => {
                let payload = connect(&mut script, &config.channel_layout);
                last = bare(&payload);
                let short = action & 8 != 0 && script.byte() & 1 == 1;
                last.resize(if short { script.u16().into() } else { MIN_CONNECT_DATAGRAM }, 0);
                asked.insert(from, payload);
                server.feed(SocketId::PRIMARY, from, &last);
            }
            1 => server.feed(SocketId::PRIMARY, from, &last.clone()),
            2 | 3 => {
                let index = usize::from(script.byte());
                let (owner, mut cookie) =
                    cookies.get(index % cookies.len().max(1)).copied().unwrap_or((from, [0; 32]));
                let mut payload = asked.get(&owner).cloned().unwrap_or_default();
                if action & 8 != 0 {
                    let at = usize::from(script.byte());
                    let bytes = if script.byte() & 1 == 0 { &mut cookie[..] } else { &mut payload[..] };
                    let len = bytes.len().max(1);
                    bytes.get_mut(at % len).into_iter().for_each(|byte| *byte ^= script.byte());
                }
                let token = if action & 16 != 0 { script.take(160) } else { &[] };
                let sealed = script.block();
                let mut sealed = sealed[..sealed.len().min(SEALED.1)].to_vec();
                sealed.resize(sealed.len().max(SEALED.0), 0);
                let mut bytes = vec![0; Response::MAX_LEN];
                let response = Response { connect: &payload, cookie, token, sealed: &sealed };
                if let Ok((len, _)) = response.encode(&mut bytes) {
                    last = bytes[..len].to_vec();
                    let from = if script.byte() & 3 == 0 { from } else { owner };
                    server.feed(SocketId::PRIMARY, from, &last);
                }
            }
            4 => server.feed(SocketId::PRIMARY, from, script.block()),
            5 => {
                let mut bytes = CONTROL_PREFIX.to_vec();
                bytes.extend_from_slice(script.block());
                server.feed(SocketId::PRIMARY, from, &bytes);
            }
            6 => {
                server.core.ban(from.ip());
                server.core.unban(from.ip());
            }
            _ => server.sleep(Duration::from_millis(u64::from(script.byte()) * 8)),
        }
        server.transmit();
        server.listen();
        server.check();
        for sent in std::mem::take(&mut server.sent) {
            let payload = sent.bytes.get(CONTROL_PREFIX.len()..).unwrap_or_default();
            if let Ok((Control::Challenge(challenge), _)) = Control::decode(payload) {
                cookies.push((sent.to, challenge.token));
            }
        }
        assert_eq!((server.core.connection_count(), server.events.len()), (0, 0));
        assert_eq!(server.core.pending_handshakes(), 0, "a server that keeps nothing kept something");
    }
    let stats = server.core.stats();
    let seconds = (server.now - start).as_secs() + 2;
    // Each takes two: with the epoch's key and with the identity.
    assert!(stats.key_agreements <= 2 * seconds * u64::from(config.limits.key_agreements_per_second));

    // Whoever comes next is served.
    let mut datagram = bare(&connect_payload(&config.channel_layout, 0));
    datagram.resize(MIN_CONNECT_DATAGRAM, 0);
    server.feed(SocketId::PRIMARY, ([10, 0, 0, 3], 1).into(), &datagram);
    server.transmit();
    let answer = server.sent.first().expect("an answer");
    assert!(matches!(Control::decode(&answer.bytes[8..]), Ok((Control::Challenge(_), _))));
}

/// A client that gets challenges from nobody who could finish what they begin, refusals, CONNECTEDs without a key and
/// anything at all, from its server's address and from others; some know the nonce of its CONNECT. It never believes it
/// is connected, opens few sockets, and its attempt ends once, within its time.
pub fn extended_client_before_auth(data: &[u8]) {
    let mut script = Script::new(data);
    let (_, mut config) = configs(Profile::Extended, script.byte());
    config.connect_timeout = Duration::from_secs(3);
    let mut client = Metered::client(&config, GlassSuites::new(), 2, Instant::now());
    let id = client.core.connect(client.now, &[server_address()]).expect("connects");
    client.transmit();
    let mut open = vec![SocketId::PRIMARY];
    let mut nonce = nonce_of(&client.sent[0].bytes);
    let mut responses = 0;
    while !script.is_over() {
        let action = script.byte();
        let from = if action & 0x80 == 0 { server_address() } else { client_address(7) };
        let socket = open.get(usize::from(action >> 5 & 3)).copied().unwrap_or(SocketId::PRIMARY);
        let client_nonce = if action & 0x10 == 0 { nonce } else { script.array() };
        match action & 7 {
            0 | 1 => {
                let bend = script.byte();
                let challenge = Challenge {
                    version: 1 + u8::from(bend & 1 != 0) * script.byte() / 255,
                    application_version: 0,
                    public_key: key(&mut script),
                    token: key(&mut script),
                    cipher: if bend & 2 != 0 { script.byte() } else { 1 + (bend >> 7) },
                    compression_ack: script.byte() % 3,
                    features: Features::from_bits(if bend & 4 != 0 { script.byte() & !2 } else { 4 }),
                    migration_token: None,
                };
                let trailer = ChallengeTrailer {
                    version: if bend & 8 != 0 { script.byte() } else { 1 },
                    token_required: bend & 16 != 0,
                    client_nonce,
                    server_key: (bend & 32 == 0).then(|| key(&mut script)),
                };
                let payload =
                    with_trailer(&Control::Challenge(challenge), |out| trailer.encode(out).expect("room"));
                let mut bytes = bare(&payload);
                bytes.truncate(bytes.len() - usize::from(action & 8 != 0 && bend & 64 != 0));
                client.feed(socket, from, &bytes);
            }
            2 | 3 => {
                let trailer = RefusalTrailer { client_nonce };
                let control = if action & 1 == 0 {
                    Control::Reject(Reject { reason: RejectReason::from_code(script.byte() % 9) })
                } else {
                    Control::VersionMismatch(VersionMismatch {
                        version: script.byte(),
                        application_version: 1,
                    })
                };
                let payload = with_trailer(&control, |out| {
                    if action & 8 == 0 { trailer.encode(out).expect("room") } else { 0 }
                });
                client.feed(socket, from, &bare(&payload));
            }
            4 => client.feed(socket, from, script.block()),
            5 => {
                let mut bytes = CONTROL_PREFIX.to_vec();
                bytes.extend_from_slice(script.block());
                client.feed(socket, from, &bytes);
            }
            6 => {
                let mut bytes = CONTROL_PREFIX.to_vec();
                bytes.push(4);
                bytes.extend_from_slice(script.block());
                bytes.resize(bytes.len().max(CONNECTED_PREFIX + 20), 0);
                client.feed(socket, from, &bytes);
            }
            _ => client.sleep(Duration::from_millis(u64::from(script.byte()) * 4)),
        }
        client.transmit();
        client.listen();
        client.sockets(&mut open);
        client.check();
        assert_ne!(client.core.state(id), ConnectionState::Connected);
        let sent = std::mem::take(&mut client.sent);
        for sent in &sent {
            match sent.bytes.get(CONTROL_PREFIX.len()) {
                Some(1) => nonce = nonce_of(&sent.bytes),
                Some(3) => responses += 1,
                _ => {}
            }
        }
        assert!(responses < 512, "a client that floods");
    }
    for _ in 0..20 {
        client.sleep(Duration::from_secs(1));
        client.transmit();
        client.listen();
    }
    let failed = client.events.iter().filter(|event| matches!(event, Event::ConnectFailed { .. })).count();
    let ends = [DisconnectReason::Rejected, DisconnectReason::Timeout, DisconnectReason::Error];
    let others = client.events.iter().filter(|event| match event {
        Event::ConnectFailed { .. } => false,
        Event::Disconnected { reason, .. } => !ends.contains(reason),
        _ => true,
    });
    assert_eq!((failed, others.count()), (1, 0), "{:?}", client.events);
    assert_eq!(client.core.connection_count(), 0);
}

/// The nonce of a CONNECT datagram; zeros if it is none.
fn nonce_of(datagram: &[u8]) -> [u8; 8] {
    let payload = datagram.get(CONTROL_PREFIX.len()..).unwrap_or_default();
    let Ok((Control::Connect(_), len)) = Control::decode(payload) else { return [0; 8] };
    ConnectTrailer::decode(&payload[len..]).map_or([0; 8], |(trailer, _)| trailer.client_nonce)
}
