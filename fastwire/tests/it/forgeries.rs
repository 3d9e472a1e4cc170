//! Keys that too many have guessed at are given up (RFC 9001 §6.6; PROTOCOL A6, B4).

use std::sync::Arc;
use std::time::Instant;

use fastwire::compress::BuiltinCompressor;
use fastwire::congestion::BuiltinControllers;
use fastwire::crypto::{
    Aead, AeadLimits, BuiltinSuites, Cipher, CipherError, CipherSuite, CipherSuites, KeyError,
};
use fastwire::proto::{Endpoint, Parts};
use fastwire::transport::SocketId;
use fastwire::{ConnectionError, DisconnectReason, Event, Profile};

use crate::duo::{CoreWith, PROFILES, client_address, configs, drain, events, feed, server_address};

/// Forgeries that these ciphers bear.
const BORNE: u64 = 10;

/// The usual ciphers with a limit that a test can reach.
#[derive(Debug)]
struct Frail(Aead);

impl Cipher for Frail {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; 16], CipherError> {
        self.0.seal(nonce, aad, data)
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), CipherError> {
        self.0.open(nonce, aad, data, tag)
    }

    fn limits(&self) -> AeadLimits {
        AeadLimits { forgeries: BORNE, ..self.0.limits() }
    }
}

struct FrailSuites;

impl CipherSuites for FrailSuites {
    type Cipher = Frail;

    fn make(&self, suite: CipherSuite, key: &[u8]) -> Result<Frail, KeyError> {
        BuiltinSuites.make(suite, key).map(Frail)
    }
}

fn parts() -> Parts<Frail, BuiltinCompressor, fastwire::congestion::BuiltinController> {
    Parts {
        suites: Arc::new(FrailSuites),
        compressor: BuiltinCompressor::new(&Default::default()).expect("compression"),
        controllers: Box::new(BuiltinControllers::new(Default::default())),
    }
}

/// Hands each side what the other has to send, until neither has.
fn exchange(server: &mut CoreWith<Frail>, client: &mut CoreWith<Frail>, now: Instant) {
    let home = client_address(SocketId::PRIMARY);
    loop {
        let (up, down) = (drain(client, now), drain(server, now));
        if up.is_empty() && down.is_empty() {
            return;
        }
        up.iter().for_each(|sent| feed(server, now, home, &sent.bytes));
        down.iter().for_each(|sent| feed(client, now, server_address(), &sent.bytes));
    }
}

/// Up to the limit forgeries cost a counter; the one beyond ends the connection, and both applications are told, on whichever side
/// it happens.
#[test]
fn a_connection_ends_with_its_keys_when_too_many_were_forged() {
    for (profile, at_server) in PROFILES.into_iter().flat_map(|profile| [(profile, true), (profile, false)]) {
        let (server_config, client_config) = configs(profile);
        let now = Instant::now();
        let mut server = Endpoint::server(&server_config, parts(), [1; 32], now).expect("server");
        let mut client = Endpoint::client(&client_config, parts(), [2; 32], now).expect("client");
        let id = client.connect(now, &[server_address()]).expect("an attempt");
        exchange(&mut server, &mut client, now);
        let peer = server.connections().next().expect("connected");
        events(&mut client);
        events(&mut server);

        let (victim, other, own, from, sender) = match at_server {
            true => (&mut server, &mut client, peer, client_address(SocketId::PRIMARY), id),
            false => (&mut client, &mut server, id, server_address(), peer),
        };
        other.send(now, sender, b"sealed", 0).expect("sends");
        let sound = drain(other, now).pop().expect("a packet").bytes;
        let mut forged = sound.clone();
        *forged.last_mut().expect("a tag") ^= 1;
        (0..BORNE).for_each(|_| feed(victim, now, from, &forged));
        assert_eq!(events(victim), [], "{profile:?}");
        assert_eq!(victim.connection_stats(own).expect("alive").forged, BORNE);
        feed(victim, now, from, &sound);
        let used_up = ConnectionError::Exhausted("keys");
        assert_eq!(events(victim), [Event::Error { connection: own, error: used_up }]);
        drain(victim, now).iter().for_each(|sent| {
            let back = if at_server { server_address() } else { client_address(SocketId::PRIMARY) };
            feed(other, now, back, &sent.bytes);
        });
        // The base profile has no room for reasons.
        let reason =
            if profile == Profile::Extended { DisconnectReason::Error } else { DisconnectReason::Graceful };
        assert_eq!(events(other), [Event::Disconnected { connection: sender, reason }]);
    }
}
