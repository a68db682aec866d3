//! Everything goes through the proxy that options or the environment name: requests, and parts of results.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

/// A host that no name server knows, so that only a proxy reaches it.
const HOST: &str = "account.test";

/// A proxy on a free port, which brings every host to one port of this machine.
struct Proxy {
    port: u16,
    /// The first lines of requests that it was sent.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts it; with a password it lets nobody through without it.
    async fn start(to: u16, password: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, password, seen.clone()));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Serves one connection: a tunnel, or one request that is passed on.
async fn pass(
    mut client: TcpStream,
    to: u16,
    password: Option<&'static str>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    seen.lock().unwrap().push(first.to_owned());
    let mut body = vec![0; length_of(&head)];
    client.read_exact(&mut body).await.ok()?;
    if let Some(password) = password {
        let expected = base64::engine::general_purpose::STANDARD.encode(password);
        let expected = format!("proxy-authorization: basic {expected}").to_lowercase();
        if !head.to_lowercase().contains(&expected) {
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            client.write_all(refusal).await.ok()?;
            return None;
        }
    }
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    } else {
        let path = target.strip_prefix(&format!("http://{HOST}")).unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{rest}");
        server.write_all(request.as_bytes()).await.ok()?;
        server.write_all(&body).await.ok()?;
    }
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

/// How many bytes follow the head of a request.
fn length_of(head: &str) -> usize {
    let mut lines = head.lines();
    let found = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().unwrap())
    });
    found.unwrap_or(0)
}

fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// A result of several chunks, from an account at an address.
async fn n_rows_from(url: &str, proxy: Option<String>) -> provender_core::Result<usize> {
    let mut options = options(url, &json!({"chunk_rows": 10}));
    if let Some(proxy) = proxy {
        options.insert("proxy".to_owned(), proxy.into());
    }
    let store = open_with(options, resources()).await?;
    let source = query("SELECT RANGE AS \"n\" FROM RANGE(0, 35)");
    Ok(read(&*store, all(source)).await?.num_rows())
}

/// The part that reads its proxies from the environment.
#[tokio::test]
async fn proxied_part() {
    let Ok(url) = std::env::var("PROVENDER_PROXIED_PART") else {
        return;
    };
    assert_eq!(n_rows_from(&url, None).await.unwrap(), 35);
}

async fn proxied(url: &str, environment: &[(&str, String)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "proxies::proxied_part", "--nocapture"])
        .env("PROVENDER_PROXIED_PART", url)
        .stdin(Stdio::null());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let output = ran.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test]
async fn the_option_names_a_proxy_and_its_password() {
    let Some(url) = stand_in() else { return };
    let proxy = Proxy::start(port_of(url), Some("me:proxy-canary")).await;
    let url = format!("http://{HOST}");
    let through = format!("http://me:proxy-canary@127.0.0.1:{}", proxy.port);
    assert_eq!(n_rows_from(&url, Some(through)).await.unwrap(), 35);
    let asked = proxy.asked();
    for part in [
        "/session/v1/login-request",
        "/queries/v1/query-request",
        "/chunks/",
    ] {
        let address = format!("http://{HOST}{part}");
        assert!(
            asked.iter().any(|line| line.contains(&address)),
            "{part}: {asked:?}"
        );
    }

    let wrong = format!("http://me:wrong-canary@127.0.0.1:{}", proxy.port);
    let error = n_rows_from(&url, Some(wrong)).await.unwrap_err();
    assert_eq!(error.code(), "P503");
    assert!(error.message().contains("407"), "{error}");
    assert!(
        !format!("{error:?} {:?}", error.causes()).contains("canary"),
        "{error:?}"
    );

    let error = n_rows_from(&url, Some("socks-canary".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P203");
    assert_eq!(
        error.message(),
        "offline_store (type snowflake): proxy is no address of a proxy"
    );
}

#[tokio::test]
async fn the_environment_names_proxies_and_what_needs_none() {
    let Some(direct) = stand_in() else { return };
    let proxy = Proxy::start(port_of(direct), None).await;
    let through = format!("http://127.0.0.1:{}", proxy.port);
    proxied(
        &format!("http://{HOST}"),
        &[("HTTP_PROXY", through.clone())],
    )
    .await;
    let n_asked = proxy.asked().len();
    assert!(n_asked > 3, "{n_asked}");
    let without = ("NO_PROXY", "127.0.0.1".to_owned());
    proxied(direct, &[("HTTP_PROXY", through), without]).await;
    assert_eq!(proxy.asked().len(), n_asked);
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_of_the_proxy() {
    if stand_in().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("names"),
        format!("subjectAltName=DNS:{HOST}\nbasicConstraints=CA:FALSE\n"),
    )
    .unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for arguments in [
        format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.crt"),
        format!("req {key} -subj /CN={HOST} -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt"
            .to_owned(),
    ] {
        let made = Command::new("openssl")
            .current_dir(folder.path())
            .args(arguments.split(' '))
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "openssl makes no certificates");
            println!("skipped: openssl makes no certificates");
            return;
        }
    }
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let account = StandIn::snowflake(&["--tls", &file("server.crt"), &file("server.key")]).unwrap();
    let proxy = Proxy::start(port_of(&account.url), None).await;
    let environment = [
        ("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port)),
        ("SSL_CERT_FILE", file("ca.crt")),
    ];
    proxied(&format!("https://{HOST}"), &environment).await;
    let asked = proxy.asked();
    let tunnel = format!("CONNECT {HOST}:443 HTTP/1.1");
    assert!(
        !asked.is_empty() && asked.iter().all(|line| *line == tunnel),
        "{asked:?}"
    );
}
