//! libFuzzer over `extended_pair`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::extended_pair(data));
