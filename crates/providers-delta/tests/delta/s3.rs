//! Stores in an S3 of the test's own (moto), which takes conditional puts as S3 does, and in the same server in the
//! guise of Google's storage.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use provender_core::provider::{OfflineStore, ProviderConfig, Providers, Resources};
use serde_json::json;

use crate::support::cx;

pub const BUCKET: &str = "lake";
/// A secret that must be seen nowhere.
pub const CANARY: &str = "canary/Secret+1234567890";

// The server ends when its standard input does, which a test that dies closes too.
const SCRIPT: &str = "
import sys
import boto3
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f'http://127.0.0.1:{port}'
boto3.client('s3', endpoint_url=url, region_name='us-east-1', aws_access_key_id='x', aws_secret_access_key='y').create_bucket(Bucket='lake')
print(url, flush=True)
sys.stdin.read()
server.stop()
";

// Google's storage takes requests like those of S3; what is told apart here is how it puts only what is new, and
// that objects have generations.
const GOOGLE_SCRIPT: &str = "
import sys
import threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
s3 = DomainDispatcherApplication(create_backend_app)
def google(environ, start_response):
    generation = environ.pop('HTTP_X_GOOG_IF_GENERATION_MATCH', None)
    if generation is not None:
        assert generation == '0'
        environ['HTTP_IF_NONE_MATCH'] = '*'
    environ['HTTP_AUTHORIZATION'] = 'AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, Signature=y'
    def answer(status, headers, failure=None):
        return start_response(status, [*headers, ('x-goog-generation', '1')], failure)
    return s3(environ, answer)
server = make_server('127.0.0.1', 0, google, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f'http://127.0.0.1:{server.server_port}'
import urllib.request
urllib.request.urlopen(urllib.request.Request(f'{url}/lake', method='PUT')).read()
print(url, flush=True)
sys.stdin.read()
server.shutdown()
";

/// A running server.
pub struct S3 {
    pub endpoint: String,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// A Python that has these packages, or a printed line that says why not.
pub fn python_with(packages: &str) -> Option<PathBuf> {
    let venv = std::env::var("PROVENDER_VENV").unwrap_or_else(|_| ".venv".to_owned());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(venv).join("bin/python");
    let has_packages = Command::new(&python)
        .args(["-c", &format!("import {packages}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if has_packages {
        return Some(python);
    }
    let reason = format!("skipped: {} has no {packages}", python.display());
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    println!("{reason}");
    None
}

impl S3 {
    /// Starts a server with one empty bucket; `None` where moto is not installed.
    pub fn start() -> Option<Self> {
        Self::run(SCRIPT)
    }

    /// The same that takes requests as Google's storage does.
    pub fn start_as_google() -> Option<Self> {
        Self::run(GOOGLE_SCRIPT)
    }

    fn run(script: &str) -> Option<Self> {
        let python = python_with("boto3, flask, moto")?;
        let mut child = Command::new(python)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let endpoint = line.trim().to_owned();
        assert!(endpoint.starts_with("http://"), "moto said {line:?}");
        Some(Self {
            endpoint,
            stdin: child.stdin.take(),
            child,
        })
    }

    /// The block's options for a folder of the bucket.
    pub fn options(&self, folder: &str) -> serde_json::Value {
        json!({
            "location": format!("s3://{BUCKET}/{folder}"),
            "storage": {
                "endpoint": self.endpoint,
                "allow_http": true,
                "region": "us-east-1",
                "access_key_id": "somebody",
                "secret_access_key": CANARY,
            }
        })
    }

    /// A store in a folder of the bucket.
    pub async fn store(&self, folder: &str) -> Arc<dyn OfflineStore> {
        open_options(Path::new("/nowhere"), self.options(folder))
            .await
            .unwrap()
    }
}

/// A store of these options.
pub async fn open_options(
    base: &Path,
    options: serde_json::Value,
) -> provender_core::Result<Arc<dyn OfflineStore>> {
    let mut providers = Providers::default();
    providers.register(provender_providers_delta::factory());
    let config = ProviderConfig {
        scheme: "delta".to_owned(),
        block: "offline_store".to_owned(),
        options: options.as_object().unwrap().clone(),
        base_path: base.to_owned(),
        resources: Resources {
            n_threads: 2,
            ..Resources::default()
        },
    };
    providers.open_offline(&cx(), config).await
}
