//! Where packet protection of others leaked, repeated itself or was led astray.

use std::collections::BTreeSet;

use fastwire::compress::{Algorithm, BuiltinCompressor, CompressionConfig, Compressor, Encoding, Method};
use fastwire::crypto::{
    Aead, BuiltinSuites, CipherSuite, CipherSuites, Freshness, Opener, ReplayWindow, SealError, Sealer,
};
use fastwire::transport::SocketId;
use fastwire::{Event, ServerConfig};

use super::peer::{Hostile, header};
use crate::duo::{Duo, Way, client_address, drain, feed};
use crate::handshake::{MS, connect_of, defaults};

const SUITES: [CipherSuite; 2] = [CipherSuite::Aes128Gcm, CipherSuite::ChaCha20Poly1305];

fn aead(suite: CipherSuite) -> Aead {
    BuiltinSuites.make(suite, &[7; 32][..suite.key_len()]).expect("key")
}

/// A process that started anew used its old key with counters from the start.
#[test]
fn a_restarted_server_shares_no_key_and_no_token_with_its_former_life() {
    let (config, _) = defaults();
    let now = std::time::Instant::now();
    let mut seen = BTreeSet::new();
    for seed in 0..20u8 {
        let parts = fastwire::proto::Parts {
            suites: std::sync::Arc::new(BuiltinSuites),
            compressor: BuiltinCompressor::new(&config.compression).expect("valid"),
            controllers: Box::new(fastwire::congestion::BuiltinControllers::new(config.congestion)),
        };
        let mut core = fastwire::proto::Endpoint::server(&config, parts, [seed; 32], now).expect("valid");
        feed(&mut core, now, client_address(SocketId::PRIMARY), &connect_of(5, now));
        let challenge = drain(&mut core, now).remove(0).bytes;
        // The server's key and the token, which the session's keys come from.
        assert!(seen.insert(challenge[12..76].to_vec()), "seed {seed} repeats an earlier life");
    }
}

/// Packets recorded before a restart were accepted after it.
#[test]
fn a_conversation_replayed_to_a_restarted_server_connects_nobody() {
    let (server_config, client_config) = defaults();
    let mut duo = Duo::new(&server_config, &client_config);
    let at_client = duo.connect();
    for round in 0..20 {
        let _ = duo.client.send(duo.now, at_client, format!("message {round}").as_bytes(), 0);
        duo.run(MS(50), |_, _| true);
    }
    let recorded: Vec<Vec<u8>> = duo
        .log
        .iter()
        .filter(|(_, way, ..)| *way == Way::ToServer)
        .map(|(.., bytes)| bytes.clone())
        .collect();
    assert!(recorded.len() > 20);
    let now = duo.now;
    let mut restarted = crate::duo::server(&server_config, now);
    restarted.script_server_key([99; 32]);
    for bytes in &recorded {
        feed(&mut restarted, now, client_address(SocketId::PRIMARY), bytes);
    }
    assert_eq!((restarted.connection_count(), restarted.poll_event()), (0, None));
}

/// The window's arithmetic wrapped at the top of the range and let old packets in.
#[test]
fn the_replay_window_holds_to_the_top_of_the_range() {
    let mut window = ReplayWindow::<16>::new();
    for number in (u64::MAX - 3000)..=u64::MAX {
        assert_eq!(window.check(number), Freshness::Newest, "{number}");
        window.commit(number);
        assert_eq!(window.check(number), Freshness::Duplicate, "{number}");
    }
    for number in [0, 1, u64::MAX - 1024, u64::MAX - 1023, u64::MAX - 1, u64::MAX] {
        assert!(!window.check(number).is_fresh(), "{number}");
    }
    let mut jump = ReplayWindow::<16>::new();
    jump.commit(1);
    jump.commit(u64::MAX);
    assert_eq!(jump.check(1), Freshness::TooOld);
    assert_eq!(jump.check(u64::MAX - 1023), Freshness::Late);
}

/// A counter that wrapped to zero instead of ending.
#[test]
fn a_sealer_at_the_end_of_its_counter_refuses() {
    for suite in SUITES {
        for sealed in [u64::MAX, u64::MAX - 1, 1 << 62] {
            let mut sealer = Sealer::after(aead(suite), sealed);
            let mut packet = [0; 32];
            let told = sealer.seal(&mut packet);
            assert!(matches!(told, Err(SealError::LimitReached { .. })), "{suite:?} {sealed}: {told:?}");
        }
    }
}

/// The highest number moved before the packet was authenticated, and a forger shut the true sender out.
#[test]
fn a_forged_number_moves_no_window() {
    let mut peer = Hostile::new(&ServerConfig::default());
    for nonce in [u64::MAX, 1 << 63, 1 << 20, 5000] {
        for len in [24, 40, 100, 1200] {
            let mut forged = vec![0x55; len];
            forged[..8].copy_from_slice(&u64::to_le_bytes(nonce));
            peer.raw(&forged);
        }
    }
    for sequence in 1..=10 {
        peer.data(header(0, sequence), None, b"genuine");
    }
    assert_eq!(peer.events().len(), 10);
    assert!(peer.stats().forged >= 16);
}

/// A failed tag left the decrypted bytes in the buffer, and somebody used them.
#[test]
fn a_packet_that_fails_leaves_no_plaintext_behind() {
    const SECRET: &[u8] = b"the treasure lies under the old oak";
    for suite in SUITES {
        let mut packet = vec![0; 8 + SECRET.len() + 16];
        packet[8..8 + SECRET.len()].copy_from_slice(SECRET);
        Sealer::new(aead(suite)).seal(&mut packet).expect("seals");
        for at in (0..packet.len()).filter(|at| !(1..8).contains(at)) {
            let mut bent = packet.clone();
            bent[at] ^= 0x10;
            let mut opener = Opener::new(aead(suite));
            assert!(opener.open(&mut bent).is_err(), "{suite:?} byte {at}");
            let whole = bent.windows(8).any(|window| SECRET.windows(8).any(|secret| secret == window));
            assert!(!whole, "{suite:?} byte {at}: plaintext left");
            assert_eq!(opener.highest(), 0);
        }
    }
}

/// A decompressor's buffer was handed out with bytes of an earlier message in it.
#[cfg(all(feature = "lz4", feature = "zstd"))]
#[test]
fn no_byte_of_an_earlier_message_shows_in_a_later_one() {
    let mut config = CompressionConfig::new(Algorithm::Zstd);
    config.hurdle = 0;
    let mut compressor = BuiltinCompressor::new(&config).expect("valid");
    let secret = vec![0xee; 100_000];
    for (method, encoding) in [(Method::LZ4, Encoding::Lz4), (Method::ZSTD, Encoding::Zstd)] {
        let mut packed = Vec::new();
        compressor.compress(method, &secret, &mut packed).expect("built");
        let mut out = Vec::new();
        compressor.decompress(encoding, &packed, 1 << 20, &mut out).expect("expands");
        assert_eq!(out, secret);
        // Cut off, and for LZ4 with a size that says too much.
        for end in 0..packed.len() {
            let mut out = Vec::new();
            if let Ok(len) = compressor.decompress(encoding, &packed[..end], 1 << 20, &mut out) {
                assert!(out.len() == len && len < secret.len());
            } else {
                assert!(out.is_empty(), "an error with {} bytes", out.len());
            }
        }
        let small = [&1000u32.to_le_bytes()[..], &[0x50], b"hello"].concat();
        let mut out = Vec::new();
        if encoding == Encoding::Lz4 {
            assert_eq!(compressor.decompress(encoding, &small, 4096, &mut out), Ok(5));
            assert_eq!(out, b"hello", "the size is an upper bound, not a length");
        }
    }
}

/// A packet that opens under its key was taken from a stranger's address as well.
#[test]
fn a_replayed_packet_from_elsewhere_is_counted_and_moves_nothing() {
    let (mut server_config, mut client_config) = defaults();
    (server_config.connection_migration, client_config.connection_migration) = (true, true);
    let (mut duo, at_server, at_client) = Duo::connected(&server_config, &client_config);
    let home = duo.server.remote_addr(at_server);
    duo.client.send(duo.now, at_client, b"mine", 0).expect("queued");
    duo.run(MS(100), |_, _| true);
    let stranger = "10.66.6.6:666".parse().expect("address");
    let log: Vec<Vec<u8>> = duo
        .log
        .iter()
        .filter(|(_, way, ..)| *way == Way::ToServer)
        .map(|(.., bytes)| bytes.clone())
        .collect();
    for bytes in log {
        let now = duo.now;
        feed(&mut duo.server, now, stranger, &bytes);
    }
    let told = drain(&mut duo.server, duo.now).iter().filter(|sent| sent.to == stranger).count();
    assert_eq!((duo.server.remote_addr(at_server), told), (home, 0));
    let events: Vec<_> = std::iter::from_fn(|| duo.server.poll_event()).collect();
    assert!(events.is_empty() && matches!(&duo.server_events[..], [Event::Message { .. }]), "{events:?}");
}
