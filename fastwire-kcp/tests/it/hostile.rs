//! What a hostile peer can send, and what it cannot make grow.

use fastwire_kcp::core::{Command, Config, Header, Kcp, MAX_PENDING_ACKS, Origin, Pool};
use fastwire_kcp::crypt::{Crypt, CryptKind, insecure};
use fastwire_kcp::fec::{FecRatio, MAX_GROUPS_HELD};
use fastwire_kcp::session::{MAX_OOB_WAITING, Session, SessionConfig, TransmitBuf};
use proptest::prelude::*;

const CONV: u32 = 7;

fn null() -> Crypt {
    Crypt::new(CryptKind::Insecure(insecure::Kind::Null), &[]).unwrap()
}

fn header(cmd: Command, sn: u32) -> Header {
    Header { conv: CONV, cmd, frg: 0, wnd: 32, ts: 0, sn, una: 0, len: 0 }
}

/// Segments as an attacker who knows the protocol would make them: near the windows, or anywhere.
fn segment() -> impl Strategy<Value = Vec<u8>> {
    let near = prop_oneof![0..300u32, any::<u32>(), (u32::MAX - 300)..];
    let conv = prop_oneof![9 => Just(CONV), 1 => any::<u32>()];
    let lies = prop_oneof![9 => Just(0u32), 1 => any::<u32>()];
    let data = prop::collection::vec(any::<u8>(), 0..60);
    (conv, 80..86u8, any::<u8>(), any::<u16>(), any::<u32>(), near.clone(), near, lies, data).prop_map(
        |(conv, cmd, frg, wnd, ts, sn, una, lie, data)| {
            let header =
                Header { conv, frg, wnd, ts, una, len: data.len() as u32 + lie, ..header(Command::Push, sn) };
            let mut bytes = header.encode().to_vec();
            bytes[4] = cmd;
            bytes.extend(data);
            bytes
        },
    )
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let segments = || prop::collection::vec(segment(), 1..5).prop_map(|segments| segments.concat());
    let framed = (prop_oneof![0..200u32, any::<u32>()], 0xf0..0xf5u16, any::<u16>(), segments()).prop_map(
        |(seqid, kind, size, mut inner)| {
            let size = if size % 8 == 0 { size } else { inner.len() as u16 + 2 };
            let mut bytes = seqid.to_le_bytes().to_vec();
            bytes.extend(kind.to_le_bytes());
            bytes.extend(size.to_le_bytes());
            bytes.append(&mut inner);
            bytes
        },
    );
    prop_oneof![segments(), framed, prop::collection::vec(any::<u8>(), 0..100)]
}

proptest! {
    #[test]
    fn sessions_keep_within_their_limits(
        datagrams in prop::collection::vec((datagram(), 0..50u32, any::<bool>()), 1..150),
        fec: bool, classic: bool,
    ) {
        let mut config = SessionConfig { fec: fec.then_some(FecRatio::KCPTUN), ..SessionConfig::default() };
        if classic {
            config.kcp = Config::classic();
        }
        let mut session = Session::new(CONV, &config, null(), Pool::new()).unwrap();
        let mut out = TransmitBuf::new([1; 32]);
        let mut now = 0u32;
        for (mut datagram, wait, acts) in datagrams {
            session.input(now, &mut datagram);
            now = now.wrapping_add(wait);
            if acts {
                session.write(&[1; 3000]);
                session.update(now, &mut out);
                session.read(&mut [0; 100]);
                prop_assert!(out.iter().all(|datagram| datagram.len() <= config.kcp.mtu));
                out.clear();
            }
            session.check(now);
            let window = session.kcp().config().rcv_wnd as usize;
            let (queued, in_flight, ready, ahead, acks) = session.kcp().queues();
            prop_assert!(ready <= window && ahead <= window && acks <= MAX_PENDING_ACKS);
            prop_assert!(queued + in_flight <= session.send_limit() + 1);
            prop_assert!(session.fec_receiver().is_none_or(|fec| fec.groups_held() <= MAX_GROUPS_HELD));
        }
    }

    /// Whatever is done to a sealed datagram, it costs a counter and changes nothing.
    #[test]
    fn a_flipped_bit_costs_a_counter(at in any::<prop::sample::Index>(), bit in 0..8u8, cut: bool) {
        let crypt = Crypt::from_passphrase(CryptKind::ChaCha20Poly1305, "secret");
        let config = SessionConfig::default();
        let mut sender = Session::new(CONV, &config, crypt.clone(), Pool::new()).unwrap();
        let mut receiver = Session::new(CONV, &config, crypt, Pool::new()).unwrap();
        let mut out = TransmitBuf::new([1; 32]);
        sender.write(b"message");
        sender.update(0, &mut out);
        let mut datagram = out.iter().next().unwrap().to_vec();
        let at = at.index(datagram.len());
        if cut { datagram.truncate(at) } else { datagram[at] ^= 1 << bit }
        receiver.input(0, &mut datagram);
        let counters = receiver.counters();
        prop_assert_eq!(counters.in_csum_errors + counters.in_errs, 1);
        prop_assert_eq!(receiver.read(&mut [0; 16]), 0);
        prop_assert_eq!(receiver.check(0), None);
    }
}

#[test]
fn pending_acknowledgements_reach_their_limit_and_no_further() {
    let mut kcp = Kcp::new(CONV, Config::classic());
    let push = header(Command::Push, 0).encode();
    for _ in 0..MAX_PENDING_ACKS + 100 {
        kcp.input(0, &push, Origin::Direct).unwrap();
    }
    assert_eq!(kcp.queues().4, MAX_PENDING_ACKS);
}

#[test]
fn out_of_band_messages_reach_their_limit_and_no_further() {
    let config = SessionConfig { fec: Some(FecRatio::KCPTUN), ..SessionConfig::default() };
    let mut sender = Session::new(CONV, &config, null(), Pool::new()).unwrap();
    let mut receiver = Session::new(CONV, &config, null(), Pool::new()).unwrap();
    let mut out = TransmitBuf::new([1; 32]);
    for _ in 0..MAX_OOB_WAITING + 10 {
        sender.send_oob(b"x").unwrap();
    }
    sender.update(0, &mut out);
    out.iter().for_each(|datagram| receiver.input(0, &mut datagram.to_vec()));
    assert_eq!(receiver.counters().overflows, 10);
    assert_eq!(std::iter::from_fn(|| receiver.recv_oob()).count(), MAX_OOB_WAITING);
}

#[test]
fn the_receive_window_reaches_its_limit_and_no_further() {
    let mut kcp = Kcp::new(CONV, Config { rcv_wnd: 64, ..Config::default() });
    for sn in (1..200).chain(0..200) {
        kcp.input(0, &header(Command::Push, sn).encode(), Origin::Direct).unwrap();
    }
    let (_, _, ready, ahead, _) = kcp.queues();
    // Numbers 0 to 63 wait for the reader, 64 more ahead of them are kept for when it reads.
    assert_eq!((ready, ahead), (64, 64));
}
