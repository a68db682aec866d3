//! Java, by Arrow's own client.

use std::fs;

use crate::python::expected;
use crate::server::Server;
use crate::snippets::snippet;
use crate::toolchains::{java, output};

/// Each program, its file, and the name of the lines that `expect_clients.py` computes for it.
pub const SNIPPETS: [(&str, &str, &str); 2] = [
    ("java-online", "Online.java", "exchange"),
    ("java-historical", "Historical.java", "short_historical"),
];

#[test]
fn java_programs_of_the_page_print_what_it_says_and_what_duckdb_computes() {
    let (Some(classpath), Some(expected)) = (java(), expected()) else {
        return;
    };
    let server = Server::of_flights("", &[]);
    let folder = server.project.path();
    for (name, file, computed) in SNIPPETS {
        let snippet = snippet(name);
        fs::write(folder.join(file), &snippet.code).unwrap();
        let args = [
            "--add-opens=java.base/java.nio=ALL-UNNAMED",
            "-cp",
            classpath.trim(),
            file,
            &server.address,
        ];
        let printed = output("java", args, folder, []);
        assert_eq!(printed, snippet.output, "{name}");
        let wanted = &expected[computed];
        let lines = printed.lines().take(wanted.len());
        let wanted = wanted.iter().map(|line| line.replace("None", "null"));
        assert!(lines.eq(wanted), "{name}: {printed}");
    }
}
