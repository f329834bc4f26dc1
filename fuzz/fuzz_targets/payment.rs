//! libFuzzer's door to [`tollkeep_fuzz_targets::payment`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tollkeep_fuzz_targets::payment(data));
