//! A kcp-go listener, step by step as recorded, under its own rules.

use fastwire_kcp::core::Pool;
use fastwire_kcp::crypt::{Crypt, CryptKind, insecure};
use fastwire_kcp::session::{Compat, Peek, Route, Router, Session, SessionConfig};
use fastwire_testkit::vectors::{cases, hex, kcp_load, number};
use std::net::SocketAddr;

#[test]
fn vectors_of_the_listener_are_followed_step_by_step() {
    let file = kcp_load("listener");
    let crypt = Crypt::new(CryptKind::Insecure(insecure::Kind::Null), &[]).unwrap();
    let mut router: Router<usize> = Router::new(Compat::KcpGo);
    let mut sessions: Vec<Session> = Vec::new();
    for step in cases(&file["steps"]) {
        let from = SocketAddr::from(([192, 0, 2, 1], number(&step["from_port"]) as u16));
        let what = step["what"].as_str().expect("a description");
        if what.contains("after a local close") {
            let Route::Session(id) = router.route(0, from, Peek::Hidden) else {
                panic!("{what}: no session")
            };
            router.remove(0, from, sessions[id].kcp().conv(), id);
        }
        let datagram = hex(&step["datagram"]);
        let route = router.route(0, from, Peek::of(&datagram));
        assert_eq!(matches!(route, Route::Open { .. }), step["accepted"] == true, "{what}");
        let current = match route {
            Route::Open { conv, replaces } => {
                assert_eq!(u64::from(conv), number(&step["accepted_conv"]), "{what}");
                let old_ends = step["old_session_read"].as_str().is_some_and(|read| read.contains("closed"));
                let closed_here = what.contains("after a local close");
                assert_eq!(replaces.is_some(), old_ends && !closed_here, "{what}");
                if let Some(old) = replaces {
                    router.remove(0, from, sessions[old].kcp().conv(), old);
                }
                let session = Session::new(conv, &SessionConfig::default(), crypt.clone(), Pool::new());
                sessions.push(session.unwrap());
                router.insert(from, conv, sessions.len() - 1);
                Some(sessions.len() - 1)
            }
            Route::Session(id) => Some(id),
            Route::Drop => None,
        };
        let mut read = String::new();
        if let Some(id) = current {
            sessions[id].input_opened(0, &datagram);
            let mut buffer = [0; 64];
            loop {
                let count = sessions[id].read(&mut buffer);
                if count == 0 {
                    break;
                }
                read.extend(buffer[..count].iter().map(|&byte| char::from(byte)));
                read.push(';');
            }
        }
        if what.contains("zero-length message") {
            // There the reader is stuck for good. Here it gets what follows.
            assert_eq!(read, "k;", "{what}");
        } else {
            assert_eq!(read, step["session_read"].as_str().unwrap_or_default(), "{what}");
        }
    }
}

/// Sends one opening datagram from each of `offered` addresses and counts the sessions that a listener with `backlog`
/// then has for accept; the others cost a counter each.
#[cfg(feature = "tokio")]
pub(crate) async fn offer(config: fastwire_kcp::net::KcpConfig, offered: u64, opening: &[u8]) -> u64 {
    use fastwire_kcp::net::{KcpListener, snmp};
    use std::time::Duration;

    let limit = (config.backlog.max(1) as u64).min(config.max_sessions as u64);
    let listener = KcpListener::bind("127.0.0.1:0", config).await.unwrap();
    let address = listener.local_addr().unwrap();
    let before = snmp();
    let mut peers = Vec::new();
    for _ in 0..offered {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(opening, address).unwrap();
        peers.push(peer);
    }
    // Refused ones are counted: when they are, all have been seen.
    let all_seen = async {
        while snmp().overflows - before.overflows < offered - limit {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_seen).await.expect("a counter for each refused one");
    let mut accepted = 0;
    let mut streams = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        streams.push(stream.unwrap());
        accepted += 1;
    }
    accepted
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn vectors_of_the_backlog_are_met() {
    use fastwire_kcp::net::KcpConfig;

    let file = kcp_load("listener");
    let crypt = Crypt::new(CryptKind::Insecure(insecure::Kind::Null), &[]).unwrap();
    let opening = hex(&file["steps"][0]["datagram"]);
    let (offered, accepted) = (number(&file["backlog"]["offered"]), number(&file["backlog"]["accepted"]));
    assert_eq!(offer(KcpConfig::new(crypt), offered, &opening).await, accepted);
}
