//! libFuzzer over `extended_reassembly`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::extended_reassembly(data));
