//! The C header says what `abi.rs` says: a C compiler lays its structures out in the same way.

use std::fmt::Write;
use std::mem::offset_of;
use std::process::Command;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use provender_plugin::abi::{ABI_VERSION, Answer, Bytes, Call, Plugin, method, status};

/// Names in C, the value that C must give them, and the expression that asks for it.
fn expectations() -> Vec<(String, usize)> {
    let mut all = Vec::new();
    macro_rules! layout {
        ($c:literal, $rust:ty, $($field:ident),*) => {
            all.push((format!("sizeof(struct {})", $c), size_of::<$rust>()));
            $(all.push((
                format!("offsetof(struct {}, {})", $c, stringify!($field)),
                offset_of!($rust, $field),
            ));)*
        };
    }
    layout!("ProvenderBytes", Bytes, data, len);
    layout!(
        "ProvenderPlugin",
        Plugin,
        size,
        abi_version,
        prompt,
        state,
        manifest,
        call,
        cancel,
        close
    );
    layout!(
        "ProvenderCall",
        Call,
        size,
        call_id,
        instance,
        method,
        reserved,
        timeout_us,
        control,
        streams,
        n_streams,
        array,
        context,
        complete
    );
    layout!(
        "ProvenderAnswer",
        Answer,
        size,
        status,
        reserved,
        control,
        streams,
        n_streams,
        array,
        schema
    );
    layout!(
        "ArrowArray",
        FFI_ArrowArray,
        length,
        null_count,
        offset,
        buffers,
        children,
        release
    );
    all.push((
        "sizeof(struct ArrowSchema)".to_owned(),
        size_of::<FFI_ArrowSchema>(),
    ));
    layout!(
        "ArrowArrayStream",
        FFI_ArrowArrayStream,
        get_schema,
        get_next,
        get_last_error,
        release
    );
    macro_rules! constants {
        ($prefix:literal, $module:ident, $($name:ident),*) => {
            $(all.push((
                format!("{}{}", $prefix, stringify!($name)),
                $module::$name as usize,
            ));)*
        };
    }
    all.push(("PROVENDER_ABI_VERSION".to_owned(), ABI_VERSION as usize));
    constants!("PROVENDER_STATUS_", status, OK, ERROR, POISONED);
    constants!(
        "PROVENDER_",
        method,
        OPEN,
        CHECK,
        OFFLINE_SCHEMA,
        OFFLINE_SCAN,
        OFFLINE_POINT_IN_TIME_JOIN,
        OFFLINE_LATEST,
        OFFLINE_WINDOWS,
        OFFLINE_WRITE,
        OFFLINE_DELETE,
        OFFLINE_EXPLAIN,
        OFFLINE_PIN,
        ONLINE_PREPARE,
        ONLINE_READ,
        ONLINE_WRITE,
        ONLINE_DELETE,
        ONLINE_VIEWS,
        ONLINE_STATS,
        ONLINE_DROP_VIEW,
        REGISTRY_REVISION,
        REGISTRY_SNAPSHOT,
        REGISTRY_COMMIT,
        REGISTRY_HISTORY,
        REGISTRY_RECORD_INTERVAL,
        REGISTRY_INTERVALS,
        REGISTRY_FORGET_INTERVALS,
        REGISTRY_ACQUIRE_LEASE,
        REGISTRY_RENEW_LEASE,
        REGISTRY_RELEASE_LEASE
    );
    all
}

#[test]
fn c_compiler_agrees_with_the_layout() {
    let folder = tempfile::tempdir().unwrap();
    let mut program =
        String::from("#include <stdio.h>\n#include \"provender.h\"\nint main(void) {\n");
    let expected = expectations();
    for (expression, _) in &expected {
        writeln!(program, "  printf(\"%zu\\n\", (size_t)({expression}));").unwrap();
    }
    program.push_str("  return 0;\n}\n");
    let source = folder.path().join("layout.c");
    let binary = folder.path().join("layout");
    std::fs::write(&source, program).unwrap();
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/include"))
        .arg(&source)
        .arg("-o")
        .arg(&binary)
        .output()
        .expect("a C compiler is needed, as for building");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let told = Command::new(&binary).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let told: Vec<usize> = told.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(told.len(), expected.len());
    for ((expression, expected), told) in expected.into_iter().zip(told) {
        assert_eq!(told, expected, "{expression}");
    }
}

#[test]
fn every_method_of_the_layout_is_in_the_header() {
    let layout = include_str!("../../src/abi.rs");
    let header = include_str!("../../include/provender.h");
    let constants = layout.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("pub const ")?;
        let (name, rest) = line.split_once(": u32 = ")?;
        Some((name, rest.trim_end_matches(';')))
    });
    let mut n_methods = 0;
    for (name, number) in constants {
        if number.parse::<u32>().is_ok_and(|number| number > 2) || matches!(name, "OPEN" | "CHECK")
        {
            n_methods += 1;
            assert!(
                header.contains(&format!("#define PROVENDER_{name} {number}u\n")),
                "{name} {number}"
            );
        }
    }
    assert!(n_methods >= 27, "{n_methods} methods were found");
}
