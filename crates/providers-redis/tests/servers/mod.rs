//! Redis servers for tests and benchmarks: alone, with passwords and TLS, watched by Sentinels, and as a
//! Cluster. Each listens on free loopback ports, works in a folder of its own, can be killed, frozen and
//! started again, and is gone when the process that started it is, however that ends.
//!
//! Uses the standard library alone, so that other crates can include this folder. It knows nothing of the
//! provider: what a test asks of Redis behind the provider's back goes through [`Wire`].
//! `PROVENDER_TEST_REDIS_SERVER` names another program that speaks as Redis does, such as `valkey-server`.

#![allow(dead_code)]

mod cluster;
mod sentinel;
mod tls;
mod wire;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use cluster::{Cluster, slot_of};
pub use sentinel::{NAME as PRIMARY_NAME, Sentinel};
pub use tls::Certificates;
pub use wire::{Reply, Wire};

/// How long anything that a test waits for may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a server until its standard input ends, which it does when the test process ends, however that
/// happens; then kills the server, and removes its folder unless it was told to keep it.
const SUPERVISOR: &str = r#"
folder="$1"; shift
"$@" >>"$folder/log" 2>&1 &
server=$!
echo "$server" >"$folder/pid"
read -r word
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
[ "$word" = keep ] || rm -rf "$folder"
"#;

/// A server, running or killed; dropping it kills it and removes what it stored.
#[derive(Debug)]
pub struct Server {
    port: u16,
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    supervisor: Option<Child>,
}

impl Server {
    /// Starts a server that keeps nothing on disk.
    ///
    /// # Panics
    /// If no Redis is installed, or it does not start.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further options, spelled as on the command line: `--maxmemory`, `8mb`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_as(|_, _| options.iter().map(|option| (*option).to_owned()).collect())
    }

    /// Starts a server with options that depend on its port and folder. The first may be a file of options.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_as(options: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        // Another process can take the port between the look and the start.
        for _ in 0..5 {
            let folder = make_folder();
            let port = free_port();
            let mut arguments: Vec<String> = [
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                &folder.display().to_string(),
            ]
            .map(str::to_owned)
            .to_vec();
            let more = options(port, &folder);
            // A file of options comes before all others.
            let at = match more.first() {
                Some(first) if !first.starts_with("--") => 0,
                _ => arguments.len(),
            };
            arguments.splice(at..at, more);
            if let Some(server) = Self::launch(program(), port, folder, arguments) {
                return server;
            }
        }
        panic!("Redis found no free port");
    }

    /// `None` if the port was taken meanwhile.
    fn launch(
        program: PathBuf,
        port: u16,
        folder: PathBuf,
        arguments: Vec<String>,
    ) -> Option<Self> {
        let mut server = Self {
            port,
            folder,
            program,
            arguments,
            supervisor: None,
        };
        server.spawn();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = server.log();
            if log.contains("Ready to accept connections") || log.contains("Sentinel ID is") {
                return Some(server);
            }
            if log.contains("Address already in use") {
                return None;
            }
            assert!(
                Instant::now() < deadline && server.is_running(),
                "Redis does not start ({}; a package redis-server brings it): {log}",
                server.program.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn spawn(&mut self) {
        assert!(self.supervisor.is_none(), "the server runs already");
        let _ = fs::remove_file(self.folder.join("log"));
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&self.folder)
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.supervisor = Some(supervisor.expect("a shell runs"));
    }

    /// Kills the server as a lost machine would be: nothing is written, no connection is closed politely.
    pub fn kill(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let mut lifeline = supervisor.stdin.take().expect("its input is ours");
            let _ = lifeline.write_all(b"keep\n");
            drop(lifeline);
            let _ = supervisor.wait();
        }
    }

    /// Starts the server again on its port, with what it kept on disk, which by default is nothing.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_again(&mut self) {
        self.spawn();
        wait_until("the server answers", || {
            let log = self.log();
            assert!(!log.contains("Address already in use"), "{log}");
            log.contains("Ready to accept connections") || log.contains("Sentinel ID is")
        });
    }

    /// Stops the server from doing anything, without its connections noticing, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// The server's process.
    ///
    /// # Panics
    /// If it was never started.
    pub fn pid(&self) -> u32 {
        let read = fs::read_to_string(self.folder.join("pid")).expect("it was started");
        read.trim().parse().expect("a number")
    }

    /// The port of plain connections.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `redis://` with nothing but the address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What the server has logged since it was last started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// If the server does not take it.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.port)
    }

    fn is_running(&mut self) -> bool {
        let supervisor = self.supervisor.as_mut();
        supervisor.is_some_and(|shell| matches!(shell.try_wait(), Ok(None)))
            && !self.log().contains("Fatal")
            && !self.log().contains("not found")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.supervisor.take() {
            Some(mut supervisor) => {
                drop(supervisor.stdin.take());
                let _ = supervisor.wait();
            }
            None => drop(fs::remove_dir_all(&self.folder)),
        }
    }
}

/// Waits until something holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn program() -> PathBuf {
    std::env::var_os("PROVENDER_TEST_REDIS_SERVER").map_or("redis-server".into(), PathBuf::from)
}

fn make_folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("provender-redis-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    // What another process of this number left.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder can be made");
    folder
}

/// A port that is free, and that no connection takes as its own end while the server is down.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 11_000;
    const N_PORTS: u32 = 20_000;
    let start = std::process::id().wrapping_mul(7_919);
    loop {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % N_PORTS;
        let port = u16::try_from(FIRST + number).expect("it is a port");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
