//! The options of the provider: how they are spelled.
//!
//! Secrets are read here and never shown: [`Secret`] prints nothing of itself, and no message quotes a
//! URL, which may hold a password.

mod place;
mod settings;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use provender_core::Secret;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

pub(crate) use self::place::Address;
pub(crate) use self::settings::{Certificates, Login, Settings};

const MAX_PREFIX_BYTES: usize = 64;
const MAX_CONNECTIONS: usize = 64;
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// How the servers belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Sentinel if `sentinel` is given; else what the server says of itself.
    #[default]
    Auto,
    /// One server.
    Standalone,
    /// One primary, which the sentinels in `urls` name.
    Sentinel,
    /// A cluster, of which `urls` name some nodes.
    Cluster,
}

/// The options of `type: redis`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Where Redis is: `redis://[user[:password]@]host[:port][/database]`, `rediss://` for TLS. Default:
    /// `redis://127.0.0.1:6379` unless `urls` are given.
    pub url: Option<String>,
    /// Several of them: some nodes of a cluster, or the sentinels. Default: none.
    pub urls: Vec<String>,
    /// How the servers belong together. Default: `auto`.
    pub mode: Mode,
    /// What the sentinels are asked, if there are any. Default: none.
    pub sentinel: Option<SentinelConfig>,
    /// The ACL user. Default: the URL's, else Redis' default user.
    pub username: Option<String>,
    /// The password. Default: the URL's, else none.
    pub password: Option<Secret>,
    /// The database's number; a cluster has 0 alone. Default: the URL's, else 0.
    pub database: Option<u32>,
    /// What all keys start with, so that several teams can share one Redis: 1 to 64 printable ASCII
    /// characters without spaces, quotes and `{ } * ? [ ] \ ^`. Default: `pv:`.
    pub prefix: String,
    /// Connections per server for reads. Default: 2.
    pub read_connections: usize,
    /// Connections per server for writes. Default: 1.
    pub write_connections: usize,
    /// How long connecting may take, as text such as `500ms`. Default: `2s`.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// After how long without a reply a server counts as gone. A call's own deadline always comes first.
    /// Default: `5s`.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// How many replicas must have rows before a write is acknowledged; where fewer are connected, those.
    /// Default: 1.
    pub wait_replicas: u32,
    /// Certificates for `rediss://`. Default: the system's authorities and no client certificate.
    pub tls: TlsConfig,
}

/// What is asked of sentinels.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentinelConfig {
    /// The name under which the sentinels know the primary.
    pub master: String,
    /// The ACL user of the sentinels themselves. Default: their default user.
    #[serde(default)]
    pub username: Option<String>,
    /// The password of the sentinels themselves. Default: the URL's, else none.
    #[serde(default)]
    pub password: Option<Secret>,
}

/// Certificates, as PEM files. Relative paths start at the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The authorities that are trusted instead of the system's. Default: the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate. Default: none.
    pub cert: Option<PathBuf>,
    /// The client certificate's key. Default: none.
    pub key: Option<PathBuf>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            urls: Vec::new(),
            mode: Mode::Auto,
            sentinel: None,
            username: None,
            password: None,
            database: None,
            prefix: "pv:".to_owned(),
            read_connections: 2,
            write_connections: 1,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            wait_replicas: 1,
            tls: TlsConfig::default(),
        }
    }
}

// URLs may hold passwords, so only what cannot is shown.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("mode", &self.mode)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SentinelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelConfig")
            .field("master", &self.master)
            .finish_non_exhaustive()
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is no duration from 1ms to 10m; write a whole number and a unit, such as 500ms or 2s"
        ))
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let duration = match unit.trim() {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    (duration >= Duration::from_millis(1) && duration <= MAX_TIMEOUT).then_some(duration)
}

pub(crate) fn options_schema() -> serde_json::Value {
    let text =
        |description: &str| serde_json::json!({"type": "string", "description": description});
    let counted = |default: u32, description: &str| serde_json::json!({"type": "integer", "minimum": 1, "maximum": MAX_CONNECTIONS, "default": default, "description": description});
    let timed = |default: &str, description: &str| serde_json::json!({"type": "string", "pattern": "^[0-9]+ *(ms|s|m)$", "default": default, "description": description});
    serde_json::json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "url": {
                "type": "string",
                "default": "redis://127.0.0.1:6379",
                "description": "Where Redis is: redis://[user[:password]@]host[:port][/database], rediss:// for TLS."
            },
            "urls": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Several of them: some nodes of a cluster, or the sentinels."
            },
            "mode": {
                "enum": ["auto", "standalone", "sentinel", "cluster"],
                "default": "auto",
                "description": "How the servers belong together; auto asks them."
            },
            "sentinel": {
                "type": "object",
                "additionalProperties": false,
                "required": ["master"],
                "properties": {
                    "master": text("The name under which the sentinels know the primary."),
                    "username": text("The ACL user of the sentinels themselves."),
                    "password": text("The password of the sentinels themselves, such as ${SENTINEL_PASSWORD}.")
                }
            },
            "username": text("The ACL user."),
            "password": text("The password, such as ${REDIS_PASSWORD}."),
            "database": {"type": "integer", "minimum": 0, "default": 0, "description": "The database's number; a cluster has 0 alone."},
            "prefix": {"type": "string", "minLength": 1, "maxLength": MAX_PREFIX_BYTES, "default": "pv:", "description": "What all keys start with, so that several teams can share one Redis."},
            "read_connections": counted(2, "Connections per server for reads."),
            "write_connections": counted(1, "Connections per server for writes."),
            "connect_timeout": timed("2s", "How long connecting may take."),
            "timeout": timed("5s", "After how long without a reply a server counts as gone."),
            "wait_replicas": {"type": "integer", "minimum": 0, "default": 1, "description": "How many replicas must have rows before a write is acknowledged; where fewer are connected, those."},
            "tls": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "ca": text("A PEM file of authorities that are trusted instead of the system's; a relative path starts at this file."),
                    "cert": text("A PEM file with the client's certificate."),
                    "key": text("A PEM file with its key.")
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::path::Path;

    use super::*;

    fn read(json: serde_json::Value) -> Result<Settings, String> {
        let config: RedisConfig =
            serde_json::from_value(json).map_err(|error| error.to_string())?;
        Settings::new(&config, "online_store", Path::new("/nowhere"))
            .map_err(|error| error.to_string())
    }

    fn refused(json: serde_json::Value) -> String {
        match read(json) {
            Ok(_) => panic!("the options were taken"),
            Err(why) => why,
        }
    }

    #[test]
    fn urls_say_host_login_and_database() {
        let settings =
            read(serde_json::json!({"url": "redis://ann:s%40cret@db.example:7001/3"})).unwrap();
        assert_eq!(settings.addresses[0].to_string(), "db.example:7001");
        assert_eq!(settings.login.username.as_deref(), Some("ann"));
        assert_eq!(settings.login.password.unwrap().reveal(), "s@cret");
        assert_eq!(settings.database, 3);
        let settings = read(serde_json::json!({"url": "redis://[::1]"})).unwrap();
        assert_eq!(settings.addresses[0].to_string(), "[::1]:6379");
        let settings = read(serde_json::json!({
            "urls": ["redis://:x@s1", "redis://s2:1"], "sentinel": {"master": "m"}
        }))
        .unwrap();
        assert_eq!(settings.mode, Mode::Sentinel);
        assert_eq!(settings.addresses[0].port, 26379);
        assert_eq!(settings.login.password, None);
        assert_eq!(settings.sentinel.unwrap().1.password.unwrap().reveal(), "x");
    }

    #[test]
    fn bad_options_are_named() {
        for (json, expected) in [
            (serde_json::json!({"ulr": "x"}), "unknown field `ulr`"),
            (
                serde_json::json!({"url": "http://h"}),
                "url starts with neither redis:// nor rediss://",
            ),
            (
                serde_json::json!({"url": "redis://h/x"}),
                "url has a path that is no database number",
            ),
            (
                serde_json::json!({"urls": ["redis://h", "rediss://h"]}),
                "some urls are redis:// and some rediss://",
            ),
            (
                serde_json::json!({"url": "redis://h", "urls": ["redis://h"]}),
                "both url and urls",
            ),
            (serde_json::json!({"prefix": ""}), "prefix is empty"),
            (
                serde_json::json!({"prefix": "a{b"}),
                "prefix holds the character '{'",
            ),
            (
                serde_json::json!({"mode": "sentinel"}),
                "sentinel is missing",
            ),
            (
                serde_json::json!({"mode": "cluster", "database": 1}),
                "a cluster has 0 alone",
            ),
            (
                serde_json::json!({"read_connections": 0}),
                "read_connections is 0",
            ),
            (serde_json::json!({"timeout": "1h"}), "is no duration"),
            (
                serde_json::json!({"tls": {"ca": "x"}}),
                "the url is redis://",
            ),
            (
                serde_json::json!({"url": "rediss://h", "tls": {"ca": "x"}}),
                "/nowhere/x cannot be read",
            ),
            (
                serde_json::json!({"url": "rediss://h", "tls": {"cert": "x"}}),
                "tls has one of cert and key",
            ),
            (
                serde_json::json!({"username": "ann"}),
                "username is given without password",
            ),
        ] {
            let why = refused(json);
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn secrets_are_never_printed() {
        let config: RedisConfig = serde_json::from_value(serde_json::json!({
            "url": "redis://u:canary@h", "password": "canary",
            "sentinel": {"master": "m", "password": "canary"}
        }))
        .unwrap();
        let shown = format!("{config:?} {:?} {:?}", config.sentinel, config.password);
        assert!(!shown.contains("canary"), "{shown}");
        let why = refused(serde_json::json!({"url": "redis://u:canary@h:99999999"}));
        assert!(!why.contains("canary"), "{why}");
    }
}
