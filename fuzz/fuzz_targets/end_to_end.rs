#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| netlink_remote::fuzzing::end_to_end(data));
