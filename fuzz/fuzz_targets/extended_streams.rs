//! libFuzzer over `extended_streams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::extended_streams(data));
