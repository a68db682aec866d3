//! `kill -9` at random moments: of runs that materialise, and of processes that read meanwhile.
//!
//! Moments are drawn anew on every machine from the time that a run usually takes there; what is
//! drawn hangs on a seed, what it hits does not.

use std::fs::File;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::visits::{Project, Size, assert_rows_of, succeeds, told};

const N_ROUNDS: usize = 100;
/// How often the first run is killed, which makes the files that the others find.
const N_FIRST_KILLS: usize = 10;
/// Runs that nobody disturbs, in another project, before the first kill.
const N_MEASURED: usize = 3;
const SIZE: Size = Size {
    n_rows: 20_000,
    n_keys: 2_000,
    n_days: 110,
    n_page_bytes: 20,
};

/// The day to whose end a round materialises.
fn day(round: usize) -> u32 {
    2 + round as u32
}

#[test]
fn killed_runs_and_readers_leave_the_state_of_an_undisturbed_run() {
    let project = Project::new(SIZE);
    let round = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let twin = scope.spawn(undisturbed);
        let readers = scope.spawn(|| read_on(&project, &round, &is_over));
        // Readers end whatever happens here.
        let ending = SetOnDrop(&is_over);
        let states = materialize_on(&project, &round);
        drop(ending);
        let readers = readers.join().unwrap();
        let twin = twin.join().unwrap();
        for (round, state) in &states {
            let is_same = *state == twin[*round];
            assert!(
                is_same,
                "round {round}:\n{state}\nundisturbed:\n{}",
                twin[*round]
            );
        }
        for read in &readers.answers {
            let states: Vec<&str> = twin[read.first..=read.last]
                .iter()
                .map(String::as_str)
                .collect();
            assert_rows_of(&read.answer, &states);
        }
        println!(
            "{} readers were killed and {} answered",
            readers.n_killed,
            readers.answers.len()
        );
        assert!(readers.n_killed > 0 && !readers.answers.is_empty());
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What is online after each round in a project of its own; before the first, nothing.
fn undisturbed() -> Vec<String> {
    let twin = Project::new(SIZE);
    let mut states = vec![twin.online()];
    for round in 1..=N_ROUNDS {
        succeeds(twin.incremental(day(round)));
        states.push(twin.online());
    }
    states
}

/// How long runs usually take.
fn measured() -> Usual {
    let project = Project::new(SIZE);
    let mut usual = Usual::default();
    for round in 1..=N_MEASURED {
        let started = Instant::now();
        succeeds(project.incremental(day(round)));
        usual.add(started.elapsed());
    }
    usual
}

/// Materialises round by round, and kills the first runs of each; answers what was online after
/// some of the rounds.
fn materialize_on(project: &Project, round: &AtomicUsize) -> Vec<(usize, String)> {
    let mut rng = StdRng::seed_from_u64(42);
    let mut usual = measured();
    let mut states = Vec::new();
    let (mut n_kills, mut n_hit, mut n_taken_over) = (0, 0, 0);
    for now in 1..=N_ROUNDS {
        round.store(now, Ordering::SeqCst);
        let mut is_killed = false;
        for _ in 0..if now == 1 { N_FIRST_KILLS } else { 1 } {
            let mut child = project.incremental(day(now)).spawn().unwrap();
            sleep(usual.time().mul_f64(rng.random_range(0.0..1.0)));
            is_killed = kill(&mut child).is_none();
            n_kills += 1;
            n_hit += usize::from(is_killed);
        }
        let mut again = project.incremental(day(now));
        again.env("PROVENDER_LOG", "warn,provender_store=info");
        let started = Instant::now();
        let output = again.output().unwrap();
        // Above all, no lease of the run that was killed is in the way.
        assert!(output.status.success(), "round {now}: {}", told(&output));
        if is_killed {
            usual.add(started.elapsed());
        }
        n_taken_over += usize::from(told(&output).contains("took the lease over from"));
        project.verify();
        if now % 10 == 0 || now == N_ROUNDS {
            states.push((now, project.online()));
        }
    }
    println!(
        "{n_hit} of {n_kills} kills hit a run, which usually takes {:?}; {n_taken_over} left a lease",
        usual.time()
    );
    assert!(n_hit * 3 >= n_kills, "only {n_hit} kills hit a run");
    assert!(n_taken_over > 0);
    states
}

/// An answer, and the first and last round whose state it may show.
struct Read {
    first: usize,
    last: usize,
    answer: String,
}

struct Readers {
    n_killed: usize,
    answers: Vec<Read>,
}

/// Reads all keys again and again until it is over, and kills most of the processes that do.
fn read_on(project: &Project, round: &AtomicUsize, is_over: &AtomicBool) -> Readers {
    let mut rng = StdRng::seed_from_u64(43);
    let mut usual = Usual::default();
    let mut readers = Readers {
        n_killed: 0,
        answers: Vec::new(),
    };
    let answer = project.path().join("answer.csv");
    let complaint = project.path().join("complaint.txt");
    for n in 0_usize.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        sleep(usual.time().mul_f64(rng.random_range(0.0..2.0)));
        // A round begins with the state of the one before it.
        let first = round.load(Ordering::SeqCst).saturating_sub(1);
        let started = Instant::now();
        let mut child = project
            .read()
            .stdout(Stdio::from(File::create(&answer).unwrap()))
            .stderr(Stdio::from(File::create(&complaint).unwrap()))
            .spawn()
            .unwrap();
        let status = if n.is_multiple_of(4) {
            let status = child.wait().unwrap();
            usual.add(started.elapsed());
            Some(status)
        } else {
            sleep(usual.time().mul_f64(rng.random_range(0.0..1.0)));
            kill(&mut child)
        };
        let Some(status) = status else {
            readers.n_killed += 1;
            continue;
        };
        assert!(status.success(), "{}", text(&complaint));
        readers.answers.push(Read {
            first,
            last: round.load(Ordering::SeqCst),
            answer: text(&answer),
        });
    }
    readers
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Kills a process; answers how it ended if it was over before. One that failed by itself is a failure.
fn kill(child: &mut Child) -> Option<ExitStatus> {
    child.kill().unwrap();
    let status = child.wait().unwrap();
    status.code().map(|code| {
        assert_eq!(code, 0, "it failed by itself");
        status
    })
}

/// The usual time of what is done again and again: the median of the last few.
#[derive(Default)]
struct Usual(Vec<Duration>);

impl Usual {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn time(&self) -> Duration {
        let mut last: Vec<Duration> = self.0.iter().rev().take(9).copied().collect();
        last.sort_unstable();
        last.get(last.len() / 2).copied().unwrap_or_default()
    }
}
