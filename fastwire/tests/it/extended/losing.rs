//! Handshakes that do not win: the server is told, and its application never hears of them (PROTOCOL B2).

use fastwire::sim::Rng;
use fastwire::{ClientConfig, Event, Profile, ServerConfig};

use super::MS;
use crate::duo::{CHALLENGE, Duo, Way, bare_type};

const CONNECTED: Option<u8> = Some(4);

fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Connected { .. })
}

/// Whatever is lost of a handshake, and however many attempts it takes: soon after it is won the server has one connection, has
/// reported that one, and no other.
#[test]
fn a_connection_that_nobody_wants_is_gone_long_before_its_timeout() {
    let mut dismissed = 0;
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut duo = Duo::new(&ServerConfig::default(), &ClientConfig::default());
        let id = duo.connect();
        let until = duo.now + MS(1000 + 50 * (seed % 30));
        let answers_too = seed % 2 == 0;
        // No CONNECTED gets through for so long that further attempts begin; then some of what is said is lost.
        while duo.now < until {
            duo.run(MS(50), |way, bytes| match bare_type(bytes) {
                CONNECTED => false,
                CHALLENGE if answers_too => !rng.chance(0.3),
                _ => way == Way::ToClient || !rng.chance(0.2),
            });
        }
        duo.run(MS(2500), |_, _| !rng.chance(0.2));
        assert_eq!(duo.client.profile(id), Some(Profile::Extended), "seed {seed}");
        assert_eq!(duo.server.connections().count(), 1, "seed {seed}");
        assert_eq!(duo.server_events.iter().filter(|event| is_connected(event)).count(), 1, "seed {seed}");
        assert!(!duo.server_events.iter().any(|event| matches!(event, Event::Disconnected { .. })));
        dismissed += duo.client.stats().handshakes_dismissed;
    }
    assert!(dismissed > 20, "{dismissed}");
}
