//! libFuzzer over `kcp_segments`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::parse::kcp_segments(data));
