//! Which files of a project are read.

use std::fs;
use std::path::Path;

use provender_definitions::load_definitions;

fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn entity(name: &str) -> String {
    format!("entities: [{{name: {name}, join_keys: [{{name: k, type: string}}]}}]")
}

#[test]
fn a_project_without_features_defines_nothing() {
    let project = tempfile::tempdir().unwrap();
    let loaded = load_definitions(project.path()).unwrap();
    assert!(loaded.definitions.entities.is_empty());
    write(project.path(), "features/empty.yaml", "");
    assert!(load_definitions(project.path()).is_ok());
}

#[test]
fn yaml_yml_and_json_are_read_and_hidden_files_are_not() {
    let project = tempfile::tempdir().unwrap();
    let root = project.path();
    write(root, "features/a.yaml", entity("a"));
    write(root, "features/deep/er/b.yml", entity("b"));
    write(
        root,
        "features/c.json",
        r#"{"entities": [{"name": "c", "join_keys": [{"name": "k", "type": "string"}]}]}"#,
    );
    write(root, "features/.hidden.yaml", "not: [valid");
    write(root, "features/.git/x.yaml", "not: [valid");
    write(root, "features/README.md", "not: [valid");
    write(root, "elsewhere/d.yaml", entity("d"));
    let loaded = load_definitions(root).unwrap();
    let names: Vec<&String> = loaded.definitions.entities.keys().collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn files_are_read_in_the_order_of_their_names() {
    let project = tempfile::tempdir().unwrap();
    let root = project.path();
    write(root, "features/b.yaml", entity("same"));
    write(root, "features/a/z.yaml", entity("same"));
    let errors = load_definitions(root).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(
        errors[0].message(),
        "features/b.yaml:1:19: entity \"same\" is defined twice, first at features/a/z.yaml:1:19"
    );
}

#[test]
fn a_file_that_is_not_utf8_tells_where() {
    let project = tempfile::tempdir().unwrap();
    write(
        project.path(),
        "features/a.yaml",
        b"# \xc3\xa9\nentities: \xff\n",
    );
    let errors = load_definitions(project.path()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].code(), "P101");
    assert_eq!(
        errors[0].to_string(),
        "features/a.yaml:2:11: features/a.yaml is not UTF-8 text; save the file with the encoding UTF-8"
    );
}

#[test]
fn features_that_cannot_be_listed_or_read_are_told() {
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "features", "a file, not a folder");
    let errors = load_definitions(project.path()).unwrap_err();
    assert_eq!(errors[0].code(), "P903");
    let message = errors[0].message();
    assert!(
        message.starts_with("the folder features cannot be read: "),
        "{message}"
    );
}

#[cfg(unix)]
#[test]
fn links_that_lead_in_a_circle_or_nowhere_end() {
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "features/a.yaml", entity("a"));
    let link = project.path().join("features/gone.yaml");
    std::os::unix::fs::symlink("nowhere.yaml", &link).unwrap();
    let errors = load_definitions(project.path()).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let message = errors[0].message();
    assert!(
        message.starts_with("the file features/gone.yaml cannot be read: "),
        "{message}"
    );
    fs::remove_file(link).unwrap();
    std::os::unix::fs::symlink(".", project.path().join("features/again")).unwrap();
    assert!(load_definitions(project.path()).is_err());
}
