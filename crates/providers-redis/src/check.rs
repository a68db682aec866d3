//! What `provender doctor` tells about the servers: version, memory, persistence, replicas, latency.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use provender_core::Result;

use crate::client::Connection;
use crate::error::Fault;
use crate::fleet::{Fleet, Map};
use crate::lane::Purpose;

/// How often a server is asked for a sign of life, of which the median is told.
const N_PINGS: usize = 9;

/// Findings for people, the general ones first.
pub(crate) async fn examine(fleet: &Arc<Fleet>) -> Result<Vec<String>> {
    let map = fleet.map().await?;
    let mut findings = vec![describe(&map)];
    for primary in &map.primaries {
        let connection = primary.connection(Purpose::Write).await?;
        let own = examine_server(&connection).await?;
        let address = primary.address();
        findings.extend(
            own.into_iter()
                .map(|finding| format!("{address}: {finding}")),
        );
    }
    Ok(findings)
}

fn describe(map: &Map) -> String {
    if !map.is_cluster() {
        return "one primary holds all rows".to_owned();
    }
    let n_served = map.n_served();
    let all = match n_served == crate::keys::N_SLOTS {
        true => "all slots are served".to_owned(),
        false => format!(
            "{n_served} of {} slots are served, and keys of the others can be neither read nor written",
            crate::keys::N_SLOTS
        ),
    };
    format!("a cluster of {} primaries; {all}", map.primaries.len())
}

async fn examine_server(connection: &Connection) -> Result<Vec<String>, Fault> {
    let info = match info(connection).await? {
        Ok(info) => info,
        Err(why) => return Ok(vec![format!("cannot be looked into: {why}")]),
    };
    let get = |name: &str| info.get(name).map_or("", String::as_str);
    let mut findings = vec![version(&info)];
    findings.push(match get("maxmemory") {
        "" | "0" => format!(
            "memory: {} in use, no limit (maxmemory 0), so that the system may end it when memory runs out",
            get("used_memory_human")
        ),
        _ => format!(
            "memory: {} in use of at most {}, policy {}",
            get("used_memory_human"),
            get("maxmemory_human"),
            get("maxmemory_policy")
        ),
    });
    match get("maxmemory_policy") {
        "noeviction" | "" => {}
        policy => findings.push(format!(
            "warning: maxmemory-policy is {policy}: when memory is full, rows are dropped without a word and read as not found; set noeviction"
        )),
    }
    let is_saving = !matches!(
        setting(connection, "save").await?.as_deref(),
        Some("") | None
    );
    findings.push(match (get("aof_enabled") == "1", is_saving) {
        (true, _) => {
            let fsync = setting(connection, "appendfsync").await?;
            match fsync.as_deref() {
                Some("always") => "persistence: every write is on disk before it is acknowledged".to_owned(),
                Some(fsync) => format!(
                    "persistence: append-only file, appendfsync {fsync}: a crash loses about the last second of writes"
                ),
                None => "persistence: append-only file".to_owned(),
            }
        }
        (false, true) => "warning: persistence by snapshots alone: a crash loses what came after the last one; set appendonly yes".to_owned(),
        (false, false) => "warning: no persistence: a restart loses all rows, and views must be materialised again; set appendonly yes".to_owned(),
    });
    if get("rdb_last_bgsave_status") == "err" || get("aof_last_write_status") == "err" {
        findings.push("warning: the last save to disk failed, so that writes may be refused; see the server's log".to_owned());
    }
    findings.push(match get("connected_slaves") {
        "" | "0" => "no replicas: while it is away nothing is served".to_owned(),
        n => format!("replicas connected: {n}"),
    });
    let median_us = latency_us(connection).await?;
    findings.push(format!(
        "latency: {median_us} us a call (median of {N_PINGS})"
    ));
    if median_us > 5_000 {
        findings.push(
            "warning: the server is slow or far away; online reads take at least as long"
                .to_owned(),
        );
    }
    Ok(findings)
}

/// The sections of INFO that are needed, or why they are not to be had.
async fn info(connection: &Connection) -> Result<Result<HashMap<String, String>, String>, Fault> {
    // Servers before version 7 take one section a call.
    let mut all = HashMap::new();
    for section in ["server", "memory", "persistence", "replication"] {
        let reply = connection.ask("INFO", &[section.as_bytes()]).await?;
        if let Some((code, detail)) = reply.refusal() {
            return Ok(Err(format!("INFO is answered with {code} {detail}")));
        }
        let text = reply.text().unwrap_or_default();
        all.extend(text.lines().filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        }));
    }
    Ok(Ok(all))
}

fn version(info: &HashMap<String, String>) -> String {
    let redis = info.get("redis_version").map_or("?", String::as_str);
    if let Some(valkey) = info.get("valkey_version") {
        return format!("Valkey {valkey}");
    }
    let mut parts = redis
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    match version < (6, 2) {
        true => format!("warning: Redis {redis} is too old; 6.2 or newer is needed"),
        false => format!("Redis {redis}"),
    }
}

/// A setting of the server; `None` where the user may not ask.
async fn setting(connection: &Connection, name: &str) -> Result<Option<String>, Fault> {
    let reply = connection.ask("CONFIG", &[b"GET", name.as_bytes()]).await?;
    if reply.refusal().is_some() {
        return Ok(None);
    }
    Ok(reply.into_items().get(1).and_then(|value| value.text()))
}

/// The median time of some calls.
async fn latency_us(connection: &Connection) -> Result<u128, Fault> {
    let mut took = Vec::with_capacity(N_PINGS);
    for _ in 0..N_PINGS {
        let started = Instant::now();
        connection.ask("PING", &[]).await?;
        took.push(started.elapsed().as_micros());
    }
    took.sort_unstable();
    Ok(took[N_PINGS / 2])
}
