//! Laws of the code, seen from outside.

mod vectors;

use fastwire_fec::{Encoder, RecoverError, Recovered, ReedSolomon};
use proptest::prelude::*;

/// A code, its data shards and which of the shards arrive.
fn group() -> impl Strategy<Value = (usize, usize, Vec<Vec<u8>>, Vec<bool>)> {
    (1..12usize, 1..8usize).prop_flat_map(|(data, parity)| {
        let shards = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), data);
        let arrives = prop::collection::vec(any::<bool>(), data + parity);
        (Just(data), Just(parity), shards, arrives)
    })
}

proptest! {
    #[test]
    fn any_d_shards_give_back_the_data((data, parity, shards, arrives) in group()) {
        let code = ReedSolomon::new(data, parity).unwrap();
        let mut encoder = Encoder::new(code.clone());
        for (i, shard) in shards.iter().enumerate() {
            prop_assert_eq!(encoder.add(shard), i + 1 == data);
        }
        let all = shards.iter().map(Vec::as_slice).chain(encoder.parity());
        let arrived: Vec<_> = all.zip(&arrives).map(|(shard, &here)| here.then_some(shard)).collect();
        let present = arrives.iter().filter(|&&here| here).count();

        let mut recovered = Recovered::new();
        let result = code.recover(&arrived, &mut recovered);
        if present < data {
            prop_assert_eq!(result, Err(RecoverError::TooFew { present, needed: data }));
            prop_assert!(recovered.is_empty());
            return Ok(());
        }
        result.unwrap();
        let lost: Vec<usize> = (0..data).filter(|&i| !arrives[i]).collect();
        prop_assert_eq!(recovered.iter().map(|(index, _)| index).collect::<Vec<_>>(), lost);
        for (index, shard) in recovered.iter() {
            prop_assert!(shard.starts_with(&shards[index]));
            prop_assert!(shard[shards[index].len()..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_reused_encoder_equals_a_fresh_one(first in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..9),
                                           second in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 4)) {
        let code = ReedSolomon::new(4, 3).unwrap();
        let (mut reused, mut fresh) = (Encoder::new(code.clone()), Encoder::new(code));
        for shard in &first {
            reused.add(shard);
        }
        reused.restart();
        for shard in &second {
            prop_assert_eq!(reused.add(shard), fresh.add(shard));
        }
        prop_assert!(reused.parity().eq(fresh.parity()));
    }
}

#[test]
fn the_largest_group_survives_the_loss_of_its_parity_count() {
    let code = ReedSolomon::new(128, 128).unwrap();
    let data: Vec<Vec<u8>> = (0..128).map(|i| vec![i as u8; 40]).collect();
    let mut encoder = Encoder::new(code.clone());
    for shard in &data {
        encoder.add(shard);
    }
    let arrived: Vec<Option<&[u8]>> = vec![None; 128].into_iter().chain(encoder.parity().map(Some)).collect();
    let mut recovered = Recovered::new();
    code.recover(&arrived, &mut recovered).unwrap();
    assert_eq!(recovered.len(), 128);
    assert!(recovered.iter().all(|(index, shard)| shard == data[index]));
}

#[test]
fn a_slice_of_another_length_is_refused() {
    let code = ReedSolomon::new(2, 1).unwrap();
    let arrived = [Some([1u8]), Some([2])];
    let result = code.recover(&arrived, &mut Recovered::new());
    assert_eq!(result, Err(RecoverError::WrongCount { given: 2, expected: 3 }));
}
