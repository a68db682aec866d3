//! What works without a project, and wrong usage.

use crate::run::Folder;

#[test]
fn version_and_help_need_nothing() {
    let folder = Folder::new();
    folder
        .run(&["--version"])
        .exits(0)
        .says(env!("CARGO_PKG_VERSION"));
    let help = folder.run(&["--help"]).exits(0).says("Exit codes: 0 done");
    for verb in [
        "init",
        "plan",
        "historical",
        "materialize",
        "online",
        "push",
        "verify",
    ] {
        assert!(help.stdout.contains(verb), "{verb}");
    }
    folder
        .run(&["historical", "--help"])
        .exits(0)
        .says("--spine spine.parquet --out train.parquet");
    assert!(folder.entries().is_empty());
}

#[test]
fn wrong_usage_exits_with_2() {
    let folder = Folder::new();
    for args in [
        &[][..],
        &["plann"],
        &["plan", "--nope"],
        &["import", "weather"],
        &["historical", "--service", "s"],
        &["historical", "--spine", "s.csv"],
        &[
            "historical",
            "--service",
            "s",
            "--features",
            "v:f",
            "--spine",
            "s.csv",
        ],
        &[
            "historical",
            "--service",
            "s",
            "--spine",
            "s.csv",
            "--spine-sql",
            "SELECT 1",
        ],
        &["plan", "--output", "xml"],
        &["materialize", "2013-01-01"],
        &["online", "--entity", "origin=JFK"],
        &[
            "online",
            "--service",
            "s",
            "--entity",
            "a=1",
            "--entities",
            "k.csv",
        ],
        &["push", "v", "rows.csv"],
        &["push", "v", "rows.csv", "--to", "nowhere"],
        &["verify", "--full", "--sample", "3"],
        &["schema", "nothing"],
    ] {
        let ran = folder.run(args).exits(2);
        assert!(ran.stdout.is_empty(), "{ran:?}");
        assert!(!ran.stderr.is_empty());
    }
    folder
        .run(&["plann"])
        .exits(2)
        .complains("similar subcommands exist: 'plugin', 'explain', 'plan'");
}

#[test]
fn usage_that_the_parser_cannot_see_exits_with_2_too() {
    let folder = Folder::project();
    folder
        .run(&["historical", "--service", "s", "--spine", "spine.txt"])
        .exits(2)
        .complains("error[P406]: the format of spine.txt is not clear from its name");
    folder
        .run(&[
            "historical",
            "--service",
            "s",
            "--spine",
            "s.csv",
            "--out",
            "train.xlsx",
        ])
        .exits(2)
        .complains("unknown extension \"xlsx\"");
    folder
        .run(&["import", "t", "s.csv", "--schema", "a:int65"])
        .exits(2)
        .complains("error[P109]");
    folder
        .run(&["materialize", "yesterday", "now"])
        .exits(2)
        .complains("error[P406]: START: \"yesterday\" is no time")
        .complains("a date, or now");
    folder
        .run(&["materialize", "2014-01-01", "2013-01-01"])
        .exits(2)
        .complains("START 2014-01-01T00:00:00Z is not before END 2013-01-01T00:00:00Z");
    folder
        .run(&["materialize-incremental", "--end", "2013"])
        .exits(2)
        .complains("--end: \"2013\" is no time")
        .complains("write 2013-01-01T00:00:00Z");
    folder
        .run(&["online", "--service", "example", "--entity", "north"])
        .exits(2)
        .complains("--entity: \"north\" has no =");
    folder
        .run(&["online", "--service", "example", "--entities", "keys.txt"])
        .exits(2)
        .complains("the format of keys.txt is not clear from its name");
    folder
        .run(&["delete", "station_weather"])
        .exits(2)
        .complains("no entity is named, so there is nothing to erase");
}

#[test]
fn commands_without_a_project_say_so() {
    let folder = Folder::new();
    for args in [
        &["plan"][..],
        &["apply"],
        &["list"],
        &["history"],
        &["doctor"],
        &["status"],
        &["verify"],
        &["materialize-incremental"],
    ] {
        folder
            .run(args)
            .exits(1)
            .complains("error[P201]: no provender.yaml in .")
            .complains("provender init");
    }
    folder
        .run(&["-C", "nowhere", "plan"])
        .exits(1)
        .complains("no provender.yaml in nowhere");
    assert!(folder.entries().is_empty());
}

#[test]
fn codes_are_explained_and_listed() {
    let folder = Folder::new();
    folder
        .run(&["explain", "p106"])
        .exits(0)
        .says("P106: undefined reference\n\n");
    let all = folder.run(&["explain"]).exits(0).says("P101").says("P999");
    assert!(all.stdout.lines().count() > 30);
    folder
        .run(&["explain", "P1066"])
        .exits(2)
        .complains("there is no error code \"P1066\"")
        .complains("did you mean");
    let json = folder
        .run(&["explain", "P307", "--output", "json"])
        .exits(0);
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value[0]["code"], "P307");
}

#[test]
fn schemas_are_json_and_completions_are_scripts() {
    let folder = Folder::new();
    for which in ["definitions", "store"] {
        let ran = folder.run(&["schema", which]).exits(0);
        let schema: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(schema["$schema"].as_str().unwrap().contains("json-schema"));
    }
    for shell in ["bash", "zsh", "fish"] {
        folder
            .run(&["completions", shell])
            .exits(0)
            .says("provender");
    }
}

#[test]
fn init_makes_a_project_once() {
    let folder = Folder::new();
    folder
        .run(&["init", "my-flights 2013"])
        .exits(0)
        .says("made project my_flights_2013")
        .says("provender plan");
    let config = folder.read("my-flights 2013/provender.yaml");
    assert!(config.contains("project: my_flights_2013"), "{config}");
    assert!(config.starts_with("# yaml-language-server: $schema=.provender/schema/store.json"));
    let example = folder.read("my-flights 2013/features/example.yaml");
    let schema = "# yaml-language-server: $schema=../.provender/schema/definitions.json";
    assert!(example.starts_with(schema));
    for name in ["definitions", "store"] {
        let schema = folder.read(&format!("my-flights 2013/.provender/schema/{name}.json"));
        assert!(serde_json::from_str::<serde_json::Value>(&schema).is_ok());
    }
    folder
        .run(&["init", "my-flights 2013"])
        .exits(1)
        .complains("error[P205]")
        .complains("provender.yaml exists and is not overwritten");
    folder
        .run(&["init", "other", "--project", "1a"])
        .exits(2)
        .complains("error[P104]");
    assert_eq!(folder.entries(), ["my-flights 2013"]);
}

#[test]
fn init_keeps_an_ignore_file_and_adds_to_it() {
    let folder = Folder::new();
    folder.file(".gitignore", "target\ndata/");
    folder.run(&["init", "--project", "p"]).exits(0);
    assert_eq!(
        folder.read(".gitignore"),
        "target\ndata/\n.provender/*\n!.provender/schema/\n"
    );
}

#[test]
fn init_names_the_folder_it_cannot_write_to() {
    let folder = Folder::new();
    folder
        .run(&["init", "/proc/nowhere"])
        .exits(1)
        .complains("error[P902]: cannot write /proc/nowhere/");
}
