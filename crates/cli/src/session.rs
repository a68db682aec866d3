//! One run of a command that works on a project: its runtime, its context, and how it is stopped.

use std::time::Duration;

use provender_core::{Context, Error, codes};
use provender_store::FeatureStore;

use crate::args::{Global, OutputFormat};
use crate::errors::{Failure, Outcome};
use crate::project::Project;
use crate::providers::PLUGIN_PATH;

/// How long an interrupted command may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How long threads that still work are waited for at the end.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// What a command on a project works with.
#[derive(Debug)]
pub(crate) struct Session {
    /// Cancelled by Ctrl-C.
    pub(crate) cx: Context,
    /// The project.
    pub(crate) project: Project,
    /// How results are written.
    pub(crate) output: Option<OutputFormat>,
    /// Whether causes of errors are shown.
    pub(crate) verbose: bool,
}

impl Session {
    /// Opens the project's store.
    ///
    /// # Errors
    /// As [`Project::open`].
    pub(crate) async fn store(&self) -> Outcome<FeatureStore> {
        Ok(self.project.open(&self.cx).await?)
    }
}

/// Reads the project, starts a runtime of as many threads as it allows, and runs `command` on it.
///
/// # Errors
/// The command's, or [`Failure::Interrupted`] after Ctrl-C.
pub(crate) fn run<F>(global: &Global, command: F) -> Outcome
where
    F: AsyncFnOnce(&Session) -> Outcome,
{
    on_runtime(global, async |session| {
        until_interrupted(&session.cx, command(session)).await
    })
}

/// As [`run`], for a command that a signal ends well: the first signal cancels the session's context,
/// and the command takes the time to end that it needs; the second drops it.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_service<F>(global: &Global, command: F) -> Outcome
where
    F: AsyncFnOnce(&Session) -> Outcome,
{
    on_runtime(global, async |session| {
        until_stopped(&session.cx, command(session)).await
    })
}

fn on_runtime<F>(global: &Global, command: F) -> Outcome
where
    F: AsyncFnOnce(&Session) -> Outcome,
{
    let project = Project::read(global)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(project.config.limits.n_threads.max(1) + spare(&project))
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(&codes::IO, "the threads of the program cannot be started").source(error)
        })?;
    let session = Session {
        cx: Context::new(project.config.project.as_str()).with_identity(author()),
        project,
        output: global.output,
        verbose: global.verbose,
    };
    let outcome = runtime.block_on(command(&session));
    runtime.shutdown_timeout(SHUTDOWN);
    outcome
}

/// One thread more where plug-ins may be loaded, which take one if they do not return from a call.
fn spare(project: &Project) -> usize {
    let is_searched = std::env::var_os(PLUGIN_PATH).is_some_and(|path| !path.is_empty());
    usize::from(is_searched || !project.config.plugins.is_empty())
}

/// The outcome of a service, which ends after the first signal when it is ready to.
async fn until_stopped(cx: &Context, service: impl Future<Output = Outcome>) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut service = std::pin::pin!(service);
    tokio::select! {
        outcome = &mut service => return outcome,
        () = signals.next() => cx.cancel(),
    }
    tokio::select! {
        outcome = service => outcome,
        () = signals.next() => Err(Failure::Interrupted),
    }
}

/// The command's outcome. The first signal cancels its context and lets it end for a while; the
/// second, or the end of that while, drops it, which removes its temporary files.
async fn until_interrupted(cx: &Context, command: impl Future<Output = Outcome>) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut command = std::pin::pin!(command);
    tokio::select! {
        outcome = &mut command => return outcome,
        () = signals.next() => cx.cancel(),
    }
    tokio::select! {
        outcome = tokio::time::timeout(GRACE, command) => match outcome {
            // It was done before it noticed.
            Ok(Ok(code)) => Ok(code),
            Ok(Err(_)) | Err(_) => Err(Failure::Interrupted),
        },
        () = signals.next() => Err(Failure::Interrupted),
    }
}

/// Requests to stop.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// Held so that a file that may not grow further is an error and not the end of the process.
    #[cfg(unix)]
    _file_size: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Outcome<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        const SIGXFSZ: i32 = 25;
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Error::new(&codes::IO, "signals cannot be listened to").source(error)
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ)).ok(),
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Outcome<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Who works: `$PROVENDER_AUTHOR`, else `user@host`.
pub(crate) fn author() -> String {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    given("PROVENDER_AUTHOR").unwrap_or_else(|| {
        let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(given);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::fs::read_to_string("/etc/hostname"))
            .ok()
            .map(|host| host.trim().to_owned())
            .filter(|host| !host.is_empty())
            .or_else(|| given("HOSTNAME"))
            .or_else(|| given("COMPUTERNAME"));
        format!(
            "{}@{}",
            user.as_deref().unwrap_or("unknown"),
            host.as_deref().unwrap_or("localhost")
        )
    })
}
