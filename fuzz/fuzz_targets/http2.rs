//! libFuzzer's door to [`tollkeep_fuzz_targets::http2`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollkeep_fuzz_targets::http2(data));
