//! Datasets as they are typed and shown.

use serde_json::Value;

use crate::flow::applied;
use crate::run::{Folder, Ran};

fn create(folder: &Folder, options: &[&str]) -> Ran {
    let create = ["dataset", "create", "d", "--service", "delay", "--spine"];
    folder.run(&[&create[..], &["spine.csv"], options].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn a_dataset_is_made_listed_shown_and_recreated() {
    let folder = applied();
    folder
        .run(&["dataset", "list"])
        .exits(0)
        .complains("there is no dataset; `provender dataset create` makes one");
    let ran = create(
        &folder,
        &["--split", "time:2013-01-01T06:00:00Z", "--output", "json"],
    )
    .exits(0)
    .complains("made dataset d@1 of 3 rows and 6 columns in table dataset__d__1");
    let made = json(&ran);
    assert_eq!(made["created_by"], "ann@test");
    assert_eq!(
        made["command"],
        "provender dataset create d --service delay --spine spine.csv --split time:2013-01-01T06:00:00Z --output json"
    );
    assert_eq!(made["sources"][0]["version"]["number"], 0);
    let shown = folder.run(&["dataset", "show", "d", "--output", "json"]);
    assert_eq!(json(&shown.exits(0)), made);

    let list = folder.run(&["dataset", "list", "--output", "csv"]).exits(0);
    let line = list.stdout.lines().nth(1).unwrap();
    assert!(line.starts_with("d,1,"), "{list:?}");
    assert!(
        line.ends_with(",ann@test,delay@1,3,6,time:2013-01-01T06:00:00Z,dataset__d__1"),
        "{list:?}"
    );
    folder
        .run(&["dataset", "show", "d@1"])
        .exits(0)
        .says("definitions        airport_weather@1, delay@1 (revision 1)")
        .says("source             weather (weather), version 0")
        .says("split              time:2013-01-01T06:00:00Z into train, test (column split)")
        .says("airport_weather@1:temp");
    folder
        .run(&["history"])
        .exits(0)
        .says("put dataset d@1")
        .says("dataset create d@1");

    let out = folder.run(&["dataset", "recreate", "d", "--output", "csv"]);
    let out = out
        .exits(0)
        .complains("recreated dataset d@1: the same 3 rows, bit for bit, sha256:");
    assert_eq!(
        out.stdout,
        "flight,origin,event_timestamp,temp,wind_speed,split\n\
         1,JFK,2013-01-01T05:30:00Z,39.02,12.5,train\n\
         007,LGA,2013-01-01T09:00:00Z,,,test\n\
         3,JFK,2013-01-01T06:00:00Z,39.92,,test\n"
    );
    folder
        .run(&["dataset", "recreate", "d", "--restore"])
        .exits(0)
        .complains("they are in table dataset__d__1 again, now at version 1");
}

#[test]
fn mistakes_are_told_as_such() {
    let folder = applied();
    create(&folder, &["--split", "half"])
        .exits(2)
        .complains("\"half\" is no split");
    create(&folder, &["--seed", "7"])
        .exits(2)
        .complains("--split");
    create(
        &folder,
        &["--split", "random:0.5,0.5", "--split-column", "Temp"],
    )
    .exits(1)
    .complains("error[P404]")
    .complains("the split's column \"Temp\" would be called as the column \"temp\"");
    create(&folder, &[]).exits(0);
    create(&folder, &[])
        .exits(1)
        .complains("error[P421]: dataset \"d\" exists: version 1 of ")
        .complains("or make version 2 with --new-version");
    create(&folder, &["--new-version"])
        .exits(0)
        .complains("made dataset d@2");
    folder
        .run(&["dataset", "diff", "d@1", "d@2"])
        .exits(0)
        .says("d@1 and d@2 do not differ")
        .says("both hold the same rows in the same order, bit for bit");
    folder
        .run(&["dataset", "diff", "d@1", "d@2", "--rows"])
        .exits(0)
        .says("0 rows only in d@1, 0 rows only in d@2");
    folder
        .run(&["dataset", "show", "dd"])
        .exits(1)
        .complains("error[P420]: there is no dataset \"dd\"")
        .complains("did you mean \"d\"?");
}

#[test]
fn show_as_csv_has_a_line_of_statistics_for_each_column() {
    let folder = applied();
    create(&folder, &[]).exits(0);
    let args = ["dataset", "show", "d", "--output", "csv"];
    let shown = folder.run(&args).exits(0);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "column,type,from,count,nulls,distinct,min,max,mean,stddev"
    );
    assert_eq!(
        lines[4],
        "temp,float64,airport_weather@1:temp,2,1,2,39.02,39.92,39.47,0.636396"
    );
}

#[test]
fn a_dataset_is_deleted_when_that_is_confirmed() {
    let folder = applied();
    create(&folder, &[]).exits(0);
    create(&folder, &["--new-version"]).exits(0);
    let delete = |options: &[&str]| folder.run(&[&["dataset", "delete"][..], options].concat());
    delete(&["e", "--yes"]).exits(1).complains("error[P420]");
    delete(&["d", "--yes"])
        .exits(1)
        .complains("error[P406]: dataset \"d\" has several versions: d@1, d@2")
        .complains("name one of them, or pass --all-versions");
    delete(&["d@1", "--all-versions", "--yes"])
        .exits(1)
        .complains("error[P406]");
    delete(&["d@1"])
        .exits(1)
        .complains("error[P307]: d@1 (3 rows) would be deleted, and nobody confirmed it");
    let recreated = |name: &str| folder.run(&["dataset", "recreate", name, "--output", "csv"]);
    let before = recreated("d@2").exits(0).stdout;
    recreated("d@1").exits(0);

    let deleted = delete(&["d@1", "--yes", "--output", "json"])
        .exits(0)
        .complains("deleted d@1 (3 rows)");
    assert_eq!(
        json(&deleted),
        serde_json::json!({
            "deleted": ["d@1"],
            "emptied": ["dataset__d__1", "dataset__d__1__spine"],
        })
    );
    recreated("d@1").exits(1).complains("error[P420]");
    assert_eq!(recreated("d@2").exits(0).stdout, before);
    folder
        .run(&["history"])
        .exits(0)
        .says("delete dataset d@1")
        .says("dataset delete d@1");

    delete(&["d", "--yes"]).exits(0);
    folder
        .run(&["dataset", "list"])
        .exits(0)
        .complains("there is no dataset");
    // The name is free again, and its tables hold the rows of the new dataset alone.
    create(&folder, &[])
        .exits(0)
        .complains("made dataset d@1 of 3 rows");
    assert_eq!(recreated("d").exits(0).stdout, before);
}
