//! libFuzzer over `extended_acknowledgement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::extended_acknowledgement(data));
