//! Certificates of one test: an authority, a server's and a client's.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Server, free_port};

/// An authority and what it signed, as PEM files in a folder of theirs.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them below a folder that exists; `name` becomes part of the names of the files.
    ///
    /// # Panics
    /// If `openssl` is not installed.
    pub fn make(below: &Path, name: &str) -> Self {
        let folder = below.join(name);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let made = Self { folder };
        openssl(
            &made.folder,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=provender-authority -keyout ca.key -out ca.crt",
        );
        std::fs::write(
            made.folder.join("names"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n",
        )
        .expect("a file can be written");
        for who in ["server", "client"] {
            openssl(
                &made.folder,
                &format!(
                    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={who} -keyout {who}.key -out {who}.csr"
                ),
            );
            openssl(
                &made.folder,
                &format!(
                    "x509 -req -in {who}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out {who}.crt"
                ),
            );
        }
        made
    }

    /// A file of them, such as `ca.crt` or `client.key`.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Starts a server that takes TLS beside the test's own plain connections, and that asks for
    /// clients' certificates if `asks_clients` says so. Answers the port of TLS, too.
    pub fn start_server(&self, asks_clients: bool, options: &[&str]) -> (Server, u16) {
        let port = free_port();
        let mut all = vec![
            "--tls-port".to_owned(),
            port.to_string(),
            "--tls-cert-file".to_owned(),
            self.file("server.crt"),
            "--tls-key-file".to_owned(),
            self.file("server.key"),
            "--tls-ca-cert-file".to_owned(),
            self.file("ca.crt"),
            "--tls-auth-clients".to_owned(),
            if asks_clients { "yes" } else { "no" }.to_owned(),
        ];
        all.extend(options.iter().map(|option| (*option).to_owned()));
        (Server::start_as(|_, _| all.clone()), port)
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let ran = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    let words = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "openssl {arguments}: {words}");
}
