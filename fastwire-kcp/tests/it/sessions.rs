//! Recorded kcp-go sessions: each side's datagrams, fed to a session here, deliver what was written there.

use crate::recorded::{is_own_copy, session_crypt};
use fastwire_kcp::core::{Config, NoDelay, Pool};
use fastwire_kcp::fec::{FecPacket, FecRatio, FecSender, PacketKind};
use fastwire_kcp::session::{Session, SessionConfig, TransmitBuf};
use fastwire_testkit::vectors::{Value, cases, hex, kcp_sessions, number};

struct Recorded<'a> {
    name: &'a str,
    file: &'a Value,
}

impl Recorded<'_> {
    fn figure(&self, name: &str) -> usize {
        number(&self.file[name]) as usize
    }

    fn config(&self) -> SessionConfig {
        let nodelay: Vec<u32> = cases(&self.file["nodelay"]).iter().map(|f| number(f) as u32).collect();
        let window: Vec<u32> = cases(&self.file["window"]).iter().map(|f| number(f) as u32).collect();
        let kcp = Config {
            mtu: self.figure("mtu"),
            stream: self.file["stream"] == true,
            nodelay: NoDelay {
                level: nodelay[0],
                interval: nodelay[1],
                resend: nodelay[2],
                congestion: nodelay[3] == 0,
            },
            snd_wnd: window[0],
            rcv_wnd: window[1],
            ..Config::default()
        };
        let fec = FecRatio::new(self.figure("data_shards"), self.figure("parity_shards")).ok();
        SessionConfig { kcp, fec, copies: 0 }
    }

    fn session(&self) -> Session {
        Session::new(self.figure("conv") as u32, &self.config(), session_crypt(self.file), Pool::new())
            .expect("a recorded mtu")
    }

    /// Everything one side wrote, in order.
    fn written_by(&self, side: &str) -> Vec<u8> {
        cases(&self.file["written"])
            .iter()
            .filter(|w| w["from"] == side)
            .flat_map(|w| hex(&w["data"]))
            .collect()
    }

    /// The datagrams of one direction that the network did not drop, with their times.
    fn arrived(&self, dir: &str) -> Vec<(u32, Vec<u8>)> {
        cases(&self.file["datagrams"])
            .iter()
            .filter(|d| d["dir"] == dir && d["lost"] != true)
            .map(|d| (number(&d["ms"]) as u32, hex(&d["hex"])))
            .collect()
    }
}

#[test]
fn vectors_of_sessions_deliver_the_same_in_both_roles() {
    for (name, file) in kcp_sessions() {
        let recorded = Recorded { name: &name, file: &file };
        for (role, dir, peer) in [("server", "c2s", "client"), ("client", "s2c", "server")] {
            play(&recorded, role, dir, peer);
        }
    }
}

/// Plays `role` against the recorded `peer`.
fn play(recorded: &Recorded<'_>, role: &str, dir: &str, peer: &str) {
    let at = format!("{} as {role}", recorded.name);
    let mut session = recorded.session();
    let kcp = *session.kcp().config();
    assert_eq!(kcp.mtu, recorded.figure("kcp_mtu"), "{at}");
    assert_eq!(session.kcp().mss(), recorded.figure("kcp_mss"), "{at}");
    let mut out = TransmitBuf::new([1; 32]);
    let (mut received, mut sizes, mut oob) = (Vec::new(), Vec::new(), Vec::new());
    for (now, mut datagram) in recorded.arrived(dir) {
        session.input(now, &mut datagram);
        session.update(now, &mut out);
        let mut buffer = [0; 4096];
        while let Ok(len) = session.recv_message(&mut buffer) {
            received.extend_from_slice(&buffer[..len]);
            sizes.push(len as u64);
        }
        while let Some(message) = session.recv_oob() {
            oob.push(message);
        }
    }
    assert!(received == recorded.written_by(peer), "{at}: other bytes than {peer} wrote");
    assert_eq!(received.len(), recorded.figure(&format!("{role}_received_len")), "{at}");
    let recorded_sizes = recorded.file[format!("{role}_read_sizes")].as_array();
    let recorded_sizes: Vec<u64> = recorded_sizes.expect("a list").iter().map(number).collect();
    assert_eq!(sizes, recorded_sizes, "{at}: boundaries");
    let recorded_oob: Vec<Vec<u8>> = recorded.file[format!("{role}_oob")]
        .as_array()
        .map_or_else(Vec::new, |list| list.iter().map(hex).collect());
    assert_eq!(oob, recorded_oob, "{at}: out-of-band messages");
    let counters = session.counters();
    assert_eq!((counters.in_csum_errors, counters.in_errs, counters.kcp_in_errors), (0, 0, 0), "{at}");
    let arrived = !recorded.arrived(dir).is_empty();
    assert_eq!(!out.is_empty(), arrived, "{at}: what arrived is acknowledged");
}

/// The sender here makes the parity that was recorded, times and skipped groups included.
#[test]
fn vectors_of_sessions_have_the_same_parity() {
    let mut parities = 0;
    for (name, file) in kcp_sessions() {
        let recorded = Recorded { name: &name, file: &file };
        let Some(ratio) = recorded.config().fec else { continue };
        for dir in ["c2s", "s2c"] {
            let mut sender = FecSender::new(ratio).unwrap();
            let mut expected: Vec<(u32, Vec<u8>)> = Vec::new();
            for datagram in cases(&file["datagrams"]).iter().filter(|d| d["dir"] == dir) {
                let bytes =
                    hex(if datagram["plain"].is_null() { &datagram["hex"] } else { &datagram["plain"] });
                // "none" carries a nonce and a checksum in clear.
                let inner = if recorded.file["crypt"] == "none" { &bytes[20..] } else { &bytes };
                let packet = FecPacket::parse(inner).expect("a packet of error correction");
                match packet.kind {
                    PacketKind::Data => {
                        assert_eq!(packet.seqid, sender.next_seqid(), "{name} {dir}");
                        let mut packet = inner.to_vec();
                        if sender.seal_data(number(&datagram["ms"]) as u32, &mut packet) {
                            expected.extend(sender.parity().map(|(seqid, parity)| (seqid, parity.to_vec())));
                        }
                        assert_eq!(packet, inner, "{name} {dir}");
                    }
                    PacketKind::Parity => {
                        let parity = expected.remove(0);
                        assert_eq!(parity, (packet.seqid, packet.covered.to_vec()), "{name} {dir}");
                        parities += 1;
                    }
                    PacketKind::OutOfBand => {}
                }
            }
            assert!(expected.is_empty(), "{name} {dir}: parity that was not sent");
        }
    }
    println!("{parities} parity packets");
    assert!(parities > 10 || !is_own_copy());
}
