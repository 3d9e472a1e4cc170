//! Parsers of the KCP crates.

use fastwire_fec::{Encoder, Recovered, ReedSolomon};
use fastwire_kcp::core::{HEADER_LEN, Header, Pool, peek_conv};
use fastwire_kcp::crypt::{Crypt, CryptKind, PacketCrypt};
use fastwire_kcp::fec::{FecPacket, FecRatio, FecReceiver, MAX_GROUPS_HELD};
use fastwire_kcp::session::Peek;

use crate::Script;

/// A datagram of segments: headers read the same after they were written.
pub fn kcp_segments(data: &[u8]) {
    let peeked = Peek::of(data);
    if let Peek::Shown { conv, .. } = peeked
        && FecPacket::parse(data).is_none()
    {
        assert_eq!(peek_conv(data), Some(conv));
    }
    let mut rest = data;
    while let Some((head, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
        let Some(header) = Header::decode(head) else { break };
        assert_eq!(header.encode(), *head);
        let Some(behind) = behind.get(header.len as usize..) else { break };
        rest = behind;
    }
}

/// Packets of error correction, into a receiver that must hold no more than it says, and sealed ones into every
/// protection.
pub fn kcp_fec(data: &[u8]) {
    let mut script = Script::new(data);
    let (k, m) = (1 + usize::from(script.byte() % 12), 1 + usize::from(script.byte() % 6));
    let ratio = FecRatio::new(k, m).expect("small enough");
    let mut receiver = FecReceiver::new(ratio, Pool::new()).expect("small enough");
    let kinds: Vec<CryptKind> = CryptKind::all().collect();
    let kind = kinds[usize::from(script.byte()) % kinds.len()];
    CRYPTS.with(|crypts| {
        let crypt = crypts.iter().find(|crypt| crypt.kind() == Some(kind)).expect("every kind");
        let mut packet = script.block().to_vec();
        if let Ok(range) = crypt.open(&mut packet) {
            assert!(range.start <= range.end && range.end <= packet.len());
        }
    });
    while !script.is_over() {
        let inner = script.block();
        if let Some(packet) = FecPacket::parse(inner) {
            if let Some(payload) = packet.payload() {
                assert!(payload.len() <= inner.len());
            }
            for (index, shard) in receiver.receive(&packet).iter() {
                assert!(index < 256 && shard.len() <= 1 << 16);
            }
            assert!(receiver.groups_held() <= MAX_GROUPS_HELD);
        }
    }
}

thread_local! {
    static CRYPTS: Vec<Crypt> =
        CryptKind::all().map(|kind| Crypt::from_passphrase(kind, "a passphrase")).collect();
}

/// A group of shards of which some are lost: what comes back is what was lost, and too few give an error.
pub fn reed_solomon(data: &[u8]) {
    let mut script = Script::new(data);
    let (k, m) = (1 + usize::from(script.byte() % 20), 1 + usize::from(script.byte() % 10));
    let lost = script.u32();
    let code = ReedSolomon::new(k, m).expect("small enough");
    let mut encoder = Encoder::new(code.clone());
    let mut shard = || {
        let len = script.byte() % 64;
        script.take(len.into())
    };
    let shards: Vec<&[u8]> = (0..k).map(|_| shard()).collect();
    for (index, shard) in shards.iter().enumerate() {
        assert_eq!(encoder.add(shard), index + 1 == k, "complete with the last shard");
    }
    let parity: Vec<&[u8]> = encoder.parity().collect();
    let arrived: Vec<Option<&[u8]>> = shards
        .iter()
        .chain(&parity)
        .copied()
        .enumerate()
        .map(|(index, shard)| (lost >> index & 1 == 0).then_some(shard))
        .collect();
    let mut recovered = Recovered::new();
    let outcome = code.recover(&arrived, &mut recovered);
    if arrived.iter().flatten().count() < k {
        assert!(outcome.is_err() && recovered.is_empty());
        return;
    }
    outcome.expect("enough arrived");
    let missing: Vec<usize> = (0..k).filter(|index| arrived[*index].is_none()).collect();
    assert_eq!(recovered.iter().map(|(index, _)| index).collect::<Vec<_>>(), missing);
    for (index, bytes) in recovered.iter() {
        let original = shards[index];
        assert_eq!(bytes[..original.len()], *original);
        assert!(bytes[original.len()..].iter().all(|byte| *byte == 0), "padding is zeros");
    }
    // Whatever a stranger sends in their place is computed with, and ends.
    let foreign: Vec<Option<&[u8]>> =
        (0..code.total_shards()).map(|index| (lost >> index & 1 == 1).then(|| script.block())).collect();
    if code.recover(&foreign, &mut recovered).is_err() {
        assert!(recovered.is_empty());
    }
}
