//! What a hostile peer can send, and what it cannot make grow.

use fastwire_kcp::core::{Command, Config, Header, Kcp, MAX_PENDING_ACKS, MAX_WINDOW, Origin, Pool};
use fastwire_kcp::crypt::{Crypt, CryptKind, PacketCrypt, insecure};
use fastwire_kcp::fec::{FecPacket, FecRatio, FecReceiver, MAX_GROUPS_HELD, PacketKind};
use fastwire_kcp::session::{
    Compat, MAX_CONVS_PER_ADDRESS, MAX_DATAGRAM, MAX_OOB_QUEUED, MAX_OOB_WAITING, Peek, Route, Router,
    Session, SessionConfig, TransmitBuf,
};
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
            let held = session.fec_receiver().map_or((0, 0), |fec| (fec.groups_held(), fec.packets_held()));
            prop_assert!(held.0 <= MAX_GROUPS_HELD && held.1 <= MAX_GROUPS_HELD * 255);
        }
    }

    /// Whatever is done to a sealed datagram, it costs a counter and changes nothing. What no checksum covers (nothing
    /// at all without encryption, the nonce with the older ciphers) is left alone here.
    #[test]
    fn a_flipped_bit_costs_a_counter(
        kind in any_kind("null"), fec: bool, at in any::<prop::sample::Index>(), bit in 0..8u8, cut: bool,
    ) {
        let crypt = Crypt::new(kind, &key(kind, 1)).unwrap();
        let mut datagram = sealed(&crypt, fec);
        let first = if matches!(kind, CryptKind::Insecure(_)) { 16 } else { 0 };
        let at = first + at.index(datagram.len() - first);
        if cut { datagram.truncate(at) } else { datagram[at] ^= 1 << bit }
        assert_refused(crypt, fec, datagram)?;
    }

    #[test]
    fn a_wrong_key_costs_a_counter(kind in any_kind("none"), fec: bool) {
        let datagram = sealed(&Crypt::new(kind, &key(kind, 1)).unwrap(), fec);
        assert_refused(Crypt::new(kind, &key(kind, 2)).unwrap(), fec, datagram)?;
    }

    /// Each group lacks one packet, so all that may be kept is kept.
    #[test]
    fn error_correction_reaches_its_limit_and_no_further(data in 2..200usize, parity in 1..57usize, groups in 4..9u32) {
        let ratio = FecRatio::new(data, parity).unwrap();
        let mut receiver = FecReceiver::new(ratio, Pool::new()).unwrap();
        let total = (data + parity) as u32;
        for number in 0..groups {
            for place in 1..data as u32 {
                let seqid = number * total + place;
                receiver.receive(&FecPacket { seqid, kind: PacketKind::Data, covered: &[3, 0, 7] });
            }
        }
        prop_assert_eq!(receiver.groups_held(), MAX_GROUPS_HELD);
        prop_assert_eq!(receiver.packets_held(), MAX_GROUPS_HELD * (data - 1));
    }
}

/// All kinds but "null", which has nothing to check, and `without`.
fn any_kind(without: &'static str) -> impl Strategy<Value = CryptKind> {
    let kinds = CryptKind::all().filter(|kind| kind.name() != "null" && kind.name() != without);
    prop::sample::select(kinds.collect::<Vec<_>>())
}

fn key(kind: CryptKind, seed: u8) -> Vec<u8> {
    let len = (0..=32).rev().find(|len| kind.key_lengths().contains(*len)).unwrap();
    (0..len as u8).map(|i| i.wrapping_mul(37).wrapping_add(seed)).collect()
}

fn session_config(fec: bool) -> SessionConfig {
    SessionConfig { fec: fec.then_some(FecRatio::KCPTUN), ..SessionConfig::default() }
}

/// A datagram with data in it.
fn sealed(crypt: &Crypt, fec: bool) -> Vec<u8> {
    let mut sender = Session::new(CONV, &session_config(fec), crypt.clone(), Pool::new()).unwrap();
    let mut out = TransmitBuf::new([1; 32]);
    sender.write(b"message");
    sender.update(0, &mut out);
    out.iter().next().unwrap().to_vec()
}

fn assert_refused(crypt: Crypt, fec: bool, mut datagram: Vec<u8>) -> Result<(), TestCaseError> {
    let short = datagram.len() < crypt.header_len() + crypt.tag_len();
    let mut receiver = Session::new(CONV, &session_config(fec), crypt, Pool::new()).unwrap();
    receiver.input(0, &mut datagram);
    let counters = receiver.counters();
    let expected = if short { (1, 1, 0) } else { (1, 0, 1) };
    prop_assert_eq!((counters.in_pkts, counters.in_errs, counters.in_csum_errors), expected);
    prop_assert_eq!(receiver.read(&mut [0; 16]), 0);
    prop_assert_eq!(receiver.check(0), None);
    prop_assert_eq!(receiver.heard_at(), None);
    Ok(())
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
    for _ in 0..MAX_OOB_QUEUED + 5 {
        sender.send_oob(b"x").unwrap();
    }
    assert_eq!(sender.counters().overflows, 5);
    sender.update(0, &mut out);
    assert_eq!(out.len(), MAX_OOB_QUEUED);
    out.iter().for_each(|datagram| receiver.input(0, &mut datagram.to_vec()));
    assert_eq!(receiver.counters().overflows, (MAX_OOB_QUEUED - MAX_OOB_WAITING) as u64);
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

#[test]
fn no_window_is_beyond_its_limit() {
    let mut kcp = Kcp::new(CONV, Config { rcv_wnd: u32::MAX, snd_wnd: u32::MAX, ..Config::default() });
    assert_eq!((kcp.config().snd_wnd, kcp.config().rcv_wnd), (MAX_WINDOW, MAX_WINDOW));
    for (send, receive) in [(MAX_WINDOW + 1, 1), (1, MAX_WINDOW + 1), (0, 1), (1, 0)] {
        assert!(kcp.set_window(send, receive).is_err());
    }
    kcp.set_window(1, 2).unwrap();
    assert_eq!((kcp.config().snd_wnd, kcp.config().rcv_wnd), (1, 2));
}

#[test]
fn a_datagram_over_the_limit_costs_a_counter() {
    let mut session = Session::new(CONV, &SessionConfig::default(), null(), Pool::new()).unwrap();
    for (len, errors) in [(MAX_DATAGRAM, 0), (MAX_DATAGRAM + 1, 1)] {
        let push = Header { len: (len - 24) as u32, ..header(Command::Push, 0) };
        let mut datagram = push.encode().to_vec();
        datagram.resize(len, 1);
        session.input(0, &mut datagram);
        assert_eq!(session.counters().in_errs, errors);
    }
    assert_eq!(session.kcp().readable(), MAX_DATAGRAM - 24);
}

#[test]
fn conversations_of_an_address_reach_their_limit_and_no_further() {
    let mut router = Router::new(Compat::Safe);
    let from = std::net::SocketAddr::from(([192, 0, 2, 1], 9));
    for conv in 0..MAX_CONVS_PER_ADDRESS as u32 + 3 {
        if let Route::Open { conv, .. } = router.route(0, from, Peek::Shown { conv, sn: 0, opens: true }) {
            router.insert(from, conv, conv);
        }
    }
    assert_eq!(router.len(), MAX_CONVS_PER_ADDRESS);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_listener_reaches_its_limits_and_no_further() {
    use crate::listener::offer;
    use fastwire_kcp::net::KcpConfig;

    let opening = header(Command::Push, 0).encode();
    for (backlog, max_sessions) in [(3, 100), (100, 5), (0, 100)] {
        let mut config = KcpConfig::new(null());
        (config.backlog, config.max_sessions) = (backlog, max_sessions);
        assert_eq!(offer(config, 12, &opening).await, backlog.max(1).min(max_sessions) as u64);
    }
}
