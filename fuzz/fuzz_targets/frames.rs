//! libFuzzer over `frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::parse::frames(data));
