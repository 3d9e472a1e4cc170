//! Decompressors under hostile input.

use std::cell::RefCell;

use fastwire::compress::{
    Algorithm, BuiltinCompressor, Compressed, CompressionConfig, Compressor, Dictionary, Encoding,
    MAX_DECOMPRESSED_SIZE, Method,
};

use crate::Script;

/// The dictionary of the recorded conversations.
const DICTIONARY: &[u8] = include_bytes!("../../../tests/vectors/dict.zstd");

thread_local! {
    /// Lives on from input to input, as an endpoint's does from message to message.
    static COMPRESSOR: RefCell<BuiltinCompressor> = RefCell::new({
        let mut config = CompressionConfig::new(Algorithm::Zstd);
        config.hurdle = 0;
        config.dictionary = Some(Dictionary::from_bytes(DICTIONARY).expect("a dictionary"));
        BuiltinCompressor::new(&config).expect("valid")
    });
}

/// Nothing expands past its limit, an error leaves the output as it was, what was compressed expands to itself, and no
/// byte of an earlier message shows up in a later one.
pub fn decompress(data: &[u8]) {
    let mut script = Script::new(data);
    let (choice, limit) = (script.byte(), script.u16());
    let limit = if choice & 0x80 != 0 { MAX_DECOMPRESSED_SIZE } else { usize::from(limit) };
    let encoding = if choice & 1 == 0 { Encoding::Lz4 } else { Encoding::Zstd };
    COMPRESSOR.with_borrow_mut(|compressor| {
        let mut out = b"before".to_vec();
        let input = script.block();
        match compressor.decompress(encoding, input, limit, &mut out) {
            Ok(len) => assert!(len <= limit && out.len() == 6 + len),
            Err(_) => assert_eq!(out.len(), 6),
        }
        assert_eq!(out[..6], *b"before");
        assert!(out.capacity() <= 64 + 2 * limit.min(MAX_DECOMPRESSED_SIZE));
        // The same bytes give the same bytes, whatever was expanded in between.
        let mut again = Vec::new();
        let told = compressor.decompress(encoding, input, limit, &mut again);
        assert_eq!(told.is_ok(), out.len() > 6 || told == Ok(0));
        assert_eq!(again, out[6..]);

        let plain = script.rest();
        let methods = [Method::LZ4, Method::ZSTD, Method::ZSTD_DICTIONARY];
        let method = methods[usize::from(choice >> 1) % 3];
        let mut packed = Vec::new();
        match compressor.compress(method, plain, &mut packed).expect("everything is built") {
            Compressed::NotWorthIt => assert!(packed.is_empty()),
            Compressed::Smaller(encoding, len) => {
                assert!(len == packed.len() && len < plain.len());
                let mut expanded = Vec::new();
                let told = compressor.decompress(encoding, &packed, plain.len(), &mut expanded);
                assert_eq!((told, expanded.as_slice()), (Ok(plain.len()), plain));
                expanded.clear();
                if !plain.is_empty() {
                    let short = compressor.decompress(encoding, &packed, plain.len() - 1, &mut expanded);
                    assert!(short.is_err() && expanded.is_empty());
                }
            }
        }
    });
}
