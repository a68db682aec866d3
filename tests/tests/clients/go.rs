//! Go, by Arrow's own client.

use std::fs;

use crate::product::repository;
use crate::python::expected;
use crate::server::Server;
use crate::snippets::snippet;
use crate::toolchains::{go, output};

/// Each program, and the name of the lines that `expect_clients.py` computes for it.
pub const SNIPPETS: [(&str, &str); 2] = [
    ("go-online", "exchange"),
    ("go-historical", "short_historical"),
];

#[test]
fn go_programs_of_the_page_print_what_it_says_and_what_duckdb_computes() {
    let (true, Some(expected)) = (go(), expected()) else {
        return;
    };
    let server = Server::of_flights("", &[]);
    for (name, computed) in SNIPPETS {
        let snippet = snippet(name);
        let folder = server.project.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("main.go"), &snippet.code).unwrap();
        for file in ["go.mod", "go.sum"] {
            fs::copy(repository().join("tests/go").join(file), folder.join(file)).unwrap();
        }
        let printed = output("go", ["run", ".", &server.address], &folder, []);
        assert_eq!(printed, snippet.output, "{name}");
        let wanted = &expected[computed];
        let lines = printed.lines().take(wanted.len());
        let wanted = wanted.iter().map(|line| line.replace("None", "(null)"));
        assert!(lines.eq(wanted), "{name}: {printed}");
    }
}
