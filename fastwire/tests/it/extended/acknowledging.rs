//! Whatever arrives is acknowledged, however much of it arrives at once (PROTOCOL B5).

use fastwire::Profile;
use fastwire::congestion::CongestionMode;

use super::MS;
use crate::duo::{Duo, configs};

/// One ACK covers 1024 packets. A wake may bring more: on a machine that was busy, from a socket with a large buffer.
#[test]
fn whatever_one_wake_brings_is_acknowledged_to_the_last_packet() {
    let (mut server, mut client) = configs(Profile::Extended);
    // nothing is held back, so that all leaves, and arrives, at one moment
    (server.congestion, client.congestion) = (CongestionMode::Aggressive, CongestionMode::Aggressive);
    for packets in [511, 512, 513, 1024, 1025, 1500, 2500, 3500] {
        let (mut duo, at_server, at_client) = Duo::connected(&server, &client);
        for number in 0..packets {
            let message = vec![number as u8; 1100];
            duo.client.send(duo.now, at_client, message.clone(), 1).expect("queued");
            duo.server.send(duo.now, at_server, message, 1).expect("queued");
        }
        duo.run(MS(2000), |_, _| true);
        assert_eq!((duo.server_events.len(), duo.client_events.len()), (packets, packets));
        for (core, id) in [(&duo.client, at_client), (&duo.server, at_server)] {
            let stats = core.connection_stats(id).expect("connected");
            assert_eq!((stats.retransmits, stats.packets_in_flight), (0, 0), "{packets}: {stats:?}");
        }
    }
}
