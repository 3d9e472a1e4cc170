//! libFuzzer over `kcp_core`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fastwire_fuzz::state::kcp_core(data));
