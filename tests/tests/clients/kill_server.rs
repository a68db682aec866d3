//! kill -9 at random moments under load: the next start is clean, and what was acknowledged is there once.

use crate::python::checked;

#[test]
fn thirty_kills_under_load_lose_nothing_acknowledged_and_double_nothing() {
    checked("kill_server.py", &["30", "7"], "none lost, none twice");
}
