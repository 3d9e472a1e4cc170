//! The matrix is kcp-go's: its recorded groups, encoded and recovered.

use fastwire_fec::{Encoder, Recovered, ReedSolomon};
use fastwire_testkit::vectors::{cases, hex, kcp_load, number};
use serde_json::Value;

/// Bytes of kcp-go's header before the part that the code covers: number and type.
const HEADER: usize = 6;

#[test]
fn parity_and_recovery_equal_the_recorded_vectors() {
    let file = kcp_load("fec");
    let mut groups = 0;
    for run in cases(&file["groups"]) {
        let figure = |name: &str| number(&run[name]) as usize;
        let (data, parity) = (figure("data_shards"), figure("parity_shards"));
        let code = ReedSolomon::new(data, parity).unwrap();
        let shards: Vec<Vec<u8>> =
            cases(&run["packets"]).iter().map(|packet| hex(&packet["packet"])[HEADER..].to_vec()).collect();
        let kinds: Vec<&Value> = cases(&run["packets"]).iter().map(|packet| &packet["type"]).collect();
        let mut encoder = Encoder::new(code.clone());
        let mut rest = &shards[..];
        let mut kinds = &kinds[..];
        while rest.len() >= data {
            for shard in &rest[..data] {
                encoder.add(shard);
            }
            // Parity of a group may have been left out on the wire.
            let sent = kinds[data..].iter().take_while(|kind| **kind != "data").count();
            assert!(sent == 0 || sent == parity, "{data}+{parity}");
            if sent == parity {
                assert!(encoder.parity().eq(&rest[data..data + parity]), "{data}+{parity}, group {groups}");
                let lost = parity.min(data);
                let arrived = (0..data + parity).map(|i| (i >= lost).then_some(&rest[i])).collect::<Vec<_>>();
                let mut recovered = Recovered::new();
                code.recover(&arrived, &mut recovered).unwrap();
                assert_eq!(recovered.len(), lost);
                assert!(recovered.iter().all(|(index, shard)| shard.starts_with(&rest[index])));
                groups += 1;
            }
            (rest, kinds) = (&rest[data + sent..], &kinds[data + sent..]);
        }
    }
    println!("{groups} groups encoded and recovered");
    // Another directory may hold fewer.
    let own = std::env::var_os("FASTWIRE_KCP_VECTORS").is_none_or(|directory| directory.is_empty());
    assert!(groups >= if own { 10 } else { 1 });
}
