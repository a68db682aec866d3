//! The programs of docs/clients.md.

use std::fs;

use crate::product::repository;

/// A program, and what the page says that it prints.
pub struct Snippet {
    pub code: String,
    pub output: String,
}

/// The snippet of a name: the fenced block after `<!-- snippet: NAME -->`, with the `text` block that
/// follows it at once, if one does.
pub fn snippet(name: &str) -> Snippet {
    let page = fs::read_to_string(repository().join("docs/clients.md")).unwrap();
    let marker = format!("<!-- snippet: {name} -->\n```");
    let (_, rest) = page
        .split_once(&marker)
        .unwrap_or_else(|| panic!("docs/clients.md has no snippet {name:?}"));
    let (_, rest) = rest.split_once('\n').unwrap();
    let (code, rest) = rest.split_once("\n```\n").unwrap();
    let output = rest
        .strip_prefix("```text\n")
        .map_or("", |rest| rest.split_once("```").unwrap().0);
    Snippet {
        code: format!("{code}\n"),
        output: output.to_owned(),
    }
}

/// The names of all snippets of the page, in its order.
pub fn names() -> Vec<String> {
    let page = fs::read_to_string(repository().join("docs/clients.md")).unwrap();
    page.lines()
        .filter_map(|line| line.strip_prefix("<!-- snippet: ")?.strip_suffix(" -->"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_snippet_of_the_page_is_run_by_a_test() {
    let run = crate::python::SNIPPETS
        .iter()
        .map(|(name, _)| *name)
        .chain(["python-secure", "java-pom"])
        .chain(crate::java::SNIPPETS.iter().map(|(name, ..)| *name))
        .chain(crate::go::SNIPPETS.iter().map(|(name, _)| *name))
        .collect::<Vec<_>>();
    for name in names() {
        assert!(run.contains(&name.as_str()), "{name} is run by no test");
    }
    assert_eq!(names().len(), run.len());
}

#[test]
fn what_the_page_says_to_install_is_what_the_tests_use() {
    let tests = repository().join("tests");
    assert_eq!(
        snippet("java-pom").code,
        fs::read_to_string(tests.join("java/pom.xml")).unwrap()
    );
    let page = fs::read_to_string(repository().join("docs/clients.md")).unwrap();
    let (_, get) = page.split_once("    go get ").unwrap();
    let module = get.lines().next().unwrap().replace('@', " ");
    let modules = fs::read_to_string(tests.join("go/go.mod")).unwrap();
    assert!(modules.contains(&module), "{module} is not in go.mod");
    assert_eq!(
        snippet("python-online").code,
        fs::read_to_string(repository().join("examples/nyc-flights/read_online.py")).unwrap(),
        "the quickstart runs the page's first program"
    );
}
