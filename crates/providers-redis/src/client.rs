//! The client crate behind a seam: commands, replies, and one connection.
//!
//! This is the only module that names the client crate. It decides how long connecting and replies may
//! take, and when a connection is of no more use; whom to connect to, and what to do about a failure, is
//! decided by others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind,
    IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError, TlsCertificates, Value,
};

use crate::config::{Address, Certificates, Login};
use crate::error::{Fault, FaultKind};
use crate::lane::Link;

/// Calls that wait for their turn on one connection.
const QUEUED_CALLS: usize = 256;

/// One command, being built.
pub(crate) struct Command(Cmd);

impl Command {
    /// A command; `n_args` and `n_bytes` say how much follows, so that its buffers are made once.
    pub(crate) fn new(name: &str, n_args: usize, n_bytes: usize) -> Self {
        let mut command = Cmd::with_capacity(n_args + 1, n_bytes + name.len());
        command.arg(name);
        Self(command)
    }

    #[inline]
    pub(crate) fn push(&mut self, arg: &[u8]) {
        self.0.arg(arg);
    }

    pub(crate) fn push_int(&mut self, arg: i64) {
        self.0.arg(arg);
    }

    /// A short command of texts.
    pub(crate) fn of(name: &str, args: &[&[u8]]) -> Self {
        let mut command = Self::new(name, args.len(), args.iter().map(|arg| arg.len()).sum());
        for arg in args {
            command.push(arg);
        }
        command
    }
}

/// The hash by which servers know a script.
pub(crate) fn script_hash(source: &str) -> String {
    redis::Script::new(source).get_hash().to_owned()
}

/// Commands that are sent in one piece.
#[derive(Default)]
pub(crate) struct Commands(Pipeline);

impl Commands {
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self(Pipeline::with_capacity(n))
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.0.add_command(command.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All commands, in order.
    pub(crate) fn refs(&self) -> impl Iterator<Item = CommandRef<'_>> + '_ {
        self.0.cmd_iter().map(CommandRef)
    }
}

/// One of some commands.
pub(crate) struct CommandRef<'a>(&'a Cmd);

impl CommandRef<'_> {
    pub(crate) fn copy(&self) -> Command {
        Command(self.0.clone())
    }
}

impl FromIterator<Command> for Commands {
    fn from_iter<I: IntoIterator<Item = Command>>(commands: I) -> Self {
        let mut all = Self::default();
        for command in commands {
            all.push(command);
        }
        all
    }
}

/// What a server answers to one command.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Reply(Value);

impl Reply {
    /// The bytes of a string; `None` for anything else.
    #[inline]
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Value::BulkString(bytes) => Some(bytes),
            Value::SimpleString(text) => Some(text.as_bytes()),
            Value::Okay => Some(b"OK"),
            _ => None,
        }
    }

    /// The bytes of a string without a copy; `None` for anything else.
    pub(crate) fn into_bytes(self) -> Option<Bytes> {
        match self.0 {
            Value::BulkString(bytes) => Some(bytes.into()),
            _ => None,
        }
    }

    /// As text, damaged characters replaced.
    pub(crate) fn text(&self) -> Option<String> {
        Some(String::from_utf8_lossy(self.bytes()?).into_owned())
    }

    #[inline]
    pub(crate) fn is_nil(&self) -> bool {
        matches!(self.0, Value::Nil)
    }

    /// A number, or text that is one.
    pub(crate) fn int(&self) -> Option<i64> {
        match &self.0 {
            Value::Int(number) => Some(*number),
            _ => std::str::from_utf8(self.bytes()?).ok()?.parse().ok(),
        }
    }

    /// The replies of an array; none for anything else.
    pub(crate) fn into_items(self) -> Vec<Reply> {
        match self.0 {
            Value::Array(items) | Value::Set(items) => items.into_iter().map(Reply).collect(),
            Value::Map(pairs) => pairs
                .into_iter()
                .flat_map(|(key, value)| [Reply(key), Reply(value)])
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The code and the rest of the text, if the server answers an error.
    #[inline]
    pub(crate) fn refusal(&self) -> Option<(&str, &str)> {
        match &self.0 {
            Value::ServerError(error) => Some((error.code(), error.details().unwrap_or_default())),
            _ => None,
        }
    }
}

/// How to connect, but for the address.
pub(crate) struct Dialling {
    pub(crate) login: Login,
    pub(crate) database: u32,
    pub(crate) tls: Option<Certificates>,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
}

/// What is known of a connection beside itself.
pub(crate) struct Health {
    opened: Instant,
    pub(crate) is_broken: AtomicBool,
    /// When the oldest call was sent of those since the last reply, in milliseconds after `opened`, plus
    /// one; 0 if all were answered.
    waiting_since_ms: AtomicU64,
    n_waiting: AtomicU64,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            is_broken: AtomicBool::new(false),
            waiting_since_ms: AtomicU64::new(0),
            n_waiting: AtomicU64::new(0),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

/// A connection that many calls share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    health: Arc<Health>,
    timeout: Duration,
    address: Arc<Address>,
}

impl Link for Connection {
    async fn open(address: Address, dialling: &Dialling) -> Result<Self, Fault> {
        let client = client(&address, dialling)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUED_CALLS);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let inner = match tokio::time::timeout(dialling.connect_timeout, connecting).await {
            Ok(Ok(inner)) => inner,
            Ok(Err(error)) => return Err(fault(&address, &error)),
            Err(_) => {
                return Err(Fault::new(
                    FaultKind::Away,
                    format!(
                        "connecting to {address} took more than {:?}",
                        dialling.connect_timeout
                    ),
                ));
            }
        };
        Ok(Self {
            inner,
            health: Arc::new(Health::new()),
            timeout: dialling.timeout,
            address: Arc::new(address),
        })
    }

    fn is_broken(&self) -> bool {
        self.health.is_broken.load(Ordering::Relaxed)
    }
}

impl Connection {
    /// Whom it is connected to.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether two are clones of one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.health, &other.health)
    }

    /// Sends one command of texts and answers its reply.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(crate) async fn ask(&self, name: &str, args: &[&[u8]]) -> Result<Reply, Fault> {
        let commands = Commands::from_iter([Command::of(name, args)]);
        let replies = self.call(&commands).await?;
        replies.into_iter().next().ok_or_else(|| {
            Fault::new(
                FaultKind::Away,
                format!("{} answered nothing", self.address),
            )
        })
    }

    /// Sends commands in one piece and answers one reply for each.
    ///
    /// # Errors
    /// If the connection breaks, or nothing comes for too long. An error that the server answers to one of
    /// the commands is a reply.
    pub(crate) async fn call(&self, commands: &Commands) -> Result<Vec<Reply>, Fault> {
        let waiting = Waiting::begin(&self.health, self.timeout);
        let mut inner = self.inner.clone();
        let n = commands.len();
        let sent = inner.send_packed_commands(&commands.0, 0, n);
        match tokio::time::timeout(self.timeout, sent).await {
            Ok(Ok(values)) => {
                waiting.answered();
                // The same memory, seen as replies.
                Ok(values.into_iter().map(Reply).collect())
            }
            Ok(Err(error)) => {
                self.health.is_broken.store(true, Ordering::Relaxed);
                Err(fault(&self.address, &error))
            }
            Err(_) => {
                self.health.is_broken.store(true, Ordering::Relaxed);
                Err(Fault::new(
                    FaultKind::Away,
                    format!("{} did not answer for {:?}", self.address, self.timeout),
                ))
            }
        }
    }
}

/// One call that waits for its reply, and what its end says of the connection: a call that is given up
/// when nothing has come for long takes the connection with it, since a network that swallows packets
/// tells nothing by itself.
pub(crate) struct Waiting<'a> {
    health: &'a Health,
    timeout: Duration,
}

impl<'a> Waiting<'a> {
    pub(crate) fn begin(health: &'a Health, timeout: Duration) -> Self {
        health.n_waiting.fetch_add(1, Ordering::Relaxed);
        let now = health.now_ms();
        let since = &health.waiting_since_ms;
        let _ = since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        Self { health, timeout }
    }

    pub(crate) fn answered(self) {
        let others = self.health.n_waiting.load(Ordering::Relaxed) > 1;
        let since = if others { self.health.now_ms() } else { 0 };
        self.health.waiting_since_ms.store(since, Ordering::Relaxed);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.health.n_waiting.fetch_sub(1, Ordering::Relaxed);
        let since = self.health.waiting_since_ms.load(Ordering::Relaxed);
        let waited = Duration::from_millis(self.health.now_ms().saturating_sub(since));
        if since != 0 && waited >= self.timeout {
            self.health.is_broken.store(true, Ordering::Relaxed);
        }
    }
}

fn client(address: &Address, dialling: &Dialling) -> Result<Client, Fault> {
    let mut login = RedisConnectionInfo::default()
        .set_db(i64::from(dialling.database))
        .set_skip_set_lib_name();
    if let Some(username) = &dialling.login.username {
        login = login.set_username(username);
    }
    if let Some(password) = &dialling.login.password {
        login = login.set_password(password.reveal());
    }
    let place = match dialling.tls {
        None => ConnectionAddr::Tcp(address.host.clone(), address.port),
        Some(_) => ConnectionAddr::TcpTls {
            host: address.host.clone(),
            port: address.port,
            insecure: false,
            tls_params: None,
        },
    };
    let refused = |error: RedisError| fault(address, &error);
    let info = place
        .into_connection_info()
        .map_err(refused)?
        .set_redis_settings(login)
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match &dialling.tls {
        None => Client::open(info).map_err(refused),
        Some(certificates) => {
            let client_tls = certificates
                .client
                .as_ref()
                .map(|(cert, key)| ClientTlsConfig {
                    client_cert: cert.clone(),
                    client_key: key.clone(),
                });
            let certificates = TlsCertificates {
                client_tls,
                root_cert: certificates.ca.clone(),
            };
            Client::build_with_tls(info, certificates).map_err(refused)
        }
    }
}

/// What a failure of the client means. Its texts hold no credentials: it is never given a URL.
fn fault(address: &Address, error: &RedisError) -> Fault {
    if let Some(code) = error.code() {
        return Fault::of_reply(address, code, error.detail().unwrap_or_default());
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Fault::new(
            FaultKind::Credentials,
            format!(
                "{address} answers {}",
                error.detail().unwrap_or("WRONGPASS")
            ),
        ),
        _ => Fault::new(FaultKind::Away, format!("{address}: {error}")),
    }
}
