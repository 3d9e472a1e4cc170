//! libFuzzer over `reed_solomon`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::parse::reed_solomon(data));
