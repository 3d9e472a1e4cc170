//! libFuzzer over `short_packets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::parse::short_packets(data));
