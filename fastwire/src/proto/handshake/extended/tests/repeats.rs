//! What is said again when no answer comes, and what is kept meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::world::*;

/// RESPONSE is computed once and resent byte for byte; after a second a second attempt begins beside it, and no third while the
/// cookies of the first are good. Each attempt answers at most four CHALLENGEs.
#[test]
fn an_unanswered_response_is_repeated_and_followed_by_one_more_attempt() {
    let start = Instant::now();
    let (mut server, mut client) =
        (Server::new(&server_config(), start), Client::new(&client_config(), start));
    let mut responses: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut nonces: Vec<(u64, [u8; 8])> = Vec::new();
    for ms in 0..4_900 {
        let now = start + Duration::from_millis(ms);
        while let Some(datagram) = client.poll(now) {
            if datagram[8] == 3 {
                responses.push((ms, datagram));
                continue;
            }
            let nonce = datagram[50..58].try_into().expect("8 bytes");
            if nonces.iter().all(|(_, known)| *known != nonce) {
                nonces.push((ms, nonce));
            }
            let challenge = server.connect(&datagram, address(CLIENT), now).expect("answers");
            client.take(&challenge, now);
        }
    }
    let distinct: BTreeSet<&[u8]> = responses.iter().map(|(_, bytes)| &bytes[..]).collect();
    assert!((2..=8).contains(&distinct.len()), "{} answers to two attempts", distinct.len());
    for answer in &distinct {
        let times: Vec<u64> =
            responses.iter().filter(|(_, bytes)| bytes == answer).map(|(ms, _)| *ms).collect();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.clone().all(|gap| (100..=501).contains(&gap)), "{gaps:?}");
    }
    assert_eq!(nonces.len(), 2);
    assert!((1_000..=1_010).contains(&nonces[1].0), "the second began after {} ms", nonces[1].0);
    // All of them are good: whichever the server takes, the client connects.
    for (n, answer) in distinct.iter().enumerate() {
        let now = start + Duration::from_millis(4_900);
        let (agreed, connected) = server.accept(answer, now, n as u32).expect("accepted");
        let won = client.connected(&connected).expect("opens");
        assert!(same_keys(&won.agreed, &agreed));
    }
}

/// When the cookies have expired, another attempt takes the first one's place.
#[test]
fn attempts_go_on_as_long_as_the_client_does() {
    let start = Instant::now();
    let mut config = client_config();
    config.connect_timeout = Duration::from_secs(120);
    let (mut server, mut client) = (Server::new(&server_config(), start), Client::new(&config, start));
    let mut last = Vec::new();
    for ms in (0..60_000).step_by(10) {
        let now = start + Duration::from_millis(ms);
        while let Some(datagram) = client.poll(now) {
            match datagram[8] {
                3 => last = datagram,
                _ => drop(server.connect(&datagram, address(CLIENT), now).map(|it| client.take(&it, now))),
            }
        }
    }
    let now = start + Duration::from_secs(60);
    let (_, connected) = server.accept(&last, now, 1).expect("the newest answer is always good");
    assert!(client.connected(&connected).is_some());
}

/// Up to eight datagrams of the server's that come before CONNECTED are kept, in their order, and handed over with it.
#[test]
fn what_overtakes_connected_is_kept() {
    let now = Instant::now();
    let (mut server, mut client) = (Server::new(&server_config(), now), Client::new(&client_config(), now));
    let early = |n: u8| BytesMut::from(&[0x40 | n; 60][..]);
    assert!(!client.handshake.hold(&early(0), path()), "nothing was answered yet");
    let connect = client.poll(now).expect("asks");
    let challenge = server.connect(&connect, address(CLIENT), now).expect("answers");
    assert!(client.take(&challenge, now));
    let response = client.poll(now).expect("answers");
    let held: Vec<bool> = (0..10).map(|n| client.handshake.hold(&early(n), path())).collect();
    assert_eq!(held.iter().filter(|held| **held).count(), 8);
    let (_, connected) = server.accept(&response, now, 1).expect("accepted");
    let won = client.connected(&connected).expect("opens");
    assert_eq!(won.held, (0..8).map(early).collect::<Vec<_>>());
}
