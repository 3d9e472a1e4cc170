//! The shells over real sockets, where only a few things can differ.

use std::time::{Duration, Instant};

use fastwire::transport::UdpConfig;
use fastwire::{Client, ConnectError, ConnectionState, Event, Server, StartError};

fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

/// Drives both until the client has its echo.
fn echo(mut server: Server, mut client: Client) {
    let give_up = Instant::now() + Duration::from_secs(20);
    client.send("over real sockets", 0).unwrap();
    loop {
        let now = Instant::now();
        assert!(now < give_up, "no echo: {:?}", client.state());
        server.receive(now);
        while let Some(event) = server.poll_event() {
            if let Event::Message { connection, channel, data } = event {
                server.send(connection, data, channel).unwrap();
            }
        }
        server.flush(now);
        client.receive(now);
        while let Some(event) = client.poll_event() {
            if let Event::Message { data, .. } = event {
                assert_eq!(data, "over real sockets");
                return;
            }
        }
        client.flush(now);
        std::thread::yield_now();
    }
}

#[test]
fn every_family_and_names() {
    let mut pairs =
        vec![("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("0.0.0.0:0", "localhost")];
    if has_ipv6() {
        pairs.extend([
            ("[::1]:0", "::1"),
            ("[::]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
            ("[::]:0", "localhost"),
        ]);
    }
    for (bind, reach) in pairs {
        let server = Server::bind(bind).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = Client::connect((reach, port)).unwrap();
        echo(server, client);
    }
}

#[test]
fn socket_options_are_taken_and_wrong_ones_refused() {
    let server = Server::builder().udp(UdpConfig::new().dscp(46)).bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let client = Client::builder().udp(UdpConfig::new().offload(false)).connect(address).unwrap();
    echo(server, client);
    let error = Server::builder().udp(UdpConfig::new().dscp(64)).bind("127.0.0.1:0").unwrap_err();
    assert!(matches!(error, StartError::Socket { .. }) && error.to_string().contains("64"), "{error}");
}

#[test]
fn a_taken_port_and_an_unknown_name_are_named() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let taken = server.local_addr().unwrap();
    let error = Server::bind(taken).unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    let error = Client::connect("nobody.invalid:1").unwrap_err();
    assert!(error.to_string().contains("nobody.invalid"), "{error}");
}

#[test]
fn waiting_to_be_connected_ends_either_way() {
    let server = Server::bind("127.0.0.1:0").unwrap().spawn(()).unwrap();
    let mut client = Client::connect(server.local_addr().unwrap()).unwrap();
    let id = client.wait_connected().unwrap();
    assert_eq!(client.state(), ConnectionState::Connected);
    assert_eq!(client.poll_event(), Some(Event::Connected { connection: id }));

    let mut config = fastwire::ClientConfig::default();
    config.connect_timeout = Duration::from_millis(200);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut client = Client::builder().config(config).connect(silent.local_addr().unwrap()).unwrap();
    assert!(matches!(client.wait_connected(), Err(ConnectError::Timeout { .. })));
}
