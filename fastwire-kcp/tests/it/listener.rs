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
