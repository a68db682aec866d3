//! A PostgreSQL server for tests: made in a temporary folder, listening on a free loopback port, gone
//! when the test process is.
//!
//! Uses the standard library alone, so that other crates' tests can include this file.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The user that the server is made with.
pub const USER: &str = "provender";
/// That user's password.
pub const PASSWORD: &str = "s3cret";

/// Runs the server until its standard input ends, which it does when the test process ends, however
/// that happens; then stops the server and removes its folder.
const SUPERVISOR: &str = r#"
folder="$1"; shift
"$@" >"$folder/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$folder"
"#;

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl Postgres {
    /// Starts a server. `None`, after a note on standard error, if no PostgreSQL is installed.
    ///
    /// # Panics
    /// If a server that is installed does not start, and if none is installed where the environment
    /// variable `CI` is set.
    pub fn start() -> Option<Self> {
        let Some(programs) = find_programs() else {
            assert!(
                std::env::var_os("CI").is_none(),
                "PostgreSQL (initdb, postgres) is not installed, and CI must not skip its tests"
            );
            eprintln!("SKIPPED: PostgreSQL (initdb, postgres) is not installed");
            return None;
        };
        let mut reasons = Vec::new();
        // Another process can take the port between the look and the start.
        for _ in 0..3 {
            match Self::start_in(&programs) {
                Ok(server) => return Some(server),
                Err(reason) => reasons.push(reason),
            }
        }
        panic!("PostgreSQL does not start: {}", reasons.join("\n---\n"));
    }

    /// The URL of the database `postgres`, with user and password.
    pub fn url(&self) -> String {
        self.url_as(USER, PASSWORD)
    }

    /// The URL of the database `postgres` for another login.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    fn start_in(programs: &Path) -> Result<Self, String> {
        let (folder, account) = make_folder()?;
        let run_as = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(&folder).env("LC_ALL", "C");
            if let Some((uid, gid)) = account {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = folder.join("data");
        let password_file = folder.join("password");
        fs::write(&password_file, PASSWORD).map_err(|error| format!("password: {error}"))?;
        let made = run_as(&programs.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                USER,
                "-A",
                "password",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .arg(format!("--pwfile={}", password_file.display()))
            .output()
            .map_err(|error| format!("initdb: {error}"))?;
        if !made.status.success() {
            let words = String::from_utf8_lossy(&made.stderr).into_owned();
            let _ = fs::remove_dir_all(&folder);
            return Err(format!("initdb: {words}"));
        }
        let port = free_port()?;
        let mut supervisor = run_as(Path::new("/bin/sh"))
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&folder)
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=off"])
            .args(["-c", "max_connections=200"])
            .args(["-c", "logging_collector=off"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("postgres: {error}"))?;
        let lifeline = supervisor.stdin.take();
        let server = Self {
            port,
            supervisor,
            lifeline,
        };
        server.wait_until_ready(&folder.join("log"))?;
        Ok(server)
    }

    fn wait_until_ready(&self, log: &Path) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let words = fs::read_to_string(log).unwrap_or_default();
            if words.contains("ready to accept connections") {
                return Ok(());
            }
            if words.contains("FATAL") {
                return Err(words);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!(
            "not ready within 60 s: {}",
            fs::read_to_string(log).unwrap_or_default()
        ))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.supervisor.wait();
    }
}

/// The folder that holds both `initdb` and `postgres`: of the PATH, else the newest usual one.
fn find_programs() -> Option<PathBuf> {
    let has_both =
        |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(has_both) {
        return Some(found);
    }
    let mut usual: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
            (version, entry.path().join("bin"))
        })
        .filter(|(_, folder)| has_both(folder))
        .collect();
    usual.sort();
    usual.pop().map(|(_, folder)| folder)
}

/// An account for a server that may not run as root.
fn unprivileged_account() -> Result<(u32, u32), String> {
    let accounts = fs::read_to_string("/etc/passwd").map_err(|error| format!("passwd: {error}"))?;
    for wanted in ["postgres", "nobody"] {
        for line in accounts.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, _, uid, gid, ..] = fields[..]
                && name == wanted
                && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
            {
                return Ok((uid, gid));
            }
        }
    }
    Err("running as root, and there is neither a user postgres nor nobody".to_owned())
}

/// A folder of the server's own, and the account to run as if we are root, which PostgreSQL refuses.
fn make_folder() -> Result<(PathBuf, Option<(u32, u32)>), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let unique = format!(
        "provender-postgres-{}-{}",
        std::process::id(),
        now.map_or(0, |since| since.as_nanos())
    );
    let folder = std::env::temp_dir().join(unique);
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir(&folder).map_err(failed)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    let is_root = fs::metadata(&folder).map_err(failed)?.uid() == 0;
    if !is_root {
        return Ok((folder, None));
    }
    let account = unprivileged_account()?;
    chown(&folder, Some(account.0), Some(account.1)).map_err(failed)?;
    Ok((folder, Some(account)))
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}
