//! Opening a shared library: who may have written it, what it is, and whether it speaks our ABI.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use libloading::{Library, Symbol};
use provender_core::{Error, Result, codes};
use sha2::{Digest, Sha256};

use super::call::Loaded;
use crate::abi::{ABI_VERSION, Bytes, INIT_SYMBOL, Init, Plugin};

/// How long a library may take to be loaded.
const LOADING: Duration = Duration::from_secs(30);

static ANY_LOADED: AtomicBool = AtomicBool::new(false);

/// A library's file, and the content that it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of its bytes in hexadecimal, if it is pinned.
    pub sha256: Option<String>,
}

/// Loads a library, for as long as the process lives: a library is never unloaded, since its threads
/// and callbacks may outlive every call.
///
/// # Errors
/// `FailedPrecondition` (`P804`), naming the file, if it cannot be read, may be written by other users, is
/// not of the pinned content, is no shared library, lacks the symbol, or speaks another ABI version.
pub fn load(pinned: &Pinned) -> Result<&'static Loaded> {
    let path = pinned
        .path
        .canonicalize()
        .map_err(|error| refused(&pinned.path, "cannot be read").source(error))?;
    private(&path)?;
    if let Some(wanted) = &pinned.sha256 {
        let found = sha256(&path)?;
        if !found.eq_ignore_ascii_case(wanted.trim()) {
            return Err(refused(
                &path,
                &format!("has the sha256 {found} where {wanted} is pinned"),
            )
            .help("install the file that was pinned, or pin this one if you trust it"));
        }
    }
    // From here on its code may have run, also if it is refused then.
    ANY_LOADED.store(true, Ordering::Release);
    // What runs while it is loaded may hang, like any of its code.
    let (loaded, loading) = mpsc::sync_channel(1);
    let file = path.clone();
    let thread = std::thread::Builder::new().name("plugin-load".to_owned());
    thread
        // Nobody may wait for it any more.
        .spawn(move || drop(loaded.send(open(&file))))
        .map_err(|error| refused(&path, "cannot be loaded on a thread").source(error))?;
    loading.recv_timeout(LOADING).map_err(|_| {
        refused(
            &path,
            &format!(
                "did not come back from being loaded within {} s",
                LOADING.as_secs()
            ),
        )
    })?
}

/// Whether code of a library ran in this process, so that its threads may be at work.
pub fn is_any_loaded() -> bool {
    ANY_LOADED.load(Ordering::Acquire)
}

/// Ends the process at once, without what libraries registered for its end: their threads may still
/// be at work, and what is torn down under them crashes or waits for ever. Standard output must have
/// been flushed.
pub fn exit(code: u8) -> ! {
    #[cfg(unix)]
    {
        unsafe extern "C" {
            fn _exit(code: std::ffi::c_int) -> !;
        }
        // SAFETY: the C library's function takes any number and does not return.
        unsafe { _exit(code.into()) }
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}

fn open(path: &Path) -> Result<&'static Loaded> {
    // SAFETY: loading runs the library's initialisers, which is what naming it in the configuration
    // asks for; the file was checked as far as it can be.
    let library = unsafe { Library::new(path.as_os_str()) }
        .map_err(|error| refused(path, "is not a shared library for this system").source(error))?;
    // Never unloaded.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: the symbol, where there is one, is of the type that the ABI says; anything else is a
    // defect of the library that cannot be seen from outside.
    let init: Symbol<'static, Init> =
        unsafe { library.get(INIT_SYMBOL.as_bytes()) }.map_err(|error| {
            refused(path, &format!("does not export {INIT_SYMBOL}"))
                .help("it is no Provender plug-in; `provender plugin new` makes one")
                .source(error)
        })?;
    let mut plugin = Plugin {
        size: size_of::<Plugin>(),
        abi_version: u32::MAX,
        prompt: 0,
        state: std::ptr::null_mut(),
        manifest: Bytes::EMPTY,
        call: None,
        cancel: None,
        close: None,
    };
    // SAFETY: the structure is ours and as large as its size says.
    let answer = unsafe { init(ABI_VERSION, &raw mut plugin) };
    if answer != 0 || plugin.abi_version != ABI_VERSION {
        let theirs = match answer {
            0 => plugin.abi_version.to_string(),
            u32::MAX => return Err(refused(path, "failed to start")),
            answer => (answer - 1).to_string(),
        };
        return Err(refused(
            path,
            &format!("speaks version {theirs} of the plug-in interface, and this program version {ABI_VERSION}"),
        )
        .help("install the plug-in's build for this program's version"));
    }
    let origin = path.display().to_string();
    // SAFETY: the library filled the structure in as the ABI says, and is never unloaded.
    unsafe { Loaded::new(origin.clone(), plugin) }
        .map_err(|error| refused(path, "does not keep to the plug-in interface").source(error))
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(
        &codes::PLUGIN_REFUSED,
        format!("the plug-in {} {why}", path.display()),
    )
}

/// Whether nobody but its owner (and root) can change the file or replace it.
#[cfg(unix)]
fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let about = |path: &Path| {
        std::fs::metadata(path).map_err(|error| refused(path, "cannot be read").source(error))
    };
    let file = about(path)?;
    if !file.is_file() {
        return Err(refused(path, "is not a file"));
    }
    if file.mode() & 0o022 != 0 {
        return Err(refused(path, "may be written by other users")
            .help(format!("run `chmod go-w {}`", path.display())));
    }
    if let Some(folder) = path.parent() {
        let mode = about(folder)?.mode();
        // In a folder with the sticky bit others cannot replace the file.
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(
                refused(path, "lies in a folder that every user may write").help(format!(
                    "run `chmod o-w {}`, or move the plug-in",
                    folder.display()
                )),
            );
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(_path: &Path) -> Result<()> {
    Ok(())
}

/// The SHA-256 of a file in hexadecimal, as `sha256:` pins it.
///
/// # Errors
/// `FailedPrecondition` (`P804`) if it cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let read = |hash: &mut Sha256| -> std::io::Result<()> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                n => hash.update(&buffer[..n]),
            }
        }
    };
    read(&mut hash).map_err(|error| refused(path, "cannot be read").source(error))?;
    let digits = hash.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}
