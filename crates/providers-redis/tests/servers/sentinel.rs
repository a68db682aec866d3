//! A primary and its replica, watched by three Sentinels that fail over within a second or two.

use super::{Reply, Server, Wire, wait_until};

/// The name that the Sentinels know the primary by.
pub const NAME: &str = "features";

/// The servers and their Sentinels.
#[derive(Debug)]
pub struct Sentinel {
    /// The first primary, then its replica.
    pub servers: Vec<Server>,
    /// The Sentinels.
    pub sentinels: Vec<Server>,
}

impl Sentinel {
    /// Starts them and waits until they know each other.
    pub fn start() -> Self {
        let primary = Server::start();
        let port = primary.port().to_string();
        // Without disks, so that a copy is made at once.
        let replica = Server::start_with(&[
            "--replicaof",
            "127.0.0.1",
            &port,
            "--repl-diskless-load",
            "on-empty-db",
        ]);
        let mut primary_wire = primary.wire();
        primary_wire.run("CONFIG SET repl-diskless-sync yes");
        primary_wire.run("CONFIG SET repl-diskless-sync-delay 0");
        let replica_of = |wire: &mut Wire| wire.run("INFO replication").text();
        let mut replica_wire = replica.wire();
        wait_until("the replica has a copy", || {
            replica_of(&mut replica_wire).contains("master_link_status:up")
        });
        let sentinels: Vec<Server> = (0..3)
            .map(|_| {
                Server::start_as(|_, folder| {
                    // Sentinels keep what they learn in their file of options.
                    let file = folder.join("sentinel.conf");
                    let text = format!(
                        "sentinel monitor {NAME} 127.0.0.1 {port} 2\n\
                         sentinel down-after-milliseconds {NAME} 500\n\
                         sentinel failover-timeout {NAME} 2000\n"
                    );
                    std::fs::write(&file, text).expect("a file can be written");
                    vec![file.display().to_string(), "--sentinel".to_owned()]
                })
            })
            .collect();
        let started = Self {
            servers: vec![primary, replica],
            sentinels,
        };
        wait_until("the Sentinels know each other and the replica", || {
            started.sentinels.iter().all(|sentinel| {
                let facts = facts(&mut sentinel.wire());
                facts("num-other-sentinels") == "2"
                    && facts("num-slaves") == "1"
                    && facts("flags") == "master"
            })
        });
        started
    }

    /// The addresses of the Sentinels, by commas.
    pub fn addresses(&self) -> String {
        let each = self.sentinels.iter();
        let each: Vec<String> = each
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port()))
            .collect();
        each.join(",")
    }

    /// The index of the server that the Sentinels say is the primary.
    pub fn primary(&self) -> usize {
        let mut wire = self.sentinels[0].wire();
        let command = format!("SENTINEL get-master-addr-by-name {NAME}");
        let port = wire.run(&command).items()[1].text();
        let found = self.servers.iter();
        let mut found = found.map(|server| server.port().to_string());
        found.position(|known| known == port).expect("one of ours")
    }

    /// Waits until the Sentinels say that another server than this is the primary, and it says so, too.
    pub fn wait_for_failover_from(&self, before: usize) {
        wait_until("the Sentinels chose another primary", || {
            let now = self.primary();
            now != before && {
                let role = self.servers[now].wire().run("ROLE").items();
                role[0].text() == "master"
            }
        });
    }
}

/// What a Sentinel says of the primary.
fn facts(wire: &mut Wire) -> impl Fn(&str) -> String + use<> {
    let reply = wire.run(&format!("SENTINEL master {NAME}"));
    let items: Vec<String> = reply.items().iter().map(Reply::text).collect();
    move |name| {
        let at = items.iter().step_by(2).position(|item| item == name);
        at.and_then(|at| items.get(2 * at + 1).cloned())
            .unwrap_or_default()
    }
}
