//! Asking before something is deleted for good.

use std::io::{BufRead, IsTerminal, Write};

/// Whether somebody at a terminal says yes; without a terminal the answer is no.
pub(crate) async fn confirmed(question: &str) -> bool {
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    terminal && ask(&format!("{question} [y/N] ")).await
}

/// Waits for an answer on a thread of its own, so that Ctrl-C is heard meanwhile.
async fn ask(question: &str) -> bool {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(question.as_bytes());
    let _ = stderr.flush();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer).is_ok();
        let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
        // Nobody waits any more after Ctrl-C.
        let _ = sender.send(read && yes);
    });
    receiver.await.unwrap_or(false)
}
