//! Several endpoints behind one port: a connection stays with its own, wherever its datagrams arrive.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastwire::proto::Shard;
use fastwire::transport::{RecvMeta, SocketId};
use fastwire::{Event, Profile};

use crate::duo::{Core, PROFILES, client, configs, drain, events, feed, server, server_address};

const HOME: usize = 1;
const WRONG: usize = 2;

/// A client and two shards of its server.
struct Trio {
    now: Instant,
    home: Core,
    wrong: Core,
    client: Core,
    /// Where the client's datagrams come from.
    from: SocketAddr,
}

impl Trio {
    fn connected(profile: Profile) -> Self {
        let (mut of_server, mut of_client) = configs(profile);
        (of_server.connection_migration, of_client.connection_migration) = (true, true);
        let now = Instant::now();
        let shard = |index| {
            let mut core = server(&of_server, now);
            core.set_shard(Shard::new(index, 3).expect("one of three"));
            core
        };
        let mut trio = Self {
            now,
            home: shard(HOME),
            wrong: shard(WRONG),
            client: client(&of_client, now),
            from: "10.0.0.2:50000".parse().expect("address"),
        };
        trio.client.connect(now, &[server_address()]).expect("connects");
        for _ in 0..30 {
            trio.exchange(true);
        }
        assert!(matches!(events(&mut trio.home)[..], [Event::Connected { .. }]), "{profile:?}");
        assert!(matches!(events(&mut trio.client)[..], [Event::Connected { .. }]), "{profile:?}");
        trio
    }

    /// 10 ms: what the client sends reaches its own shard, or the other; what is not that one's is handed on.
    fn exchange(&mut self, hashed_home: bool) {
        self.now += Duration::from_millis(10);
        for core in [&mut self.client, &mut self.home, &mut self.wrong] {
            core.handle_timeout(self.now);
        }
        for sent in drain(&mut self.client, self.now) {
            let shard = if hashed_home { &mut self.home } else { &mut self.wrong };
            feed(shard, self.now, self.from, &sent.bytes);
        }
        while let Some((to, meta, datagram)) = self.wrong.poll_stray() {
            assert_eq!((to, meta.remote), (HOME, self.from));
            self.home.handle_stray(self.now, &meta, datagram);
        }
        assert!(self.home.poll_stray().is_none(), "what came home goes no further");
        for core in [&mut self.home, &mut self.wrong] {
            // nobody is at its former addresses
            for sent in drain(core, self.now).into_iter().filter(|sent| sent.to == self.from) {
                feed(&mut self.client, self.now, server_address(), &sent.bytes);
            }
        }
    }
}

#[test]
fn a_client_that_moved_and_is_hashed_to_the_wrong_shard_reaches_its_own() {
    for profile in PROFILES {
        let mut trio = Trio::connected(profile);
        let (at_home, at_client) =
            (trio.home.connections().next().unwrap(), trio.client.connections().next().unwrap());
        for round in 0..20u8 {
            trio.from.set_port(50_001 + u16::from(round));
            let now = trio.now;
            trio.client.send(now, at_client, [round; 100], 0).unwrap();
            trio.home.send(now, at_home, [round; 200], 0).unwrap();
            // long enough for the server to believe in the new address
            for _ in 0..100 {
                trio.exchange(false);
            }
            let message = |core: &mut Core| match &events(core)[..] {
                [Event::Message { data, .. }] => data.clone(),
                other => panic!("{profile:?} {round}: {other:?}"),
            };
            assert_eq!(message(&mut trio.home), vec![round; 100]);
            assert_eq!(message(&mut trio.client), vec![round; 200]);
            assert_eq!(trio.home.remote_addr(at_home), Some(trio.from), "{profile:?} {round}");
        }
        assert!(trio.wrong.stats().strays >= 20);
        assert_eq!((trio.wrong.connection_count(), trio.wrong.stats().connects_received), (0, 0));
    }
}

#[test]
fn what_is_nobodys_is_handed_on_once_at_most_and_within_a_bound() {
    let mut trio = Trio::connected(Profile::Extended);
    let (mut handed_on, mut dropped) = (0, 0);
    for number in 0..10_000u32 {
        let mut noise = [0xa5; 60];
        noise[4..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        feed(&mut trio.wrong, trio.now, trio.from, &noise);
        let (strays, unroutable) = (trio.wrong.stats().strays, trio.wrong.stats().unroutable);
        assert_eq!(strays + unroutable, u64::from(number) + 1, "each is counted once");
        (handed_on, dropped) = (strays, unroutable);
    }
    assert!(handed_on > 0 && dropped > handed_on, "nobody took them: {handed_on} wait, {dropped} are gone");
    let (mut waited, before) = (0, trio.home.stats().unroutable);
    while let Some((_, meta, datagram)) = trio.wrong.poll_stray() {
        waited += 1;
        trio.home.handle_stray(trio.now, &meta, datagram);
        assert!(trio.home.poll_stray().is_none());
    }
    assert_eq!((waited, trio.home.stats().unroutable - before), (handed_on, handed_on));
}

#[test]
fn alone_a_server_hands_nothing_on() {
    let (config, _) = configs(Profile::Extended);
    let now = Instant::now();
    let mut alone = server(&config, now);
    let meta = RecvMeta { socket: SocketId::PRIMARY, remote: server_address(), local: None, ecn: None };
    for byte in 0..=255u8 {
        alone.handle_datagram(now, &meta, BytesMut::from(&[byte.max(10); 60][..]));
    }
    assert_eq!((alone.stats().unroutable, alone.stats().strays), (256, 0));
    assert!(alone.poll_stray().is_none());
}
