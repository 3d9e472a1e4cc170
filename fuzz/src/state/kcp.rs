//! KCP: a pair over a line the script bends, and a stranger who writes segments.

use fastwire_kcp::core::{Config, Header, Kcp, NoDelay, Origin, Pool};
use fastwire_kcp::crypt::{Crypt, CryptKind};
use fastwire_kcp::fec::FecRatio;
use fastwire_kcp::session::{MAX_OOB_WAITING, Session, SessionConfig, TransmitBuf};

use crate::Script;

const MTU: usize = 200;

fn config(choice: u8) -> Config {
    let nodelay = [NoDelay::DEFAULT, NoDelay::NORMAL, NoDelay::FAST3][usize::from(choice % 3)];
    let base = if choice & 0x40 != 0 { Config::classic() } else { Config::default() };
    Config { nodelay, stream: choice & 0x80 != 0, mtu: MTU, snd_wnd: 64, rcv_wnd: 128, ..base }
}

/// Bytes whose place in the stream can be told.
fn content(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at ^ at >> 8) as u8).collect()
}

/// Two conversations joined by a line that loses, repeats and reorders as the script says, and that a stranger writes
/// into. Queues keep their bounds and datagrams their size; as long as the stranger said nothing, the reader gets the
/// writer's bytes and no others.
pub fn kcp_core(data: &[u8]) {
    let mut script = Script::new(data);
    let config = config(script.byte());
    let mut ends = [Kcp::new(7, config), Kcp::new(7, config)];
    if script.byte() & 1 == 1 {
        // Shortly before the numbers wrap.
        let first = u32::MAX - u32::from(script.byte());
        ends.iter_mut().for_each(|end| end.start_at(first, first));
    }
    let mut line: [Vec<Vec<u8>>; 2] = Default::default();
    let (mut now, mut clean, mut written, mut read) = (script.u32(), true, [0; 2], [0; 2]);
    while !script.is_over() {
        let action = script.byte();
        let at = usize::from(action >> 7);
        match action & 7 {
            0 | 1 => {
                let len = usize::from(script.byte()) * if action & 8 == 0 { 1 } else { 16 };
                if let Ok(taken) = ends[at].send(&content(written[at], len)) {
                    written[at] += taken;
                }
            }
            2 => {
                now = now.wrapping_add(script.byte().into());
                let mut out: Vec<Vec<u8>> = Vec::new();
                ends[at].update(now, &mut out);
                assert!(out.iter().all(|datagram| datagram.len() <= MTU), "a datagram over the mtu");
                line[at].extend(out);
            }
            3 | 4 => {
                let index = usize::from(script.byte());
                if !line[at].is_empty() {
                    let index = index % line[at].len();
                    let datagram =
                        if action & 8 == 0 { line[at].remove(index) } else { line[at][index].clone() };
                    if action & 0x10 == 0 {
                        ends[1 - at].input(now, &datagram, Origin::Direct).expect("ours");
                    }
                }
            }
            5 => {
                let mut buffer = [0; 1 << 13];
                let len = ends[at].read(&mut buffer);
                if clean {
                    assert_eq!(buffer[..len], content(read[at], len));
                    assert!(read[at] + len <= written[1 - at]);
                }
                read[at] += len;
            }
            6 => {
                clean = false;
                let mut segment = script.array::<24>();
                segment[..4].copy_from_slice(&7u32.to_le_bytes());
                segment[4] = 81 + segment[4] % 4;
                let (_, una, next) = ends[at].numbers();
                if action & 8 == 0 {
                    // Near what is expected, else anywhere.
                    let near = |byte: u8, base: u32| {
                        base.wrapping_add(u32::from(byte)).wrapping_sub(64).to_le_bytes()
                    };
                    let (sn, acknowledged) = (near(segment[12], next), near(segment[16], una));
                    segment[12..16].copy_from_slice(&sn);
                    segment[16..20].copy_from_slice(&acknowledged);
                }
                let mut bytes = segment.to_vec();
                if action & 0x10 == 0 {
                    let body = script.block();
                    bytes[20..24].copy_from_slice(&(body.len() as u32).to_le_bytes());
                    bytes.extend_from_slice(body);
                }
                // Errors are a stranger's business.
                let _ = ends[at].input(now, &bytes, Origin::Direct);
            }
            _ => {
                clean = false;
                let _ = ends[at].input(now, script.block(), Origin::Direct);
            }
        }
        for end in &ends {
            bounded(end);
        }
    }
    if clean {
        finish(ends, now, written, read);
    }
}

fn bounded(end: &Kcp) {
    let (_, in_flight, ready, ahead, acks) = end.queues();
    let config = end.config();
    assert!(in_flight <= config.snd_wnd as usize, "{in_flight} in flight");
    assert!(ready + ahead <= 2 * config.rcv_wnd as usize, "{ready} + {ahead} held");
    assert!(acks <= fastwire_kcp::core::MAX_PENDING_ACKS, "{acks} acknowledgements wait");
}

/// Over a perfect line everything that was written arrives.
fn finish(mut ends: [Kcp; 2], mut now: u32, written: [usize; 2], mut read: [usize; 2]) {
    if ends.iter().any(Kcp::is_dead) {
        return;
    }
    for _ in 0..6000 {
        now = now.wrapping_add(10);
        for at in 0..2 {
            let mut out: Vec<Vec<u8>> = Vec::new();
            ends[at].update(now, &mut out);
            for datagram in out {
                ends[1 - at].input(now, &datagram, Origin::Direct).expect("ours");
            }
        }
        for at in 0..2 {
            let mut buffer = [0; 1 << 12];
            let len = ends[at].read(&mut buffer);
            assert_eq!(buffer[..len], content(read[at], len));
            read[at] += len;
        }
        if read[0] == written[1] && read[1] == written[0] {
            return;
        }
        if ends.iter().any(Kcp::is_dead) {
            return;
        }
    }
    panic!(
        "{read:?} of {written:?} read: {:?}",
        ends.each_ref().map(|end| (
            end.queues(),
            end.numbers(),
            end.windows(),
            end.readable(),
            end.peek_size()
        ))
    );
}

/// A pair of sessions with error correction, and a stranger who writes into the line: bare, and sealed with the key.
/// Datagrams keep their size, out-of-band messages their bound, and without the stranger the bytes are the writer's.
pub fn kcp_session(data: &[u8]) {
    let mut script = Script::new(data);
    let choice = script.byte();
    let fec = [None, Some((1, 1)), Some((3, 1)), Some((10, 3))][usize::from(choice >> 2 & 3)];
    let fec = fec.map(|(data, parity)| FecRatio::new(data, parity).expect("small"));
    let kcp = Config { mtu: 300, ..config(choice) };
    let config = SessionConfig { kcp, fec, copies: choice >> 5 & 1 };
    let crypt = CRYPT.with(Clone::clone);
    let pool = Pool::new();
    let session = || Session::new(7, &config, crypt.clone(), pool.clone()).expect("valid");
    let mut ends = [session(), session()];
    let mut out = TransmitBuf::new([7; 32]);
    let mut line: [Vec<Vec<u8>>; 2] = Default::default();
    let (mut now, mut clean, mut written, mut read) = (script.u32(), true, [0; 2], [0; 2]);
    while !script.is_over() {
        let action = script.byte();
        let at = usize::from(action >> 7);
        match action & 7 {
            0 => written[at] += ends[at].write(&content(written[at], script.byte().into())),
            1 | 2 => {
                now = now.wrapping_add(script.byte().into());
                out.clear();
                ends[at].update(now, &mut out);
                assert!(out.iter().all(|datagram| datagram.len() <= 300), "a datagram over the mtu");
                line[at].extend(out.iter().map(<[u8]>::to_vec));
            }
            3 => {
                let index = usize::from(script.byte());
                if !line[at].is_empty() {
                    let index = index % line[at].len();
                    let mut datagram =
                        if action & 8 == 0 { line[at].remove(index) } else { line[at][index].clone() };
                    if action & 0x10 == 0 {
                        ends[1 - at].input(now, &mut datagram);
                    }
                }
            }
            4 => {
                let mut buffer = [0; 1 << 12];
                let len = ends[at].read(&mut buffer);
                if clean {
                    assert_eq!(buffer[..len], content(read[at], len));
                }
                read[at] += len;
            }
            5 => drop(ends[at].send_oob(script.block())),
            6 => {
                clean = false;
                let mut inner = script.block().to_vec();
                if action & 8 != 0 {
                    let head =
                        Header::decode(&script.array()).map(|header| Header { conv: 7, ..header }.encode());
                    inner.splice(..0, head.into_iter().flatten());
                }
                ends[at].input_opened(now, &inner);
            }
            _ => {
                let mut datagram = script.block().to_vec();
                ends[at].input(now, &mut datagram);
            }
        }
        let mut waiting = 0;
        while action & 0x20 != 0 && ends[at].recv_oob().is_some() {
            waiting += 1;
        }
        assert!(waiting <= MAX_OOB_WAITING);
        bounded(ends[at].kcp());
    }
}

thread_local! {
    static CRYPT: Crypt = Crypt::from_passphrase(CryptKind::Aes128Gcm, "a passphrase");
}
