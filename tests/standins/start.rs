//! Stand-ins for accounts of warehouses, started by a test. Shared by the tests of all crates (by
//! `#[path]`), so it knows no provider.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

/// A stand-in. It ends with this value, and with this process, whose end of its input it watches.
pub struct StandIn {
    /// Where it is reached.
    pub url: String,
    /// Where it keeps objects, for those that do.
    #[allow(dead_code)]
    pub s3: Option<String>,
    input: Option<ChildStdin>,
    child: Child,
}

#[allow(dead_code)]
impl StandIn {
    /// A Snowflake account, with the options of its server; `None` and a printed line if Python lacks
    /// what it needs, which is a failure in CI.
    pub fn snowflake(options: &[&str]) -> Option<Self> {
        Self::start("snowflake", "fakesnow.server, pyarrow, uvicorn", options)
    }

    /// A Databricks workspace, and else as [`Self::snowflake`].
    pub fn databricks() -> Option<Self> {
        let packages = "pysail, pyspark, moto, deltalake, boto3, flask";
        Self::start("databricks", packages, &[])
    }

    fn start(name: &str, packages: &str, options: &[&str]) -> Option<Self> {
        let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let root = folders
            .find(|folder| folder.join("tests/standins").is_dir())
            .expect("the repository");
        let venv = std::env::var("PROVENDER_VENV").unwrap_or_else(|_| ".venv".to_owned());
        let python = root.join(venv).join("bin/python");
        let has_packages = Command::new(&python)
            .args(["-c", &format!("import {packages}")])
            .output()
            .is_ok_and(|output| output.status.success());
        if !has_packages {
            let reason = format!("skipped: {} has not all of {packages}", python.display());
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            println!("{reason}");
            return None;
        }
        let mut child = Command::new(&python)
            .arg(root.join("tests/standins").join(name).join("server.py"))
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
            .expect("its addresses");
        let told: Value = serde_json::from_str(&line).expect("its addresses");
        let address = |name: &str| told[name].as_str().map(str::to_owned);
        Some(Self {
            url: address("url").expect("its address"),
            s3: address("s3"),
            input: child.stdin.take(),
            child,
        })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // The end of its input tells it to end.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
