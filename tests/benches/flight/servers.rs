//! The servers as processes of their own, and what they take. Linux only: it reads `/proc`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::floor::Asks;

/// What `/proc` counts processor time in; the same on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    /// `host:port`.
    pub(crate) address: String,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All that is resident, pages of mapped files included.
    pub(crate) resident: f64,
    /// What belongs to no file.
    pub(crate) anonymous: f64,
}

impl Server {
    /// The floor, in this program's own binary.
    pub(crate) fn floor(asks: Option<&Asks>) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--floor").stderr(Stdio::inherit());
        if let Some(asks) = asks {
            command.arg("--floor-redis").arg(asks.to_string());
        }
        Self::start(command)
    }

    /// `provender serve`. Its log is added to a file.
    pub(crate) fn provender(binary: &Path, project: &Path, log: &Path) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command.arg("-C").arg(project).arg("serve");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)?;
        command.stderr(log);
        Self::start(command)
    }

    fn start(mut command: Command) -> Outcome<Self> {
        // What the caller's shell says of Provender must not change what is measured.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PROVENDER_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn()?;
        let mut server = Self {
            child,
            address: String::new(),
        };
        let output = server.child.stdout.as_mut().ok_or("there is no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("grpc://");
        let told = || format!("a server did not start: {line:?}; its log says more");
        server.address = address.ok_or_else(told)?.to_owned();
        Ok(server)
    }

    /// Processor time that it has taken, in seconds.
    pub(crate) fn cpu_s(&self) -> Outcome<f64> {
        process_cpu_s(&self.child.id().to_string())
    }

    /// What it holds now.
    pub(crate) fn memory(&self) -> Outcome<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |name: &str| -> Outcome<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
            Ok(kib.ok_or("the memory of a server is not known")? * 1024.0)
        };
        Ok(Memory {
            resident: of("VmRSS:")?,
            anonymous: of("RssAnon:")?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of everything on the machine, in seconds.
pub(crate) fn machine_cpu_s() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .flat_map(str::parse)
        .collect();
    // User, nice, system, then idle and waiting, which are none, then interrupts.
    let busy = [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|&field| fields.get(field));
    Ok(busy.sum::<f64>() / TICKS_PER_S)
}

/// Processor time of a process (`self` is this one), in seconds.
pub(crate) fn process_cpu_s(process: &str) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, which may hold anything, ends at the last parenthesis.
    let (_, rest) = stat.rsplit_once(')').ok_or("a process has no times")?;
    let times = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .flat_map(str::parse::<f64>);
    Ok(times.sum::<f64>() / TICKS_PER_S)
}
