//! `provender.yaml`, its overlays and the environment.

use std::fs;
use std::path::PathBuf;

use provender_definitions::{Error, ProjectConfig, load_config};
use serde_json::{Value, json};

struct Project {
    _root: tempfile::TempDir,
    path: PathBuf,
}

/// A project folder called `my-shop 2` with the given files.
fn project(files: &[(&str, &str)]) -> Project {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("my-shop 2");
    fs::create_dir(&path).unwrap();
    for (name, text) in files {
        fs::write(path.join(name), text).unwrap();
    }
    Project { _root: root, path }
}

fn variables(name: &str) -> Option<String> {
    match name {
        "BUCKET" => Some("s3://flights".to_owned()),
        "KIND" => Some("redis".to_owned()),
        "PASSWORD" => Some("hunter2".to_owned()),
        "THREADS" => Some("3".to_owned()),
        "OPEN" => Some("true".to_owned()),
        _ => None,
    }
}

fn load(project: &Project, env: Option<&str>) -> Result<ProjectConfig, Vec<Error>> {
    load_config(&project.path, env, &variables)
}

fn options(block: &provender_definitions::StoreBlock) -> Value {
    Value::Object(block.options.clone())
}

/// The only error, as text, with the code before it.
#[track_caller]
fn mistake(text: &str) -> String {
    let errors = load(&project(&[("provender.yaml", text)]), None).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    format!("{} {}", errors[0].code(), errors[0])
}

#[test]
fn an_empty_file_gives_the_embedded_defaults() {
    let project = project(&[("provender.yaml", "# nothing\n")]);
    let config = load(&project, None).unwrap();
    assert_eq!(config.project, "my_shop_2");
    assert!(config.base_path.is_absolute());
    assert_eq!(config.offline_store.scheme, "delta");
    assert_eq!(
        options(&config.offline_store),
        json!({"location": "./data"})
    );
    assert_eq!(config.online_store.scheme, "local");
    assert_eq!(
        options(&config.online_store),
        json!({"path": ".provender/online"})
    );
    assert_eq!(config.registry.scheme, "sqlite");
    assert_eq!(
        options(&config.registry),
        json!({"path": ".provender/registry.db"})
    );
    assert!(config.offline_stores.is_empty() && config.online_stores.is_empty());
    assert!(config.plugins.is_empty());
    assert_eq!(config.server.flight, "127.0.0.1:8815");
    assert_eq!(config.server.metrics, None);
    assert_eq!(config.limits.memory_limit_bytes, 2 << 30);
    assert_eq!(config.limits.spill_path, None);
    assert!(config.limits.n_threads >= 1);
}

#[test]
fn everything_written_is_kept() {
    let project = project(&[(
        "provender.yaml",
        "project: nyc_flights
offline_store: {type: snowflake, account: ab-c, deep: {list: [1, 2.5, true, null, x]}}
offline_stores:
  archive: {type: delta, location: /archive}
online_store: {type: redis, url: 'redis://x'}
online_stores:
  hot: {type: local, path: hot}
registry: {type: postgres, url: 'postgres://x'}
plugins:
  - ./libprovender_acme.so
  - path: /opt/other.so
    sha256: 00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff
server:
  flight: '[::1]:9000'
  metrics: localhost:9001
  tls: {cert: a.pem, key: b.pem}
  tokens: [a, b]
  allow_unauthenticated: false
limits: {memory: 512MiB, spill_path: spill, threads: 2}
",
    )]);
    let config = load(&project, None).unwrap();
    assert_eq!(config.project, "nyc_flights");
    assert_eq!(
        options(&config.offline_store),
        json!({"account": "ab-c", "deep": {"list": [1, 2.5, true, null, "x"]}})
    );
    assert_eq!(config.offline_stores["archive"].scheme, "delta");
    assert_eq!(config.online_stores["hot"].scheme, "local");
    assert_eq!(config.registry.scheme, "postgres");
    assert_eq!(
        config.plugins[0].path,
        config.base_path.join("./libprovender_acme.so")
    );
    assert_eq!(config.plugins[0].sha256, None);
    assert_eq!(config.plugins[1].path, PathBuf::from("/opt/other.so"));
    let sha256 = config.plugins[1].sha256.as_deref().unwrap();
    assert!(sha256.starts_with("00112233445566778899aabb"), "{sha256}");
    assert_eq!(config.server.flight, "[::1]:9000");
    assert_eq!(config.server.metrics.as_deref(), Some("localhost:9001"));
    assert_eq!(config.server.tls.as_ref().unwrap()["key"], "b.pem");
    assert_eq!(config.server.tokens, Some(json!(["a", "b"])));
    assert_eq!(config.server.allow_unauthenticated, Some(false));
    assert_eq!(config.limits.memory_limit_bytes, 512 << 20);
    assert_eq!(
        config.limits.spill_path,
        Some(config.base_path.join("spill"))
    );
    assert_eq!(config.limits.n_threads, 2);
    let provider =
        config.offline_stores["archive"].provider_config("offline_stores.archive", &config);
    assert_eq!(provider.scheme, "delta");
    assert_eq!(provider.block, "offline_stores.archive");
    assert_eq!(provider.options["location"], "/archive");
    assert_eq!(provider.base_path, config.base_path);
    assert_eq!(provider.resources, config.limits);
}

#[test]
fn variables_are_replaced_in_every_text() {
    let project = project(&[(
        "provender.yaml",
        "offline_store: {type: delta, location: '${BUCKET}/tables', options: ['$${BUCKET}', '${NOPE:-none}']}
online_store: {type: '${KIND}', password: '${PASSWORD}'}
limits: {threads: '${THREADS}', memory: '${MEMORY:-1GB}'}
server: {allow_unauthenticated: '${OPEN}'}
",
    )]);
    let config = load(&project, None).unwrap();
    assert_eq!(
        options(&config.offline_store),
        json!({"location": "s3://flights/tables", "options": ["${BUCKET}", "none"]})
    );
    assert_eq!(config.online_store.scheme, "redis");
    assert_eq!(
        options(&config.online_store),
        json!({"password": "hunter2"})
    );
    assert_eq!(config.limits.n_threads, 3);
    assert_eq!(config.limits.memory_limit_bytes, 1_000_000_000);
    assert_eq!(config.server.allow_unauthenticated, Some(true));
}

#[test]
fn debug_shows_no_option_values() {
    let project = project(&[(
        "provender.yaml",
        "online_store: {type: redis, password: '${PASSWORD}'}
server: {tokens: [hunter2], tls: {key: hunter2}}
",
    )]);
    let config = load(&project, None).unwrap();
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2"), "{debug}");
    assert!(debug.contains("password"), "{debug}");
}

#[test]
fn an_overlay_merges_and_a_new_type_replaces_the_block() {
    let project = project(&[
        (
            "provender.yaml",
            "project: shop
offline_store: {type: delta, location: ./data, options: {a: 1, b: 2}}
online_store: {type: local, path: here}
registry: {type: sqlite, path: '${NOT_SET_IN_PROD}'}
offline_stores:
  archive: {type: delta, location: old}
  other: {type: delta, location: other}
plugins: [a.so, b.so]
server: {flight: '127.0.0.1:1', metrics: '127.0.0.1:2'}
",
        ),
        (
            "provender.prod.yaml",
            "offline_store: {location: 's3://prod', options: {b: 3}}
online_store: {type: '${KIND}', url: 'redis://prod'}
registry: {type: postgres, url: 'postgres://prod'}
offline_stores:
  archive: {type: snowflake, account: x}
plugins: [c.so]
server: {flight: '0.0.0.0:1'}
limits: {threads: 7}
",
        ),
        ("provender.empty.yaml", ""),
    ]);
    let config = load(&project, Some("prod")).unwrap();
    assert_eq!(config.project, "shop");
    assert_eq!(
        options(&config.offline_store),
        json!({"location": "s3://prod", "options": {"a": 1, "b": 3}})
    );
    assert_eq!(config.online_store.scheme, "redis");
    assert_eq!(
        options(&config.online_store),
        json!({"url": "redis://prod"})
    );
    assert_eq!(options(&config.registry), json!({"url": "postgres://prod"}));
    assert_eq!(
        options(&config.offline_stores["archive"]),
        json!({"account": "x"})
    );
    assert_eq!(
        options(&config.offline_stores["other"]),
        json!({"location": "other"})
    );
    assert_eq!(config.plugins.len(), 1);
    assert_eq!(config.server.flight, "0.0.0.0:1");
    assert_eq!(config.server.metrics.as_deref(), Some("127.0.0.1:2"));
    assert_eq!(config.limits.n_threads, 7);

    let errors = load(&project, Some("empty")).unwrap_err();
    assert_eq!(errors[0].code(), "P202");
}

#[test]
fn mistakes_of_an_overlay_are_placed_in_it() {
    let project = project(&[
        ("provender.yaml", "limits: {threads: 1}\n"),
        ("provender.prod.yaml", "\nlimits: {threads: 0}\n"),
    ]);
    let errors = load(&project, Some("prod")).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "provender.prod.yaml:2:19: limits.threads must be at least 1; leave it out to use every core"
    );
}

#[test]
fn a_missing_overlay_is_named() {
    let with = project(&[("provender.yaml", ""), ("provender.prod.yaml", "")]);
    let errors = load(&with, Some("prd")).unwrap_err();
    assert_eq!((errors.len(), errors[0].code()), (1, "P203"));
    let text = errors[0].to_string();
    assert!(
        text.starts_with("the environment \"prd\" has no file provender.prd.yaml in "),
        "{text}"
    );
    assert!(text.ends_with("; did you mean --env prod?"), "{text}");
    let without = project(&[("provender.yaml", "")]);
    let text = load(&without, Some("prod")).unwrap_err()[0].to_string();
    assert!(
        text.ends_with("; make provender.prod.yaml beside provender.yaml, or leave --env out"),
        "{text}"
    );
    let text = load(&without, Some("../x")).unwrap_err()[0].to_string();
    assert_eq!(
        text,
        "\"../x\" cannot name an environment; use letters, digits, _, - and ., for example prod"
    );
}

#[test]
fn a_folder_without_configuration_points_to_init() {
    let project = project(&[]);
    let errors = load(&project, None).unwrap_err();
    assert_eq!((errors.len(), errors[0].code()), (1, "P201"));
    let text = errors[0].to_string();
    assert!(text.starts_with("no provender.yaml in "), "{text}");
    assert!(
        text.ends_with("; `provender init` makes a project here; -C DIR names another folder"),
        "{text}"
    );
}

#[test]
fn missing_variables_are_all_named_with_their_places() {
    let project = project(&[(
        "provender.yaml",
        "offline_store:\n  type: delta\n  location: ${ROOT}/${PART}\nlimits: {memory: '${MEM}'}\n",
    )]);
    let errors = load(&project, None).unwrap_err();
    let told: Vec<String> = errors
        .iter()
        .map(|error| format!("{} {error}", error.code()))
        .collect();
    assert_eq!(
        told,
        [
            "P202 provender.yaml:3:13: the environment variable ROOT is not set; set ROOT, or give a default: ${ROOT:-default}",
            "P202 provender.yaml:3:13: the environment variable PART is not set; set PART, or give a default: ${PART:-default}",
            "P202 provender.yaml:4:18: the environment variable MEM is not set; set MEM, or give a default: ${MEM:-default}",
        ]
    );
}

#[test]
fn mistakes_are_told_with_place_and_hint() {
    for (text, told) in [
        (
            "offline_stor: {type: delta}\n",
            "P102 provender.yaml:1:1: the configuration has the unknown key \"offline_stor\"; did you mean \"offline_store\"?",
        ),
        (
            "server: {fligt: '127.0.0.1:1'}\n",
            "P102 provender.yaml:1:10: server of the configuration has the unknown key \"fligt\"; did you mean \"flight\"?",
        ),
        (
            "- a\n",
            "P103 provender.yaml:1:1: the configuration must be a mapping, not a list",
        ),
        (
            "online_store: {path: x}\n",
            "P103 provender.yaml:1:15: online_store of the configuration lacks the key \"type\"; add type, which is required",
        ),
        (
            "online_store: local\n",
            "P103 provender.yaml:1:15: online_store of the configuration must be a mapping with the key type, not the text \"local\"",
        ),
        (
            "online_stores: {a: local}\n",
            "P103 provender.yaml:1:20: online_stores.a of the configuration must be a mapping with the key type, not the text \"local\"",
        ),
        (
            "online_stores: {a__b: {type: local}}\n",
            "P104 provender.yaml:1:17: an online store cannot be named \"a__b\": it holds __, which joins a view and a feature in output columns",
        ),
        (
            "online_stores: {a: {type: local}, A: {type: local}}\n",
            "P105 provender.yaml:1:35: the stores \"a\" and \"A\" differ only in case; rename one of them",
        ),
        (
            "project: my-shop\n",
            "P104 provender.yaml:1:10: a project cannot be named \"my-shop\": it holds something other than letters, digits and _",
        ),
        (
            "limits: {memory: 2 apples}\n",
            "P203 provender.yaml:1:18: limits.memory is no size: its unit is unknown; write a number of bytes or one with a unit, such as 512MiB or 2GB",
        ),
        (
            "limits: {threads: many}\n",
            "P103 provender.yaml:1:19: limits.threads of the configuration must be a whole number, zero or more, not the text \"many\"",
        ),
        (
            "limits: {threads: '${PASSWORD}'}\n",
            "P103 provender.yaml:1:19: limits.threads of the configuration must be a whole number, zero or more, not text",
        ),
        (
            "server: {flight: 8815}\n",
            "P203 provender.yaml:1:18: server.flight is no host and port; write host:port, for example 127.0.0.1:8815",
        ),
        (
            "plugins: [{path: a.so, sha256: abc}]\n",
            "P203 provender.yaml:1:32: sha256 of plugin a.so is no SHA-256; write its 64 hexadecimal digits, as `sha256sum` prints them",
        ),
        (
            "plugins: [{path: a.so, sha25: abc}]\n",
            "P102 provender.yaml:1:24: plugins[0] of the configuration has the unknown key \"sha25\"; did you mean \"sha256\"?",
        ),
        (
            "registry: {type: sqlite, path: '${A B}'}\n",
            "P203 provender.yaml:1:32: \"A B\" cannot name a variable; write ${NAME} or ${NAME:-default}, and $${ for a plain ${",
        ),
    ] {
        assert_eq!(mistake(text), told);
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let text = "projct: a\nlimits: {memroy: 1, threads: x}\nonline_stores: {a: 1, b: {path: x}}\n";
    let errors = load(&project(&[("provender.yaml", text)]), None).unwrap_err();
    let codes: Vec<&str> = errors.iter().map(Error::code).collect();
    assert_eq!(codes, ["P102", "P102", "P103"], "{errors:#?}");
}
