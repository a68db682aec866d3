//! Rows that Redis acknowledged and lost, as users meet it: told by every command, and materialised again.

use std::path::Path;

use serde_json::Value;

use crate::latest::{applied, json};
use crate::redis_servers::{Sentinel, Server, wait_until};
use crate::run::Folder;

const END: &str = "2013-01-01T12:00:00Z";

/// A project with weather and flights whose online store has these options, everything up to noon online.
fn filled(online_store: &str) -> Folder {
    let folder = applied();
    configure(folder.path(), online_store);
    fill(&folder).exits(0);
    folder
}

fn configure(folder: &Path, online_store: &str) {
    let config = folder.join("provender.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\nonline_store: {online_store}\n")).unwrap();
}

fn fill(folder: &Folder) -> crate::run::Ran {
    folder.run(&["materialize-incremental", "--end", END])
}

fn on(server: &Server) -> String {
    format!("{{type: redis, url: '{}', wait_replicas: 0}}", server.url())
}

fn status_of(folder: &Folder, view: &str) -> Value {
    let all = json(&folder.run(&["status", "--output", "json"]).exits(0));
    let all = all.as_array().unwrap().clone();
    all.into_iter().find(|one| one["view"] == view).unwrap()
}

/// Features of a view for JFK, with their status.
fn read(folder: &Folder) -> String {
    let args = [
        "online",
        "--features",
        "airport_weather",
        "--entity",
        "origin=JFK",
        "--status",
        "--output",
        "csv",
    ];
    folder.run(&args).exits(0).stdout
}

#[test]
fn a_redis_that_was_emptied_is_noticed_and_filled_again() {
    let redis = Server::start();
    let folder = filled(&on(&redis));
    let before = read(&folder);
    assert!(before.contains("PRESENT"), "{before}");
    folder.run(&["verify", "--full"]).exits(0);
    redis.wire().run("FLUSHALL");

    let status = status_of(&folder, "airport_weather");
    assert_eq!(status["lost"], true, "{status}");
    let note = status["note"].as_str().unwrap();
    assert!(
        note.contains("acknowledged were lost (online rows in Redis"),
        "{note}"
    );
    assert!(!read(&folder).contains("NOT_FOUND"));
    assert!(read(&folder).contains("ERROR"));
    folder
        .run(&[
            "online",
            "--features",
            "airport_weather",
            "--entity",
            "origin=JFK",
        ])
        .exits(1)
        .complains("error[P603]")
        .complains("lost rows of this view");
    folder
        .run(&["verify"])
        .exits(1)
        .says("acknowledged were lost");
    folder
        .run(&["doctor"])
        .exits(1)
        .says("online rows of airport_weather@1");

    // To the same end as before, so that nothing new has come.
    fill(&folder)
        .exits(0)
        .complains("airport_weather@1: 2 rows of (the beginning, 2013-01-01T12:00:00Z] (")
        .complains("so the view was filled again from the beginning");
    assert_eq!(read(&folder), before);
    assert_eq!(status_of(&folder, "airport_weather")["lost"], false);
    folder.run(&["verify", "--full"]).exits(0);
    folder.run(&["doctor"]).exits(0);
    let ran = fill(&folder).exits(0).complains("already materialised to");
    assert!(!ran.stderr.contains("lost"), "{ran:?}");
}

#[test]
fn an_explicit_range_over_an_emptied_redis_says_what_is_left_to_do() {
    let redis = Server::start();
    let folder = filled(&on(&redis));
    redis.wire().run("FLUSHALL");
    let range = [
        "materialize",
        "2013-01-01T05:30:00Z",
        END,
        "--views",
        "airport_weather",
    ];
    folder
        .run(&range)
        .exits(0)
        .complains("only this range was written")
        .complains("materialize-incremental");
    assert_eq!(status_of(&folder, "airport_weather")["lost"], true);
    fill(&folder).exits(0).complains("from the beginning");
    folder.run(&["verify", "--full"]).exits(0);
}

#[test]
fn a_restart_without_persistence_is_a_loss_and_one_with_it_is_none() {
    for (options, is_lost) in [
        (&[][..], true),
        (&["--appendonly", "yes", "--appendfsync", "always"], false),
    ] {
        let mut redis = Server::start_with(options);
        let folder = filled(&on(&redis));
        let before = read(&folder);
        redis.kill();
        folder
            .run(&["status"])
            .exits(0)
            .says("Redis cannot be reached");
        fill(&folder).exits(1).complains("error[P602]");
        redis.start_again();
        assert_eq!(status_of(&folder, "gate_delay")["lost"], is_lost);
        let ran = fill(&folder).exits(0);
        assert_eq!(ran.stderr.contains("filled again"), is_lost, "{ran:?}");
        assert_eq!(read(&folder), before);
        folder.run(&["verify", "--full"]).exits(0);
    }
}

/// The replica stands still while the primary acknowledges rows, the primary is lost, and the replica takes its
/// place without them.
#[test]
fn rows_that_a_failover_lost_are_materialised_again() {
    let mut sentinel = Sentinel::start();
    let urls: Vec<String> = sentinel
        .addresses()
        .split(',')
        .map(|address| format!("'redis://{address}'"))
        .collect();
    let options = format!(
        "{{type: redis, urls: [{}], sentinel: {{master: {}}}, wait_replicas: 0}}",
        urls.join(", "),
        crate::redis_servers::PRIMARY_NAME
    );
    let folder = filled(&options);
    let before = sentinel.primary();
    let replica = 1 - before;
    let mut wires = [
        sentinel.servers[before].wire(),
        sentinel.servers[replica].wire(),
    ];
    wait_until("the replica has all rows", || {
        wires[1].run("DBSIZE") == wires[0].run("DBSIZE")
    });
    sentinel.servers[replica].freeze();
    // What is on its way to a reader that stands still is more than the system keeps for it, so that the
    // rows after it are lost with the primary.
    let filler = "x".repeat(1 << 20);
    for number in 0..48 {
        let key = format!("filler-{number}");
        wires[0].ask(&[b"SET", key.as_bytes(), filler.as_bytes()]);
    }
    folder.file(
        "late.csv",
        "origin,time_hour,temp,wind_speed\nEWR,2013-01-01T11:00:00Z,10.5,1.5\n",
    );
    folder.run(&["import", "weather", "late.csv"]).exits(0);
    let end = "2013-01-01T13:00:00Z";
    let run = ["materialize-incremental", "--end", end];
    // Known to Redis, and acknowledged.
    folder
        .run(&["materialize", "2013-01-01T10:00:00Z", end])
        .exits(0);
    folder.run(&["verify", "--full"]).exits(0);

    sentinel.servers[before].kill();
    sentinel.servers[replica].thaw();
    sentinel.wait_for_failover_from(before);
    wait_until("the loss is noticed", || {
        status_of(&folder, "airport_weather")["lost"] == true
    });
    folder
        .run(&run)
        .exits(0)
        .complains("filled again from the beginning");
    folder.run(&["verify", "--full"]).exits(0);
    let read = folder
        .run(&[
            "online",
            "--features",
            "airport_weather",
            "--entity",
            "origin=EWR",
            "--output",
            "csv",
        ])
        .exits(0);
    assert!(read.stdout.contains("10.5"), "{read:?}");
}

#[test]
fn verify_says_why_expired_rows_are_not_compared() {
    let redis = Server::start();
    let folder = filled(&on(&redis));
    folder
        .run(&["verify", "--full"])
        .exits(0)
        .says("none of 2 keys: all expired");
    let all = json(
        &folder
            .run(&["verify", "--full", "--output", "json"])
            .exits(0),
    );
    let all = all.as_array().unwrap();
    let fresh = all.iter().find(|one| one["view"] == "fresh_weather");
    let fresh = fresh.unwrap();
    assert_eq!(
        (&fresh["n_keys"], &fresh["n_expired"]),
        (&2.into(), &2.into())
    );
    assert_eq!(fresh["n_differ"], 0);
}
