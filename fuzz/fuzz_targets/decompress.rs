//! libFuzzer over `decompress`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::decompress(data));
