//! The recorded samples: theirs expand here, ours expand within their bounds, odd inputs end as they did there.

use fastwire_compress::{
    Algorithm, BuiltinCompressor, Compressed, CompressionConfig, Compressor, Dictionary, DictionaryError,
    Encoding, MAX_DECOMPRESSED_SIZE, Method, dictionary_hash,
};
use fastwire_testkit::vectors::{self, Value, hex};

/// The recorded side's hurdle is the default one.
fn recorded_side() -> BuiltinCompressor {
    let mut config = CompressionConfig::new(Algorithm::Zstd);
    config.dictionary = Some(crate::dictionary());
    BuiltinCompressor::new(&config).expect("a sound configuration")
}

fn method(algorithm: &Value) -> (Method, Encoding) {
    match algorithm.as_str() {
        Some("lz4") => (Method::LZ4, Encoding::Lz4),
        Some("zstd") => (Method::ZSTD, Encoding::Zstd),
        Some("zstd+dict") => (Method::ZSTD_DICTIONARY, Encoding::Zstd),
        other => panic!("unknown algorithm {other:?}"),
    }
}

fn length(value: &Value) -> usize {
    value.as_u64().expect("a length") as usize
}

#[test]
fn vectors_samples() {
    let file = vectors::load("compress");
    let samples = file["samples"].as_array().expect("samples");
    let mut compressor = recorded_side();
    let mut expanded = 0;
    for sample in samples {
        let name = format!("{} {}", sample["algorithm"], sample["name"]);
        let (method, encoding) = method(&sample["algorithm"]);
        let flags = sample["fragment_flags"].as_u64().expect("flags");
        let mut original = if sample["original"].is_string() { hex(&sample["original"]) } else { Vec::new() };
        if flags != 0 {
            let recorded = match flags {
                1 => Encoding::Lz4,
                3 => Encoding::Zstd,
                other => panic!("{name}: flags {other}"),
            };
            assert_eq!(recorded, encoding, "{name}");
            let mut out = Vec::new();
            let limit = length(&sample["original_len"]);
            let theirs = hex(&sample["compressed"]);
            assert_eq!(compressor.decompress(encoding, &theirs, limit, &mut out), Ok(out.len()), "{name}");
            assert!(original.is_empty() || original == out, "{name}");
            original = out;
            expanded += 1;
        }
        assert_eq!(original.len(), length(&sample["original_len"]), "{name}");
        assert_eq!(dictionary_hash(&original).to_vec(), hex(&sample["original_sha256"]), "{name}");

        let mut wire = b"before".to_vec();
        match compressor.compress(method, &original, &mut wire).expect(&name) {
            Compressed::NotWorthIt => {
                assert_eq!(flags, 0, "{name}: they compressed it, we did not");
                assert_eq!(wire, b"before", "{name}");
            }
            Compressed::Smaller(used, length) => {
                assert_ne!(flags, 0, "{name}: they did not compress it, we did");
                assert_eq!(used, encoding, "{name}");
                assert!(length < original.len() && wire.len() == 6 + length, "{name}");
                let mut back = Vec::new();
                compressor.decompress(used, &wire[6..], original.len(), &mut back).expect(&name);
                assert!(back == original, "{name}");
            }
        }
    }
    assert!(expanded > 0);
    println!("compress: {} samples, {expanded} of them compressed", samples.len());
}

#[test]
fn vectors_edges() {
    let file = vectors::load("compress");
    let edges = file["edge"].as_array().expect("edges");
    for edge in edges {
        let (_, encoding) = method(&edge["algorithm"]);
        let mut compressor = crate::compressor(edge["with_dict"].as_bool().unwrap_or(false));
        let mut out = Vec::new();
        let result = compressor.decompress(encoding, &hex(&edge["input"]), MAX_DECOMPRESSED_SIZE, &mut out);
        assert_eq!(result.is_ok(), edge["error"].is_null(), "{edge}: {result:?}");
        assert_eq!(out, hex(&edge["output"]), "{edge}");
        assert_eq!(result.unwrap_or(0), length(&edge["output_len"]), "{edge}");
    }
    assert!(!edges.is_empty());
    println!("compress: {} edges", edges.len());
}

#[test]
fn vectors_dictionary() {
    let file = vectors::load("compress");
    let dictionary = crate::dictionary();
    assert_eq!(Some(u64::from(dictionary.id())), file["dictionary_id"].as_u64());
    assert_eq!(dictionary.hash().to_vec(), hex(&file["dictionary_sha256"]));
    assert_eq!(file["raw_dictionary_ignored"], true);
    let raw = dictionary.as_bytes()[8..].to_vec();
    assert_eq!(Dictionary::from_bytes(raw), Err(DictionaryError::NotZstdFormat));
    println!("compress: 1 dictionary");
}
