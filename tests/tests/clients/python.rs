//! pyarrow: the programs of the page, and the whole protocol by the checks of `tests/python`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::product::{binary, python as check, repository};
use crate::server::{Server, certificate};
use crate::snippets::snippet;
use crate::toolchains::{output, python};

/// Each program, and the name of the lines that `expect_clients.py` computes for it. In the order in which
/// they run, since the last ones write.
pub const SNIPPETS: [(&str, &str); 10] = [
    ("python-online", "online"),
    ("python-exchange", "exchange"),
    ("python-historical", "historical"),
    ("python-handle", "handle"),
    ("python-table", "table"),
    ("python-duckdb", "duckdb"),
    ("python-discover", ""),
    ("python-errors", ""),
    ("python-actions", ""),
    ("python-push", ""),
];

/// What the programs of the page print, as DuckDB computes it from the raw files.
pub fn expected() -> Option<HashMap<String, Vec<String>>> {
    let raw = repository().join("examples/nyc-flights/raw");
    let lines = check("expect_clients.py", [raw])?;
    Some(serde_json::from_str(&lines).unwrap())
}

#[test]
fn python_programs_of_the_page_print_what_it_says_and_what_duckdb_computes() {
    let (Some(python), Some(expected)) = (python(), expected()) else {
        return;
    };
    let server = Server::of_flights("", &[]);
    let folder = server.project.path();
    for (name, computed) in SNIPPETS {
        let snippet = snippet(name);
        let script = folder.join(format!("{name}.py"));
        fs::write(&script, &snippet.code).unwrap();
        let printed = output(
            &python,
            [script.as_os_str(), server.address.as_ref()],
            folder,
            [],
        );
        assert_eq!(printed, snippet.output, "{name}");
        if computed.is_empty() {
            continue;
        }
        let lines: Vec<&str> = printed
            .lines()
            .filter(|line| !line.ends_with(" kept"))
            .collect();
        assert_eq!(lines, expected[computed], "{name}");
    }
}

#[test]
fn program_with_token_and_certificate_reads_and_is_kept_from_more() {
    let Some(python) = python() else {
        return;
    };
    let secrets = tempfile::tempdir().unwrap();
    certificate(secrets.path());
    let at = |name: &str| secrets.path().join(name).display().to_string();
    let config = format!(
        "server:\n  tls: {{cert: {}, key: {}}}\n  tokens: [{{env: PROVENDER_READ_TOKEN, role: read}}]\n",
        at("server.pem"),
        at("server.key")
    );
    let token = ("PROVENDER_READ_TOKEN", "a token of the tests");
    let server = Server::of_flights(&config, &[token]);
    assert!(
        server.address.starts_with("grpc+tls://"),
        "{}",
        server.address
    );
    let snippet = snippet("python-secure");
    fs::write(secrets.path().join("secure.py"), &snippet.code).unwrap();
    let args = ["secure.py", &server.address, "server.pem"];
    assert_eq!(
        output(python, args, secrets.path(), [token]),
        snippet.output
    );
}

/// Runs a check of `tests/python` with the binary and an empty folder.
pub fn checked(script: &str, more: &[&str], verdict: &str) {
    let folder = tempfile::tempdir().unwrap();
    let binary = binary();
    let args = [binary.as_os_str(), folder.path().as_os_str()];
    let more = more.iter().map(|arg| Path::new(arg).as_os_str());
    if let Some(line) = check(script, args.into_iter().chain(more)) {
        assert!(line.contains(verdict), "{line}");
        println!("{line}");
    }
}

#[test]
fn every_call_type_and_error_is_as_pyarrow_expects_it() {
    checked("check_flight.py", &[], "12 checks agree");
}

#[test]
fn million_rows_that_are_all_written_first_come_back_right_within_little_memory() {
    checked(
        "check_flight_scale.py",
        &[],
        "1000000 rows x 9 columns agree",
    );
}

#[test]
fn log_is_json_without_secrets_and_a_second_signal_ends_a_server_that_waits() {
    checked("check_operations.py", &[], "the log keeps its word");
}

#[test]
fn clients_that_do_not_read_or_are_gone_leave_a_server_as_it_was() {
    checked(
        "check_slow_readers.py",
        &[],
        "slow readers leave memory flat",
    );
}
