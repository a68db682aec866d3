//! The two crates, each as its documentation says it is fastest: one connection, shared by all calls.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::Value as FredValue;
use fred::types::config::{Config, ReconnectPolicy};
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, Value};
use tokio::sync::Mutex;

use crate::{Answer, Reader};

/// How rows are asked for.
#[derive(Clone, Copy)]
enum Way {
    Mget,
    MgetExists,
    Get,
}

/// `redis`, which leaves connecting again to its user.
pub(crate) struct Redis {
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    ready: std::sync::RwLock<Option<MultiplexedConnection>>,
    way: Way,
}

impl Redis {
    pub(crate) async fn mget(ports: Vec<u16>) -> Self {
        Self::new(&ports, Way::Mget)
    }

    pub(crate) async fn mget_exists(ports: Vec<u16>) -> Self {
        Self::new(&ports, Way::MgetExists)
    }

    pub(crate) async fn get(ports: Vec<u16>) -> Self {
        Self::new(&ports, Way::Get)
    }

    fn new(ports: &[u16], way: Way) -> Self {
        Self {
            client: redis::Client::open(format!("redis://127.0.0.1:{}", ports[0])).unwrap(),
            connection: Mutex::default(),
            ready: std::sync::RwLock::default(),
            way,
        }
    }

    async fn connected(&self) -> redis::RedisResult<MultiplexedConnection> {
        if let Some(ready) = &*self.ready.read().unwrap() {
            return Ok(ready.clone());
        }
        // One connects, the others wait for it.
        let mut connection = self.connection.lock().await;
        if connection.is_none() {
            let made = self.client.get_multiplexed_async_connection().await?;
            *connection = Some(made);
        }
        *self.ready.write().unwrap() = connection.clone();
        Ok(connection.clone().expect("it was just made"))
    }

    async fn call(&self, keys: &[Bytes]) -> Answer {
        let mut connection = self.connected().await?;
        let answered = match self.way {
            Way::Mget => connection
                .send_packed_command(&many("MGET", keys))
                .await
                .map(|value| vec![value]),
            Way::MgetExists => {
                let mut pipeline = Pipeline::with_capacity(2);
                pipeline.add_command(many("MGET", keys));
                pipeline.add_command(many("EXISTS", keys));
                connection.send_packed_commands(&pipeline, 0, 2).await
            }
            Way::Get => {
                let mut pipeline = Pipeline::with_capacity(keys.len());
                for key in keys {
                    pipeline.cmd("GET").arg(&key[..]);
                }
                let n_replies = keys.len();
                connection
                    .send_packed_commands(&pipeline, 0, n_replies)
                    .await
            }
        };
        if answered.is_err() {
            *self.connection.lock().await = None;
            *self.ready.write().unwrap() = None;
        }
        let mut seen = (0, 0);
        answered?.iter().for_each(|value| look(value, &mut seen));
        Ok(seen)
    }
}

impl Reader for Redis {
    fn read<'a>(&'a self, keys: &'a [Bytes]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(self.call(keys))
    }
}

/// `redis` for a Cluster. Its pipelines keep to one slot; it takes an MGET apart by itself.
pub(crate) struct RedisCluster(ClusterConnection);

impl RedisCluster {
    pub(crate) async fn mget(ports: Vec<u16>) -> Self {
        let urls = ports.iter().map(|port| format!("redis://127.0.0.1:{port}"));
        let client = ClusterClient::new(urls).unwrap();
        Self(client.get_async_connection().await.unwrap())
    }
}

impl Reader for RedisCluster {
    fn read<'a>(&'a self, keys: &'a [Bytes]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let mut connection = self.0.clone();
            let value: Value = many("MGET", keys).query_async(&mut connection).await?;
            let mut seen = (0, 0);
            look(&value, &mut seen);
            Ok(seen)
        })
    }
}

fn many(command: &str, keys: &[Bytes]) -> Cmd {
    let mut command = redis::cmd(command);
    for key in keys {
        command.arg(&key[..]);
    }
    command
}

fn look(value: &Value, seen: &mut (usize, usize)) {
    match value {
        Value::BulkString(bytes) => {
            seen.0 += bytes.len();
            seen.1 += 1;
            std::hint::black_box(bytes.first());
        }
        Value::Nil => seen.1 += 1,
        Value::Array(items) => items.iter().for_each(|item| look(item, seen)),
        // How many of the keys are there, at all.
        Value::Int(_) => (),
        other => panic!("not a row: {other:?}"),
    }
}

/// `fred`, which connects again by itself.
pub(crate) struct Fred(Client, Way);

impl Fred {
    pub(crate) async fn mget(ports: Vec<u16>) -> Self {
        let url = format!("redis://127.0.0.1:{}", ports[0]);
        Self(fred(&url).await, Way::Mget)
    }

    pub(crate) async fn get(ports: Vec<u16>) -> Self {
        let url = format!("redis://127.0.0.1:{}", ports[0]);
        Self(fred(&url).await, Way::Get)
    }
}

/// `fred` for a Cluster, whose pipelines it takes apart by node.
pub(crate) struct FredCluster;

impl FredCluster {
    pub(crate) async fn get(ports: Vec<u16>) -> Fred {
        let nodes: Vec<String> = ports[1..]
            .iter()
            .map(|port| format!("node=127.0.0.1:{port}"))
            .collect();
        let url = format!("redis-cluster://127.0.0.1:{}?{}", ports[0], nodes.join("&"));
        Fred(fred(&url).await, Way::Get)
    }
}

async fn fred(url: &str) -> Client {
    let config = Config::from_url(url).unwrap();
    let policy = ReconnectPolicy::new_constant(0, 50);
    let client = Client::new(config, None, None, Some(policy));
    client.init().await.unwrap();
    client
}

impl Reader for Fred {
    fn read<'a>(&'a self, keys: &'a [Bytes]) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let value: FredValue = match self.1 {
                Way::Get => {
                    let pipeline = self.0.pipeline();
                    for key in keys {
                        let _: () = pipeline.get(key.clone()).await?;
                    }
                    pipeline.all().await?
                }
                Way::Mget | Way::MgetExists => self.0.mget(keys.to_vec()).await?,
            };
            let mut seen = (0, 0);
            look_fred(&value, &mut seen);
            Ok(seen)
        })
    }
}

fn look_fred(value: &FredValue, seen: &mut (usize, usize)) {
    match value {
        FredValue::Bytes(bytes) => {
            seen.0 += bytes.len();
            seen.1 += 1;
            std::hint::black_box(bytes.first());
        }
        // Bytes that happen to be text.
        FredValue::String(text) => {
            seen.0 += text.len();
            seen.1 += 1;
        }
        FredValue::Null => seen.1 += 1,
        FredValue::Array(items) => items.iter().for_each(|item| look_fred(item, seen)),
        other => panic!("not a row: {other:?}"),
    }
}
