//! The crate as its users see it.

mod hostile;
mod laws;
mod vectors;

use fastwire_compress::{Algorithm, BuiltinCompressor, CompressionConfig, Dictionary};

/// A compressor without a hurdle, with the recorded dictionary or without.
fn compressor(with_dictionary: bool) -> BuiltinCompressor {
    let mut config = CompressionConfig::new(Algorithm::Zstd);
    config.hurdle = 0;
    config.dictionary = with_dictionary.then(dictionary);
    BuiltinCompressor::new(&config).expect("a sound configuration")
}

fn dictionary() -> Dictionary {
    Dictionary::from_bytes(fastwire_testkit::vectors::dictionary()).expect("a zstd dictionary")
}
