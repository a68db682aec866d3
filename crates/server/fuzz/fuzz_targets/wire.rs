//! Reads arbitrary bytes as a stream of Arrow messages.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// What Arrow's reader panics about must be caught by the fence around it; a panic that is not ends the
/// run all the same. Any other panic is a finding at once.
fn let_the_fence_catch() {
    std::panic::set_hook(Box::new(|panic| {
        let is_arrow = (panic.location()).is_some_and(|at| at.file().contains("/arrow-"));
        if !is_arrow {
            eprintln!("{panic}");
            std::process::abort();
        }
    }));
}

fuzz_target!(
    init: let_the_fence_catch(),
    |bytes: &[u8]| provender_server_fuzz::read_wire(bytes)
);
