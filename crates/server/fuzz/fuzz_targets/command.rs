//! Reads arbitrary bytes as a ticket.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| provender_server_fuzz::read_command(bytes));
