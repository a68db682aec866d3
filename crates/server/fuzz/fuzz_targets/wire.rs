//! Reads arbitrary bytes as a stream of Arrow messages.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| provender_server_fuzz::wire(bytes));
