//! libFuzzer over `kcp_fec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::parse::kcp_fec(data));
