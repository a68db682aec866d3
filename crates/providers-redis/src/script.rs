//! The scripts that decide inside of Redis which of two rows is newer, and how they are called.
//!
//! The order of rows is `docs/online-rows.md`'s. How much one call is given, so that none keeps Redis from
//! its other clients for long, is the caller's to bound.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use crate::client::{Command, Commands, Reply, script_hash};
use crate::error::Fault;
use crate::fleet::Fleet;
use crate::lane::Purpose;
use crate::route::Used;

/// A script, and the hash that servers know it by.
pub(crate) struct Script {
    source: String,
    hash: String,
}

impl Script {
    fn new(source: String) -> Self {
        let hash = script_hash(&source);
        Self { source, hash }
    }
}

macro_rules! script {
    ($($part:literal),+) => {
        LazyLock::new(|| Script::new([$(include_str!($part)),+].join("\n")))
    };
}

/// Writes rows that win, each key once.
pub(crate) static BATCH: LazyLock<Script> = script!("newer.lua", "batch.lua");
/// Puts one row, which lies under another key already, in its place if it wins.
pub(crate) static LARGE: LazyLock<Script> = script!("newer.lua", "large.lua");
/// Replaces rows that nobody can read.
pub(crate) static MEND: LazyLock<Script> = script!("mend.lua");
/// Puts a mark behind rows.
pub(crate) static CHECKPOINT: LazyLock<Script> = script!("checkpoint.lua");

/// One call of a script.
pub(crate) struct Call<'a> {
    pub(crate) script: &'static Script,
    /// The slot of its keys.
    pub(crate) slot: u16,
    pub(crate) keys: Vec<Cow<'a, [u8]>>,
    pub(crate) args: Vec<Cow<'a, [u8]>>,
}

impl Call<'_> {
    fn command(&self, name: &str, script: &str) -> Command {
        let args = || self.keys.iter().chain(&self.args);
        let n_bytes: usize = args().map(|arg| arg.len()).sum();
        let mut command = Command::new(name, args().count() + 2, n_bytes + script.len() + 8);
        command.push(script.as_bytes());
        command.push_int(i64::try_from(self.keys.len()).unwrap_or(i64::MAX));
        for arg in args() {
            command.push(arg);
        }
        command
    }
}

impl Fleet {
    /// Calls scripts, and answers one reply for each. A server that does not know a script yet is told it.
    ///
    /// # Errors
    /// As [`Fleet::send`].
    pub(crate) async fn run(self: &Arc<Self>, calls: &[Call<'_>]) -> Result<Vec<Reply>, Fault> {
        self.run_noting(calls, None).await
    }

    /// As [`Self::run`]; notes over which connections it went.
    ///
    /// # Errors
    /// As [`Fleet::send`].
    pub(crate) async fn run_noting(
        self: &Arc<Self>,
        calls: &[Call<'_>],
        used: Option<&Used>,
    ) -> Result<Vec<Reply>, Fault> {
        let slots: Vec<u16> = calls.iter().map(|call| call.slot).collect();
        let commands: Commands = calls
            .iter()
            .map(|call| call.command("EVALSHA", &call.script.hash))
            .collect();
        let mut replies = self
            .send_noting(Purpose::Write, &commands, &slots, used)
            .await?;
        let unknown: Vec<usize> = replies
            .iter()
            .enumerate()
            .filter(|(_, reply)| matches!(reply.refusal(), Some(("NOSCRIPT", _))))
            .map(|(index, _)| index)
            .collect();
        if !unknown.is_empty() {
            let commands: Commands = unknown
                .iter()
                .map(|&index| calls[index].command("EVAL", &calls[index].script.source))
                .collect();
            let slots: Vec<u16> = unknown.iter().map(|&index| slots[index]).collect();
            let again = self
                .send_noting(Purpose::Write, &commands, &slots, used)
                .await?;
            for (index, reply) in unknown.into_iter().zip(again) {
                replies[index] = reply;
            }
        }
        Ok(replies)
    }
}
