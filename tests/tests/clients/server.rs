//! The built binary, serving the flights of New York as the quickstart leaves them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::product::{binary, provender, repository};
use crate::toolchains::output;

/// A server of its own, which ends with this value.
pub struct Server {
    pub address: String,
    pub project: tempfile::TempDir,
    process: Child,
}

impl Server {
    /// Imports, applies, materialises up to the end of 2013, and serves on a free port. `config` is added
    /// to `provender.yaml`, and `variables` to the server's environment.
    pub fn of_flights(config: &str, variables: &[(&str, &str)]) -> Self {
        let project = tempfile::tempdir().unwrap();
        let example = repository().join("examples/nyc-flights");
        let text = fs::read_to_string(example.join("provender.yaml")).unwrap();
        fs::write(project.path().join("provender.yaml"), text + config).unwrap();
        fs::create_dir(project.path().join("features")).unwrap();
        for file in fs::read_dir(example.join("features")).unwrap() {
            let file = file.unwrap();
            let copy = project.path().join("features").join(file.file_name());
            fs::copy(file.path(), copy).unwrap();
        }
        for table in ["weather", "airports", "planes", "flights"] {
            let raw = example.join(format!("raw/{table}.parquet"));
            provender(project.path(), ["import", table, raw.to_str().unwrap()]);
        }
        provender(project.path(), ["apply", "--yes"]);
        provender(
            project.path(),
            ["materialize-incremental", "--end", "2014-01-01"],
        );
        let mut process = Command::new(binary())
            .arg("-C")
            .arg(project.path())
            .args(["serve", "--flight", "127.0.0.1:0"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address.trim().to_owned();
        assert!(address.starts_with("grpc"), "the server did not start");
        Self {
            address,
            project,
            process,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A certificate of 127.0.0.1 and its key, as `server.pem` and `server.key` in a folder.
pub fn certificate(folder: &Path) {
    let args = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.pem";
    output("openssl", args.split_whitespace(), folder, []);
}
