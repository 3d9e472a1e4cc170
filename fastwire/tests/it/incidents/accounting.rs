//! Socket errors that were taken for the end, or for success.

use std::time::{Duration, Instant};

use fastwire::transport::{Faults, FaultyTransport, MemoryNetwork, SocketError};
use fastwire::{Client, ClientConfig, Event, Server, ServerConfig};

/// ENOBUFS, EMSGSIZE and their kin closed the socket, or lost a message that was counted as sent.
#[test]
fn a_socket_error_is_a_lost_packet_and_nothing_more() {
    // Nothing offloads segmentation in memory.
    for error in SocketError::ALL.into_iter().filter(|error| *error != SocketError::OffloadFailed) {
        let network = MemoryNetwork::new();
        let faults = Faults::default();
        let bind = |address: &str| network.bind(address.parse().expect("address")).expect("free");
        let mut server = Server::builder()
            .config(ServerConfig::default())
            .seed([7; 32])
            .build(FaultyTransport::new(bind("10.0.0.1:7777"), faults.clone(), 1))
            .expect("server");
        let mut client = Client::builder()
            .config(ClientConfig::default())
            .seed([8; 32])
            .build(FaultyTransport::new(bind("10.0.0.2:5000"), faults.clone(), 2))
            .expect("client");
        client.connect_to("10.0.0.1:7777").expect("connects");
        let (mut now, mut sent, mut arrived) = (Instant::now(), 0u32, Vec::new());
        for step in 0..600u32 {
            now += Duration::from_millis(10);
            // Now and then one call fails, whichever it is.
            if step > 20 && step < 400 && step % 7 == 0 {
                faults.push(error);
            }
            client.receive(now);
            while let Some(event) = client.poll_event() {
                assert!(!matches!(event, Event::Disconnected { .. }), "{error:?} at {step}");
            }
            if sent < 50 && step % 5 == 0 && client.send(sent.to_le_bytes().to_vec(), 0).is_ok() {
                sent += 1;
            }
            client.flush(now);
            server.receive(now);
            while let Some(event) = server.poll_event() {
                match event {
                    Event::Message { data, .. } => arrived.push(data.to_vec()),
                    Event::Disconnected { reason, .. } => panic!("{error:?}: {reason}"),
                    _ => {}
                }
            }
            server.flush(now);
        }
        let expected: Vec<Vec<u8>> = (0..50u32).map(|number| number.to_le_bytes().to_vec()).collect();
        assert_eq!(arrived, expected, "{error:?}");
        assert!(faults.injected(error) > 10, "{error:?} never happened");
    }
}
