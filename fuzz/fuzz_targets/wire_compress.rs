#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clonelove_fuzz::transport::compress(data));
