//! Options that are checked: what contradicts itself is refused before anything is connected.

use std::path::Path;
use std::time::Duration;

use provender_core::{Error, Result, Secret, codes};

use super::place::{Address, Place};
use super::{MAX_CONNECTIONS, MAX_PREFIX_BYTES, Mode, RedisConfig, TlsConfig};

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// Who connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// Certificates, read.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    pub(crate) ca: Option<Vec<u8>>,
    /// Certificate and key.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Options that are checked and complete.
pub(crate) struct Settings {
    /// The servers, seeds or sentinels that the configuration names; at least one.
    pub(crate) addresses: Vec<Address>,
    pub(crate) mode: Mode,
    /// The primary's name and the login of the sentinels.
    pub(crate) sentinel: Option<(String, Login)>,
    pub(crate) login: Login,
    pub(crate) database: u32,
    pub(crate) prefix: String,
    pub(crate) read_connections: usize,
    pub(crate) write_connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) wait_replicas: u32,
    /// `None` without TLS.
    pub(crate) tls: Option<Certificates>,
}

impl Settings {
    /// Checks options; `block` is the configuration's name of them, and relative paths start at `base`.
    ///
    /// # Errors
    /// `P203` that names the option, and `P903` for a certificate that cannot be read.
    pub(crate) fn new(config: &RedisConfig, block: &str, base: &Path) -> Result<Self> {
        let refused = |what: String, help: &str| {
            Error::new(
                &codes::BAD_CONFIG,
                format!("{block} (type {}): {what}", crate::SCHEME),
            )
            .help(help.to_owned())
        };
        check_prefix(&config.prefix)
            .map_err(|why| refused(format!("prefix {why}"), "a prefix such as team1: will do"))?;
        for (name, n) in [
            ("read_connections", config.read_connections),
            ("write_connections", config.write_connections),
        ] {
            if n == 0 || n > MAX_CONNECTIONS {
                return Err(refused(
                    format!("{name} is {n}"),
                    "give a number from 1 to 64",
                ));
            }
        }
        let mode = match (config.mode, &config.sentinel) {
            (Mode::Auto | Mode::Sentinel, Some(_)) => Mode::Sentinel,
            (Mode::Sentinel, None) => {
                return Err(refused(
                    "mode is sentinel, and sentinel is missing".to_owned(),
                    "write sentinel: {master: NAME}, with the name that the sentinels know",
                ));
            }
            (_, Some(_)) => {
                return Err(refused(
                    "sentinel is given, and mode is another".to_owned(),
                    "leave mode out, or take sentinel away",
                ));
            }
            (mode, None) => mode,
        };
        let default_port = match mode {
            Mode::Sentinel => DEFAULT_SENTINEL_PORT,
            _ => DEFAULT_PORT,
        };
        let mut urls: Vec<(&str, &str)> = Vec::new();
        urls.extend(config.url.iter().map(|url| ("url", url.as_str())));
        urls.extend(config.urls.iter().map(|url| ("urls", url.as_str())));
        if config.url.is_some() && !config.urls.is_empty() {
            return Err(refused(
                "both url and urls are given".to_owned(),
                "write all of them under urls",
            ));
        }
        if urls.is_empty() {
            urls.push(("url", "redis://127.0.0.1"));
        }
        let places: Vec<Place> = urls
            .iter()
            .map(|(option, url)| {
                Place::parse(url, default_port).map_err(|why| {
                    refused(
                        format!("{option} {why}"),
                        "write redis://[user:password@]host[:port][/database], or rediss:// for TLS",
                    )
                })
            })
            .collect::<Result<_>>()?;
        let first = &places[0];
        if places.iter().any(|place| place.is_tls != first.is_tls) {
            return Err(refused(
                "some urls are redis:// and some rediss://".to_owned(),
                "write all of them with TLS or none",
            ));
        }
        if mode == Mode::Standalone && places.len() > 1 {
            return Err(refused(
                "mode is standalone, and there are several urls".to_owned(),
                "name one, or set mode to cluster",
            ));
        }
        let database = config.database.or(first.database).unwrap_or(0);
        if mode == Mode::Cluster && database != 0 {
            return Err(refused(
                format!("database is {database}, and a cluster has 0 alone"),
                "share a cluster by the option prefix",
            ));
        }
        let tls = if first.is_tls {
            Some(certificates(&config.tls, base, &refused)?)
        } else if config.tls != TlsConfig::default() {
            return Err(refused(
                "tls is given, and the url is redis://".to_owned(),
                "write rediss:// in the url",
            ));
        } else {
            None
        };
        let from_url = first.login.clone();
        let login = match mode {
            // A sentinel's URL holds the sentinel's own login.
            Mode::Sentinel => Login {
                username: config.username.clone(),
                password: config.password.clone(),
            },
            _ => Login {
                username: config.username.clone().or(from_url.username.clone()),
                password: config.password.clone().or(from_url.password.clone()),
            },
        };
        if login.username.is_some() && login.password.is_none() {
            return Err(refused(
                "username is given without password".to_owned(),
                "add password, such as ${REDIS_PASSWORD}",
            ));
        }
        let sentinel = config.sentinel.as_ref().map(|sentinel| {
            let login = Login {
                username: sentinel.username.clone().or(from_url.username),
                password: sentinel.password.clone().or(from_url.password),
            };
            (sentinel.master.clone(), login)
        });
        let mut addresses: Vec<Address> = Vec::new();
        for place in places {
            if !addresses.contains(&place.address) {
                addresses.push(place.address);
            }
        }
        Ok(Self {
            addresses,
            mode,
            sentinel,
            login,
            database,
            prefix: config.prefix.clone(),
            read_connections: config.read_connections,
            write_connections: config.write_connections,
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            wait_replicas: config.wait_replicas,
            tls,
        })
    }

    /// The servers of the configuration, for people.
    pub(crate) fn place(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(Address::to_string).collect();
        let addresses = addresses.join(", ");
        match &self.sentinel {
            Some((master, _)) => format!("{master} of the sentinels {addresses}"),
            None => addresses,
        }
    }
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix.is_empty() {
        return Err("is empty".to_owned());
    }
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err(format!("has more than {MAX_PREFIX_BYTES} characters"));
    }
    let odd = prefix
        .chars()
        .find(|c| !c.is_ascii_graphic() || "{}*?[]\\^\"'".contains(*c));
    match odd {
        Some(odd) => Err(format!("holds the character {odd:?}")),
        None => Ok(()),
    }
}

fn certificates(
    tls: &TlsConfig,
    base: &Path,
    refused: &impl Fn(String, &str) -> Error,
) -> Result<Certificates> {
    let read = |option: &str, path: &Path| {
        let path = base.join(path);
        std::fs::read(&path).map_err(|error| {
            refused(
                format!("tls.{option}: {} cannot be read: {error}", path.display()),
                "name a PEM file that this user may read",
            )
        })
    };
    let client = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some((read("cert", cert)?, read("key", key)?)),
        (None, None) => None,
        _ => {
            return Err(refused(
                "tls has one of cert and key".to_owned(),
                "a client certificate needs both",
            ));
        }
    };
    Ok(Certificates {
        ca: tls.ca.as_deref().map(|path| read("ca", path)).transpose()?,
        client,
    })
}
