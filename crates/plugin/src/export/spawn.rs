//! Where the futures of a library run that has no async runtime.

use futures::future::BoxFuture;

use crate::streams::Spawn;

/// A thread for each call that does not end at once, and for each stream: enough for a library whose
/// client blocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadPerCall;

impl Spawn for ThreadPerCall {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        // Without a thread the future is dropped, which ends its call as cancelled.
        let thread = std::thread::Builder::new().name("plugin".to_owned());
        drop(thread.spawn(move || futures::executor::block_on(future)));
    }
}
