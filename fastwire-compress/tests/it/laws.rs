//! Compress, then expand, is the identity; the hurdle, the limit and the output's earlier content are kept.

use std::cell::RefCell;

use fastwire_compress::{
    Algorithm, BuiltinCompressor, CompressError, Compressed, CompressionConfig, Compressor, ConfigError,
    DecompressError, Dictionary, Encoding, MAX_DECOMPRESSED_SIZE, Method,
};
use proptest::prelude::*;

thread_local! {
    /// Reused across cases, as an endpoint reuses it across messages: a leak between calls would show.
    static COMPRESSOR: RefCell<BuiltinCompressor> = RefCell::new(crate::compressor(true));
}

fn methods() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::LZ4, Method::ZSTD, Method::ZSTD_DICTIONARY])
}

/// From noise to one repeated word: bytes drawn from an alphabet of 1 to 256, then repeated.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    (1..=256_usize, 1..200_usize, any::<u64>()).prop_flat_map(|(alphabet, repeats, _)| {
        prop::collection::vec(0..alphabet, 0..600).prop_map(move |word| {
            word.iter().map(|&symbol| symbol as u8).collect::<Vec<u8>>().repeat(repeats)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_compressed_expands_to_itself(method in methods(), payload in payloads(), before in prop::collection::vec(any::<u8>(), 0..40)) {
        COMPRESSOR.with_borrow_mut(|compressor| {
            let mut wire = before.clone();
            match compressor.compress(method, &payload, &mut wire).expect("both algorithms are built") {
                Compressed::NotWorthIt => prop_assert_eq!(&wire, &before),
                Compressed::Smaller(encoding, length) => {
                    prop_assert!(length < payload.len());
                    prop_assert_eq!(wire.len(), before.len() + length);
                    prop_assert_eq!(&wire[..before.len()], &before);
                    prop_assert_eq!(encoding.algorithm(), method.algorithm);
                    let mut out = before.clone();
                    let expanded = compressor.decompress(encoding, &wire[before.len()..], payload.len(), &mut out);
                    prop_assert_eq!(expanded, Ok(payload.len()));
                    prop_assert_eq!(&out[..before.len()], &before);
                    prop_assert!(out[before.len()..] == payload);

                    let limit = payload.len() - 1;
                    let mut out = before.clone();
                    let refused = compressor.decompress(encoding, &wire[before.len()..], limit, &mut out);
                    prop_assert_eq!(refused, Err(DecompressError::TooLarge { limit }));
                    prop_assert_eq!(out, before);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn payloads_under_the_hurdle_stay_as_they_are(method in methods(), hurdle in 0..400_usize, length in 0..400_usize) {
        let mut config = CompressionConfig::new(Algorithm::Zstd);
        config.hurdle = hurdle;
        config.dictionary = Some(crate::dictionary());
        let mut compressor = BuiltinCompressor::new(&config).expect("a sound configuration");
        let compressed = compressor.compress(method, &vec![0; length], &mut Vec::new()).expect("both are built");
        if length < hurdle {
            prop_assert_eq!(compressed, Compressed::NotWorthIt);
        } else if length >= 64 {
            prop_assert_ne!(compressed, Compressed::NotWorthIt);
        }
    }
}

#[test]
fn no_method_compresses_nothing() {
    let compressed = crate::compressor(true).compress(Method::NONE, &[0; 5000], &mut Vec::new());
    assert_eq!(compressed, Ok(Compressed::NotWorthIt));
}

#[test]
fn a_payload_no_peer_would_expand_is_not_compressed() {
    let mut compressor = crate::compressor(true);
    let payload = vec![0; MAX_DECOMPRESSED_SIZE + 1];
    for method in [Method::LZ4, Method::ZSTD, Method::ZSTD_DICTIONARY] {
        let mut wire = Vec::new();
        assert_eq!(compressor.compress(method, &payload, &mut wire), Ok(Compressed::NotWorthIt));
        let largest = &payload[..MAX_DECOMPRESSED_SIZE];
        let Ok(Compressed::Smaller(encoding, _)) = compressor.compress(method, largest, &mut wire) else {
            panic!("the largest payload is worth compressing")
        };
        let mut back = Vec::new();
        assert_eq!(compressor.decompress(encoding, &wire, usize::MAX, &mut back), Ok(MAX_DECOMPRESSED_SIZE));
    }
}

#[test]
fn levels_out_of_range_are_refused_and_levels_matter() {
    let numbers = (0..4000_u32).map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(n * n) >> 18);
    let text: Vec<u8> =
        numbers.flat_map(|n| format!("{{\"id\":{},\"x\":{}}}", n % 64, n % 1009).into_bytes()).collect();
    let length_at = |level| {
        let mut config = CompressionConfig::new(Algorithm::Zstd);
        config.zstd_level = level;
        let mut compressor = BuiltinCompressor::new(&config)?;
        let mut wire = Vec::new();
        compressor.compress(Method::ZSTD, &text, &mut wire).expect("zstd is built");
        Ok(wire.len())
    };
    assert!(length_at(-50).unwrap() > length_at(0).unwrap());
    assert_eq!(length_at(0), length_at(3));
    assert!(length_at(22).unwrap() < length_at(0).unwrap());
    for level in [i32::MIN, 23, i32::MAX] {
        assert_eq!(length_at(level), Err(ConfigError::Level { level, min: -131_072, max: 22 }));
    }
}

#[test]
fn a_missing_dictionary_is_an_error_on_both_sides() {
    let payload = crate::dictionary().as_bytes()[2000..2400].to_vec();
    let mut wire = Vec::new();
    let mut without = crate::compressor(false);
    assert_eq!(
        without.compress(Method::ZSTD_DICTIONARY, &payload, &mut wire),
        Err(CompressError::NoDictionary)
    );
    crate::compressor(true)
        .compress(Method::ZSTD_DICTIONARY, &payload, &mut wire)
        .expect("it has the dictionary");
    let unknown = DecompressError::UnknownDictionary { id: crate::dictionary().id() };
    let mut out = Vec::new();
    assert_eq!(without.decompress(Encoding::Zstd, &wire, MAX_DECOMPRESSED_SIZE, &mut out), Err(unknown));
    assert!(out.is_empty());
}

#[test]
fn a_dictionary_with_damaged_tables_is_refused_at_once() {
    let mut bytes = crate::dictionary().as_bytes().to_vec();
    bytes[8..40].fill(0xff);
    let dictionary = Dictionary::from_bytes(bytes).expect("the header is sound");
    let id = dictionary.id();
    let mut config = CompressionConfig::new(Algorithm::Zstd);
    config.dictionary = Some(dictionary);
    assert_eq!(BuiltinCompressor::new(&config).err(), Some(ConfigError::Dictionary { id }));
}

#[test]
fn a_boxed_compressor_is_a_compressor() {
    fn round_trip(mut compressor: impl Compressor) {
        let mut wire = Vec::new();
        let compressed = compressor.compress(Method::LZ4, &[7; 999], &mut wire).expect("lz4 is built");
        assert_eq!(compressed, Compressed::Smaller(Encoding::Lz4, wire.len()));
        let mut back = Vec::new();
        assert_eq!(compressor.decompress(Encoding::Lz4, &wire, 999, &mut back), Ok(999));
        assert_eq!(back, [7; 999]);
    }
    let boxed: Box<dyn Compressor> = Box::new(crate::compressor(false));
    round_trip(boxed);
}
