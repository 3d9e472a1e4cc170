//! What a connection hears that came of an answer which did not win.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire_crypto::extended::{ShortOpener, VeilKeys};
use fastwire_wire::extended::{Disconnect, Frame, Frames};

use super::world::*;
use crate::proto::handshake::extended::COOKIE_LIFETIME;
use crate::proto::handshake::extended::late::Late;
use crate::proto::veil::Veil;

/// A loser's CONNECTED brings one and the same farewell each time it comes, for as long as its cookie is good; the winner's brings none.
#[test]
fn a_late_connected_is_answered_with_one_farewell() {
    for veil in [None, Some(Arc::new(VeilKeys::new(&[7; 32]).expect("keys")))] {
        let start = Instant::now();
        let (mut server, mut client) =
            (Server::new(&server_config(), start), Client::new(&client_config(), start));
        let mut responses: Vec<Vec<u8>> = Vec::new();
        for ms in 0..1_500 {
            let now = start + Duration::from_millis(ms);
            while let Some(datagram) = client.poll(now) {
                if datagram[8] != 3 {
                    let challenge = server.connect(&datagram, address(CLIENT), now).expect("answers");
                    client.take(&challenge, now);
                } else if !responses.contains(&datagram) {
                    responses.push(datagram);
                }
            }
        }
        let now = start + Duration::from_millis(1_500);
        let mut accepted = responses
            .iter()
            .enumerate()
            .map(|(n, response)| server.accept(response, now, n as u32).expect("accepted"));
        let (_, winner) = accepted.next().expect("an answer");
        assert!(client.connected(&winner).is_some());
        let mut late = Late::default();
        client.handshake.take_losers().for_each(|losers| late.add(losers, now));
        let mut dismiss = |datagram: &[u8], now| {
            let keys = (0, &suites(), veil.as_deref());
            late.dismiss(&BytesMut::from(datagram), path(), keys, now).map(|datagram| datagram.bytes)
        };
        let losers: Vec<_> = accepted.collect();
        assert!(!losers.is_empty());
        for (agreed, connected) in &losers {
            assert_eq!(dismiss(&winner, now), None);
            assert_eq!(dismiss(&connected[..connected.len() - 1], now), None);
            let farewell = dismiss(connected, now).expect("a farewell");
            assert_eq!(dismiss(connected, now + Duration::from_secs(1)).as_ref(), Some(&farewell));
            let mut packet = farewell;
            if let Some(keys) = &veil {
                let id = Veil::new(Arc::clone(keys), 16, now).id_of(&packet).expect("an id");
                assert_ne!(packet[..8], id);
                packet[..8].copy_from_slice(&id);
            }
            assert_eq!(packet[..8], [9; 8], "the id that CONNECTED gave");
            let mut opener = ShortOpener::new(agreed.keys.c2s.clone(), suites()).expect("an opener");
            let opened = opener.open(&mut packet, 8).expect("opens");
            let frames: Vec<_> =
                Frames::new(&packet[opened.range]).expect("frames").map(Result::unwrap).collect();
            assert_eq!(frames, [Frame::Disconnect(Disconnect { reason: 7, code: 0, message: "" })]);
        }
        assert_eq!(dismiss(&losers[0].1, now + COOKIE_LIFETIME), None);
    }
}
