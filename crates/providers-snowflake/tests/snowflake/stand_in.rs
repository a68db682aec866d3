//! A stand-in for a Snowflake account, started by a test. Shared by all crates' tests, so it knows no provider.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A stand-in for an account. It ends with this value, and with this process, whose end of its input it watches.
pub struct StandIn {
    /// Where it is reached.
    pub url: String,
    child: Child,
}

impl StandIn {
    /// Starts one; `None` and a printed line if Python lacks what it needs, which is a failure in CI.
    pub fn start(options: &[&str]) -> Option<Self> {
        let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let root = folders
            .find(|folder| folder.join("tests/standins").is_dir())
            .expect("the repository");
        let venv = std::env::var("PROVENDER_VENV").unwrap_or_else(|_| ".venv".to_owned());
        let python = root.join(venv).join("bin/python");
        let has_package = Command::new(&python)
            .args(["-c", "import fakesnow.server, pyarrow, uvicorn"])
            .output()
            .is_ok_and(|output| output.status.success());
        if !has_package {
            let reason = format!("skipped: {} has no fakesnow", python.display());
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            println!("{reason}");
            return None;
        }
        let mut child = Command::new(&python)
            .arg(root.join("tests/standins/snowflake/server.py"))
            .arg("--parent")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stand-in starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its port");
        let port: u16 = line.trim().parse().expect("a port");
        Some(Self {
            url: format!("http://127.0.0.1:{port}"),
            child,
        })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
