//! A Cluster of primaries and replicas, whose slots a test can move.

use std::fmt::Write as _;

use super::{Reply, Server, Wire, free_port, wait_until};

const N_SLOTS: usize = 16_384;

/// The nodes: first the primaries, then their replicas.
#[derive(Debug)]
pub struct Cluster {
    /// Node `n_primaries + i` is the replica of node i at the start.
    pub nodes: Vec<Server>,
    n_primaries: usize,
}

impl Cluster {
    /// Starts a Cluster of so many primaries, each with a replica if `has_replicas` says so, and waits until
    /// every node says that all is well.
    pub fn start(n_primaries: usize, has_replicas: bool) -> Self {
        let n_nodes = n_primaries * if has_replicas { 2 } else { 1 };
        let start = || {
            Server::start_as(|_, folder| {
                let options = format!(
                    "--cluster-enabled yes --cluster-port {} --cluster-config-file {} \
                     --cluster-node-timeout 1000 --cluster-replica-validity-factor 0 \
                     --repl-diskless-sync yes --repl-diskless-sync-delay 0 \
                     --repl-diskless-load on-empty-db",
                    free_port(),
                    folder.join("nodes.conf").display()
                );
                options.split_whitespace().map(str::to_owned).collect()
            })
        };
        let nodes: Vec<Server> = (0..n_nodes).map(|_| start()).collect();
        let cluster = Self { nodes, n_primaries };
        let mut wires: Vec<Wire> = cluster.nodes.iter().map(Server::wire).collect();
        for (number, wire) in wires.iter_mut().enumerate() {
            wire.run(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        for (number, wire) in wires.iter_mut().enumerate().take(n_primaries) {
            let from = number * N_SLOTS / n_primaries;
            let to = (number + 1) * N_SLOTS / n_primaries - 1;
            wire.run(&format!("CLUSTER ADDSLOTSRANGE {from} {to}"));
        }
        for node in &cluster.nodes[1..] {
            let bus = option(node, "--cluster-port");
            wires[0].run(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port()));
        }
        wait_until("the nodes know each other", || {
            let known = format!("cluster_known_nodes:{n_nodes}");
            let mut each = wires.iter_mut();
            each.all(|wire| wire.run("CLUSTER INFO").text().contains(&known))
        });
        for number in n_primaries..n_nodes {
            let primary = wires[number - n_primaries].run("CLUSTER MYID").text();
            // A node that has just been met may not be known as a primary yet.
            wait_until("the replica is taken", || {
                let command = [b"CLUSTER".as_slice(), b"REPLICATE", primary.as_bytes()];
                !matches!(wires[number].ask(&command), Reply::Error(_))
            });
        }
        cluster.wait_until_well();
        cluster
    }

    /// Waits until every running node says that all slots are served, and that its replicas are in step.
    pub fn wait_until_well(&self) {
        let running = || self.nodes.iter().filter(|node| node.supervisor.is_some());
        wait_until("the Cluster is well", || {
            running().all(|node| {
                let mut wire = node.wire();
                let info = wire.run("CLUSTER INFO").text();
                let replication = wire.run("INFO replication").text();
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_ok:16384")
                    && (replication.contains("role:master")
                        || replication.contains("master_link_status:up"))
            })
        });
    }

    /// The addresses of all nodes, by commas.
    pub fn addresses(&self) -> String {
        let mut all = String::new();
        for node in &self.nodes {
            let comma = if all.is_empty() { "" } else { "," };
            let _ = write!(all, "{comma}127.0.0.1:{}", node.port());
        }
        all
    }

    /// The index of the primary that served a key when the Cluster was made.
    pub fn owner_of_at_start(&self, key: &[u8]) -> usize {
        let slot = usize::from(slot_of(key));
        (0..self.n_primaries)
            .find(|number| slot < (number + 1) * N_SLOTS / self.n_primaries)
            .expect("every slot has one")
    }

    /// The index of the node that serves a slot now, as a running node says.
    pub fn owner_of(&self, slot: u16) -> usize {
        let mut running = self.nodes.iter().filter(|node| node.supervisor.is_some());
        let mut wire = running.next().expect("a node runs").wire();
        for range in wire.run("CLUSTER SLOTS").items() {
            let range = range.items();
            let slots = range[0].number()..=range[1].number();
            if slots.contains(&i64::from(slot)) {
                let port = range[2].clone().items()[1].number();
                let mut nodes = self.nodes.iter();
                let found = nodes.position(|node| i64::from(node.port()) == port);
                return found.expect("one of ours");
            }
        }
        panic!("nobody serves slot {slot}");
    }

    /// Begins to move a slot: from now on its owner answers ASK for keys that it does not have any more.
    pub fn begin_move(&self, slot: u16, to: usize) {
        let from = self.owner_of(slot);
        let (mut source, mut target) = (self.nodes[from].wire(), self.nodes[to].wire());
        let source_id = source.run("CLUSTER MYID").text();
        let target_id = target.run("CLUSTER MYID").text();
        target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"));
        source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"));
    }

    /// Moves up to `n_keys` keys of a slot whose move was begun; answers how many there were.
    pub fn move_keys(&self, slot: u16, to: usize, n_keys: usize) -> usize {
        let mut source = self.nodes[self.owner_of(slot)].wire();
        let keys = source.run(&format!("CLUSTER GETKEYSINSLOT {slot} {n_keys}"));
        let keys: Vec<Vec<u8>> = keys.items().into_iter().map(Reply::bytes).collect();
        if !keys.is_empty() {
            let port = self.nodes[to].port().to_string();
            let mut words: Vec<&[u8]> = vec![
                b"MIGRATE",
                b"127.0.0.1",
                port.as_bytes(),
                b"",
                b"0",
                b"5000",
                b"KEYS",
            ];
            words.extend(keys.iter().map(Vec::as_slice));
            let moved = source.ask(&words);
            assert!(!matches!(moved, Reply::Error(_)), "{moved:?}");
        }
        keys.len()
    }

    /// Ends the move of a slot whose keys have all been moved.
    pub fn end_move(&self, slot: u16, to: usize) {
        let from = self.owner_of(slot);
        let target_id = self.nodes[to].wire().run("CLUSTER MYID").text();
        let command = format!("CLUSTER SETSLOT {slot} NODE {target_id}");
        self.nodes[to].wire().run(&command);
        self.nodes[from].wire().run(&command);
        for node in &self.nodes[..self.n_primaries] {
            // The others hear of it by gossip; a node that is down is told nothing.
            if node.supervisor.is_some() {
                node.wire().run(&command);
            }
        }
    }

    /// Moves a slot with its keys, a few at a time.
    pub fn move_slot(&self, slot: u16, to: usize) {
        self.begin_move(slot, to);
        while self.move_keys(slot, to, 10) > 0 {}
        self.end_move(slot, to);
    }
}

fn option(server: &Server, name: &str) -> String {
    let at = server.arguments.iter().position(|word| word == name);
    at.map(|at| server.arguments[at + 1].clone())
        .expect("it was given")
}

/// The slot of a key, by the rule of Redis Cluster, hash tags included.
pub fn slot_of(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let mut crc = 0_u16;
    for byte in tagged.unwrap_or(key) {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc % 16_384
}
