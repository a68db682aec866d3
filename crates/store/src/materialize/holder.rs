//! Who holds a lease: one run of one process, named so that others on the same machine can tell
//! whether it still lives.
//!
//! A process is known by the boot of its machine, its pid namespace, its pid and the time at which it
//! started; where the system does not tell these, no holder is ever taken for dead. Decides nothing
//! about leases.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use provender_core::time::now_us;

/// The runs of this process that go on.
static RUNNING: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
static N_RUNS: AtomicU64 = AtomicU64::new(0);
static OWN: OnceLock<Own> = OnceLock::new();

/// A run of this process; it counts as alive until this is dropped.
#[derive(Debug)]
pub(super) struct Holder {
    run: u64,
    name: String,
}

impl Holder {
    /// A run that starts now.
    pub(super) fn new() -> Self {
        let run = N_RUNS.fetch_add(1, Ordering::Relaxed) + 1;
        running().insert(run);
        let own = own();
        let name = format!(
            "{}, process {}, run {run} [{}]",
            own.host,
            own.pid,
            own.process
                .as_ref()
                .map_or_else(|| format!("since={}", own.since_us), Process::identity)
        );
        Self { run, name }
    }

    /// The name under which the run holds leases.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        running().remove(&self.run);
    }
}

/// Whether a holder's name is that of a run which certainly has ended: its process was of this boot of
/// this machine and of this pid namespace and is gone, or is this very process, which knows its runs.
pub(super) fn is_dead(name: &str) -> bool {
    let Some(own) = &own().process else {
        return false;
    };
    let Some((process, run)) = Process::parse(name) else {
        return false;
    };
    if (&process.boot, &process.namespace) != (&own.boot, &own.namespace) {
        return false;
    }
    if process == *own {
        return !running().contains(&run);
    }
    !process.is_alive()
}

#[derive(Debug)]
struct Own {
    host: String,
    pid: u32,
    since_us: i64,
    process: Option<Process>,
}

/// A process of some machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    /// The boot of the machine.
    boot: String,
    /// The namespace that the pid is of.
    namespace: String,
    pid: u32,
    /// Ticks from the boot to the start of the process, so that a pid that is used again is another.
    started: u64,
}

impl Process {
    fn own() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let stat = Stat::read(Path::new("/proc/self/stat")).ok()??;
        // A /proc of another namespace would show other processes than the pid means.
        (stat.pid == std::process::id()).then(|| Self {
            boot: word(&boot),
            namespace: word(&namespace.to_string_lossy()),
            pid: stat.pid,
            started: stat.started,
        })
    }

    fn identity(&self) -> String {
        format!(
            "boot={} namespace={} started={}",
            self.boot, self.namespace, self.started
        )
    }

    /// Reads a holder's name, with the number of the run.
    fn parse(name: &str) -> Option<(Self, u64)> {
        let (head, identity) = name.strip_suffix(']')?.rsplit_once(" [")?;
        let (head, run) = head.rsplit_once(", run ")?;
        let (_, pid) = head.rsplit_once(", process ")?;
        let mut words = identity.split(' ');
        let process = Self {
            boot: words.next()?.strip_prefix("boot=")?.to_owned(),
            namespace: words.next()?.strip_prefix("namespace=")?.to_owned(),
            pid: pid.parse().ok()?,
            started: words.next()?.strip_prefix("started=")?.parse().ok()?,
        };
        Some((process, run.parse().ok()?))
    }

    /// Whether it lives, as far as this process can see; if it cannot, it does.
    fn is_alive(&self) -> bool {
        let folder = format!("/proc/{}", self.pid);
        match Stat::read(&Path::new(&folder).join("stat")) {
            // Processes of other users may be hidden; then the first one is, too.
            Ok(None) => !Path::new("/proc/1").exists(),
            Ok(Some(stat)) if stat.started != self.started => false,
            // A killed process that nobody has waited for. Its other threads may still be ending.
            Ok(Some(stat)) if matches!(stat.state, 'Z' | 'X') => {
                fs::read_dir(format!("{folder}/task")).is_ok_and(|tasks| tasks.count() > 1)
            }
            _ => true,
        }
    }
}

/// What `/proc/<pid>/stat` says; see proc_pid_stat(5).
struct Stat {
    pid: u32,
    state: char,
    started: u64,
}

impl Stat {
    /// `None` if there is no such process.
    fn read(path: &Path) -> Result<Option<Self>, ()> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map(Some).ok_or(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(_) => Err(()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may hold anything.
        let (pid, _) = text.split_once(' ')?;
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        // The start is the 22nd field, and the state was the third.
        let started = fields.nth(18)?;
        Some(Self {
            pid: pid.parse().ok()?,
            state,
            started: started.parse().ok()?,
        })
    }
}

fn own() -> &'static Own {
    OWN.get_or_init(|| Own {
        host: host(),
        pid: std::process::id(),
        since_us: now_us(),
        process: Process::own(),
    })
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok());
    let name = name.map(|name| word(&name)).unwrap_or_default();
    if name.is_empty() {
        "unknown host".to_owned()
    } else {
        name
    }
}

/// One word without what separates the parts of a name.
fn word(text: &str) -> String {
    text.trim()
        .chars()
        .filter(|c| !c.is_control() && !c.is_whitespace())
        .collect()
}

fn running() -> MutexGuard<'static, BTreeSet<u64>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 98765 1 2";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.pid, stat.state, stat.started), (42, 'S', 98_765));
    }

    #[test]
    fn names_of_holders_are_read_back() {
        let process = Process {
            boot: "b-1".to_owned(),
            namespace: "pid:[4026531836]".to_owned(),
            pid: 7,
            started: 9,
        };
        let name = format!("a host, process 7, run 3 [{}]", process.identity());
        assert_eq!(Process::parse(&name), Some((process, 3)));
        for other in ["ann", "h, process 7, run 3 [since=12]", "", "[]"] {
            assert_eq!(Process::parse(other), None, "{other}");
            assert!(!is_dead(other));
        }
    }

    #[test]
    fn a_run_of_this_process_lives_until_it_is_dropped() {
        let holder = Holder::new();
        let name = holder.name().to_owned();
        assert!(!is_dead(&name), "{name}");
        drop(holder);
        assert_eq!(is_dead(&name), own().process.is_some(), "{name}");
    }

    #[test]
    fn only_a_process_of_this_boot_and_namespace_is_taken_for_dead() {
        let Some(own) = own().process.clone() else {
            return;
        };
        let name = |process: &Process| {
            format!("h, process {}, run 1 [{}]", process.pid, process.identity())
        };
        // The same pid with another start is a process that ended before this one began.
        let ended = Process {
            started: own.started.wrapping_sub(1),
            ..own.clone()
        };
        assert!(is_dead(&name(&ended)));
        let unused = Process {
            pid: u32::MAX - 1,
            ..own.clone()
        };
        assert!(is_dead(&name(&unused)));
        let other_boot = Process {
            boot: "other".to_owned(),
            ..unused.clone()
        };
        assert!(!is_dead(&name(&other_boot)));
        let other_namespace = Process {
            namespace: "pid:[1]".to_owned(),
            ..unused
        };
        assert!(!is_dead(&name(&other_namespace)));
    }
}
